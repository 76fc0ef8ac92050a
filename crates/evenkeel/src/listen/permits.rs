//! How many connections there are, and how many each client has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

/// The connections of one listener, and how many there may be. Touched once when a connection opens, and once when it closes.
#[derive(Debug)]
pub(super) struct Permits {
    open: AtomicUsize,
    max: AtomicUsize,
    max_per_client: AtomicUsize,
    per_client: Mutex<HashMap<IpAddr, usize>>,
}

/// The permit of one open connection. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    permits: Arc<Permits>,
    client: Option<IpAddr>,
}

/// Which limit a connection exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LimitReached {
    Listener,
    Client,
}

impl Permits {
    pub(super) fn new(max: usize, max_per_client: usize) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
            max_per_client: AtomicUsize::new(max_per_client),
            per_client: Mutex::default(),
        })
    }

    /// Changes the limits. Connections that are open stay open, also where there are more than the new limits allow.
    pub(super) fn limit(&self, max: usize, max_per_client: usize) {
        self.max.store(max, Relaxed);
        self.max_per_client.store(max_per_client, Relaxed);
    }

    /// A permit for a connection of this client. `None` is a client without a limit of its own.
    pub(super) fn acquire(
        self: &Arc<Self>,
        client: Option<IpAddr>,
    ) -> Result<ConnectionPermit, LimitReached> {
        if self.open.fetch_add(1, Relaxed) >= self.max.load(Relaxed) {
            self.open.fetch_sub(1, Relaxed);
            return Err(LimitReached::Listener);
        }
        let mut permit = ConnectionPermit { permits: self.clone(), client: None };
        match client {
            Some(client) => permit.limit_to(client).map(|()| permit),
            None => Ok(permit),
        }
    }
}

// === impl ConnectionPermit ===

impl ConnectionPermit {
    /// Counts the connection as one of this client, which was not known when it was accepted. It is counted of one client only.
    ///
    /// # Errors
    /// [`LimitReached::Client`], if the client has too many.
    pub(super) fn limit_to(&mut self, client: IpAddr) -> Result<(), LimitReached> {
        let client = subject(client);
        let mut per_client = self.permits.per_client.lock();
        let count = per_client.entry(client).or_default();
        if *count >= self.permits.max_per_client.load(Relaxed) {
            return Err(LimitReached::Client);
        }
        *count += 1;
        drop(per_client);
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.permits.open.fetch_sub(1, Relaxed);
        let Some(client) = self.client else { return };
        let mut per_client = self.permits.per_client.lock();
        if let Some(count) = per_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                per_client.remove(&client);
            }
        }
    }
}

/// Who counts as one client: an IPv4 address, or the /64 network of an IPv6 address, which belongs to one subscriber.
fn subject(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::{LimitReached, Permits};

    #[test]
    fn limits_hold_and_permits_are_given_back() {
        let permits = Permits::new(3, 2);
        let ip = |text: &str| Some(text.parse().unwrap());
        let first = permits.acquire(ip("2001:db8::1")).unwrap();
        let second = permits.acquire(ip("2001:db8::2")).unwrap();
        assert_eq!(
            permits.acquire(ip("2001:db8::3")).unwrap_err(),
            LimitReached::Client,
            "one /64 is one client"
        );
        let third = permits.acquire(None).unwrap();
        assert_eq!(permits.acquire(ip("192.0.2.1")).unwrap_err(), LimitReached::Listener);
        drop((first, second, third));
        assert!(permits.per_client.lock().is_empty());
        assert!((0..3).map(|_| permits.acquire(None)).collect::<Result<Vec<_>, _>>().is_ok());
    }

    #[test]
    fn lower_limits_close_nothing_and_hold_from_then_on() {
        let permits = Permits::new(3, 3);
        let ip = Some("192.0.2.1".parse().unwrap());
        let open: Vec<_> = (0..3).map(|_| permits.acquire(ip).unwrap()).collect();
        permits.limit(3, 1);
        assert_eq!(permits.acquire(ip).unwrap_err(), LimitReached::Listener);
        drop(open);
        let _one = permits.acquire(ip).unwrap();
        assert_eq!(permits.acquire(ip).unwrap_err(), LimitReached::Client);
        permits.limit(3, 2);
        assert!(permits.acquire(ip).is_ok());
    }
}
