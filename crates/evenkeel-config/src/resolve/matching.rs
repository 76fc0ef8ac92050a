//! What a route asks of a request, and the ways of other products to ask it.

use evenkeel_core::route::{
    FieldMatch, FieldMatchError, FieldValue, HostPattern, PathMatch, PathMatchError, RouteMatch, TextRegex,
};

use super::general::method;
use super::{Context, origin};
use crate::foreign::{Strictness, own_text};
use crate::wire::{self, Named, OrText};
use crate::yaml::Path;

/// What a route asks of a request; `None` if something of it is wrong.
pub(super) fn matches(
    wire: &wire::Match,
    listeners: &[&str],
    path: &Path,
    context: &mut Context<'_>,
) -> Option<RouteMatch> {
    let mut matches = RouteMatch::default();
    let mut right = true;
    let hosts = path.key("hosts");
    for (text, path) in wire.hosts.iter().zip(context.entries(&hosts, wire.hosts.len())) {
        match text.parse::<HostPattern>() {
            Ok(host) => matches.hosts.push(host),
            Err(error) => {
                let message = match host_syntax(text) {
                    Some(message) => message.to_owned(),
                    None => format!("is not a host to match: {error}"),
                };
                context.wrong(&path, text, message).suggestion = corrected_host(text);
                right = false;
            }
        }
    }
    right &= methods(wire, &mut matches, path, context);
    let lists = [
        ("hosts", wire.hosts.len()),
        ("methods", wire.methods.len()),
        ("listeners", wire.listeners.len()),
        ("clients", wire.clients.len()),
        ("sni", wire.sni.len()),
        ("not", wire.not.len()),
        ("any_of", wire.any_of.len()),
    ];
    for (key, list) in lists {
        let path = path.key(key);
        if list == 0 && context.node(&path).is_some() && !context.is_damaged(&path) {
            context.wrong_key(&path, "has no entries: leave it out to match every one");
        }
    }
    let path_match = path_match(wire, path, context);
    let headers = fields(&wire.headers, FieldMatch::header, &path.key("headers"), context);
    let query = fields(&wire.query, FieldMatch::query, &path.key("query"), context);
    let host_regex = host_regex(wire, path, context);
    let origin = origin::origin(wire, listeners, path, context);
    let not = nested(&wire.not, listeners, &path.key("not"), context);
    let any_of = nested(&wire.any_of, listeners, &path.key("any_of"), context);
    matches.host_regex = host_regex?;
    matches.origin = origin?;
    matches.not = not?;
    matches.any_of = any_of?;
    matches.path = path_match?;
    matches.headers = headers?;
    matches.query = query?;
    right.then_some(matches)
}

/// Notes the methods; false if one is wrong.
fn methods(wire: &wire::Match, matches: &mut RouteMatch, path: &Path, context: &mut Context<'_>) -> bool {
    let mut right = true;
    let methods = path.key("methods");
    for (text, path) in wire.methods.iter().zip(context.entries(&methods, wire.methods.len())) {
        match method(text) {
            Ok(()) => matches.methods.push(text.clone()),
            Err(suggestion) => {
                let message = "is not a method: expected one like GET or POST, in upper case";
                context.wrong(&path, text, message).suggestion = suggestion;
                right = false;
            }
        }
    }
    right
}

