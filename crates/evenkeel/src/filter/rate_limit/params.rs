//! The parameters of `rate_limit`.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use evenkeel_config::RequestRate;
use evenkeel_core::limit::Rate;
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::filter::{DurationParam, FilterError};

/// How often each key can send a request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with a rate, like { rate: 100/s }")]
pub struct RateLimitParams {
    /// The name in `RateLimit` headers, metrics and `/status`: up to 64 printable characters without quotes. Default: the name
    /// in the top-level `filters`, else the key. Give limits of one route different names.
    pub name: Option<String>,
    /// What is counted: `client_ip`, `header NAME`, `cookie NAME`, `query NAME`, `path`, `host`, `method`, `route` or `all` (one quota
    /// for all requests), or a list of these. A request without the header, cookie or query parameter counts for its client's address. Clients can make up
    /// values of headers, cookies and query parameters: add a limit by `client_ip`.
    #[serde(default)]
    pub key: KeyParam,
    /// How many requests in which period, over a long time: `100/s`, `5000/h`, `10/5m`. At most 1000000/s.
    pub rate: RequestRate,
    /// How many requests can come at once. Default: the number of the rate, so that `100/s` allows any 100 in a second. 1
    /// spaces requests evenly. In a time T, at most burst + rate × T requests pass.
    pub burst: Option<u32>,
    /// The part of an IPv4 address that is the client: 1 to 32.
    #[serde(default = "whole_ipv4")]
    #[schemars(range(min = 1, max = 32))]
    pub ipv4_prefix: u8,
    /// The part of an IPv6 address that is the client: 1 to 128. A client usually has a whole /64.
    #[serde(default = "usual_ipv6")]
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix: u8,
    /// The most keys to remember: 1 to 100000000. Each takes up to 51 bytes once it is used. Above that, the least used keys are
    /// forgotten first, and never one that is being limited. If only those are left, requests of new keys are not limited.
    #[serde(default = "usual_max_keys")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_keys: u32,
    /// Networks and addresses whose clients are not limited.
    #[serde(default)]
    pub exempt: Vec<String>,
    /// What happens to a request over the limit. `reject`: it is rejected with status 429 and `Retry-After`. `delay`: it waits
    /// until the rate allows it, in the order in which requests came; if that takes longer than `max_delay`, it is rejected. `log`:
    /// it passes, is counted and logged, to try a limit.
    #[serde(default)]
    pub on_exceed: OnExceed,
    /// How long a request waits at most with `on_exceed: delay`, 1ms to 1m. So at most `rate` × `max_delay` requests of a key
    /// wait. Each holds its connection meanwhile. Default: 1s.
    pub max_delay: Option<DurationParam>,
    /// Whether responses have the headers `RateLimit` and `RateLimit-Policy`. Turn it off to keep the limit secret.
    #[serde(default = "yes")]
    pub headers: bool,
}

/// What happens to a request over the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", expecting = "reject, delay or log")]
#[schemars(inline)]
pub enum OnExceed {
    /// It is rejected with status 429 and `Retry-After`.
    #[default]
    Reject,
    /// It waits until the rate allows it, for a bounded time.
    Delay,
    /// It passes, and is counted and logged: to try a limit.
    Log,
}

/// What a limit counts by, as written: one part or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyParam(pub Vec<String>);

fn whole_ipv4() -> u8 {
    32
}

fn usual_ipv6() -> u8 {
    64
}

fn usual_max_keys() -> u32 {
    100_000
}

fn yes() -> bool {
    true
}

/// Networks as written, at this key.
pub(in crate::filter) fn networks<T: FromIterator<IpNet>>(
    written: &[String],
    key: &str,
) -> Result<T, FilterError> {
    let networks = written.iter().enumerate().map(|(at, text)| {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let expected = "a network or an address, like 10.0.0.0/8 or 192.0.2.7";
        network.map_err(|_| FilterError::new(format!("{key}[{at}]"), expected))
    });
    networks.collect()
}

/// How many requests of a key can wait, at this rate.
pub(super) fn delayed(max: Option<DurationParam>, done: OnExceed, rate: Rate) -> Result<u32, FilterError> {
    if done != OnExceed::Delay {
        return match max {
            Some(_) => Err(FilterError::new("max_delay", "on_exceed: delay with it")),
            None => Ok(0),
        };
    }
    let max = max.map_or(Duration::from_secs(1), |max| max.0);
    if !(Duration::from_millis(1)..=Duration::from_secs(60)).contains(&max) {
        return Err(FilterError::new("max_delay", "a time from 1ms to 1m"));
    }
    let requests = u128::from(rate.count().get()) * max.as_micros() / rate.period().as_micros().max(1);
    match u32::try_from(requests) {
        Ok(0) => Err(FilterError::new("max_delay", "at least the time that one request takes at the rate")),
        Ok(requests) => Ok(requests),
        Err(_) => Ok(u32::MAX),
    }
}

// === impl KeyParam ===

impl Default for KeyParam {
    fn default() -> Self {
        Self(vec!["client_ip".to_owned()])
    }
}

impl<'de> Deserialize<'de> for KeyParam {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = KeyParam;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key, like client_ip or header x-user, or a list of keys")
            }

            fn visit_str<E>(self, text: &str) -> Result<KeyParam, E> {
                Ok(KeyParam(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<KeyParam, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = list.next_element()? {
                    parts.push(part);
                }
                Ok(KeyParam(parts))
            }
        }
        deserializer.deserialize_any(Parts)
    }
}

impl JsonSchema for KeyParam {
    fn schema_name() -> Cow<'static, str> {
        "rate_limit_key".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }],
            "default": "client_ip",
            "examples": ["client_ip", "header x-api-key", ["client_ip", "path"]],
        })
    }
}
