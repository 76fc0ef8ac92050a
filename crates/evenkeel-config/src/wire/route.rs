//! `routes`: which requests match, what is changed, and where they go.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{Named, OrText, Retry, RouteTimeouts, Scheme, Short};
use crate::ExtensionValue;
use crate::model;
use crate::values::{Duration, SizeLimit, Weight};

/// A rule that matches requests and says where they go: exactly one of `upstream`, `split`, `redirect` and `respond`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "route")]
pub(crate) struct Route {
    /// Its name in logs and metrics. Each name can be used once.
    pub(crate) name: String,
    /// Which requests match. Default: all.
    #[serde(default, rename = "match")]
    pub(crate) matches: Match,
    /// The filters for the request, in order, after those of the listener. `use: NAME` is the filter with this name in the
    /// top-level `filters`.
    #[serde(default)]
    pub(crate) filters: Vec<Step>,
    /// Sends requests to the upstream with this name.
    pub(crate) upstream: Option<String>,
    /// Splits requests between upstreams by weight: `{ stable: 95, canary: 5 }`. An upstream of weight 0 receives none.
    /// At least one weight must not be 0.
    pub(crate) split: Option<Named<Weight>>,
    /// Sends the client to another location.
    pub(crate) redirect: Option<Redirect>,
    /// Returns a fixed response.
    pub(crate) respond: Option<Respond>,
    /// The time from the end of the request head to the response head, over all attempts; then the client receives 504.
    /// Default: only the upstream's timeouts apply.
    pub(crate) timeout: Option<Duration>,
    /// How long backends can take for requests of this route. Default: as the upstream says.
    #[serde(default)]
    pub(crate) timeouts: RouteTimeouts,
    /// The largest request body on this route, or `off` for no limit; above it the client receives 413. It replaces the
    /// listener's `max_body_size`. Default: the listener's.
    pub(crate) max_body_size: Option<SizeLimit>,
    /// When a request is retried. It replaces the upstream's `retry` completely: a key that is not set here has its
    /// default.
    pub(crate) retry: Option<Retry>,
    /// Whether the access log records shortly how the backend was picked. Turn it on to find out why requests go where
    /// they go. It makes records longer.
    #[serde(default)]
    pub(crate) explain: bool,
}

/// Which requests match. All conditions must match. In a list, one entry must match.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "match")]
pub(crate) struct Match {
    /// Hosts: `api.example.com`, `*.example.com` (every host below, but not `example.com` itself), or `*`. Without a
    /// port: a route matches a host on every port.
    pub(crate) hosts: Vec<String>,
    /// A regular expression (Rust's `regex` syntax) that matches anywhere in the host, in lower case and without a port. Prefer
    /// `hosts`: it costs less.
    pub(crate) host_regex: Option<String>,
    /// The exact path. At most one of `path`, `path_prefix` and `path_regex`. They are compared with the path in its normal
    /// form, however the client spelled it, unless the listener has `path_matching: as_sent`.
    pub(crate) path: Option<String>,
    /// The start of the path, in whole segments: `/v1` matches `/v1` and `/v1/users`, but not `/v10`.
    pub(crate) path_prefix: Option<String>,
    /// A regular expression (Rust's `regex` syntax) that matches anywhere in the path. Use `^` and `$` to match the
    /// whole path. It costs more than the others: prefer those.
    pub(crate) path_regex: Option<String>,
    /// Methods, in upper case. `GET` does not include `HEAD`.
    pub(crate) methods: Vec<String>,
    /// Header fields and their exact values, case-sensitive; `*` for any value, or `{ regex: … }`. If a field occurs more than
    /// once, the first counts.
    pub(crate) headers: Named<OrText<Value>>,
    /// Query parameters and their values, decoded; `*` for any value, or `{ regex: … }`.
    pub(crate) query: Named<OrText<Value>>,
    /// Names of listeners: the request must come from one of them.
    pub(crate) listeners: Vec<String>,
    /// Networks such as `10.0.0.0/8`, and addresses: the client must be in one of them. This is the client's address as in
    /// logs and limits. A client on a Unix socket without an address is in none.
    pub(crate) clients: Vec<String>,
    /// `https` or `http`: what the client uses with evenkeel, or with a trusted proxy in front of it.
    pub(crate) scheme: Option<Scheme>,
    /// Names that the client asked for in TLS (SNI), like `hosts`. A client without TLS does not match.
    pub(crate) sni: Vec<String>,
    /// Requests that do not match: none of these conditions may match as a whole.
    pub(crate) not: Vec<Match>,
    /// Alternatives: at least one of these conditions must match as a whole.
    pub(crate) any_of: Vec<Match>,
}

/// What the value of a header field or of a query parameter must be.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a value, or a map with regex")]
#[schemars(rename = "value")]
pub(crate) struct Value {
    /// A regular expression (Rust's `regex` syntax) that matches anywhere in the value.
    pub(crate) regex: String,
    /// The value itself.
    #[serde(skip)]
    pub(crate) text: Option<String>,
}

/// A filter: a map with one key, the filter's kind, and its parameters. The filter defines its parameters.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Step(
    pub(crate) serde_json::Value,
    /// The filter itself, which a program passed as a value.
    #[serde(skip)]
    pub(crate) Option<ExtensionValue>,
);

/// A redirect.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "redirect")]
pub(crate) struct Redirect {
    /// The new location, a URL or a path, with placeholders (docs/placeholders.md): `https://{host}{path}{query}`. Only
    /// `{host}` and `{authority}` can be in its host: clients must not choose where they are sent. A location that begins with `/` or
    /// `{path}` never leads to another host: slashes at its start become one slash, and a backslash becomes `%5C`. If `{host}` or
    /// `{authority}` is needed and the request has none, the response is 400. Write `{{` and `}}` for literal braces.
    pub(crate) to: String,
    /// The status: 301, 302, 303, 307 or 308. Browsers remember 301 and 308. 307 and 308 keep the method.
    #[serde(default = "redirect_status")]
    #[schemars(schema_with = "redirect_statuses")]
    pub(crate) status: u32,
}

/// A fixed response.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values")]
#[schemars(rename = "respond")]
pub(crate) struct Respond {
    /// The status, 200 to 599.
    #[schemars(range(min = 200, max = 599))]
    pub(crate) status: u32,
    /// The body, as text with placeholders (docs/placeholders.md). Values are escaped for the type of the body: as in a string
    /// of JSON, as in HTML, or not at all in plain text. Write `{{host}}` for the text `{host}`.
    pub(crate) body: String,
    /// The header fields, with placeholders. `content-type` is `text/plain; charset=utf-8` by default; `204`, `205` and `304` have none.
    pub(crate) headers: Named<String>,
}

// === impl Value ===

impl Value {
    /// This value, or `*` for any.
    pub(crate) fn exact(text: impl Into<String>) -> OrText<Self> {
        OrText(Self { regex: String::new(), text: Some(text.into()) })
    }
}

impl Short for Value {
    const EXPECTING: &'static str = "a value, or a map with regex";

    fn from_text(text: &str) -> Result<Self, (String, Option<String>)> {
        Ok(Self::exact(text).0)
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

// === impl Step ===

impl JsonSchema for Step {
    fn schema_name() -> Cow<'static, str> {
        "filter".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A filter: a map with one key, the filter's kind.",
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
