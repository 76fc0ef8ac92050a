//! The response of a route that redirects.

use evenkeel_config::{Part, Redirect};
use evenkeel_http::message::{Answer, Refusal, RequestHead};
use http::{HeaderValue, header};

/// Sends the client to another location, made of the request's own parts: of the path that the route's filters made, if they
/// made one.
///
/// # Errors
/// The refusal of a request that has not got what the location is made of.
pub fn redirect(
    redirect: &Redirect,
    head: &dyn RequestHead,
    path: &str,
    tls: bool,
) -> Result<Answer, Refusal> {
    let mut location = String::new();
    for part in redirect.to.parts() {
        match part {
            Part::Text(text) => location.push_str(text),
            Part::Name(name) => match &**name {
                "scheme" => location.push_str(if tls { "https" } else { "http" }),
                "host" => location.push_str(given(head.host())?),
                "authority" => location.push_str(given(head.authority())?),
                "path" => location.push_str(match path {
                    path if path.starts_with('/') => path,
                    // The target `*` is the whole server.
                    _ => "/",
                }),
                "query" => {
                    if let Some(query) = head.query() {
                        location.push('?');
                        location.push_str(query);
                    }
                }
                _ => {}
            },
        }
    }
    if !redirect.to.as_str().starts_with("//") {
        keep_within_this_host(&mut location);
    }
    match HeaderValue::from_str(&location) {
        Ok(location) => Ok(Answer::new(redirect.status).header(header::LOCATION, location)),
        Err(_) => Err(Refusal::BadRequest("the request cannot be redirected")),
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

fn given(host: &str) -> Result<&str, Refusal> {
    match host {
        "" => Err(Refusal::BadRequest("there is no Host, and the redirect needs one")),
        host => Ok(host),
    }
}

/// Keeps a location that is only a path on this host: two slashes at its start would begin the name of another one, and
/// browsers take a backslash for a slash.
fn keep_within_this_host(location: &mut String) {
    if location.starts_with('/') {
        let slashes = location.bytes().take_while(|byte| matches!(byte, b'/' | b'\\')).count();
        location.replace_range(..slashes, "/");
    }
}
