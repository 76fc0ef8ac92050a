//! A backend that speaks HTTP/2 without TLS, and remembers what it saw.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::http2::{read, send};

/// A running backend. Dropping it closes its port.
pub(crate) struct Http2Backend {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    calls: Mutex<Vec<http::request::Parts>>,
    /// How many calls have arrived and wait for the others: see `/together`.
    together: AtomicUsize,
}

// === impl Http2Backend ===

impl Http2Backend {
    /// A backend that does what the path says: `/echo` sends each piece of the body back as it comes, and then trailers;
    /// `/unary` the whole body, and then trailers; `/error` a response of nothing but trailers; `/hang` nothing at all;
    /// `/together/N` responds once N such calls are there; `/refuse` refuses the stream the first time.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::<Shared>::default();
        let task = tokio::spawn(accept(listener, shared.clone())).abort_handle();
        Self { address, shared, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The heads of the calls so far.
    pub(crate) fn calls(&self) -> Vec<http::request::Parts> {
        self.shared.calls.lock().expect("no panic").clone()
    }
}

impl Drop for Http2Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(serve(stream, shared.clone()));
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    stream.set_nodelay(true).expect("a TCP option");
    let mut options = h2::server::Builder::new();
    let Ok(mut connection) = options.max_concurrent_streams(200).handshake(stream).await else { return };
    while let Some(Ok((request, response))) = connection.accept().await {
        tokio::spawn(respond(request, response, shared.clone()));
    }
}

async fn respond(request: Request<RecvStream>, mut response: SendResponse<Bytes>, shared: Arc<Shared>) {
    let (parts, mut body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let nth = {
        let mut calls = shared.calls.lock().expect("no panic");
        calls.push(parts);
        calls.len()
    };
    let head = || Response::builder().header("content-type", "application/grpc").body(()).expect("a head");
    let status = |code: &'static str| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", code.parse().expect("a value"));
        trailers
    };
    match path.as_str() {
        "/echo" => {
            let mut stream = response.send_response(head(), false).expect("a stream");
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
                send(&mut stream, data, false).await;
            }
            let _ = stream.send_trailers(status("0"));
        }
        "/error" => {
            let mut head = head();
            head.headers_mut().extend(status("5"));
            let _ = response.send_response(head, true);
        }
        "/hang" => std::future::pending().await,
        "/refuse" if nth == 1 => response.send_reset(h2::Reason::REFUSED_STREAM),
        path => {
            let bytes = read(&mut body).await.unwrap_or_default();
            if let Some(count) = path.strip_prefix("/together/").and_then(|count| count.parse::<usize>().ok())
            {
                shared.together.fetch_add(1, Ordering::SeqCst);
                while shared.together.load(Ordering::SeqCst) < count {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            let Ok(mut stream) = response.send_response(head(), false) else { return };
            send(&mut stream, bytes.into(), false).await;
            let _ = stream.send_trailers(status("0"));
        }
    }
}
