//! The least proxy that Pingora makes, as its own examples make it: the yardstick for what evenkeel adds.
//!
//! `bare-pingora LISTEN BACKEND…` proxies plain HTTP/1.1 on one thread, round robin, without logs, metrics, timeouts or
//! retries. It must never know of evenkeel.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use pingora_core::ErrorType;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

/// evenkeel uses the same allocator, so the comparison is not one of allocators.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().ok_or("usage: bare-pingora LISTEN BACKEND…")?;
    let backends = arguments.map(|a| a.parse()).collect::<Result<Vec<SocketAddr>, _>>()?;
    if backends.is_empty() {
        return Err("usage: bare-pingora LISTEN BACKEND…".into());
    }

    let mut server = Server::new_with_opt_and_conf(None, ServerConf { threads: 1, ..ServerConf::default() });
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Bare { backends, next: AtomicUsize::new(0) });
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever()
}

struct Bare {
    backends: Vec<SocketAddr>,
    next: AtomicUsize,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora_core::Result<Box<HttpPeer>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.backends.len();
        let backend = self
            .backends
            .get(turn)
            .copied()
            .ok_or_else(|| pingora_core::Error::new(ErrorType::InternalError))?;
        Ok(Box::new(HttpPeer::new(backend, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        (): &mut (),
    ) -> pingora_core::Result<()> {
        if let Some(client) = session.client_addr().and_then(|a| a.as_inet()) {
            request.insert_header("X-Forwarded-For", client.ip().to_string())?;
        }
        Ok(())
    }
}
