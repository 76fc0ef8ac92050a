//! A client that sends exactly the given bytes, and returns exactly what it received.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::in_time;
use super::tls::{TEST_NAME, client_for};
use super::wire::{Framing, Message, Reader};

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One connection to the balancer.
pub(crate) struct Client {
    reader: Reader<Box<dyn Stream>>,
}

/// Asks for `path` on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Message {
    send(address, format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await
}

/// Sends a raw request on its own connection, and returns the response.
pub(crate) async fn send(address: SocketAddr, request: impl AsRef<[u8]>) -> Message {
    Client::connect(address).await.ask(request).await
}

// === impl Client ===

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = in_time("connect", TcpStream::connect(address)).await.expect("the balancer accepts");
        stream.set_nodelay(true).expect("a TCP option");
        Self::on(stream, address).await
    }

    /// Over a connection to this address; speaks TLS first, where the other end does.
    pub(crate) async fn on(stream: TcpStream, address: SocketAddr) -> Self {
        match client_for(address) {
            None => Self::over(Box::new(stream)),
            Some(tls) => {
                let stream = tls.over(stream, TEST_NAME).await;
                Self::over(Box::new(stream.expect("a handshake")))
            }
        }
    }

    /// Connects from this address of the machine.
    pub(crate) async fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(source, 0)).expect("an address of the machine");
        let stream = in_time("connect", socket.connect(address)).await.expect("the balancer accepts");
        Self::on(stream, address).await
    }

    pub(crate) async fn unix(path: impl AsRef<Path>) -> Self {
        let stream = in_time("connect", UnixStream::connect(path)).await.expect("the balancer accepts");
        Self::over(Box::new(stream))
    }

    pub(crate) fn over(stream: Box<dyn Stream>) -> Self {
        Self { reader: Reader::new(stream) }
    }

    /// Sends bytes. Fails when the other end does not take them.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.expect("the balancer takes bytes");
    }

    /// Sends bytes, to an end that may have closed.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        in_time("send", self.reader.stream.write_all(bytes.as_ref())).await
    }

    /// Says that no more will be sent.
    pub(crate) async fn finish(&mut self) {
        self.reader.stream.shutdown().await.expect("half a close");
    }

    /// Sends a request and reads the response to it.
    pub(crate) async fn ask(&mut self, request: impl AsRef<[u8]>) -> Message {
        let request = request.as_ref();
        self.send(request).await;
        let method = request.split(|byte| *byte == b' ').next().unwrap_or_default();
        self.response_to(&String::from_utf8_lossy(method)).await
    }

    /// Sends a GET for `path` and reads the response.
    pub(crate) async fn get(&mut self, path: &str) -> Message {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await
    }

    /// Reads the response to a GET or a similar request.
    pub(crate) async fn response(&mut self) -> Message {
        self.response_to("GET").await
    }

    /// Reads the final response to a request of this method; responses before the final one are skipped.
    pub(crate) async fn response_to(&mut self, method: &str) -> Message {
        loop {
            let message = self.any_response_to(method).await;
            if message.status() >= 200 || message.status() == 101 {
                return message;
            }
        }
    }

    /// Reads the next response, also a 1xx.
    pub(crate) async fn any_response_to(&mut self, method: &str) -> Message {
        in_time("answer", self.try_response_to(method)).await.expect("a response that can be read")
    }

    /// Reads the next response; an error if the connection ends before its head, or its framing is broken.
    pub(crate) async fn try_response_to(&mut self, method: &str) -> io::Result<Message> {
        let mut message = self.head().await?;
        let framing = message.response_framing(method);
        self.reader.body(&mut message, framing).await.or_else(|error| match error.kind() {
            // What came before a reset is still of interest; `complete` says the rest.
            io::ErrorKind::ConnectionReset => Ok(()),
            _ => Err(error),
        })?;
        Ok(message)
    }

    /// Reads only the head of the next response.
    pub(crate) async fn head(&mut self) -> io::Result<Message> {
        let head = in_time("head", self.reader.head()).await?;
        head.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Reads exactly this many bytes, as they come.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut message = Message::default();
        let body = self.reader.body(&mut message, Framing::Length(count as u64));
        in_time("bytes", body).await.expect("bytes");
        message.body
    }

    /// Whether the connection still works: a request on it gets a response.
    pub(crate) async fn is_reusable(&mut self) -> bool {
        let request = "GET /is-it-open HTTP/1.1\r\nHost: test\r\n\r\n";
        if self.try_send(request).await.is_err() {
            return false;
        }
        in_time("response on a kept connection", self.try_response_to("GET")).await.is_ok()
    }

    /// Waits for the other end to close, and gives what came before that.
    pub(crate) async fn closed(&mut self) -> Vec<u8> {
        let wait = async { while self.reader.fill().await.unwrap_or(false) {} };
        in_time("close", wait).await;
        std::mem::take(&mut self.reader.buffer)
    }

    /// Whether the other end has neither sent anything nor closed, for this long.
    pub(crate) async fn is_quiet_for(&mut self, time: Duration) -> bool {
        self.reader.buffer.is_empty() && tokio::time::timeout(time, self.reader.fill()).await.is_err()
    }
}
