//! What the data path needs, in one immutable value: routes, filters, upstreams, whom to trust.
//!
//! `control` builds it and publishes it whole; nothing else writes it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_config::{Forwarding, Paths, Redirect, Retry, RouteTimeouts};
use evenkeel_core::route::{RouteTable, TextRegex};
use evenkeel_http::message::Answer;
use ipnet::IpNet;

use super::redirect::MadeAnswer;
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
    /// The listeners. The exchange has its own from the connection: this is for explaining requests that did not come on any.
    pub entries: Vec<ListenerEntry>,
    /// The filters of each listener; empty if no listener has any.
    pub listeners: Vec<ListenerFilters>,
    /// The filters that routes and listeners share, by name. Each place that uses one has it as well.
    pub shared: Vec<(Arc<str>, Arc<dyn Filter>)>,
    /// Where finished requests are recorded, if they are.
    pub log: Option<Arc<AccessLog>>,
}

/// What requests on a listener have in common.
#[derive(Clone, Debug)]
pub struct ListenerEntry {
    /// Its name, or its address if it has none.
    pub name: Box<str>,
    /// Its port; none of a Unix socket.
    pub port: Option<u16>,
    /// In which form it has paths.
    pub paths: Paths,
}

/// The filters of all requests on a listener.
#[derive(Debug)]
pub struct ListenerFilters {
    /// The listener's number.
    pub id: u32,
    /// Its name.
    pub name: Arc<str>,
    /// Its port; `None` for a Unix socket.
    pub port: Option<u16>,
    /// The filters, in order.
    pub filters: Vec<Arc<dyn Filter>>,
    /// What the configuration calls them, in the same order.
    pub kinds: Vec<Box<str>>,
}

/// The filters of a request: those of its listener, then those of its route.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a> {
    listener: Option<&'a ListenerFilters>,
    rule: &'a Rule,
}

/// What a route says.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub name: Arc<str>,
    /// What it asks of the path, if that is an expression: its groups are placeholders.
    pub path_regex: Option<TextRegex>,
    /// Its filters, in order.
    pub filters: Vec<Arc<dyn Filter>>,
    /// What the configuration calls them, in the same order.
    pub kinds: Vec<Box<str>>,
    /// Where it sends requests.
    pub action: RuleAction,
    /// How long a request can wait for its response head, over all attempts.
    pub timeout: Option<Duration>,
    /// How long backends may take, where that differs from what their upstream says.
    pub timeouts: Option<Box<RouteTimeouts>>,
    /// Largest request body, instead of what the listener says.
    pub max_body: Option<Option<u64>>,
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
    /// The same response to every request.
    Respond(Answer),
    /// A response with values of the request.
    Make(Box<MadeAnswer>),
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

    /// The listener of this name, or else on this port, or else the first.
    pub fn listener_at(&self, name: Option<&str>, port: Option<u16>) -> Option<&ListenerEntry> {
        let named = self.entries.iter().find(|one| Some(&*one.name) == name);
        let there = || self.entries.iter().find(|one| one.port.is_some() && one.port == port);
        named.or_else(there).or(self.entries.first())
    }

    /// The filters of a request on the listener with this number.
    #[inline]
    pub fn chain<'a>(&'a self, listener: u32, rule: &'a Rule) -> Chain<'a> {
        Chain { listener: self.listeners.iter().find(|one| one.id == listener), rule }
    }

    /// The filters of a request on this port; on the first listener, if none is on it.
    pub fn chain_at<'a>(&'a self, port: Option<u16>, rule: &'a Rule) -> Chain<'a> {
        let there = self.listeners.iter().find(|one| one.port.is_some() && one.port == port);
        Chain { listener: there.or(self.listeners.first()), rule }
    }
}

// === impl Chain ===

impl<'a> Chain<'a> {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rule.filters.is_empty() && self.listener.is_none_or(|listener| listener.filters.is_empty())
    }

    /// The filters with their places, in order.
    pub fn filters(self) -> impl DoubleEndedIterator<Item = (usize, &'a dyn Filter)> {
        let before = self.listener.map_or(&[][..], |listener| listener.filters.as_slice());
        let own = self.rule.filters.iter().enumerate();
        let own = own.map(move |(place, filter)| (before.len() + place, filter));
        before.iter().enumerate().chain(own).map(|(place, filter)| (place, &**filter))
    }

    /// What the configuration calls them, in the same order.
    pub fn kinds(self) -> impl Iterator<Item = &'a str> {
        let before = self.listener.map_or(&[][..], |listener| listener.kinds.as_slice());
        before.iter().chain(&self.rule.kinds).map(|kind| &**kind)
    }
}
