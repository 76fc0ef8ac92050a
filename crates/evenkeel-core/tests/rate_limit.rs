//! A rate limit among a million addresses, in virtual time.

#![cfg(test)]

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use evenkeel_core::Moment;
use evenkeel_core::limit::{LimitKey, Networks, Rate, RateLimitOptions, RateLimiter};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

fn options(rate: u32, burst: u32, max_keys: u32) -> RateLimitOptions {
    let rate = Rate::new(rate.try_into().unwrap(), Duration::from_secs(1)).unwrap();
    RateLimitOptions { burst, max_keys, ..RateLimitOptions::new(rate) }
}

fn key(limiter: &RateLimiter, address: u32) -> LimitKey {
    limiter.hasher().with(Some(&Ipv4Addr::from(address).octets())).finish()
}

/// For 100 s a client sends 200 requests a second and may send 100, while 10,000 other addresses a second send one request
/// each.
#[test]
fn one_client_at_twice_its_limit_among_a_million_others() {
    for (max_keys, seconds) in [(1_000, 10), (100_000, 100)] {
        let limiter = RateLimiter::new(options(100, 50, max_keys), 7, Moment::default());
        let (mut passed, mut others_rejected) = (0_u64, 0);
        for micros in (0..seconds * 1_000_000).step_by(100) {
            let now = Moment::from_micros(micros);
            if micros % 5_000 == 0 {
                passed += u64::from(limiter.charge(key(&limiter, 0x0A00_0001), now).unwrap().allowed);
            }
            let other = key(&limiter, 0x1000_0000 + (micros / 100) as u32);
            others_rejected +=
                u32::from(limiter.charge(other, now).is_some_and(|decision| !decision.allowed));
        }
        let limit = 50 + 100 * seconds;
        assert!(passed.abs_diff(limit) <= limit / 100, "{passed} of {limit} with room for {max_keys}");
        assert_eq!(others_rejected, 0);
        assert!(limiter.bytes() <= 128 * max_keys as usize, "{} bytes for {max_keys} keys", limiter.bytes());
        assert!(limiter.keys_in_use(Moment::from_micros(seconds * 1_000_000)) <= limiter.capacity());
    }
}

#[test]
fn counting_a_request_of_a_known_key_allocates_nothing() {
    let limiter = RateLimiter::new(options(1_000, 10, 1_000), 7, Moment::default());
    let count = |micros| {
        limiter.charge(key(&limiter, 1), Moment::from_micros(micros)).map(|decision| decision.allowed)
    };
    assert_eq!(count(0), Some(true));
    let measured = allocation_counter::measure(|| (0..1_000).for_each(|micros| _ = count(micros)));
    assert_eq!(measured.count_total, 0);
}

/// Eight threads, each at the whole limit; the clock of each is a little behind the others.
#[test]
fn a_limit_holds_over_all_threads_together() {
    let limiter = RateLimiter::new(options(10_000, 100, 100), 7, Moment::default());
    let passed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (limiter, passed) = (&limiter, &passed);
            scope.spawn(move || {
                for micros in (1_000..2_000_000).step_by(100) {
                    let now = Moment::from_micros(micros - thread * 50);
                    passed.fetch_add(
                        usize::from(limiter.charge(key(limiter, 1), now).unwrap().allowed),
                        Relaxed,
                    );
                }
            });
        }
    });
    let passed = passed.into_inner();
    assert!((19_990..=20_100).contains(&passed), "{passed} of 20,000 and the burst");
}

#[test]
fn a_reload_keeps_what_was_used_and_forgets_no_key() {
    let now = Moment::from_micros(1_000_000);
    for max_keys in [1_000, 500, 2_000] {
        let limiter = RateLimiter::new(options(10, 10, 1_000), 7, Moment::default());
        for address in 0..300 {
            (0..address % 12).for_each(|_| _ = limiter.charge(key(&limiter, address), now));
        }
        let changed = limiter.changed(options(20, 15, max_keys), now);
        for address in 0..300 {
            let used = (address % 12).min(10);
            let decision = changed.peek(key(&changed, address), now);
            assert_eq!(decision.remaining, 15 - used, "{address} with room for {max_keys}");
        }
        assert_eq!(changed.keys_in_use(now), 275);
    }
}

#[test]
fn many_networks() {
    let mut rng = fastrand::Rng::with_seed(1);
    let networks: Vec<IpNet> = (0..100_000)
        .map(|n| match n % 2 {
            0 => Ipv4Net::new(rng.u32(..).into(), rng.u8(20..=32)).unwrap().into(),
            _ => Ipv6Net::new(rng.u128(..).into(), rng.u8(32..=64)).unwrap().into(),
        })
        .collect();
    let set: Networks = networks.iter().copied().collect();
    assert!(set.bytes() * 10 <= 64 << 20, "{} bytes", set.bytes());
    assert!(networks.iter().all(|network| set.contains(network.addr())));
}