/// The conditions within `not` and `any_of`.
fn nested(
    wire: &[wire::Match],
    listeners: &[&str],
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Vec<RouteMatch>> {
    let mut resolved = Vec::new();
    for (one, path) in wire.iter().zip(context.entries(path, wire.len())) {
        let found = matches(one, listeners, &path, context);
        if found.as_ref().is_some_and(|found| *found == RouteMatch::default()) {
            context.wrong_key(&path, "matches every request: expected a condition");
            resolved.push(None);
            continue;
        }
        resolved.push(found);
    }
    resolved.into_iter().collect()
}

/// The expression on the host; the outer `None` if it is wrong.
fn host_regex(wire: &wire::Match, path: &Path, context: &mut Context<'_>) -> Option<Option<TextRegex>> {
    let Some(text) = &wire.host_regex else { return Some(None) };
    match TextRegex::new(text) {
        Ok(regex) => Some(Some(regex)),
        Err(error) => {
            let said = match &error {
                PathMatchError::Regex(error) => error.to_string(),
                error => error.to_string(),
            };
            context.wrong(&path.key("host_regex"), text, regex_message(&said));
            None
        }
    }
}

/// The condition on the path; the outer `None` if it is wrong.
fn path_match(wire: &wire::Match, path: &Path, context: &mut Context<'_>) -> Option<Option<PathMatch>> {
    type Parse = fn(&str) -> Result<PathMatch, PathMatchError>;
    let given: [(&str, &Option<String>, Parse); 3] = [
        ("path", &wire.path, PathMatch::exact),
        ("path_prefix", &wire.path_prefix, PathMatch::prefix),
        ("path_regex", &wire.path_regex, PathMatch::regex),
    ];
    let mut found: Option<(&str, PathMatch)> = None;
    for (key, text, parse) in given {
        let Some(text) = text else { continue };
        let path = path.key(key);
        if let Some((first, _)) = found {
            context
                .wrong_key(&path, format!("cannot be combined with {first}: expected only one of the two"));
            return None;
        }
        if let Some((message, suggestion)) = path_syntax(key, text) {
            context.wrong(&path, text, message).suggestion = suggestion;
            return None;
        }
        match parse(text) {
            Ok(matched) => found = Some((key, matched)),
            Err(PathMatchError::Regex(error)) => {
                context.wrong(&path, text, regex_message(&error.to_string()));
                return None;
            }
            Err(error) => {
                let suggestion =
                    (key != "path_regex" && !text.starts_with('/') && parse(&format!("/{text}")).is_ok())
                        .then(|| format!("/{text}"));
                context.wrong(&path, text, format!("is not a path to match: {error}")).suggestion =
                    suggestion;
                return None;
            }
        }
    }
    Some(found.map(|(_, matched)| matched))
}

fn fields(
    wire: &Named<OrText<wire::Value>>,
    parse: fn(&str, FieldValue) -> Result<FieldMatch, FieldMatchError>,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Vec<FieldMatch>> {
    let mut resolved = Vec::new();
    for (name, OrText(value)) in &wire.0 {
        let Some(value) = &value.text else {
            let path = path.key(name);
            match TextRegex::new(&value.regex) {
                Ok(regex) => resolved.push(field(parse, name, FieldValue::Regex(regex), &path, context)),
                Err(PathMatchError::Regex(error)) => {
                    context.wrong(&path.key("regex"), &value.regex, regex_message(&error.to_string()));
                    resolved.push(None);
                }
                Err(_) => resolved.push(None),
            }
            continue;
        };
        if let Some(message) = value_syntax(value) {
            context.wrong(&path.key(name), value, message);
            resolved.push(None);
            continue;
        }
        let condition = match value.as_str() {
            "*" => FieldValue::Present,
            exact => FieldValue::Exact(exact.into()),
        };
        resolved.push(field(parse, name, condition, &path.key(name), context));
    }
    resolved.into_iter().collect()
}

fn field(
    parse: fn(&str, FieldValue) -> Result<FieldMatch, FieldMatchError>,
    name: &str,
    condition: FieldValue,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<FieldMatch> {
    match parse(name, condition) {
        Ok(field) => Some(field),
        Err(error) => {
            context.wrong_key(path, format!("is not a name to match: {error}"));
            None
        }
    }
}

/// What is wrong with a regular expression, on one line. The parser draws a picture, which ends in the reason.
pub(super) fn regex_message(said: &str) -> String {
    let reason = said.lines().last().unwrap_or_default().trim_start_matches("error: ");
    let column = said.lines().find_map(|line| line.trim_end().strip_suffix('^')).map(|before| before.len());
    // The picture is indented by four.
    let column = column.map(|column| column.saturating_sub(3)).filter(|_| said.lines().count() > 2);
    let place = column.map(|column| format!(", at its character {column}")).unwrap_or_default();
    let remedy = match () {
        () if reason.contains("look-around") => {
            ": put a route for what is excluded before this one, and match the rest here"
        }
        () if reason.contains("backreferences") => ": expected an expression without them",
        () if reason.contains("unclosed group") => {
            ": write ) where the group ends, or \\( for the character itself"
        }
        () if reason.contains("unopened group") => {
            ": write ( where the group begins, or \\) for the character itself"
        }
        () => ": expected one in the syntax of Rust's regex",
    };
    format!("is not a regular expression: {reason}{place}{remedy}")
}

// === the syntax of other products ===

/// What is said of a host that is written as other products have it.
fn host_syntax(text: &str) -> Option<&'static str> {
    if text.starts_with('~') || text.starts_with('^') || text.ends_with('$') {
        return Some(
            "is a regular expression: expected host names, or *.example.com for all subdomains; write a regular \
             expression as host_regex",
        );
    }
    if text.contains('`') || text.contains('(') {
        return Some("is a rule of another product: expected a host alone, like api.example.com");
    }
    if text.contains('$') {
        return Some("has a variable, and hosts have none: expected a host, like api.example.com");
    }
    None
}

/// The host in a URL, in a host with a port, or in a path after it.
pub(super) fn corrected_host(text: &str) -> Option<String> {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = text.split('/').next()?;
    let host = match host.rsplit_once(':') {
        Some((before, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => before,
        _ => host,
    };
    let bare = host.parse::<std::net::Ipv6Addr>().map(|address| format!("[{address}]"));
    let host = bare.unwrap_or_else(|_| host.to_owned());
    (host.parse::<HostPattern>().is_ok()).then_some(host)
}

/// What is said of a path that is written as other products have it, and what was probably meant.
fn path_syntax(key: &str, text: &str) -> Option<(String, Option<String>)> {
    let nginx = ["~* ", "~*", "~ ", "^~ ", "= "];
    if let Some(rest) = nginx.iter().find_map(|modifier| text.strip_prefix(modifier)) {
        let rest = rest.trim_start();
        let message = match text.strip_prefix("~*") {
            Some(_) => format!("begins with a modifier of nginx: expected path_regex: '(?i){rest}'"),
            None if text.starts_with('~') => {
                format!("begins with a modifier of nginx: expected path_regex: '{rest}'")
            }
            None if text.starts_with('=') => {
                format!("begins with a modifier of nginx: expected path: {rest}")
            }
            None => format!("begins with a modifier of nginx: expected path_prefix: {rest}"),
        };
        return Some((message, None));
    }
    if key == "path_regex" {
        return None;
    }
    if let Some(at) = text.find('*') {
        let (before, after) = text.split_at(at);
        let below = after == "*" || after == "**" || after == "*/";
        if below && before.ends_with('/') {
            let message = format!("has a *, which is not a wildcard here: expected path_prefix: {before}");
            return Some((message, (key == "path_prefix").then(|| before.to_owned())));
        }
        let message = "has a *, which is not a wildcard here: expected path_prefix with whole segments, like /v1/, or \
                       path_regex, like '^/v1/.*\\.png$' (for a literal *: '^/a\\*$')";
        return Some((message.to_owned(), None));
    }
    if text.contains(['{', '}']) {
        let message = "has a pattern in braces, which is literal text here: expected path_prefix with whole segments, or \
                       path_regex, like '^/users/[^/]+$'";
        return Some((message.to_owned(), None));
    }
    value_syntax(text).map(|message| (message, None))
}

/// What is said of a value to compare with that is written as other products have it.
fn value_syntax(text: &str) -> Option<String> {
    if text.starts_with("~*") || text.starts_with("~ ") {
        let message =
            "is a regular expression of nginx: expected { regex: … }, the value itself, or \"*\" for any";
        return Some(message.to_owned());
    }
    let foreign =
        own_text(text, &[], Strictness::Known).err().filter(|foreign| !foreign.found.starts_with('{'))?;
    Some(format!(
        "has {}, a variable of another product, which is compared as literal text: expected the value itself",
        foreign.found
    ))
}
