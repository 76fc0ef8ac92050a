//! The addresses of a name, and which of them to connect to.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::net::TcpStream;

use super::{DialError, tcp};

/// The addresses of a host's name: none until it is resolved. They are tried one after the other, the one that worked last first.
#[derive(Debug)]
pub struct Names {
    name: Box<str>,
    addresses: ArcSwap<Vec<IpAddr>>,
    /// The place of the address that worked last.
    worked: AtomicUsize,
}

// === impl Names ===

impl Names {
    /// A name with these addresses.
    pub fn new(name: impl Into<Box<str>>, addresses: Vec<IpAddr>) -> Self {
        Self { name: name.into(), addresses: ArcSwap::from_pointee(addresses), worked: AtomicUsize::new(0) }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name has these addresses now. Gives whether it had others before. The one that worked last is still tried first, if it
    /// is among them.
    pub fn replace(&self, addresses: Vec<IpAddr>) -> bool {
        let before = self.addresses.load();
        if **before == addresses {
            return false;
        }
        let worked = before.get(self.worked.load(Relaxed));
        let place = worked.and_then(|worked| addresses.iter().position(|one| one == worked));
        self.addresses.store(addresses.into());
        self.worked.store(place.unwrap_or(0), Relaxed);
        true
    }

    /// The address that is tried first.
    pub fn first(&self) -> Option<IpAddr> {
        let addresses = self.addresses.load();
        addresses.get(self.worked.load(Relaxed)).or_else(|| addresses.first()).copied()
    }

    /// The address at this place has accepted a connection.
    pub(super) fn worked(&self, place: usize) {
        self.worked.store(place, Relaxed);
    }

    /// Connects to the first address that accepts. Each one has an equal share of the time that is left.
    pub(super) async fn connect(&self, port: u16, limit: Duration) -> Result<TcpStream, DialError> {
        let addresses = self.addresses.load_full();
        let (end, count) = (Instant::now() + limit, addresses.len());
        let mut failed = DialError::Unresolved;
        let first = self.worked.load(Relaxed);
        for step in 0..count {
            let place = (first + step) % count;
            let Some(ip) = addresses.get(place) else { continue };
            let left = end.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(count - step).unwrap_or(1);
            match tcp((*ip, port).into(), share).await {
                Ok(socket) => {
                    if step > 0 {
                        self.worked(place);
                    }
                    return Ok(socket);
                }
                Err(shortage @ DialError::Shortage(_)) => return Err(shortage),
                // That one did not respond says more than that another refused.
                Err(_) if matches!(failed, DialError::Timeout) => {}
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}
