//! What concerns the balancer as a whole.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use ipnet::IpNet;

use super::{Context, listener, syslog};
use crate::foreign::{Strictness, own_text};
use crate::format::{Format, FormatPart};
use crate::model::{ACCESS_LOG_FIELDS, ACCESS_LOG_PLACEHOLDERS};
use crate::suggest::closest;
use crate::values::Percent;
use crate::wire;
use crate::yaml::{Path, any_of};
use crate::{AccessLog, Forwarding, LogFormat, LogHeaders, LogTarget, OverloadProtection, Shutdown};

/// Networks, or single addresses; and whether peers on Unix sockets are among them, which have no address.
pub(super) fn networks(networks: &[String], path: &Path, context: &mut Context<'_>) -> (Vec<IpNet>, bool) {
    let paths = context.entries(path, networks.len());
    let (mut resolved, mut unix) = (Vec::new(), false);
    for (text, path) in networks.iter().zip(paths) {
        if matches!(text.as_str(), "unix" | "unix:") {
            unix = true;
            continue;
        }
        match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
            (Ok(network), _) if network.trunc() == network => resolved.push(network),
            (Ok(network), _) => {
                let message = "is an address within a network, not a network: expected its first address";
                context.wrong(&path, text, message).suggestion = Some(network.trunc().to_string());
            }
            (Err(_), Ok(address)) => resolved.push(IpNet::from(address)),
            (Err(_), Err(_)) => {
                let remedy = match text.as_str() {
                    "private" => ": write 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fd00::/8",
                    "*" | "all" | "any" => ": name the proxies in front of this one, and no other address",
                    _ => "",
                };
                let message = format!(
                    "is not a network: expected an IP address, a network like 10.0.0.0/8 or fd00::/8, or unix{remedy}"
                );
                context.wrong(&path, text, message);
            }
        }
    }
    (resolved, unix)
}

