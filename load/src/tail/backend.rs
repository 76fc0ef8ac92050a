//! The backends: a port each, and for each how long it takes to respond, which may change at any time. All are on one thread,
//! which shares its CPU with the load. Knows nothing of who asks.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use xtask::failure::Failure;

use super::{clock, thread};

/// The field of a response that names the backend's port, so that the load can count shares.
pub(crate) const NAME: &str = "x-backend";

/// Backends that serve for as long as this process runs.
#[derive(Debug)]
pub(crate) struct Backends {
    all: Vec<Arc<Backend>>,
}

#[derive(Debug)]
struct Backend {
    port: u16,
    /// Microseconds from a request to its response.
    delay: AtomicU64,
}

// === impl Backends ===

impl Backends {
    /// Starts so many. At first each responds at once.
    pub(crate) fn start(count: usize, cpu: usize, real_time: bool) -> Result<Self, Failure> {
        let failure = |e: std::io::Error| Failure::new(format!("cannot start the backends: {e}"));
        let bind = |_| {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            listener.set_nonblocking(true)?;
            let (port, delay) = (listener.local_addr()?.port(), AtomicU64::new(0));
            Ok((listener, Arc::new(Backend { port, delay })))
        };
        let bound = (0..count).map(bind).collect::<Result<Vec<_>, std::io::Error>>().map_err(failure)?;
        let all = bound.iter().map(|(_, backend)| backend.clone()).collect();
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let runtime = thread::runtime(cpu, real_time);
            let _ = ready.send(runtime.as_ref().map(drop).map_err(ToString::to_string));
            if let Ok(runtime) = runtime {
                runtime.block_on(serve(bound));
            }
        });
        let started = is_ready.recv().map_err(|_| Failure::new("the backends' thread has ended"))?;
        started.map_err(|e| failure(std::io::Error::other(e)))?;
        Ok(Self { all })
    }

    /// In the order of their indices.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.all.iter().map(|backend| backend.port).collect()
    }

    /// From now on, the backend on this port takes so long for each request.
    pub(crate) fn set_delay(&self, port: u16, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.all.iter().filter(|b| b.port == port).for_each(|b| b.delay.store(micros, Relaxed));
    }
}

async fn serve(bound: Vec<(TcpListener, Arc<Backend>)>) {
    let mut accepting = tokio::task::JoinSet::new();
    for (listener, backend) in bound {
        accepting.spawn(accept(listener, backend));
    }
    accepting.join_all().await;
}

async fn accept(listener: TcpListener, backend: Arc<Backend>) {
    // A port without a listener fails the first request to it, and that fails the run.
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let backend = backend.clone();
        let respond = service_fn(move |request| respond(request, backend.clone()));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), respond);
        // A client that closes its connection ends it, which is no failure.
        tokio::spawn(async move { drop(connection.await) });
    }
}

async fn respond<B>(_: Request<B>, backend: Arc<Backend>) -> std::io::Result<Response<Full<Bytes>>> {
    let arrived = Instant::now();
    clock::sleep_until(arrived + Duration::from_micros(backend.delay.load(Relaxed))).await?;
    let response = Response::builder().header(NAME, backend.port).body(Full::from("ok\n"));
    response.map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_response_takes_its_delay_and_names_its_port() {
        let backends = Backends::start(2, 0, false).unwrap();
        let port = backends.ports()[1];
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut took = || {
            let start = Instant::now();
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            let (mut received, mut chunk) = (Vec::new(), [0; 512]);
            while !received.ends_with(b"ok\n") {
                let read = client.read(&mut chunk).unwrap();
                received.extend_from_slice(&chunk[..read]);
            }
            assert!(String::from_utf8(received).unwrap().contains(&format!("x-backend: {port}\r\n")));
            start.elapsed()
        };
        took();
        backends.set_delay(port, Duration::from_millis(120));
        assert!(took() >= Duration::from_millis(120));
        backends.set_delay(port, Duration::ZERO);
        assert!(took() < Duration::from_millis(120));
    }
}
