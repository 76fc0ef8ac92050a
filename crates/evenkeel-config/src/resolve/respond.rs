//! A route's fixed response: its status, fields and body.

use evenkeel_http::message::{Escape, Phase, Scope, Template, check_location, is_of_the_connection};

use super::Context;
use super::general::{is_field_value, is_token};
use crate::Respond;
use crate::placeholders::{TemplateFault, template};
use crate::wire;
use crate::yaml::Path;

/// The type of a body that has none of its own.
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// A fixed response; `None` if something of it is wrong.
pub(super) fn respond(
    wire: &wire::Respond,
    scope: Scope<'_>,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Respond> {
    let status = u16::try_from(wire.status).ok().filter(|status| (200..=599).contains(status));
    if status.is_none() {
        let message = "is out of range: expected 200 to 599";
        context.wrong(&path.key("status"), &wire.status.to_string(), message);
    }
    let bodiless = matches!(wire.status, 204 | 205 | 304);
    if bodiless && !wire.body.is_empty() {
        context.wrong_key(
            &path.key("body"),
            format!("has no effect: a response with status {} has none", wire.status),
        );
    }
    let mut headers = Vec::new();
    let mut right = true;
    for (name, value) in &wire.headers.0 {
        match field(wire.status, name, value, scope) {
            Ok(field) => headers.push(field),
            Err((fault, is_value)) => {
                let path = path.key("headers").key(name);
                let noted = match is_value {
                    true => context.wrong(&path, value, fault.message),
                    false => context.wrong_key(&path, fault.message),
                };
                noted.suggestion = fault.suggestion;
                right = false;
            }
        }
    }
    if right && !bodiless && !headers.iter().any(|(name, _)| name == "content-type") {
        headers.push(("content-type".to_owned(), constant(PLAIN_TEXT)?));
    }
    // The type decides how values are written into the body.
    let media_type = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
    let escape = Escape::of_media_type(media_type.unwrap_or(PLAIN_TEXT));
    let body = template(&wire.body, escape, Phase::Request, scope)
        .map_err(|fault| context.wrong_key(&path.key("body"), fault.message).suggestion = None)
        .ok()?;
    right.then_some(())?;
    Some(Respond { status: status?, body, headers })
}

fn constant(text: &str) -> Option<Template> {
    Template::parse(text, Escape::Header, Phase::Request, Scope::default()).ok()
}

/// A field, or what is wrong with it, and whether that is its value.
fn field(
    status: u32,
    name: &str,
    value: &str,
    scope: Scope<'_>,
) -> Result<(String, Template), (TemplateFault, bool)> {
    let lower = name.to_ascii_lowercase();
    let key = |message: &str| (TemplateFault::new(message, None), false);
    if !is_token(name) {
        return Err(key("is not the name of a header field"));
    }
    if is_of_the_connection(&lower) && !(status == 426 && lower == "upgrade") {
        return Err(key("cannot be set: evenkeel sets it for each connection"));
    }
    let wrong = |message: String| (TemplateFault::new(message, None), true);
    if !is_field_value(value) {
        let message = "is not the value of a header field: expected no control characters";
        return Err(wrong(message.to_owned()));
    }
    let escape = Escape::of_header(&lower);
    let given = template(value, escape.unwrap_or(Escape::Header), Phase::Request, scope);
    let given = given.map_err(|fault| (fault, true))?;
    if escape.is_none() && given.constant().is_none() {
        return Err(wrong("has a placeholder: expected a fixed value in this header".to_owned()));
    }
    if escape == Some(Escape::Location) {
        check_location(&given).map_err(|error| wrong(format!("is not a location: {error}")))?;
    }
    Ok((lower, given))
}
