//! What filters see of the head of a request or response, on every data path.

use std::fmt::Debug;
use std::net::Ipv6Addr;

use evenkeel_core::route::RequestParts;
use http::HeaderValue;

use super::Version;

/// The head of a request: what routes see of it ([`RequestParts`]), and the rest.
pub trait RequestHead: RequestParts + Debug {
    /// Calls `visit` with the value of each field of this (lower-case) name, in order.
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]));

    /// The whole request target, as sent.
    fn target(&self) -> &str;

    /// The requested host and port, as sent. Empty if there are none.
    fn authority(&self) -> &str;

    /// The same as a field value. A data path that has the value does not build it again.
    fn authority_value(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.authority()).ok()
    }

    /// The version of HTTP in which it came.
    fn version(&self) -> Version;
}

/// The head of a response.
pub trait ResponseHead: Debug {
    /// The status.
    fn status(&self) -> u16;

    /// The first field with this (lower-case) name.
    fn header(&self, name: &str) -> Option<&[u8]>;

    /// Calls `visit` with the value of each field of this (lower-case) name, in order.
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]));
}

/// The host of an authority, without its port.
pub(crate) fn host_of(authority: &str) -> &str {
    match memchr::memrchr(b':', authority.as_bytes()) {
        // The last colon of a bare IPv6 literal is inside its brackets.
        Some(at) if !authority.ends_with(']') => authority.get(..at).unwrap_or(authority),
        _ => authority,
    }
}

/// Whether each byte may be in a host.
#[expect(clippy::indexing_slicing, reason = "there is one for each byte, and this runs at compile time")]
const HOST: [bool; 256] = {
    let mut bytes = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        bytes[byte as usize] = !matches!(
            byte,
            b'#' | b'/' | b'?' | b'@' | b',' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
        );
        byte += 1;
    }
    bytes
};

/// A host and perhaps a port (RFC 3986, 3.2), or nothing.
pub fn is_authority(text: &str) -> bool {
    if !text.bytes().all(is_of_a_host) {
        return false;
    }
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(None) => return false,
        Some(Some((address, rest))) => {
            if address.parse::<Ipv6Addr>().is_err() {
                return false;
            }
            match rest.strip_prefix(':') {
                Some(port) => ("", port),
                None => (rest, ""),
            }
        }
        None => split_once(text, b':').unwrap_or((text, "")),
    };
    let literal = text.starts_with('[');
    let host_is_fine =
        if literal { host.is_empty() } else { !host.bytes().any(|byte| matches!(byte, b'[' | b']')) };
    host_is_fine && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())
}

#[expect(clippy::indexing_slicing, reason = "there is one for each byte")]
fn is_of_a_host(byte: u8) -> bool {
    HOST[usize::from(byte)]
}

/// A target in origin form (RFC 9112, 3.2.1). Of an absolute target, this is what follows the authority, possibly
/// nothing.
pub(crate) fn origin_form(target: &str) -> &str {
    if target.starts_with('/') {
        return target;
    }
    match target.split_once("://") {
        Some((_, rest)) => rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or_default(),
        None => target,
    }
}

/// The path of a target in origin form.
pub(crate) fn path_of(origin_form: &str) -> &str {
    match split_once(origin_form, b'?').map_or(origin_form, |(path, _)| path) {
        // `http://host?query` has an empty path, which means the root (RFC 9110, 4.2.3).
        "" => "/",
        path => path,
    }
}

/// The query of a target in origin form.
pub(crate) fn query_of(origin_form: &str) -> Option<&str> {
    split_once(origin_form, b'?').map(|(_, query)| query)
}

/// What is before and after the first of these bytes, which is an ASCII character. Same as `str::split_once`, at a
/// third of its cost for texts this short.
pub(crate) fn split_once(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = memchr::memchr(byte, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}
