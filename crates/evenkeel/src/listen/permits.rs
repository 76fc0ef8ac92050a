//! How many connections there are, and how many each client has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwapOption;
use evenkeel_core::Moment;
use evenkeel_core::limit::{Rate, RateLimitOptions, RateLimiter};
use parking_lot::Mutex;

use crate::observe::ConnectionLimit;

/// The connections of one listener, and how many there may be. Touched once when a connection opens, and once when it closes.
#[derive(Debug)]
pub(super) struct Permits {
    open: AtomicUsize,
    max: AtomicUsize,
    max_per_client: AtomicUsize,
    per_client: Mutex<HashMap<IpAddr, usize>>,
    /// How often one client can open a connection.
    rate: ArcSwapOption<RateLimiter>,
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
    /// The client opens connections too often.
    ClientRate,
}

impl Permits {
    pub(super) fn new(max: usize, max_per_client: usize) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
            max_per_client: AtomicUsize::new(max_per_client),
            per_client: Mutex::default(),
            rate: ArcSwapOption::empty(),
        })
    }

    /// Changes the limits. Connections that are open stay open, also where there are more than the new limits allow.
    pub(super) fn limit(&self, max: usize, max_per_client: usize) {
        self.max.store(max, Relaxed);
        self.max_per_client.store(max_per_client, Relaxed);
    }

    /// Changes how often one client can open a connection. What a client has used of its quota stays used.
    pub(super) fn limit_rate(&self, rate: Option<Rate>, now: Moment) {
        let before = self.rate.load_full();
        let limiter = rate.map(|rate| match before {
            Some(before) => Arc::new(before.changed(RateLimitOptions::new(rate), now)),
            None => Arc::new(RateLimiter::new(RateLimitOptions::new(rate), fastrand::u128(..), now)),
        });
        self.rate.store(limiter);
    }

    /// Whether one more connection of this client would be too soon. Counts it if not.
    fn is_too_soon(&self, client: IpAddr, now: Moment) -> bool {
        let limiter = self.rate.load();
        let Some(limiter) = &*limiter else { return false };
        let hasher = limiter.hasher();
        let key = match client {
            IpAddr::V4(ip) => hasher.with(Some(&ip.octets())),
            IpAddr::V6(ip) => hasher.with(Some(&ip.octets())),
        };
        limiter.charge(key.finish(), now).is_some_and(|decision| !decision.allowed)
    }

    /// A permit for a connection of this client. `None` is a client without a limit of its own.
    pub(super) fn acquire(
        self: &Arc<Self>,
        client: Option<IpAddr>,
        now: Moment,
    ) -> Result<ConnectionPermit, LimitReached> {
        if self.open.fetch_add(1, Relaxed) >= self.max.load(Relaxed) {
            self.open.fetch_sub(1, Relaxed);
            return Err(LimitReached::Listener);
        }
        let mut permit = ConnectionPermit { permits: self.clone(), client: None };
        match client {
            Some(client) => permit.limit_to(client, now).map(|()| permit),
            None => Ok(permit),
        }
    }
}

// === impl LimitReached ===

impl From<LimitReached> for ConnectionLimit {
    fn from(limit: LimitReached) -> Self {
        match limit {
            LimitReached::Listener => Self::Listener,
            LimitReached::Client => Self::Client,
            LimitReached::ClientRate => Self::ClientRate,
        }
    }
}

// === impl ConnectionPermit ===

impl ConnectionPermit {
    /// Counts the connection as one of this client, which was not known when it was accepted. It is counted of one client only.
    ///
    /// # Errors
    /// [`LimitReached::Client`], if the client has too many; [`LimitReached::ClientRate`], if it opens connections too often.
    pub(super) fn limit_to(&mut self, client: IpAddr, now: Moment) -> Result<(), LimitReached> {
        let client = subject(client);
        if self.permits.is_too_soon(client, now) {
            return Err(LimitReached::ClientRate);
        }
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
    use evenkeel_core::Moment;

    use super::{LimitReached, Permits, Rate};

    const NOW: Moment = Moment::from_micros(1_000_000);

    #[test]
    fn limits_hold_and_permits_are_given_back() {
        let permits = Permits::new(3, 2);
        let ip = |text: &str| Some(text.parse().unwrap());
        let first = permits.acquire(ip("2001:db8::1"), NOW).unwrap();
        let second = permits.acquire(ip("2001:db8::2"), NOW).unwrap();
        assert_eq!(
            permits.acquire(ip("2001:db8::3"), NOW).unwrap_err(),
            LimitReached::Client,
            "one /64 is one client"
        );
        let third = permits.acquire(None, NOW).unwrap();
        assert_eq!(permits.acquire(ip("192.0.2.1"), NOW).unwrap_err(), LimitReached::Listener);
        drop((first, second, third));
        assert!(permits.per_client.lock().is_empty());
        assert!((0..3).map(|_| permits.acquire(None, NOW)).collect::<Result<Vec<_>, _>>().is_ok());
    }

    #[test]
    fn lower_limits_close_nothing_and_hold_from_then_on() {
        let permits = Permits::new(3, 3);
        let ip = Some("192.0.2.1".parse().unwrap());
        let open: Vec<_> = (0..3).map(|_| permits.acquire(ip, NOW).unwrap()).collect();
        permits.limit(3, 1);
        assert_eq!(permits.acquire(ip, NOW).unwrap_err(), LimitReached::Listener);
        drop(open);
        let _one = permits.acquire(ip, NOW).unwrap();
        assert_eq!(permits.acquire(ip, NOW).unwrap_err(), LimitReached::Client);
        permits.limit(3, 2);
        assert!(permits.acquire(ip, NOW).is_ok());
    }

    #[test]
    fn a_client_cannot_open_connections_too_often() {
        let permits = Permits::new(100, 100);
        let rate = |count: u32| Rate::new(count.try_into().unwrap(), std::time::Duration::from_secs(1));
        permits.limit_rate(rate(2), NOW);
        let ip = |text: &str| Some(text.parse().unwrap());
        let after = |millis: u64| Moment::from_micros(NOW.as_micros() + millis * 1_000);
        let opened = |client: &str, millis| permits.acquire(ip(client), after(millis)).is_ok();
        assert!(opened("192.0.2.1", 0) && opened("192.0.2.1", 0) && !opened("192.0.2.1", 0));
        assert!(opened("192.0.2.2", 0), "another client");
        assert!(opened("2001:db8::1", 0) && opened("2001:db8::2", 0) && !opened("2001:db8::3", 0), "one /64");
        assert!(opened("192.0.2.1", 500) && !opened("192.0.2.1", 600));
        permits.limit_rate(rate(4), after(600));
        assert!(opened("192.0.2.1", 750), "what was used stays used, in connections");
        assert!((0..50).all(|_| permits.acquire(None, after(750)).is_ok()), "a trusted proxy");
        permits.limit_rate(None, after(750));
        assert!((0..50).all(|_| opened("192.0.2.1", 750)));
    }
}
