//! What the data path needs, in one immutable value: routes, filters, upstreams, whom to trust.
//!
//! `control` builds it and publishes it whole; nothing else writes it.

use std::fmt::Debug;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel_config::{Forwarding, Paths, Pool, Redirect, Retry, Timeouts};
use evenkeel_core::backend::{Backend, Lease, Outcome, Snapshot};
use evenkeel_core::balance::Balancer;
use evenkeel_core::route::RouteTable;
use evenkeel_http::message::Answer;
use ipnet::IpNet;

use super::affinity::Affinity;
use super::complaints::{Alarms, Complaints};
use super::gate::Gate;
use super::hedge::Hedging;
use crate::dial::Dialer;
use crate::filter::Filter;
use crate::observe::{AccessLog, BackendMetrics, RouteMetrics};

/// What the data path needs to decide.
#[derive(Debug, Default)]
pub struct Table {
    /// Finds the rule of a request, by index into `rules`.
    pub routes: RouteTable,
    /// What each route says, in the configured order.
    pub rules: Vec<Rule>,
    /// The upstreams, in the configured order.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Whose forwarding fields are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether peers on Unix sockets are trusted.
    pub trusts_unix: bool,
    /// What is sent to backends about the client.
    pub forwarding: Forwarding,
    /// In which form each listener has paths, with its port; behind a Unix socket, without one. The exchange has its
    /// listener's from the connection: this is for explaining requests that did not come on any.
    pub paths: Vec<(Option<u16>, Paths)>,
    /// Where finished requests are recorded, if they are.
    pub log: Option<Arc<AccessLog>>,
}

/// What a route says.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub name: Arc<str>,
    /// Its filters, in order.
    pub filters: Vec<Arc<dyn Filter>>,
    /// What the configuration calls them, in the same order.
    pub kinds: Vec<Box<str>>,
    /// Where it sends requests.
    pub action: RuleAction,
    /// How long a request can wait for its response head, over all attempts.
    pub timeout: Option<Duration>,
    /// When a request is tried again, instead of what its upstream says.
    pub retry: Option<Arc<Retry>>,
    /// Whether the access log says how the backend was chosen.
    pub explain: bool,
    /// What it counts.
    pub metrics: Arc<RouteMetrics>,
}

/// Where a route sends requests.
#[derive(Debug)]
pub enum RuleAction {
    /// To this upstream.
    Upstream(Arc<Upstream>),
    /// To one of these, by weight: each with the end of its share of `total`.
    Split {
        /// Upstreams with the running sum of the weights.
        shares: Vec<(u64, Arc<Upstream>)>,
        /// The sum of all weights; not zero.
        total: u64,
    },
    /// Back to the client with another location.
    Redirect(Redirect),
    /// A fixed response.
    Respond(Answer),
}

/// A running upstream.
#[derive(Debug)]
pub struct Upstream {
    /// Its name.
    pub name: Arc<str>,
    /// What the configuration calls the algorithm.
    pub algorithm: &'static str,
    /// The backends that may be chosen now, and what chooses; swapped whole.
    pub members: ArcSwap<Members>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Idle connections kept open to backends.
    pub pool: Pool,
    /// When a request is tried again, unless its route says otherwise.
    pub retry: Arc<Retry>,
    /// Second attempts if the first is slow, if configured.
    pub hedging: Option<Arc<Hedging>>,
    /// What makes requests belong together.
    pub affinity: Affinity,
    /// How much it takes.
    pub gate: Arc<Gate>,
    /// Who wants to know of failures.
    pub alarms: Alarms,
    /// Whether every backend speaks plain HTTP, so that the lean lane can carry its requests.
    pub plain: bool,
    /// Every configured backend, including those of weight zero.
    pub all: Roster,
}

/// Every backend that an upstream has, in the configured order.
#[derive(Debug, Default)]
pub struct Roster {
    /// The backends.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Requests that came to backends which it no longer has: what counts requests must not see fewer than before.
    pub requests_of_removed: u64,
}

/// Who wants to know at once that a backend fails.
#[derive(Debug)]
pub struct Alarm {
    /// From how many failures in a row on.
    pub failures: u32,
    /// The receiver; must not block.
    pub bell: Arc<dyn Bell>,
}

