//! The framing of a request's head, strictly by RFC 9112: where it ends, and how long the body is.
//!
//! This runs before any data path sees the request, so that what is refused is refused alike, recorded, and answered in
//! our own words. What a request means is not decided here.

use std::mem::MaybeUninit;

use crate::exchange::HeadFacts;
use crate::filter::{AnswerFormat, Refusal};

/// A head whose framing is sound.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Its length in bytes, with the empty line that ends it.
    pub length: usize,
    /// What was learned on the way.
    pub facts: HeadFacts,
}

/// Why a head is refused.
pub type HeadError = Refusal;

/// Most fields that a head may be configured to have.
const MOST_FIELDS: usize = 256;

/// Checks what has come of a head. `Ok(None)` when its end is not there yet.
///
/// `searched` is how many bytes were looked at before; it is moved on, so that a head that comes byte by byte is not
/// searched from its start each time.
///
/// # Errors
/// The refusal, when the head is malformed or has too many fields.
pub fn check_head(bytes: &[u8], searched: &mut usize, max_fields: usize) -> Result<Option<Head>, HeadError> {
    let Some(length) = find_end(bytes, searched)? else { return Ok(None) };
    let Some(head) = bytes.get(..length) else { return Ok(None) };
    let mut fields = [MaybeUninit::uninit(); MOST_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut fields) {
        Ok(httparse::Status::Complete(parsed)) if parsed == length => {}
        Ok(_) => return Err(Refusal::BadRequest("the request's head is malformed")),
        Err(error) => return Err(refusal_of(error, head)),
    }
    if request.headers.len() > max_fields {
        return Err(Refusal::HeaderTooLarge);
    }
    let is_http_10 = request.version == Some(0);
    let mut framing = Framing::default();
    for field in request.headers.iter() {
        framing.field(field)?;
    }
    let is_connect = request.method == Some("CONNECT");
    framing.finish(is_http_10, is_connect, request.path.unwrap_or_default())?;
    let facts = HeadFacts {
        content_length: framing.content_length,
        chunked: framing.chunked,
        claims: framing.claims,
        head_only: request.method == Some("HEAD"),
        last: is_http_10 || framing.close,
        format: AnswerFormat::of(framing.accept, framing.content_type),
        ..HeadFacts::default()
    };
    Ok(Some(Head { length, facts }))
}

/// Finds the empty line that ends a head. A line feed without a carriage return is refused: some servers take it for the
/// end of a line and some do not, which is how requests are smuggled.
fn find_end(bytes: &[u8], searched: &mut usize) -> Result<Option<usize>, HeadError> {
    let mut line_start = *searched;
    while let Some(at) = bytes.get(line_start..).and_then(|rest| memchr::memchr(b'\n', rest)) {
        let line_end = line_start + at;
        if line_end == 0 || bytes.get(line_end - 1) != Some(&b'\r') {
            return Err(Refusal::BadRequest("a line must end with carriage return and line feed"));
        }
        let next = line_end + 1;
        if line_end == line_start + 1 && line_start > 0 {
            return Ok(Some(next));
        }
        line_start = next;
        *searched = next;
    }
    Ok(None)
}

fn refusal_of(error: httparse::Error, head: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::HeaderTooLarge,
        httparse::Error::Version => {
            let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
            match line.rsplit(|&byte| byte == b' ').next() {
                Some(version) if version.starts_with(b"HTTP/") => Refusal::VersionNotSupported,
                _ => Refusal::BadRequest("the request line is malformed"),
            }
        }
        httparse::Error::HeaderName => Refusal::BadRequest("a field name is malformed"),
        httparse::Error::HeaderValue => Refusal::BadRequest("a field value is malformed"),
        httparse::Error::NewLine => Refusal::BadRequest("a line end is malformed"),
        _ => Refusal::BadRequest("the request line is malformed"),
    }
}

/// What the fields say of the body and the host.
#[derive(Debug, Default)]
struct Framing<'a> {
    content_length: Option<u64>,
    chunked: bool,
    host: Option<&'a [u8]>,
    claims: bool,
    close: bool,
    accept: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
}

