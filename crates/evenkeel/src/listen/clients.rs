//! How many connections there are, and how many each client has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

/// The connections of one listener. Touched once as each connection comes, and once as it goes.
#[derive(Debug)]
pub(super) struct Clients {
    open: AtomicUsize,
    max: usize,
    max_per_client: usize,
    per_client: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection's place among [`Clients`]; dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Place {
    clients: Arc<Clients>,
    client: Option<IpAddr>,
}

/// Which limit a connection met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Listener,
    Client,
}

impl Clients {
    pub(super) fn new(max: usize, max_per_client: usize) -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(0), max, max_per_client, per_client: Mutex::default() })
    }

    /// A place for a connection of this client; `None` for one that has no limit of its own.
    pub(super) fn enter(self: &Arc<Self>, client: Option<IpAddr>) -> Result<Place, Full> {
        if self.open.fetch_add(1, Relaxed) >= self.max {
            self.open.fetch_sub(1, Relaxed);
            return Err(Full::Listener);
        }
        let client = client.map(subject);
        if let Some(client) = client {
            let mut per_client = self.per_client.lock();
            let count = per_client.entry(client).or_default();
            if *count >= self.max_per_client {
                self.open.fetch_sub(1, Relaxed);
                return Err(Full::Client);
            }
            *count += 1;
        }
        Ok(Place { clients: self.clone(), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.open.fetch_sub(1, Relaxed);
        let Some(client) = self.client else { return };
        let mut per_client = self.clients.per_client.lock();
        if let Some(count) = per_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                per_client.remove(&client);
            }
        }
    }
}

/// Whom a limit holds to account: an IPv4 address, or the /64 that one IPv6 subscriber has all of.
fn subject(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::{Clients, Full};

    #[test]
    fn limits_hold_and_places_come_back() {
        let clients = Clients::new(3, 2);
        let ip = |text: &str| Some(text.parse().unwrap());
        let first = clients.enter(ip("2001:db8::1")).unwrap();
        let second = clients.enter(ip("2001:db8::2")).unwrap();
        assert_eq!(clients.enter(ip("2001:db8::3")).unwrap_err(), Full::Client, "one /64 is one client");
        let third = clients.enter(None).unwrap();
        assert_eq!(clients.enter(ip("192.0.2.1")).unwrap_err(), Full::Listener);
        drop((first, second, third));
        assert!(clients.per_client.lock().is_empty());
        assert!((0..3).map(|_| clients.enter(None)).collect::<Result<Vec<_>, _>>().is_ok());
    }
}
