//! A client of HTTP/2: whole requests through the `h2` crate, and raw frames for what no sound client sends.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::in_time;

/// What each HTTP/2 connection begins with.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that speaks HTTP/2.
pub(crate) struct Http2 {
    sender: SendRequest<Bytes>,
    /// Ends with the connection.
    pub(crate) connection: JoinHandle<Result<(), h2::Error>>,
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) head: Response<()>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

/// A connection on which frames are written byte by byte.
pub(crate) struct Frames {
    stream: TcpStream,
}

/// One frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) payload: Vec<u8>,
}

pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

// === impl Http2 ===

impl Http2 {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = in_time("connect", TcpStream::connect(address)).await.expect("the balancer accepts");
        stream.set_nodelay(true).expect("a TCP option");
        Self::over(stream).await
    }

    pub(crate) async fn over(
        stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        let (sender, connection) = in_time("handshake", h2::client::handshake(stream)).await.expect("HTTP/2");
        Self { sender, connection: tokio::spawn(connection) }
    }

    /// Begins a request; `end` if it has no body.
    pub(crate) async fn begin(
        &mut self,
        request: Request<()>,
        end: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let mut sender = in_time("a stream", self.sender.clone().ready()).await.expect("room for a stream");
        sender.send_request(request, end).expect("a request")
    }

    /// Sends a request without body and reads the response.
    pub(crate) async fn ask(&mut self, request: Request<()>) -> Whole {
        let (response, _) = self.begin(request, true).await;
        Whole::read(response).await.expect("a response")
    }

    pub(crate) async fn get(&mut self, path: &str) -> Whole {
        self.ask(request("GET", path)).await
    }

    /// Sends a request with this body and reads the response.
    pub(crate) async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Whole {
        let (response, mut stream) = self.begin(request("POST", path), false).await;
        send(&mut stream, body.into(), true).await;
        Whole::read(response).await.expect("a response")
    }
}

/// A request for `path` of the host `test`.
pub(crate) fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://test{path}")).body(()).expect("a request")
}

/// Sends a body as the other end takes it.
pub(crate) async fn send(stream: &mut SendStream<Bytes>, mut body: Bytes, end: bool) {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = in_time("room", std::future::poll_fn(|cx| stream.poll_capacity(cx))).await;
        let Some(Ok(room)) = room else { return };
        let piece = body.split_to(room.min(body.len()));
        if stream.send_data(piece, false).is_err() {
            return;
        }
    }
    if end {
        let _ = stream.send_data(Bytes::new(), true);
    }
}

/// Reads the whole body, and makes room for more as it comes.
pub(crate) async fn read(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = in_time("body", body.data()).await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

// === impl Whole ===

impl Whole {
    pub(crate) async fn read(response: ResponseFuture) -> Result<Self, h2::Error> {
        let (head, mut body) = in_time("response", response).await?.into_parts();
        let bytes = read(&mut body).await?;
        let trailers = in_time("trailers", body.trailers()).await?;
        Ok(Self { head: Response::from_parts(head, ()), body: bytes, trailers })
    }

    pub(crate) fn status(&self) -> u16 {
        self.head.status().as_u16()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers().get(name).map(|value| value.to_str().expect("text"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

// === impl Frames ===

impl Frames {
    /// Connects and exchanges settings; `window` is what each stream may receive.
    pub(crate) async fn connect(address: SocketAddr, window: u32) -> Self {
        let stream = in_time("connect", TcpStream::connect(address)).await.expect("the balancer accepts");
        let mut frames = Self { stream };
        let mut settings = 4_u16.to_be_bytes().to_vec();
        settings.extend_from_slice(&window.to_be_bytes());
        let mut bytes = PREFACE.to_vec();
        bytes.extend_from_slice(&frame(kind::SETTINGS, 0, 0, &settings));
        bytes.extend_from_slice(&frame(kind::SETTINGS, 1, 0, &[]));
        frames.stream.write_all(&bytes).await.expect("the balancer takes bytes");
        frames
    }

    /// Sends frames, to an end that may have closed. False once it takes no more.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        in_time("send", self.stream.write_all(bytes)).await.is_ok()
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        in_time("a frame", self.stream.read_exact(&mut head)).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        in_time("a payload", self.stream.read_exact(&mut payload)).await.ok()?;
        Some(Frame { kind: head[3], payload })
    }

    /// Reads until the other end closes. Gives the error code of its last GOAWAY, if there was one.
    pub(crate) async fn closed(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            if frame.kind == kind::GOAWAY {
                code = Some(u32::from_be_bytes(frame.payload[4..8].try_into().expect("four bytes")));
            }
        }
        code
    }

    /// Sends these frames again and again, up to `most` times, while what comes is read and dropped. True if the other end
    /// closed the connection.
    pub(crate) async fn flood(self, most: u32, mut frames: impl FnMut(u32) -> Vec<u8>) -> bool {
        let (mut reading, mut writing) = self.stream.into_split();
        let reader = tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            while reading.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
        });
        for round in 0..most {
            if reader.is_finished() || in_time("send", writing.write_all(&frames(round))).await.is_err() {
                break;
            }
        }
        in_time("the end of a flood", reader).await.is_ok()
    }
}

/// A frame as bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(9 + payload.len());
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The head of a GET for `/` of the host `test`, as HPACK has it.
pub(crate) fn get_head() -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x84];
    block.extend_from_slice(&literal(1, "test"));
    block
}

/// A field whose name is in the static table, with this value; not remembered.
pub(crate) fn literal(index: u8, value: &str) -> Vec<u8> {
    assert!(index < 15 && value.len() < 127, "one byte each");
    let mut bytes = vec![index, value.len() as u8];
    bytes.extend_from_slice(value.as_bytes());
    bytes
}
