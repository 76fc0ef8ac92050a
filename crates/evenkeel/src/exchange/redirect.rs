//! The responses of routes that redirect or respond by themselves.

use evenkeel_config::Redirect;
use evenkeel_http::message::{
    Answer, Facts, Placeholder, Refusal, RequestFacts, RequestHead, Template, is_authority,
};
use http::{HeaderName, HeaderValue, header};

/// A response whose fields or body depend on the request.
#[derive(Clone, Debug)]
pub struct MadeAnswer {
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub headers: Vec<(HeaderName, Template)>,
    /// Its body.
    pub body: Template,
}

// === impl MadeAnswer ===

impl MadeAnswer {
    /// The response to a request. A field whose value is empty is left out.
    pub fn answer(&self, request: &RequestFacts<'_>) -> Answer {
        let facts = Facts { request: Some(request), response: None };
        let mut body = Vec::new();
        self.body.render(facts, &mut body);
        let mut answer = Answer::new(self.status).body(body);
        for (name, template) in &self.headers {
            if let Some(value) = template.header_value(facts) {
                answer.headers.push((name.clone(), value));
            }
        }
        answer
    }
}

/// Sends the client to another location, made of the request's own parts.
///
/// # Errors
/// The refusal of a request that has not got what the location is made of.
pub fn redirect(redirect: &Redirect, request: &RequestFacts<'_>) -> Result<Answer, Refusal> {
    let needs_host = |value: &Placeholder| matches!(value, Placeholder::Host | Placeholder::Authority);
    if redirect.to.placeholders().any(needs_host) {
        given(request.head.host())?;
        given(request.head.authority())?;
    }
    match redirect.to.location(Facts { request: Some(request), response: None }) {
        Some(location) => Ok(Answer::new(redirect.status).header(header::LOCATION, location)),
        None => Err(Refusal::BadRequest("the request cannot be redirected")),
    }
}

/// Sends the client to the same URL over HTTPS on this port.
///
/// # Errors
/// The refusal of a request without a host.
pub(super) fn to_https(head: &dyn RequestHead, port: u16) -> Result<Answer, Refusal> {
    let host = given(head.host())?;
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let path = match head.path() {
        path if path.starts_with('/') => path,
        // The target `*` is the whole server.
        _ => "/",
    };
    let query = head.query().map(|query| format!("?{query}")).unwrap_or_default();
    match HeaderValue::from_str(&format!("https://{host}{port}{path}{query}")) {
        Ok(location) => Ok(Answer::new(308).header(header::LOCATION, location)),
        Err(_) => Err(Refusal::BadRequest("the request cannot be redirected")),
    }
}

/// A host that can be in a location.
fn given(host: &str) -> Result<&str, Refusal> {
    match host {
        "" => Err(Refusal::BadRequest("there is no Host, and the redirect needs one")),
        host if !is_authority(host) => Err(Refusal::BadRequest("the request cannot be redirected")),
        host => Ok(host),
    }
}
