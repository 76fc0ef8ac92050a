//! `Max-Forwards` of OPTIONS and TRACE (RFC 9110, 7.6.2): how many proxies may pass the request on.

use evenkeel_http::message::{Answer, Edits, RequestHead};
use http::{HeaderName, HeaderValue, header};

const MAX_FORWARDS: HeaderName = HeaderName::from_static("max-forwards");

/// Counts this hop. Returns the response if the request may go no further.
pub(super) fn count(head: &dyn RequestHead, edits: &mut Edits) -> Option<Answer> {
    let method = head.method();
    if !matches!(method, "OPTIONS" | "TRACE") {
        return None;
    }
    // Other text than a number has no meaning, and is passed on.
    let left = std::str::from_utf8(head.header("max-forwards")?).ok()?;
    if left.is_empty() || !left.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match left.parse::<u32>().unwrap_or(u32::MAX) {
        0 if method == "TRACE" => Some(echo(head)),
        0 => {
            let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            Some(Answer::new(200).header(header::ALLOW, methods))
        }
        left => {
            edits.danger_set(MAX_FORWARDS, HeaderValue::from(left - 1));
            None
        }
    }
}

/// The request as it came, without headers that could hold a secret (RFC 9110, 9.3.8).
fn echo(head: &dyn RequestHead) -> Answer {
    let (target, version, host) = (head.target(), head.version(), head.authority());
    let text = format!("TRACE {target} {version}\r\nHost: {host}\r\nMax-Forwards: 0\r\n\r\n");
    Answer::new(200).content("message/http", text)
}
