//! The parameters of `forward_auth`.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::filter::DurationParam;

/// Which service decides, and what it and the backend learn.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with a url, like { url: http://127.0.0.1:4180/verify }")]
pub struct ForwardAuthParams {
    /// The URL of the service, with `http` or `https`. It receives a GET request without a body for each request.
    pub url: String,
    /// The authorities that certify the server of an `https` URL, in PEM. Default: those of the system.
    pub ca: Option<PathBuf>,
    /// How long the service can take.
    #[serde(default = "usual_timeout")]
    pub timeout: DurationParam,
    /// Headers of the client that the service receives.
    #[serde(default = "usual_sent")]
    pub send_headers: Vec<String>,
    /// Headers of the service that the backend receives if the request is accepted, such as `x-auth-request-user`. Copies that a client
    /// sends are removed.
    #[serde(default)]
    pub upstream_headers: Vec<String>,
    /// Headers of the service that the client receives if the request is accepted.
    #[serde(default = "usual_returned")]
    pub client_headers: Vec<String>,
    /// What happens if the service cannot be reached, takes too long or fails with a status of 500 or more. `reject`: the request is
    /// rejected with 503. `allow`: it passes, without `upstream_headers`.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// What a remembered decision is for, besides the client's address, the method, the host, the path and the query: `header NAME` or
    /// `cookie NAME`, in a list. Name everything by which the service decides. Default: nothing is remembered.
    #[serde(default)]
    pub cache_by: Vec<String>,
    /// For how long an accepted request is remembered. The service does not see a sign-out for so long.
    #[serde(default = "usual_cache")]
    pub cache_for: DurationParam,
}

/// What happens to a request if the service fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", expecting = "reject or allow")]
#[schemars(inline)]
pub enum OnFailure {
    /// It is rejected with status 503.
    #[default]
    Reject,
    /// It passes.
    Allow,
}

fn usual_timeout() -> DurationParam {
    DurationParam(Duration::from_secs(5))
}

fn usual_sent() -> Vec<String> {
    ["accept", "authorization", "cookie", "user-agent", "x-requested-with"].map(str::to_owned).to_vec()
}

fn usual_returned() -> Vec<String> {
    vec!["set-cookie".to_owned()]
}

fn usual_cache() -> DurationParam {
    DurationParam(Duration::from_secs(10))
}