/// What is sent to backends.
pub(super) fn forwarding(
    forwarding: &wire::Forwarding,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Forwarding> {
    if let Some(via) = &forwarding.via
        && !is_token(via)
    {
        let message = "is not a pseudonym: expected letters, digits and any of !#$%&'*+-.^_`|~";
        context.wrong(&path.key("via"), via, message);
        return None;
    }
    Some(Forwarding { forwarded: forwarding.forwarded, via: forwarding.via.clone() })
}

/// The thresholds of memory and descriptors.
pub(super) fn overload(
    wire: &wire::OverloadProtection,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<OverloadProtection> {
    const LEAST: u64 = 1 << 20;
    let (memory, descriptors) = (wire.max_memory, wire.max_descriptors);
    if let Some(size) = memory.filter(|size| size.0 < LEAST) {
        context.wrong(&path.key("max_memory"), &size.to_string(), "is too little: expected at least 1MiB");
    }
    if let Some(share) = descriptors.filter(|share| share.0 <= 0.0) {
        let path = path.key("max_descriptors");
        context.wrong(&path, &share.to_string(), "is out of range: expected more than 0%, at most 100%");
    }
    Some(OverloadProtection {
        max_memory: memory.map(|size| size.0),
        max_descriptors: descriptors.map(|share| share.0),
    })
}

/// How the balancer ends. No time at all will do.
pub(super) fn shutdown(
    shutdown: &wire::Shutdown,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Shutdown> {
    let pre_stop = listener::bounded(shutdown.pre_stop, &path.key("pre_stop"), context);
    let drain_timeout = listener::bounded(shutdown.drain_timeout, &path.key("drain_timeout"), context);
    Some(Shutdown { pre_stop: pre_stop?, drain_timeout: drain_timeout? })
}

/// The access log; the outer `None` if it is wrong.
pub(super) fn access_log(
    log: Option<&wire::AccessLog>,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Option<AccessLog>> {
    let Some(log) = log.filter(|log| !log.off) else { return Some(None) };
    context.keep_place(&path.key("to"));
    let to = log_target(log, path, context);
    let format = log_format(&log.format, &path.key("format"), context);
    let mut headers = LogHeaders {
        request: log_headers(&log.request_headers, &path.key("request_headers"), context),
        response: log_headers(&log.response_headers, &path.key("response_headers"), context),
    };
    if !matches!(format, Some(LogFormat::Json) | None) {
        for (key, list) in [("request_headers", &headers.request), ("response_headers", &headers.response)] {
            if !list.is_empty() {
                let message = "has no effect: the format is not json: expected {header.NAME} and {response.header.NAME} in a template";
                context.wrong_key(&path.key(key), message);
            }
        }
    }
    if let Some(LogFormat::Template(format)) = &format {
        for part in format.parts() {
            let FormatPart::Name(name) = part else { continue };
            if let Some(name) = name.strip_prefix("header.") {
                add(&mut headers.request, name);
            } else if let Some(name) = name.strip_prefix("response.header.") {
                add(&mut headers.response, name);
            }
        }
    }
    Some(Some(AccessLog { to: to?, format: format?, headers, sample: log.sample.0 }))
}

fn add(headers: &mut Vec<Box<str>>, name: &str) {
    if !headers.iter().any(|known| **known == *name) {
        headers.push(name.into());
    }
}

fn log_headers(names: &[String], path: &Path, context: &mut Context<'_>) -> Vec<Box<str>> {
    let mut headers = Vec::new();
    for (name, path) in names.iter().zip(context.entries(path, names.len())) {
        if is_token(name) {
            add(&mut headers, &name.to_ascii_lowercase());
        } else {
            context.wrong(&path, name, "is not the name of a header field");
        }
    }
    headers
}

fn log_target(log: &wire::AccessLog, path: &Path, context: &mut Context<'_>) -> Option<LogTarget> {
    if let Some(server) = log.to.strip_prefix("syslog") {
        return syslog::target(server, log, path, context).map(LogTarget::Syslog);
    }
    if log.syslog != wire::Syslog::default() {
        context.wrong_key(&path.key("syslog"), "has no effect: the access log is not written to syslog");
    }
    let path = &path.key("to");
    match log.to.as_str() {
        "stdout" => Some(LogTarget::Stdout),
        "stderr" => Some(LogTarget::Stderr),
        // A bare word is rather a misspelling than a file.
        file if file.contains(['/', '.']) && !file.ends_with('/') => {
            Some(LogTarget::File(PathBuf::from(file)))
        }
        other => {
            let message = "is not a log destination: expected stdout, stderr, the path of a file, like /var/log/evenkeel/access.log, or a server \
                           of syslog, like syslog+udp://127.0.0.1:514";
            let meant = closest(other, ["stdout", "stderr"]).map(str::to_owned);
            context.wrong(path, other, message).suggestion = meant;
            None
        }
    }
}

fn log_format(format: &str, path: &Path, context: &mut Context<'_>) -> Option<LogFormat> {
    match format {
        "json" => Some(LogFormat::Json),
        "combined" => Some(LogFormat::Combined),
        text if text.contains(['{', '}', '$', '%']) => log_template(text, path, context),
        other => {
            let message =
                "is not a format: expected json, combined, or a template like \"{client} {status}\"";
            context.wrong(path, other, message).suggestion =
                closest(other, ["json", "combined"]).map(str::to_owned);
            None
        }
    }
}

fn log_template(text: &str, path: &Path, context: &mut Context<'_>) -> Option<LogFormat> {
    let named = |name: &&str| {
        let header = name.strip_prefix("header.").or_else(|| name.strip_prefix("response.header."));
        header.is_some_and(|header| is_token(header) && header.to_ascii_lowercase() == header)
    };
    let braces = text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
    let aliases = ACCESS_LOG_PLACEHOLDERS.iter().map(|(alias, _)| *alias);
    let fields: Vec<&str> =
        ACCESS_LOG_FIELDS.iter().copied().chain(aliases).chain(braces.filter(named)).collect();
    let families: Vec<&str> = fields.iter().copied().chain(["header."]).collect();
    let own = match own_text(text, &families, Strictness::Every) {
        Ok(own) => own,
        Err(foreign) => {
            context.wrong(path, text, foreign.to_string()).suggestion = foreign.suggestion();
            return None;
        }
    };
    match Format::parse(&own, &fields) {
        Ok(format) if format.parts().iter().any(|part| matches!(part, FormatPart::Name(_))) => {
            Some(LogFormat::Template(format))
        }
        Ok(_) => {
            let message = "has no field: expected json, combined, or a template with fields in braces, like \
                           \"{client} {status}\"";
            context.wrong(path, text, message);
            None
        }
        Err(error) => {
            context.wrong(path, text, error.to_string()).suggestion = error.suggestion();
            None
        }
    }
}

/// How many threads.
pub(super) fn workers(
    workers: Option<usize>,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<NonZeroUsize> {
    const MOST: usize = 1024;
    let workers = workers?;
    if workers == 0 || workers > MOST {
        context.wrong(path, &workers.to_string(), format!("is out of range: expected 1 to {MOST}"));
    }
    NonZeroUsize::new(workers)
}

/// A secret, which no message shows.
pub(super) fn secret(text: &str, path: &Path, context: &mut Context<'_>) -> Option<()> {
    /// Shorter ones can be guessed.
    const SHORTEST: usize = 16;
    if text.chars().count() < SHORTEST {
        context.wrong_key(path, format!("is too short: expected at least {SHORTEST} characters"));
        return None;
    }
    Some(())
}

/// A share of a whole. Text cannot say more than all; the builder can.
pub(super) fn share(share: Percent, path: &Path, context: &mut Context<'_>) -> Option<f64> {
    if !(0.0..=1.0).contains(&share.0) {
        context.wrong(path, &share.to_string(), "is out of range: expected 0% to 100%");
        return None;
    }
    Some(share.0)
}

/// The one key of several that is given.
pub(super) fn only_one<'a>(
    keys: &[&'a str],
    given: &[bool],
    missing: &str,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<&'a str> {
    let given: Vec<&str> = keys.iter().zip(given).filter_map(|(key, given)| given.then_some(*key)).collect();
    match given.as_slice() {
        [only] => Some(only),
        [] => {
            // What was meant may have been removed.
            if !context.is_damaged(path) {
                context.wrong_key(path, missing);
            }
            None
        }
        [first, second, ..] => {
            let message = format!("cannot be combined with {first}: expected only one of {}", any_of(keys));
            context.wrong_key(&path.key(second), message);
            None
        }
    }
}

/// What a request asks a backend for.
pub(super) fn path_and_query(text: &str, path: &Path, context: &mut Context<'_>) {
    let right = |text: &str| {
        text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
    };
    if !right(text) {
        let message = "is not a path: expected one that starts with /, without spaces, and with other letters than ASCII as %XX";
        let meant = format!("/{text}");
        context.wrong(path, text, message).suggestion =
            (!text.starts_with('/') && !text.contains("://") && right(&meant)).then_some(meant);
    }
}

/// A method; otherwise what was probably meant.
pub(super) fn method(text: &str) -> Result<(), Option<String>> {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    let upper = text.to_ascii_uppercase();
    match is_token(text) {
        true if KNOWN.contains(&upper.as_str()) && upper != text => Err(Some(upper)),
        true => Ok(()),
        false => Err(None),
    }
}

/// Whether a text can be the value of a header field.
pub(super) fn is_field_value(text: &str) -> bool {
    !text.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') && text.trim() == text
}

/// A name for logs and metric labels.
pub(super) fn label(name: &str, path: &Path, context: &mut Context<'_>) {
    let length = name.chars().count();
    if !(1..=128).contains(&length) || name.chars().any(char::is_control) || name.trim() != name {
        let message =
            "is not a name: expected 1 to 128 characters, no control characters, no spaces around them";
        context.wrong(path, name, message);
    }
}

/// Whether a text is a token (RFC 9110, 5.6.2): a method, or the name of a header field.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