/// What an [`Alarm`] rings.
pub trait Bell: Debug + Send + Sync {
    /// A backend has failed too often in a row.
    fn ring(&self);
}

/// The backends of an upstream that may be chosen now, and what chooses among them.
#[derive(Debug)]
pub struct Members {
    /// What the algorithm sees.
    pub snapshot: Snapshot,
    /// What is connected to: same order, same length.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// What is tried once none of these could be reached, in this order.
    pub others: Vec<Arc<Endpoint>>,
    /// What chooses.
    pub balancer: Arc<dyn Balancer>,
}

/// How to reach one backend, and what it counts.
#[derive(Debug)]
pub struct Endpoint {
    /// The backend.
    pub backend: Arc<Backend>,
    /// How to connect to it.
    pub dialer: Dialer,
    /// TLS, if it is spoken.
    pub tls: Option<EndpointTls>,
    /// Tells apart the connections of endpoints that share an address but not their settings.
    pub group: u64,
    /// The weight it was given; zero is out.
    pub weight: u32,
    /// What a sticky cookie calls it, if there is one.
    pub cookie: Option<Box<str>>,
    /// What it counts.
    pub metrics: Arc<BackendMetrics>,
    /// Its failures that the log was told of.
    pub complaints: Complaints,
}

/// How TLS is spoken to a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointTls {
    /// The name that the certificate must carry.
    pub server_name: String,
    /// The certificates of the authorities to trust instead of the system's: DER, and known to parse.
    pub ca: Option<Arc<[Vec<u8>]>>,
    /// Whether the certificate is looked at.
    pub verify: bool,
}

// === impl Table ===

impl Table {
    /// Whether forwarding headers of this peer are believed; a peer on a Unix socket has no address.
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            Some(peer) => self.trusted_proxies.iter().any(|net| net.contains(&peer)),
            None => self.trusts_unix,
        }
    }

    /// In which form the listener on this port has paths; the first listener, if none is on it.
    pub fn paths_at(&self, port: Option<u16>) -> Paths {
        let there = self.paths.iter().find(|(known, _)| known.is_some() && *known == port);
        there.or(self.paths.first()).map(|(_, paths)| *paths).unwrap_or_default()
    }
}

// === impl Members ===

impl Members {
    /// The backend at this place: the others come after those that may be chosen.
    #[inline]
    pub fn endpoint(&self, place: usize) -> Option<&Arc<Endpoint>> {
        let chosen = self.endpoints.len();
        self.endpoints.get(place).or_else(|| self.others.get(place.checked_sub(chosen)?))
    }
}

// === impl Roster ===

impl Deref for Roster {
    type Target = [Arc<Endpoint>];

    fn deref(&self) -> &Self::Target {
        &self.endpoints
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// Requests that came to it so far: its attempts, without those that repeated another.
    pub fn requests(&self) -> u64 {
        self.backend.counters().attempts().saturating_sub(self.metrics.repeated())
    }
}

// === impl Upstream ===

impl Upstream {
    /// Requests that came to a backend of this upstream so far: its attempts, without those that repeated another.
    pub fn requests(&self) -> u64 {
        self.all.requests_of_removed + self.all.iter().map(|endpoint| endpoint.requests()).sum::<u64>()
    }

    /// A lease of a backend, if that has room.
    pub(super) fn lease(&self, endpoint: &Endpoint) -> Option<Lease> {
        let backend = endpoint.backend.clone();
        match self.gate.limits.max_connections {
            Some(most) => Lease::within(backend, most.get()),
            None => Some(Lease::new(backend)),
        }
    }

    /// Gives a lease back, and tells those who wait for it, and those who watch for failures.
    pub(super) fn release(&self, endpoint: &Endpoint, lease: Lease, outcome: Outcome) {
        lease.end(outcome);
        self.gate.left();
        if outcome == Outcome::Failed
            && let Some(alarm) = &self.alarms.alarm
            && endpoint.backend.counters().failures_in_a_row() >= alarm.failures
        {
            alarm.bell.ring();
        }
    }
}
