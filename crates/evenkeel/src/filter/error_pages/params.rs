//! The parameters of `error_pages`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

/// Pages in place of the bodies of errors.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map with pages, like { pages: [{ status: [5xx], file: /etc/evenkeel/5xx.html }] }"
)]
pub struct ErrorPagesParams {
    /// The pages. The first one that is for the error and that the client accepts counts.
    pub pages: Vec<ErrorPageParams>,
    /// Whether responses of backends with a status of 400 or more get a page too. By default only the responses of the balancer itself.
    #[serde(default)]
    pub backends: bool,
}

/// A page: for which errors, and what it says.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map with a body or a file, like { status: [5xx], file: /etc/evenkeel/5xx.html }"
)]
pub struct ErrorPageParams {
    /// Statuses: `503`, or `5xx` for all from 500 to 599. Default: each from 400.
    #[serde(default)]
    pub status: Vec<String>,
    /// Causes for which the balancer rejects a request, such as `no_backend` or `rate_limited`: the reasons of
    /// `evenkeel_refusals_total`. Default: any.
    #[serde(default)]
    pub causes: Vec<String>,
    /// The type of the page. A client that accepts HTML or JSON gets a page of that type only.
    #[serde(default = "html")]
    pub content_type: String,
    /// The page. It can contain placeholders, like `{status}` and `{request_id}` (docs/placeholders.md), and `{cause}` and `{message}`: why the
    /// balancer rejected the request, for programs and for people. Braces that do not hold a name stay.
    pub body: Option<String>,
    /// A file with the page. It is read again within a second when it changes. At most 1 MiB.
    pub file: Option<PathBuf>,
}

fn html() -> String {
    "text/html; charset=utf-8".to_owned()
}
