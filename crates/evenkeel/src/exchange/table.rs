//! What the data path needs, in one immutable value: routes, filters, upstreams, whom to trust.
//!
//! `control` builds it and publishes it whole; nothing else writes it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_config::{Forwarding, Paths, Redirect, Retry};
use evenkeel_core::route::{PathRegex, RouteTable};
use evenkeel_http::message::Answer;
use ipnet::IpNet;

use crate::filter::Filter;
use crate::observe::{AccessLog, RouteMetrics};
use crate::upstream::Upstream;

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
    /// What it asks of the path, if that is an expression: its groups are placeholders.
    pub path_regex: Option<PathRegex>,
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
