//! What the balancer itself has run out of.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::io::Errno;

/// Says whether a warning is due: at most one in ten seconds, over all threads.
#[derive(Debug)]
pub struct Pause(Mutex<Option<Instant>>);

/// How often the log has the same warning.
const EVERY: Duration = Duration::from_secs(10);

// === impl Pause ===

impl Pause {
    /// One that is due.
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Whether it is due now; then it is not due again for a while.
    pub fn is_due(&self) -> bool {
        let Ok(mut last) = self.0.lock() else { return false };
        let due = last.is_none_or(|last| last.elapsed() >= EVERY);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

impl Default for Pause {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether the process or the system has no descriptor or memory left.
pub fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| shortages.contains(&errno))
}

/// Whether there is no local port left to connect to this address from. The system says the same where this machine has no
/// address of that family, which is no shortage: then a datagram socket cannot be connected either.
pub(super) fn is_of_ports(error: &io::Error, address: SocketAddr) -> bool {
    match Errno::from_io_error(error) {
        Some(Errno::AGAIN) => true,
        Some(Errno::ADDRNOTAVAIL) => {
            let any: SocketAddr = match address {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            match UdpSocket::bind(any) {
                Ok(socket) => socket.connect(address).is_ok(),
                Err(error) => is_shortage(&error),
            }
        }
        _ => false,
    }
}

/// Tells the log, unless it was told a moment ago.
pub(super) fn warn(error: &io::Error) {
    static WARNING: Pause = Pause::new();
    if WARNING.is_due() {
        log::warn!(
            "cannot connect to backends: {error}: requests get 503 (raise the limit on open files or lower max_connections)"
        );
    }
}
