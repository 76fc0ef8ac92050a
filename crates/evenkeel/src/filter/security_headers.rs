//! `security_headers`: response headers that tell browsers to be careful.

use http::{HeaderName, HeaderValue, header};
use schemars::JsonSchema;
use serde::Deserialize;

use super::registry::{FilterError, FilterKind};
use super::{BuildContext, Filter, HeaderEdit, Response};

/// Values of the headers. `off` leaves a header to the backend.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map, like {} or { frame_options: DENY }")]
pub struct SecurityHeadersParams {
    /// `X-Content-Type-Options`: browsers do not guess the type of a response.
    pub content_type_options: String,
    /// `X-Frame-Options`: which sites can show a page in a frame. `DENY`, `SAMEORIGIN` or `off`.
    pub frame_options: String,
    /// `Referrer-Policy`: what other sites learn of the address of a page.
    pub referrer_policy: String,
    /// `Content-Security-Policy`: from where a page can load scripts and the rest. There is no value that fits every site.
    pub content_security_policy: String,
    /// `Permissions-Policy`: which features of the browser a page can use.
    pub permissions_policy: String,
    /// `Cross-Origin-Opener-Policy`: whether a page shares its browsing context with pages of other origins.
    pub cross_origin_opener_policy: String,
    /// `Cross-Origin-Embedder-Policy`: whether a page can load resources of other origins that do not allow it.
    pub cross_origin_embedder_policy: String,
    /// `Cross-Origin-Resource-Policy`: which sites can load the response.
    pub cross_origin_resource_policy: String,
    /// Whether a header of the backend is replaced. By default it stays.
    pub overwrite: bool,
}

/// Adds headers to responses that tell browsers to be careful.
#[derive(Debug)]
pub struct SecurityHeaders {
    headers: Vec<(HeaderName, HeaderValue)>,
    overwrite: bool,
}

/// What leaves a header to the backend.
const OFF: &str = "off";

impl Default for SecurityHeadersParams {
    fn default() -> Self {
        let off = || OFF.to_owned();
        Self {
            content_type_options: "nosniff".to_owned(),
            frame_options: "SAMEORIGIN".to_owned(),
            referrer_policy: "strict-origin-when-cross-origin".to_owned(),
            content_security_policy: off(),
            permissions_policy: off(),
            cross_origin_opener_policy: off(),
            cross_origin_embedder_policy: off(),
            cross_origin_resource_policy: off(),
            overwrite: false,
        }
    }
}

impl Filter for SecurityHeaders {
    fn on_response(&self, response: &mut Response<'_>) {
        if response.head.status() < 200 {
            return;
        }
        for (name, value) in &self.headers {
            if self.overwrite || response.head.header(name.as_str()).is_none() && !is_set(response, name) {
                response.edits.danger_push(HeaderEdit::Set(name.clone(), value.clone()));
            }
        }
    }
}

/// Whether a filter that ran before has set this header.
fn is_set(response: &Response<'_>, name: &HeaderName) -> bool {
    let sets = |edit: &HeaderEdit| matches!(edit, HeaderEdit::Set(known, _) | HeaderEdit::Add(known, _) if known == name);
    response.edits.headers().iter().any(sets)
}

impl FilterKind for SecurityHeaders {
    const NAME: &'static str = "security_headers";
    const EXAMPLE: &'static str =
        "security_headers: { frame_options: DENY, content_security_policy: \"default-src 'self'\" }";
    const DOC: &'static str = "Adds headers to responses that tell browsers to be careful, also to responses of the balancer itself. \
                               `off` leaves a header out. For `Strict-Transport-Security`, use `http: { hsts }` of a listener.";
    type Params = SecurityHeadersParams;

    fn new(params: SecurityHeadersParams, _: &BuildContext<'_>) -> Result<Self, FilterError> {
        let frame_options = params.frame_options.as_str();
        if !["DENY", "SAMEORIGIN", OFF, "false"].contains(&frame_options) {
            return Err(FilterError::new("frame_options", "DENY, SAMEORIGIN or off"));
        }
        if !["nosniff", OFF, "false"].contains(&params.content_type_options.as_str()) {
            return Err(FilterError::new("content_type_options", "nosniff or off"));
        }
        let named = |name: &'static str| HeaderName::from_static(name);
        let written = [
            (header::X_CONTENT_TYPE_OPTIONS, "content_type_options", &params.content_type_options),
            (header::X_FRAME_OPTIONS, "frame_options", &params.frame_options),
            (header::REFERRER_POLICY, "referrer_policy", &params.referrer_policy),
            (header::CONTENT_SECURITY_POLICY, "content_security_policy", &params.content_security_policy),
            (named("permissions-policy"), "permissions_policy", &params.permissions_policy),
            (
                named("cross-origin-opener-policy"),
                "cross_origin_opener_policy",
                &params.cross_origin_opener_policy,
            ),
            (
                named("cross-origin-embedder-policy"),
                "cross_origin_embedder_policy",
                &params.cross_origin_embedder_policy,
            ),
            (
                named("cross-origin-resource-policy"),
                "cross_origin_resource_policy",
                &params.cross_origin_resource_policy,
            ),
        ];
        let mut headers = Vec::new();
        for (name, key, text) in written {
            if text == OFF || text == "false" {
                continue;
            }
            let value = HeaderValue::from_str(text).ok().filter(|value| !value.is_empty());
            let expected = "a header value: no line ends or control characters, or off";
            headers.push((name, value.ok_or_else(|| FilterError::new(key, expected))?));
        }
        Ok(Self { headers, overwrite: params.overwrite })
    }
}