impl<'a> Framing<'a> {
    fn field(&mut self, field: &httparse::Header<'a>) -> Result<(), HeadError> {
        let name = field.name.as_bytes();
        // By length first: most fields are none of these.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") && self.host.replace(field.value).is_some() => {
                return Err(Refusal::BadRequest("there is more than one Host"));
            }
            6 if name.eq_ignore_ascii_case(b"accept") => _ = self.accept.get_or_insert(field.value),
            12 if name.eq_ignore_ascii_case(b"content-type") => self.content_type = Some(field.value),
            10 if name.eq_ignore_ascii_case(b"connection") => self.close |= says_close(field.value),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length =
                    decimal(field.value).ok_or(Refusal::BadRequest("Content-Length is malformed"))?;
                if self.content_length.replace(length).is_some() {
                    return Err(Refusal::BadRequest("there is more than one Content-Length"));
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked {
                    return Err(Refusal::BadRequest("there is more than one Transfer-Encoding"));
                }
                if !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::NotImplemented);
                }
                self.chunked = true;
            }
            9.. => self.claims |= is_claim(name),
            _ => {}
        }
        Ok(())
    }

    fn finish(&self, is_http_10: bool, is_connect: bool, target: &str) -> Result<(), HeadError> {
        if self.chunked && self.content_length.is_some() {
            return Err(Refusal::BadRequest("there are both Content-Length and Transfer-Encoding"));
        }
        if self.chunked && is_http_10 {
            return Err(Refusal::BadRequest("HTTP/1.0 has no Transfer-Encoding"));
        }
        let host = match self.host {
            Some(host) => host,
            None if is_http_10 => b"",
            None => return Err(Refusal::BadRequest("there is no Host")),
        };
        if !host.iter().all(|&byte| byte.is_ascii_graphic() && !b"/?#@,\"<>\\^`{|}".contains(&byte)) {
            return Err(Refusal::BadRequest("Host is malformed"));
        }
        if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Refusal::BadRequest("the request target is malformed"));
        }
        if is_connect { Ok(()) } else { check_target(target, host) }
    }
}

/// The target is a path, `*`, or an absolute URL that names the same host as `Host` (RFC 9112, 3.2.2).
fn check_target(target: &str, host: &[u8]) -> Result<(), HeadError> {
    if target.starts_with('/') || target == "*" {
        return Ok(());
    }
    let Some((scheme, rest)) = target.split_once("://") else {
        return Err(Refusal::BadRequest("the request target is neither a path nor a URL"));
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Refusal::BadRequest("the request target has an unknown scheme"));
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if !authority.as_bytes().eq_ignore_ascii_case(host) {
        return Err(Refusal::BadRequest("the request target and Host name different hosts"));
    }
    Ok(())
}

fn says_close(connection: &[u8]) -> bool {
    connection.split(|&byte| byte == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// Digits only: no sign, no space, no list, and not more than fits.
fn decimal(value: &[u8]) -> Option<u64> {
    let digits =
        std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

/// Whether a field says something about who the client is, or what the request is called.
fn is_claim(name: &[u8]) -> bool {
    let starts =
        |prefix: &[u8]| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    starts(b"x-forwarded")
        || name.eq_ignore_ascii_case(b"forwarded")
        || name.eq_ignore_ascii_case(b"x-real-ip")
}

#[cfg(test)]
mod tests {
    use super::{Head, Refusal, check_head};

    fn check(text: &str) -> Result<Option<Head>, Refusal> {
        check_head(text.as_bytes(), &mut 0, 100)
    }

    #[test]
    fn sound_heads_pass() {
        for (text, length, chunked) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", None, false),
            ("GET / HTTP/1.0\r\n\r\n", None, false),
            ("POST /x?y HTTP/1.1\r\nhost: a:80\r\ncontent-length: 42\r\n\r\nrest", Some(42), false),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", None, true),
            ("GET http://A/x HTTP/1.1\r\nHost: a\r\n\r\n", None, false),
            ("OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n", None, false),
            ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", None, false),
            ("GET / HTTP/1.1\r\nHost: [::1]:80\r\nX-Forwarded-For: 1\r\n\r\n", None, false),
        ] {
            let head = check(text).unwrap().unwrap_or_else(|| panic!("{text:?}"));
            assert_eq!((head.facts.content_length, head.facts.chunked), (length, chunked), "{text:?}");
            assert_eq!(head.length, text.find("\r\n\r\n").unwrap() + 4);
            assert_eq!(head.facts.claims, text.contains("X-Forwarded"));
        }
    }

    #[test]
    fn hostile_heads_are_refused() {
        for (text, status) in [
            ("GET / HTTP/1.1\nHost: a\n\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
            ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("PRI * HTTP/2.0\r\n\r\n", 505),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
            ("GET /\r\n\r\n", 400),
            ("\u{16}\u{3}\u{1}\r\n\r\n", 400),
        ] {
            let refusal = check(text).expect_err(text);
            assert_eq!(refusal.status(), status, "{text:?}: {refusal:?}");
        }
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(100));
        assert_eq!(check(&many).unwrap_err(), Refusal::HeaderTooLarge);
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_is_found_once_it_is_whole() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut searched = 0;
        for end in 0..text.len() {
            assert!(check_head(&text[..end], &mut searched, 100).unwrap().is_none());
        }
        assert!(check_head(text, &mut searched, 100).unwrap().is_some());
    }
}
