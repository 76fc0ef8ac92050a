//! What the integration tests share: a balancer in process, programmable backends, a raw client. All of it uses real
//! sockets, and no test waits for a fixed time: it waits for an event, within a generous bound.

#![cfg(test)]

pub(crate) mod backend;
pub(crate) mod balancer;
pub(crate) mod client;
pub(crate) mod http2;
pub(crate) mod http2_backend;
pub(crate) mod lane;
pub(crate) mod refusing;
pub(crate) mod samples;
pub(crate) mod secure;
pub(crate) mod tls;
pub(crate) mod tokens;
pub(crate) mod wire;

pub(crate) use backend::{Backend, Options, Reply, Seen};
pub(crate) use balancer::Balancer;
pub(crate) use client::{Client, get, send};
pub(crate) use lane::{Lane, lane};
pub(crate) use refusing::{BlackHole, ClosedPort, Closer};
pub(crate) use secure::Secure;
pub(crate) use tls::{Authority, Pair, TlsClient};
pub(crate) use wire::Message;

use std::time::{Duration, Instant};

/// The longest that anything is waited for: enough for a loaded machine, and short of the end of patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `condition` holds, and fails when it does not within `limit`.
pub(crate) async fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "did not come about within {limit:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What `future` gives; fails when that takes longer than [`PATIENCE`].
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing within {PATIENCE:?}"),
    }
}

/// Fails unless `elapsed` is at least `limit` (less a timer's tick) and not far beyond it: a fifth, and what a loaded
/// machine may be late.
pub(crate) fn assert_lasted(what: &str, elapsed: Duration, limit: Duration) {
    let tick = Duration::from_millis(10);
    let late = limit.mul_f32(1.2) + Duration::from_secs(3);
    assert!(elapsed + tick >= limit, "{what}: after {elapsed:?}, which is before {limit:?}");
    assert!(elapsed <= late, "{what}: only after {elapsed:?}, long after {limit:?}");
}
