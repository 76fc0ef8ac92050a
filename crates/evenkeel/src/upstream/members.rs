//! The backends of an upstream: all of them, and those that can be picked now.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use evenkeel_config::Http2;
use evenkeel_core::backend::Snapshot;
use evenkeel_core::balance::Balancer;

use super::endpoint::Endpoint;

/// One state of an upstream's backends, published as a whole: all of them, those that can be picked now, and what picks one.
#[derive(Debug)]
pub struct Members {
    /// Every backend, including those of weight zero.
    pub roster: Arc<Roster>,
    /// What the algorithm sees.
    pub snapshot: Snapshot,
    /// What is connected to: same order, same length as the snapshot. Shared with the roster where all can be picked.
    pub endpoints: Arc<[Arc<Endpoint>]>,
    /// What is tried once none of these could be reached, in this order.
    pub others: Vec<Arc<Endpoint>>,
    /// What picks one.
    pub balancer: Arc<dyn Balancer>,
    /// The places of those that can be picked by what a sticky cookie calls them; empty without one.
    by_cookie: HashMap<Arc<str>, usize, foldhash::fast::FixedState>,
}

/// Every backend of an upstream, in the order of the configuration or of the set that replaced it.
#[derive(Debug)]
pub struct Roster {
    endpoints: Arc<[Arc<Endpoint>]>,
    plain: bool,
}

// === impl Members ===

impl Members {
    /// A state. `snapshot` and `endpoints` have the same backends in the same order.
    pub fn new(
        roster: Arc<Roster>,
        snapshot: Snapshot,
        endpoints: Arc<[Arc<Endpoint>]>,
        others: Vec<Arc<Endpoint>>,
        balancer: Arc<dyn Balancer>,
    ) -> Self {
        let cookies = endpoints.iter().enumerate();
        let by_cookie = cookies.filter_map(|(place, one)| Some((one.cookie.clone()?, place))).collect();
        Self { roster, snapshot, endpoints, others, balancer, by_cookie }
    }

    /// The place of the backend that a sticky cookie with this value names, if it can be picked.
    pub fn by_cookie(&self, value: &[u8]) -> Option<usize> {
        self.by_cookie.get(std::str::from_utf8(value).ok()?).copied()
    }

    /// The backend at this place: the others come after those that can be picked.
    #[inline]
    pub fn endpoint(&self, place: usize) -> Option<&Arc<Endpoint>> {
        let picked = self.endpoints.len();
        self.endpoints.get(place).or_else(|| self.others.get(place.checked_sub(picked)?))
    }

    /// Every backend, in the order of the places.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.iter().chain(&self.others)
    }
}

// === impl Roster ===

impl Roster {
    /// A set of backends.
    pub fn new(endpoints: impl Into<Arc<[Arc<Endpoint>]>>) -> Self {
        let endpoints = endpoints.into();
        let plain =
            endpoints.iter().all(|endpoint| endpoint.tls.is_none() && endpoint.http2 != Http2::Always);
        Self { endpoints, plain }
    }

    /// The backends, to be shared.
    pub fn endpoints(&self) -> &Arc<[Arc<Endpoint>]> {
        &self.endpoints
    }

    /// Whether every backend is spoken to in HTTP/1.1 without TLS, so that the lean lane can carry the requests.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.plain
    }
}

impl Deref for Roster {
    type Target = [Arc<Endpoint>];

    fn deref(&self) -> &Self::Target {
        &self.endpoints
    }
}
