//! How a request came: what a route asks of its listener, client and connection.
//!
//! Never knows how a request comes: the caller says so.

use std::net::IpAddr;

use super::HostPattern;
use crate::limit::Networks;

/// How a request came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The name of the listener; empty if it has none.
    pub listener: &'a str,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// Whether the client uses HTTPS.
    pub https: bool,
    /// The name that the client asked for in TLS (SNI).
    pub server_name: Option<&'a str>,
}

/// What a route asks of how a request came. What is not given is no condition.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct OriginMatch {
    /// The listener has one of these names; none given: any.
    pub listeners: Vec<Box<str>>,
    /// The client is in one of these networks. A client without an address is in none.
    pub clients: Option<Networks>,
    /// The client uses HTTPS, or does not.
    pub https: Option<bool>,
    /// The name that the client asked for in TLS is one of these; none given: any, also none.
    pub server_names: Vec<HostPattern>,
}

// === impl OriginMatch ===

impl OriginMatch {
    /// Whether there is no condition.
    pub fn is_any(&self) -> bool {
        self.listeners.is_empty()
            && self.clients.is_none()
            && self.https.is_none()
            && self.server_names.is_empty()
    }

    /// Whether a request that came so meets every condition.
    pub fn matches(&self, origin: &Origin<'_>) -> bool {
        self.matches_listener(origin)
            && self.matches_client(origin)
            && self.matches_scheme(origin)
            && self.matches_server_name(origin)
    }

    pub(super) fn matches_listener(&self, origin: &Origin<'_>) -> bool {
        self.listeners.is_empty() || self.listeners.iter().any(|name| **name == *origin.listener)
    }

    pub(super) fn matches_client(&self, origin: &Origin<'_>) -> bool {
        let is_in = |networks: &Networks| origin.client.is_some_and(|client| networks.contains(client));
        self.clients.as_ref().is_none_or(is_in)
    }

    pub(super) fn matches_scheme(&self, origin: &Origin<'_>) -> bool {
        self.https.is_none_or(|https| https == origin.https)
    }

    pub(super) fn matches_server_name(&self, origin: &Origin<'_>) -> bool {
        self.server_names.is_empty()
            || origin.server_name.is_some_and(|name| self.server_names.iter().any(|one| one.matches(name)))
    }

    /// Whether this takes whatever the other takes. Says no when it cannot know.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let listeners = self.listeners.is_empty()
            || !other.listeners.is_empty()
                && other.listeners.iter().all(|name| self.listeners.contains(name));
        let server_names = self.server_names.is_empty()
            || !other.server_names.is_empty()
                && other.server_names.iter().all(|name| self.server_names.iter().any(|own| own.covers(name)));
        listeners
            && server_names
            && (self.clients.is_none() || self.clients == other.clients)
            && (self.https.is_none() || self.https == other.https)
    }
}
