//! The answer of a route that redirects.

use evenkeel_config::{Part, Redirect};
use http::{HeaderValue, header};

use crate::filter::{Answer, AnswerFormat, Refusal, RequestHead};

/// Sends the client to another location, made of the request's own parts.
pub fn redirect(redirect: &Redirect, head: &dyn RequestHead, tls: bool) -> Answer {
    let mut location = String::new();
    for part in redirect.to.parts() {
        match part {
            Part::Text(text) => location.push_str(text),
            Part::Name(name) => match &**name {
                "scheme" => location.push_str(if tls { "https" } else { "http" }),
                "host" => location.push_str(head.authority()),
                "path" => location.push_str(head.path()),
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
    let answer = Answer::new(redirect.status);
    match HeaderValue::from_str(&location) {
        Ok(location) => answer.header(header::LOCATION, location),
        Err(_) => Refusal::BadRequest("the request cannot be redirected").answer(AnswerFormat::Text),
    }
}
