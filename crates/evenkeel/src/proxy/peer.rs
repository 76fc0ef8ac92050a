//! A backend, as Pingora's connector wants it.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use evenkeel_config::Http2;
use evenkeel_core::backend::Address;
use parking_lot::Mutex;
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::ALPN;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::utils::tls::{WrappedX509, parse_x509};
use pingora_core::{Error, ErrorType, Result};

use crate::dial::{Connected, Dialer};
use crate::upstream::{Attempt, ConnectionGroup, Endpoint, Upstream};

/// How much later the limit over TCP and TLS is than that over TCP alone, so that it tells which was slow: two ticks of
/// Pingora's clock.
const GRACE: Duration = Duration::from_millis(20);

/// Most requests at once on an HTTP/2 connection to a backend. Further ones open another connection.
const MAX_STREAMS: usize = 100;
/// How much of one response, and of all on an HTTP/2 connection, a backend may send ahead of the client.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// How often an HTTP/2 connection to a backend is checked to be alive.
const PING_EVERY: Duration = Duration::from_secs(10);

/// How to connect for this attempt.
///
/// Pingora leaves every timeout open unless told otherwise. Only the time to connect is limited here, since its end may be
/// followed by another attempt; all other waits are the watchdog's, which can tell a slow upload from a slow backend.
pub(super) fn peer(
    upstream: &Upstream,
    attempt: &Attempt,
    connect: Duration,
    client: Option<std::net::SocketAddr>,
    authorities: &Authorities,
) -> Result<Box<HttpPeer>> {
    let mut peer = bare(&attempt.endpoint)?;
    let dialer = attempt.endpoint.dialer.clone();
    let is_of_one_client = dialer.header().is_some();
    // The key of a kept connection covers neither the authorities nor the upstream: the group does.
    peer.group_key = match attempt.reuse {
        // A group of its own, from which nothing is taken.
        true if is_of_one_client => ConnectionGroup::new().id(),
        true => attempt.endpoint.connections.id(),
        false => u64::MAX,
    };
    let options = &mut peer.options;
    options.custom_l4 = Some(Arc::new(Connect { dialer, limit: connect, client }));
    options.total_connection_timeout = Some(connect + GRACE);
    options.idle_timeout = Some(if is_of_one_client { Duration::ZERO } else { upstream.pool.idle_timeout });
    options.alpn = match (attempt.endpoint.http2, &attempt.endpoint.tls) {
        (Http2::Always, _) => ALPN::H2,
        (Http2::Auto, Some(_)) => ALPN::H2H1,
        _ => ALPN::H1,
    };
    options.max_h2_streams = MAX_STREAMS;
    options.h2_stream_window_size = Some(STREAM_WINDOW);
    options.h2_connection_window_size = Some(CONNECTION_WINDOW);
    options.h2_ping_interval = Some(PING_EVERY);
    if let Some(tls) = &attempt.endpoint.tls {
        options.verify_cert = tls.verify;
        options.verify_hostname = tls.verify;
        options.ca = Some(match &tls.ca {
            Some(ca) => authorities.of(ca),
            None => authorities.placeholder(),
        });
    }
    Ok(Box::new(peer))
}

fn bare(endpoint: &Endpoint) -> Result<HttpPeer> {
    let tls = endpoint.tls.is_some();
    let name = endpoint.tls.as_ref().map(|tls| tls.server_name.clone()).unwrap_or_default();
    match endpoint.backend.address() {
        Address::Tcp(address) => Ok(HttpPeer::new(*address, tls, name)),
        // Of many addresses: Pingora does not compare this one with that of a kept connection, and the group tells them apart.
        Address::Name(_, port) => Ok(HttpPeer::new((Ipv4Addr::UNSPECIFIED, *port), tls, name)),
        Address::Unix(path) => match path.to_str() {
            Some(path) => HttpPeer::new_uds(path, tls, name),
            None => Error::e_explain(ErrorType::SocketError, "a socket path that is not UTF-8"),
        },
        _ => Error::e_explain(ErrorType::SocketError, "an unknown kind of address"),
    }
}

/// Connects as the lean lane does. Pingora limits only its own way of connecting.
#[derive(Debug)]
struct Connect {
    dialer: Dialer,
    limit: Duration,
    client: Option<std::net::SocketAddr>,
}

#[async_trait]
impl L4Connect for Connect {
    async fn connect(&self, _: &SocketAddr) -> Result<Stream> {
        match self.dialer.connect(self.limit, self.client).await.and_then(Connected::still_open) {
            Ok(Connected::Tcp(socket)) => Ok(socket.into()),
            Ok(Connected::Unix(socket)) => Ok(socket.into()),
            Err(error) => Error::e_because(ErrorType::ConnectError, "", error),
        }
    }
}

/// The authorities that Pingora verifies a backend against. Parsing them takes longer than a request, so they are kept: once
/// for all backends that trust the same ones.
#[derive(Debug, Default)]
pub(super) struct Authorities(Mutex<HashMap<usize, Known>>);

/// What was parsed, and what of: that keeps its address its own.
#[derive(Debug)]
struct Known {
    _certificates: Option<Arc<[Vec<u8>]>>,
    parsed: Arc<CaType>,
}

/// Pingora's verifier wants an authority even where nothing is verified. The key of this one was never stored.
const PLACEHOLDER: &[u8] = include_bytes!("placeholder.der");

impl Authorities {
    fn of(&self, certificates: &Arc<[Vec<u8>]>) -> Arc<CaType> {
        self.known(certificates.as_ptr() as usize, Some(certificates), || {
            certificates.iter().map(|der| WrappedX509::new(der.clone(), parse_x509)).collect()
        })
    }

    /// For a backend whose certificate is not looked at.
    fn placeholder(&self) -> Arc<CaType> {
        self.known(0, None, || std::iter::once(WrappedX509::new(PLACEHOLDER.to_vec(), parse_x509)).collect())
    }

    fn known(
        &self,
        key: usize,
        certificates: Option<&Arc<[Vec<u8>]>>,
        parse: impl FnOnce() -> Arc<CaType>,
    ) -> Arc<CaType> {
        let mut known = self.0.lock();
        let make = || Known { _certificates: certificates.cloned(), parsed: parse() };
        known.entry(key).or_insert_with(make).parsed.clone()
    }
}
