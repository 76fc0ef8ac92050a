//! A route from code.

use std::time::Duration;

use serde::Serialize;

use super::{RateLimit, RetryBuilder};
use crate::ExtensionValue;
use crate::values::{self, SizeLimit, Weight};
use crate::wire::{self, Named};
use crate::yaml::Path;

/// Builds a route. It leads to exactly one of [`upstream`](RouteBuilder::upstream), [`split`](RouteBuilder::split),
/// [`redirect`](RouteBuilder::redirect) and [`respond`](RouteBuilder::respond).
#[derive(Clone, Debug)]
#[must_use]
pub struct RouteBuilder {
    pub(super) wire: wire::Route,
    pub(super) failed: Vec<(Path, String)>,
}

// === impl RouteBuilder ===

impl RouteBuilder {
    /// A route of this name that matches everything and leads nowhere yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self { wire: wire::Route { name: name.into(), ..wire::Route::default() }, failed: Vec::new() }
    }

    /// Adds a host that it takes: `api.example.com`, `*.example.com` or `*`.
    pub fn host(mut self, pattern: impl Into<String>) -> Self {
        self.wire.matches.hosts.push(pattern.into());
        self
    }

    /// Takes this path alone.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.wire.matches.path = Some(path.into());
        self
    }

    /// Takes paths that begin with this, by whole segments.
    pub fn path_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.wire.matches.path_prefix = Some(prefix.into());
        self
    }

    /// Takes paths that this regular expression matches as a whole.
    pub fn path_regex(mut self, regex: impl Into<String>) -> Self {
        self.wire.matches.path_regex = Some(regex.into());
        self
    }

    /// Adds a method that it takes, in upper case.
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.wire.matches.methods.push(method.into());
        self
    }

    /// Asks for a header field with this value; `*` for any.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.wire.matches.headers.0.push((name.into(), wire::Value::exact(value)));
        self
    }

    /// Asks for a query parameter with this value; `*` for any.
    pub fn query(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.wire.matches.query.0.push((name.into(), wire::Value::exact(value)));
        self
    }

    /// Takes hosts that this regular expression matches, in lower case and without a port.
    pub fn host_regex(mut self, regex: impl Into<String>) -> Self {
        self.wire.matches.host_regex = Some(regex.into());
        self
    }

    /// Adds the name of a listener that it takes requests from.
    pub fn listener(mut self, name: impl Into<String>) -> Self {
        self.wire.matches.listeners.push(name.into());
        self
    }

    /// Adds a network of clients that it takes, like `10.0.0.0/8`.
    pub fn client(mut self, network: impl Into<String>) -> Self {
        self.wire.matches.clients.push(network.into());
        self
    }

    /// Takes only clients that use HTTPS, or only those that do not.
    pub fn https(mut self, https: bool) -> Self {
        self.wire.matches.scheme = Some(if https { wire::Scheme::Https } else { wire::Scheme::Http });
        self
    }

    /// Adds a name in TLS (SNI) that it takes.
    pub fn sni(mut self, pattern: impl Into<String>) -> Self {
        self.wire.matches.sni.push(pattern.into());
        self
    }

    /// Excludes what another route of conditions would take; only the conditions of `excluded` count.
    pub fn not(mut self, excluded: Self) -> Self {
        self.wire.matches.not.push(excluded.wire.matches);
        self
    }

    /// Adds an alternative: at least one of them must match; only the conditions of `alternative` count.
    pub fn any_of(mut self, alternative: Self) -> Self {
        self.wire.matches.any_of.push(alternative.wire.matches);
        self
    }

    /// Adds a filter: its kind, and its parameters as they would be written: `.filter("strip_prefix", "/v1")`, or
    /// `serde_json::json!({ … })`.
    pub fn filter(mut self, kind: impl Into<String>, params: impl Serialize) -> Self {
        let path = Path::default().key("filters").index(self.wire.filters.len());
        self.wire.filters.push(step(kind.into(), params, &path, &mut self.failed));
        self
    }

    /// Adds the filter with this name: see [`ConfigBuilder::shared_filter`](super::ConfigBuilder::shared_filter).
    pub fn use_filter(self, name: impl Into<String>) -> Self {
        self.filter("use", name.into())
    }

    /// Adds a filter that is a value, in the form that the registry expects. Programs use `filter_value` of the crate
    /// `evenkeel`.
    pub fn opaque_filter(mut self, name: impl Into<String>, value: ExtensionValue) -> Self {
        let step = serde_json::Map::from_iter([(name.into(), serde_json::Value::Null)]);
        self.wire.filters.push(wire::Step(serde_json::Value::Object(step), Some(value)));
        self
    }

    /// Adds a filter that limits how often each client, or each of something else, can send a request.
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.wire.filters.push(limit.step());
        self
    }

    /// Leads to the upstream of this name.
    pub fn upstream(mut self, name: impl Into<String>) -> Self {
        self.wire.upstream = Some(name.into());
        self
    }

    /// Shares requests among upstreams by weight.
    pub fn split(mut self, weights: impl IntoIterator<Item = (impl Into<String>, u32)>) -> Self {
        let weights = weights.into_iter().map(|(name, weight)| (name.into(), Weight(weight)));
        self.wire.split = Some(Named(weights.collect()));
        self
    }

    /// Sends the client elsewhere; `to` may hold placeholders such as `{host}` and `{path}`. Status 301, 302, 303, 307 or
    /// 308.
    pub fn redirect(mut self, to: impl Into<String>, status: u16) -> Self {
        self.wire.redirect = Some(wire::Redirect { to: to.into(), status: status.into() });
        self
    }

    /// Responds with this status and body.
    pub fn respond(mut self, status: u16, body: impl Into<String>) -> Self {
        let answer = self.wire.respond.get_or_insert_default();
        answer.status = status.into();
        answer.body = body.into();
        self
    }

    /// Adds a header field to the response of [`respond`](RouteBuilder::respond).
    pub fn respond_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.wire.respond.get_or_insert_default().headers.0.push((name.into(), value.into()));
        self
    }

    /// From the end of the request head to the response head, over all attempts; then 504. Default: only the upstream's
    /// timeouts apply.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.wire.timeout = Some(values::Duration(timeout));
        self
    }

    /// The time to connect, TLS included. Default as the upstream says.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.wire.timeouts.connect = Some(values::Duration(timeout));
        self
    }

    /// From the end of the request to the response head. Default as the upstream says.
    pub fn first_byte_timeout(mut self, timeout: Duration) -> Self {
        self.wire.timeouts.first_byte = Some(values::Duration(timeout));
        self
    }

    /// The longest pause within a response. Default as the upstream says.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.wire.timeouts.idle = Some(values::Duration(timeout));
        self
    }

    /// The longest silence, both ways, on an upgraded connection. Default as the upstream says.
    pub fn upgraded_idle_timeout(mut self, timeout: Duration) -> Self {
        self.wire.timeouts.upgraded_idle = Some(values::Duration(timeout));
        self
    }

    /// The largest request body, in bytes, or `None` for no limit; then 413. Default as the listener says.
    pub fn max_body_size(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.wire.max_body_size = Some(SizeLimit(bytes.into()));
        self
    }

    /// When a request is tried again, instead of what the upstream says. Default as the upstream says.
    pub fn retry(mut self, retry: RetryBuilder) -> Self {
        self.wire.retry = Some(retry.wire);
        self
    }

    /// Whether the access log says how the backend was chosen. Default no.
    pub fn explain(mut self, on: bool) -> Self {
        self.wire.explain = on;
        self
    }
}

/// A filter as it would be written. Parameters that cannot be written as JSON are noted with their place.
pub(super) fn step(
    kind: String,
    params: impl Serialize,
    path: &Path,
    failed: &mut Vec<(Path, String)>,
) -> wire::Step {
    let params = serde_json::to_value(params).unwrap_or_else(|error| {
        failed.push((path.key(&kind), format!("has parameters that cannot be written as JSON: {error}")));
        serde_json::Value::Null
    });
    wire::Step(serde_json::Value::Object(serde_json::Map::from_iter([(kind, params)])), None)
}
