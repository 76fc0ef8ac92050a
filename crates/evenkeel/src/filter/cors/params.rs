//! The parameters of `cors`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::filter::DurationParam;

/// Which pages of other origins can use a route.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map with allow_origins, like { allow_origins: [https://app.example.com] }"
)]
pub struct CorsParams {
    /// Origins whose pages can read responses: `https://app.example.com`, `https://*.example.com` for all subdomains, or `*` for
    /// every page.
    pub allow_origins: Vec<String>,
    /// Methods that these pages can use. `*`: any.
    #[serde(default = "usual_methods")]
    pub allow_methods: Vec<String>,
    /// Request headers that these pages can set, besides those that every page can set. `*`: any.
    #[serde(default)]
    pub allow_headers: Vec<String>,
    /// Response headers that these pages can read, besides those that every page can read.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// Whether requests can have cookies and other credentials. Not with the origin `*`: then every page could act as the user.
    #[serde(default)]
    pub allow_credentials: bool,
    /// For how long a browser remembers what is allowed. Browsers remember it for 2 hours at most.
    #[serde(default = "usual_max_age")]
    pub max_age: DurationParam,
}

fn usual_methods() -> Vec<String> {
    ["GET", "HEAD", "POST"].map(str::to_owned).to_vec()
}

fn usual_max_age() -> DurationParam {
    DurationParam(Duration::from_secs(600))
}
