//! An upstream without sockets, for tests of decisions.

use std::sync::Arc;

use arc_swap::ArcSwap;
use evenkeel_config::{BackendUrl, Hedge, HedgeAfter, Retry, UpstreamLimits};
use evenkeel_core::Moment;
use evenkeel_core::backend::{Address, Backend, BackendIds, Member, Snapshot, Weight};
use evenkeel_core::balance::{Balancer, Pick};

use super::{
    Affinity, At, AttemptOptions, Attempts, ConnectionGroup, Endpoint, FailureLog, FailureReports, Gate,
    Hedging, Members, Roster, Upstream,
};
use crate::dial::Dialer;
use crate::observe::{BackendMetrics, Sharded};

/// Picks the first backend that was not tried.
#[derive(Debug)]
struct InOrder;

impl Balancer for InOrder {
    fn pick(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Option<usize> {
        (0..candidates.len()).find(|index| !request.tried.contains(*index))
    }
}

/// Backends `a`, `b`, `c`, … of one upstream.
pub(crate) fn endpoints(count: u8) -> Vec<Arc<Endpoint>> {
    let mut ids = BackendIds::with_key();
    let endpoint = |number: u8| {
        let socket = ([127, 0, 0, 1], 9000 + u16::from(number)).into();
        let address = Address::Tcp(socket);
        Arc::new(Endpoint {
            id: ids.insert(()),
            spec: evenkeel_config::Backend::new(BackendUrl::of(socket, false)),
            dialer: Dialer::new(&address, None),
            backend: Arc::new(Backend::new(char::from(b'a' + number).to_string(), address)),
            tls: None,
            http2: evenkeel_config::Http2::Never,
            connections: Arc::new(ConnectionGroup::new()),
            cookie: Some(format!("cookie-{number}").into()),
            metrics: Arc::new(BackendMetrics::new(1)),
            failures: FailureLog::default(),
        })
    };
    (0..count).map(endpoint).collect()
}

/// The first `picked` of these can be picked, the others only if none of those could be reached.
pub(crate) fn members(endpoints: &[Arc<Endpoint>], picked: usize) -> Members {
    let (picked, others) = endpoints.split_at(picked);
    let member = |endpoint: &Arc<Endpoint>| Member::new(endpoint.backend.clone(), Weight::ONE);
    let (roster, snapshot) = (Roster::new(endpoints.to_vec()), picked.iter().map(member).collect::<Vec<_>>());
    let (picked, others) = (picked.to_vec().into(), others.to_vec());
    Members::new(Arc::new(roster), Snapshot::new(snapshot), picked, others, Arc::new(InOrder))
}

/// An upstream of these.
pub(crate) fn upstream(members: Members, limits: UpstreamLimits, retry: Retry) -> Upstream {
    Upstream {
        name: "web".into(),
        algorithm: "in_order",
        members: ArcSwap::from_pointee(members),
        timeouts: Default::default(),
        pool: Default::default(),
        gate: Arc::new(Gate::new(limits, retry.budget)),
        retry: Arc::new(retry),
        hedging: None,
        affinity: Affinity::default(),
        reports: FailureReports::default(),
        requests: Arc::new(Sharded::new(1)),
    }
}

/// An upstream of so many backends that retries as by default.
pub(crate) fn usual(backends: u8) -> Arc<Upstream> {
    let members = members(&endpoints(backends), usize::from(backends));
    Arc::new(upstream(members, UpstreamLimits::default(), Retry::default()))
}

/// An upstream of this name, with one backend.
pub(crate) fn upstream_of(name: &str) -> Arc<Upstream> {
    let mut upstream = upstream(members(&endpoints(1), 1), UpstreamLimits::default(), Retry::default());
    upstream.name = name.into();
    Arc::new(upstream)
}

/// Second attempts at once, for each request.
pub(crate) fn hedging() -> Arc<Hedging> {
    let mut hedge = Hedge::default();
    (hedge.after, hedge.budget) = (HedgeAfter::Time(std::time::Duration::ZERO), 1.0);
    Arc::new(Hedging::new(&hedge))
}

/// A request that can be repeated.
pub(crate) fn get(upstream: &Arc<Upstream>) -> Attempts {
    let options = AttemptOptions { idempotent: true, bodiless: true, ..AttemptOptions::default() };
    Attempts::new(upstream.clone(), options, fastrand::Rng::with_seed(1))
}

/// A request that cannot.
pub(crate) fn post(upstream: &Arc<Upstream>) -> Attempts {
    Attempts::new(upstream.clone(), AttemptOptions::default(), fastrand::Rng::with_seed(1))
}

/// So many milliseconds after the beginning, with the backend connected since the moment before, and the request sent.
pub(crate) fn at(millis: u64) -> At {
    let now = millis * 1000 + 1;
    At { worker: 0, now, moment: Moment::from_micros(now), sending: (now, now) }
}
