//! A client's connection: who is at its other end, and what holds for all requests on it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use evenkeel_config::HttpLimits;
use evenkeel_core::Moment;
use http::HeaderValue;

use super::clock::Clock;
use crate::tls::Negotiated;

/// A client's connection, for as long as it lives. Several requests can be in flight on it: see
/// [`InFlight`](super::InFlight).
#[derive(Debug)]
pub struct Connection {
    /// The other end; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The peer's address as text, for `X-Forwarded-For`; made once for all requests.
    pub peer_text: Option<HeaderValue>,
    /// TLS, if the client speaks it: what was agreed on, once its handshake is complete.
    pub tls: Option<OnceLock<Box<Negotiated>>>,
    /// The number of its listener, by which the table has its filters.
    pub listener: u32,
    /// The name of its listener, or the address of that if it has none.
    pub listener_name: Arc<str>,
    /// What a client may take of us, as of the accept.
    pub limits: Arc<HttpLimits>,
    /// Whether new requests on it are to be its last.
    draining: AtomicBool,
    /// Whether it is to end now, whatever is under way.
    cut: AtomicBool,
    clock: Clock,
}

// === impl Connection ===

impl Connection {
    /// A connection that was just accepted.
    pub fn new(peer: Option<SocketAddr>, tls: bool, limits: Arc<HttpLimits>) -> Self {
        let peer = peer.map(|peer| SocketAddr::new(peer.ip().to_canonical(), peer.port()));
        let text = peer.and_then(|peer| HeaderValue::from_str(&peer.ip().to_string()).ok());
        Self {
            peer,
            peer_text: text,
            tls: tls.then(OnceLock::new),
            listener: 0,
            listener_name: Arc::default(),
            limits,
            draining: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            clock: Clock::start(),
        }
    }

    /// With the number and the name of its listener.
    #[must_use]
    pub fn of_listener(mut self, listener: u32, name: Arc<str>) -> Self {
        self.listener = listener;
        self.listener_name = name;
        self
    }

    /// Whether the client speaks TLS to us.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// What was agreed on with TLS, if the client speaks it.
    pub fn agreed(&self) -> Option<&Negotiated> {
        self.tls.as_ref()?.get().map(|agreed| &**agreed)
    }

    /// Reads the clock, for all that happens until the next tick. A task that serves the connection ticks each time it
    /// wakes: what it then does takes microseconds, which matter neither to a timeout nor to a latency.
    pub fn tick(&self) {
        self.clock.tick();
    }

    /// Microseconds since the connection began, at least one, as of the last tick.
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// The same moment by the process's clock.
    pub fn moment(&self) -> Moment {
        self.clock.moment()
    }

    /// How long ago `at` was, as of the last tick.
    pub fn since(&self, at: u64) -> Duration {
        Duration::from_micros(self.now().saturating_sub(at))
    }

    /// The moment that [`Connection::now`] calls `at`. A moment beyond the maximum of a timer is brought nearer. Never
    /// in the past for a future moment, however old the connection is: a timer there would fire at once, and forever.
    pub fn instant(&self, at: u64) -> Instant {
        self.clock.instant(at)
    }

    /// Asks that the requests now on it, or the next, be its last.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Asks that it end now: what it waits for has lasted too long.
    pub fn cut(&self) {
        self.drain();
        self.cut.store(true, Relaxed);
    }

    /// Whether the requests on it are to be its last.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Whether it is to end now.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Relaxed)
    }
}
