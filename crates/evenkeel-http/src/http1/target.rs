//! The target of a request and its host (RFC 9112, 3.2; RFC 3986): what may be in them, and whether they agree.

use super::Buffer;
use crate::message::{Refusal, host_of, is_authority};

pub(crate) const MALFORMED_HOST: Refusal = Refusal::BadRequest("Host is malformed");

/// The longest target. Pingora's lane can carry no longer one, and a target has one verdict, whichever lane carries it.
const LONGEST: usize = u16::MAX as usize - 1;

/// Checks a request's target and its host: what characters they have, and that they agree.
///
/// # Errors
/// The refusal, when either is malformed, or the two name different origins.
pub(crate) fn check(target: &str, host: &str, method: &str) -> Result<(), Refusal> {
    if !is_authority(host) {
        return Err(MALFORMED_HOST);
    }
    // What is visible, and ASCII, and begins no fragment, which is the client's own (RFC 9112, 3.2).
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Refusal::BadRequest("the request target is malformed"));
    }
    if target.len() > LONGEST {
        return Err(Refusal::HeaderTooLarge);
    }
    match target {
        "*" if method != "OPTIONS" => Err(Refusal::BadRequest("the target * is for OPTIONS only")),
        _ if method == "CONNECT" => Ok(()),
        _ => check_form(target, host),
    }
}

/// The target is a path, `*`, or an absolute URL that names the same host as `Host` (RFC 9112, 3.2.2).
fn check_form(target: &str, host: &str) -> Result<(), Refusal> {
    if target.starts_with('/') || target == "*" {
        return Ok(());
    }
    let Some((scheme, rest)) = target.split_once("://") else {
        return Err(Refusal::BadRequest("the request target is neither a path nor a URL"));
    };
    let port = if scheme.eq_ignore_ascii_case("http") {
        "80"
    } else if scheme.eq_ignore_ascii_case("https") {
        "443"
    } else {
        return Err(Refusal::BadRequest("the request target has an unknown scheme"));
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err(Refusal::BadRequest("the request target has no host"));
    }
    if !authority.eq_ignore_ascii_case(host) && !is_same_origin(authority, host, port) {
        return Err(Refusal::BadRequest("the request target and Host name different hosts"));
    }
    Ok(())
}

/// Whether two authorities name the same host and port, where a port that is left out or empty is the scheme's (RFC 9110,
/// 4.2.3).
pub(crate) fn is_same_origin(one: &str, other: &str, default_port: &str) -> bool {
    fn split<'a>(authority: &'a str, default_port: &'a str) -> (&'a str, &'a str) {
        let host = host_of(authority);
        match authority.get(host.len() + 1..) {
            None | Some("") => (host, default_port),
            Some(port) => (host, port.trim_start_matches('0')),
        }
    }
    let ((host, port), (other_host, other_port)) = (split(one, default_port), split(other, default_port));
    is_authority(one) && host.eq_ignore_ascii_case(other_host) && port == other_port
}

/// Writes a target for Pingora's lane, which takes no `"`, `<`, `>` or backtick in one. No URL may hold these (RFC 3986,
/// appendix A), so they are percent-encoded.
pub(crate) fn write_encoded(text: &[u8], out: &mut Buffer) {
    for piece in text.split_inclusive(|byte| is_unencoded(*byte)) {
        match piece.split_last() {
            Some((last, before)) if is_unencoded(*last) => {
                out.push(before);
                out.push(match last {
                    b'"' => b"%22",
                    b'<' => b"%3C",
                    b'>' => b"%3E",
                    _ => b"%60",
                });
            }
            _ => out.push(piece),
        }
    }
}

fn is_unencoded(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'`')
}
