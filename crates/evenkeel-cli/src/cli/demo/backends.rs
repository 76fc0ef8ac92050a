//! The sample backends: each returns a small page with its name, after its own delay.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A running sample backend.
#[derive(Debug)]
pub(super) struct Backend {
    /// Its name.
    pub(super) name: &'static str,
    address: SocketAddr,
}

/// The backends, and how long each takes for a response.
const CAST: [(&str, Duration); 3] = [
    ("alpha", Duration::from_millis(5)),
    ("beta", Duration::from_millis(15)),
    ("gamma", Duration::from_millis(150)),
];

/// Starts them all on the caller's runtime, which also ends them.
pub(super) async fn start() -> io::Result<Vec<Backend>> {
    let mut backends = Vec::new();
    for (name, latency) in CAST {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        backends.push(Backend { name, address: listener.local_addr()? });
        tokio::spawn(serve(listener, name, latency));
    }
    Ok(backends)
}

async fn serve(listener: TcpListener, name: &'static str, latency: Duration) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(latency).await;
            continue;
        };
        let service = service_fn(move |request| async move {
            tokio::time::sleep(latency).await;
            Ok::<_, Infallible>(page(&request, name, latency))
        });
        // The balancer closes connections that it does not need; this is not an error.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

fn page(request: &Request<Incoming>, name: &str, latency: Duration) -> Response<Full<Bytes>> {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let milliseconds = latency.as_millis();
    let (kind, body) = if accept.is_some_and(|accept| accept.contains("text/html")) {
        let body = format!(
            "<!doctype html><meta charset=utf-8><title>{name}</title>\
             <body style='font:1.5em system-ui;text-align:center;margin-top:20vh'>\
             <h1>{name}</h1><p>responds after {milliseconds} ms; reload to see which backend responds next\n"
        );
        ("text/html; charset=utf-8", body)
    } else {
        ("text/plain; charset=utf-8", format!("{name} responds after {milliseconds} ms\n"))
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

impl Backend {
    /// Its URL, which is also its name in the balancer.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
