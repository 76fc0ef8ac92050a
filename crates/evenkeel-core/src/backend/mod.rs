//! One backend's identity, weight and live counters; the immutable [`Snapshot`] of an upstream; the [`Lease`] that
//! ends an attempt.
//!
//! This room never knows how a backend is reached or how it is chosen.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

mod counters;
mod id;
mod latency;
mod lease;
mod reach;
mod reported;
mod snapshot;
mod total;

#[cfg(test)]
mod tests;

pub use counters::Counters;
pub use id::{BackendId, BackendIds, BackendMap};
pub use latency::{Latency, Smoothing};
pub use lease::{Lease, Outcome};
pub use reach::Reach;
pub use reported::Reported;
pub use snapshot::{Member, Snapshot, Weight};
pub use total::Total;

/// Where a backend listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a TCP port.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
    /// A host's name and a TCP port: it is resolved where it is connected to.
    Name(Box<str>, u16),
}

/// One address in an upstream, with the counters that live as long as it does.
///
/// A backend outlives every [`Snapshot`] that names it: a new set, a new weight or a reload keeps the same
/// `Arc<Backend>` as long as name and address stay the same, and so keeps its counters.
#[derive(Debug)]
pub struct Backend {
    name: Box<str>,
    address: Address,
    counters: Counters,
}

// === impl Address ===

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

// === impl Backend ===

impl Backend {
    /// A backend that has served nothing yet. `name` is what logs and metrics call it: its URL as configured.
    pub fn new(name: impl Into<Box<str>>, address: Address) -> Self {
        Self { name: name.into(), address, counters: Counters::default() }
    }

    /// What logs and metrics call this backend: its URL as configured.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    #[inline]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What it is doing now and has done so far.
    #[inline]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
