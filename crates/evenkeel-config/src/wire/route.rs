//! `routes`: which requests, what is done to them, and where they go.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{Named, Retry};
use crate::model;
use crate::values::{Duration, Weight};

/// A rule that matches requests and says where they go: to exactly one of `upstream`, `split`, `redirect` and `respond`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "route")]
pub(crate) struct Route {
    /// What logs and metrics call it; no name twice.
    pub(crate) name: String,
    /// What a request must be like. Everything, unless given.
    #[serde(default, rename = "match")]
    pub(crate) matches: Match,
    /// The steps on the request's path, in order.
    #[serde(default)]
    pub(crate) filters: Vec<Step>,
    /// Sends requests to the upstream of this name.
    pub(crate) upstream: Option<String>,
    /// Shares requests among upstreams by weight: `{ stable: 95, canary: 5 }`. An upstream of weight 0 gets none; at least
    /// one weight is not 0.
    pub(crate) split: Option<Named<Weight>>,
    /// Sends the client elsewhere.
    pub(crate) redirect: Option<Redirect>,
    /// Answers with a fixed answer.
    pub(crate) respond: Option<Respond>,
    /// From the end of the request's head to the head of the answer, over all attempts; then the answer is 504. Unless
    /// given, only the upstream's own timeouts count.
    pub(crate) timeout: Option<Duration>,
    /// When a request is tried again, instead of the upstream's `retry` as a whole: what is not given here has its default.
    pub(crate) retry: Option<Retry>,
    /// Whether records of the access log say, in short, how the backend was chosen. Turn it on to find out why requests go
    /// where they go; it makes records longer.
    #[serde(default)]
    pub(crate) explain: bool,
}

/// What a request must be like. All conditions must hold; of a list, one entry must.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "match")]
pub(crate) struct Match {
    /// Hosts: `api.example.com`, `*.example.com` (every host below, but not `example.com` itself), or `*`. Without a port:
    /// a route takes a host on every port.
    pub(crate) hosts: Vec<String>,
    /// The path, exactly. At most one of `path`, `path_prefix` and `path_regex`. They are compared with the path in its normal
    /// form, however the client spelled it, unless the listener says `path_matching: as_sent`.
    pub(crate) path: Option<String>,
    /// What the path begins with, by whole segments: `/v1` takes `/v1` and `/v1/users`, but not `/v10`.
    pub(crate) path_prefix: Option<String>,
    /// A regular expression (Rust's `regex` syntax), looked for anywhere in the path; anchor it with `^` and `$` to mean the
    /// whole path. It costs more than the others: prefer them.
    pub(crate) path_regex: Option<String>,
    /// Methods, in upper case. `GET` does not include `HEAD`.
    pub(crate) methods: Vec<String>,
    /// Header fields and their values, letter by letter; `*` for any value. Of several fields of one name, the first counts.
    pub(crate) headers: Named<String>,
    /// Query parameters and their values, decoded; `*` for any value.
    pub(crate) query: Named<String>,
}

/// A step: a map of one key, the filter's kind, with its parameters. What parameters there are is the filter's business.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Step(pub(crate) serde_json::Value);

/// A redirect.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "redirect")]
pub(crate) struct Redirect {
    /// The new location, a URL or a path. May hold `{scheme}`, `{host}` (without port), `{authority}` (with the port that the client
    /// named, if it did), `{path}` and `{query}` (with its `?`; empty without a query): `https://{host}{path}{query}`. `{path}` is the
    /// path that routes see, or what the route's filters make of it. A location that begins with `/` or `{path}` never
    /// leads to another host: slashes and backslashes at its start become one slash. Where `{host}` or `{authority}` is
    /// needed and the request has none, the response is 400. `{{` and `}}` stand for the braces themselves.
    pub(crate) to: String,
    /// The status: 301, 302, 303, 307 or 308. 301 and 308 are kept by browsers for good; 307 and 308 keep the method.
    #[serde(default = "redirect_status")]
    #[schemars(schema_with = "redirect_statuses")]
    pub(crate) status: u32,
}

/// A fixed answer.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "respond")]
pub(crate) struct Respond {
    /// The status, 200 to 599.
    #[schemars(range(min = 200, max = 599))]
    pub(crate) status: u32,
    /// The body, as text. Names in braces such as `{host}` are refused, since they will have a meaning; `{{host}}` stands for
    /// the text `{host}`.
    pub(crate) body: String,
    /// The header fields. `content-type` is `text/plain; charset=utf-8` unless given; `204`, `205` and `304` have none.
    pub(crate) headers: Named<String>,
}

// === impl Step ===

impl JsonSchema for Step {
    fn schema_name() -> Cow<'static, str> {
        "filter".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A step on the request's path: a map of one key, the filter's kind.",
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
        })
    }
}

// === impl Redirect ===

impl Redirect {
    /// The statuses that redirect.
    pub(crate) const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];
}

fn redirect_status() -> u32 {
    model::Redirect::STATUS.into()
}

fn redirect_statuses(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": Redirect::STATUSES })
}

// === impl Respond ===

impl Default for Respond {
    fn default() -> Self {
        Self { status: model::Respond::STATUS.into(), body: String::new(), headers: Named::default() }
    }
}
