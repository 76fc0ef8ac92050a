//! A rate limit from code.

use std::num::NonZeroU32;
use std::time::Duration;

use evenkeel_core::limit::Rate;
use serde_json::{Map, Value, json};

use crate::wire;

/// Builds a `rate_limit` filter: how often each client, or each of something else, can send a request.
///
/// ```
/// use evenkeel_config::{ConfigBuilder, RateLimit};
///
/// let config = ConfigBuilder::new()
///     .listen_address("127.0.0.1:8080")
///     .upstream_servers(["http://127.0.0.1:8081"])
///     .rate_limit(RateLimit::per_client(100).burst(50))
///     .try_build()?;
/// # Ok::<(), evenkeel_config::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct RateLimit {
    params: Map<String, Value>,
}

// === impl RateLimit ===

impl RateLimit {
    /// So many requests in a second for each client address: an IPv4 address, or the /64 of an IPv6 address.
    pub fn per_client(requests_per_second: u32) -> Self {
        Self::per("client_ip", requests_per_second)
    }

    /// So many requests in a second for each value of a key, written as in a file: `header x-api-key`, `cookie session`,
    /// `query token`, `path`, `host`, `method`, `route`, `client_ip`.
    pub fn per(key: impl Into<String>, requests_per_second: u32) -> Self {
        let params = Map::from_iter([
            ("key".to_owned(), Value::String(key.into())),
            ("rate".to_owned(), json!(format!("{requests_per_second}/s"))),
        ]);
        Self { params }
    }

    /// At this rate, such as one of [`parse_rate`](crate::parse_rate).
    pub fn rate(self, rate: Rate) -> Self {
        self.with("rate", rate.to_string())
    }

    /// The same number of requests in another period than a second. At most a day.
    pub fn in_period(self, period: Duration) -> Self {
        let text = self.params.get("rate").and_then(Value::as_str).unwrap_or_default();
        let count = text.split('/').next().and_then(|count| count.parse::<NonZeroU32>().ok());
        match count.and_then(|count| Rate::new(count, period)) {
            Some(rate) => self.rate(rate),
            // The message about it is the file's.
            None => {
                self.with("rate", format!("{}/{}ms", count.map_or(0, NonZeroU32::get), period.as_millis()))
            }
        }
    }

    /// How many requests can come at once. Default: the number of the rate.
    pub fn burst(self, requests: u32) -> Self {
        self.with("burst", requests)
    }

    /// What fields, metrics and `/status` call it. Default: the key.
    pub fn name(self, name: impl Into<String>) -> Self {
        self.with("name", name.into())
    }

    /// For how many keys there is room. Default 100,000.
    pub fn max_keys(self, keys: u32) -> Self {
        self.with("max_keys", keys)
    }

    /// Adds networks whose clients are not limited. Default none.
    pub fn exempt(mut self, networks: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let all = self.params.entry("exempt").or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(all) = all {
            all.extend(networks.into_iter().map(|network| Value::String(network.into())));
        }
        self
    }

    /// Lets requests over the limit wait until the rate allows them, up to this time, instead of rejecting them.
    pub fn delay(self, max_delay: Duration) -> Self {
        let text = crate::values::Duration(max_delay).to_string();
        self.with("on_exceed", "delay").with("max_delay", text)
    }

    /// Whether responses have the fields `RateLimit` and `RateLimit-Policy`. Default yes.
    pub fn headers(self, on: bool) -> Self {
        self.with("headers", on)
    }

    /// As a step of a route.
    pub(super) fn step(&self) -> wire::Step {
        let step = Map::from_iter([("rate_limit".to_owned(), Value::Object(self.params.clone()))]);
        wire::Step(Value::Object(step), None)
    }

    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.params.insert(key.to_owned(), value.into());
        self
    }
}
