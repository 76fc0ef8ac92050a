//! The head of a request, strictly by RFC 9112: where it ends, what it means, and how it is written on.
//!
//! This runs before any data path sees the request, so that a rejected request is rejected, recorded and responded to
//! in the same way everywhere. What a request means is not decided here.

use std::mem::MaybeUninit;

use evenkeel_core::route::RequestParts;
use http::{HeaderValue, header};

use super::Buffer;
use super::fields::{ForwardedFields, MessageKind, write_field, write_upgrade};
use super::framing::Framing;
use super::target::write_encoded;
use crate::message::HeadFacts;
use crate::message::{
    Edits, HeaderEdit, Refusal, RequestHead, Version, host_of, origin_form, path_of, query_of,
};

/// A head whose framing is sound.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Its length in bytes, with the empty line that ends it.
    pub length: usize,
    /// What was learned on the way.
    pub facts: HeadFacts,
    /// Whether the version is 1.1 rather than 1.0.
    pub is_http_11: bool,
    /// Whether another request may follow on the connection, as far as the client says.
    pub persistent: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects: bool,
}

/// Who reads a head that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// A backend.
    Backend,
    /// Another data path, which parses the head once more and controls both connections. The head has what the client said
    /// of its connection.
    DataPath,
}

/// A head, as it lies in the bytes that came.
#[derive(Debug)]
pub struct ReadHead<'a> {
    /// Its framing.
    pub head: Head,
    bytes: &'a [u8],
    method: &'a str,
    target: &'a str,
    fields: &'a [httparse::Header<'a>],
    host: Option<&'a str>,
    nominates: bool,
    has_odd: bool,
}

/// Most fields that a head may be configured to have.
const MOST_FIELDS: usize = 256;

/// Reads the received part of a head, and lets `then` look at it. `Ok(None)` if its end has not arrived.
///
/// `searched` is how many bytes were looked at before; it is moved on, so that a head that comes byte by byte is not
/// searched from its start each time.
///
/// # Errors
/// The refusal, when the head is malformed or has too many fields.
pub fn with_request<T>(
    bytes: &[u8],
    searched: &mut usize,
    max_fields: usize,
    then: impl FnOnce(&mut ReadHead<'_>) -> T,
) -> Result<Option<T>, Refusal> {
    let Some(length) = find_end(bytes, searched)? else { return Ok(None) };
    let Some(bytes) = bytes.get(..length) else { return Ok(None) };
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete(parsed)) if parsed == length => {}
        Ok(_) => return Err(Refusal::BadRequest("the request's head is malformed")),
        Err(error) => return Err(refusal_of(error, bytes)),
    }
    if request.headers.len() > max_fields {
        return Err(Refusal::HeaderTooLarge);
    }
    let is_http_10 = request.version == Some(0);
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let mut framing = Framing::default();
    for field in request.headers.iter() {
        framing.field(field)?;
    }
    let head = framing.finish(length, is_http_10, [method, target])?;
    let Framing { host, has_odd, connection, .. } = framing;
    let fields = &*request.headers;
    let nominates = connection.nominates;
    Ok(Some(then(&mut ReadHead { head, bytes, method, target, fields, host, nominates, has_odd })))
}

// === impl Head ===

impl Head {
    /// The `Connection` field of the response, if any, so that the client knows whether its connection is kept.
    pub fn connection(&self, keep: bool) -> Option<&'static str> {
        match (keep, self.is_http_11) {
            (true, true) => None,
            (true, false) => Some("keep-alive"),
            (false, _) => Some("close"),
        }
    }
}

// === impl ReadHead ===

impl<'a> ReadHead<'a> {
    /// The head as it came. Reading it again gives the same.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Writes the head as a backend gets it, or another data path: in origin form, without what is for this hop only, with
    /// the edits applied.
    pub fn write(&self, edits: &Edits, reader: Reader, out: &mut Buffer) {
        let target = self.origin_form();
        let target = match &edits.path {
            None if target.is_empty() || target.starts_with('?') => ["/", target, ""],
            None => [target, "", ""],
            Some(path) => match query_of(target) {
                Some(query) => [path, "?", query],
                None => [path, "", ""],
            },
        };
        let [path, mark, query] = target.map(str::as_bytes);
        let method = self.method.as_bytes();
        match reader {
            Reader::Backend => out.push_all([method, b" ", path, mark, query, b" HTTP/1.1\r\n"]),
            Reader::DataPath => {
                out.push_all([method, b" "]);
                [path, mark, query].into_iter().for_each(|part| write_encoded(part, out));
                out.push(if self.head.is_http_11 { b" HTTP/1.1\r\n" } else { b" HTTP/1.0\r\n" });
                self.write_connection(out);
            }
        }
        if self.host.is_none() && !edits.headers.iter().any(is_host) {
            // HTTP/1.0 may do without; HTTP/1.1 may not (RFC 9112, 3.2).
            out.push(b"host: \r\n");
        }
        let Self { bytes: head, fields, nominates, has_odd, .. } = *self;
        let of = MessageKind::Request { expects: self.head.expects, hides_claims: edits.hides_claims };
        ForwardedFields { head, fields, edits: &edits.headers, nominates, has_odd, of }.write(out);
        if self.head.facts.chunked {
            out.push(b"transfer-encoding: chunked\r\n");
        }
        if self.head.facts.upgrade {
            write_upgrade(out, fields);
        }
        out.push(b"\r\n");
    }

    /// What the client said of the connection, for another data path.
    fn write_connection(&self, out: &mut Buffer) {
        let Head { persistent, is_http_11, .. } = self.head;
        match (persistent, is_http_11) {
            (true, true) => {}
            (true, false) => write_field(out, b"connection", b"keep-alive"),
            (false, _) => write_field(out, b"connection", b"close"),
        }
    }

    /// The target without scheme and authority.
    fn origin_form(&self) -> &'a str {
        match origin_form(self.target) {
            // All of the server (RFC 9112, 3.2.4).
            "" if self.method == "OPTIONS" => "*",
            form => form,
        }
    }
}

impl RequestParts for ReadHead<'_> {
    fn method(&self) -> &str {
        self.method
    }

    fn host(&self) -> &str {
        host_of(self.authority())
    }

    fn path(&self) -> &str {
        path_of(self.origin_form())
    }

    fn query(&self) -> Option<&str> {
        query_of(self.origin_form())
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }
}

impl RequestHead for ReadHead<'_> {
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        let named = self.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.for_each(|field| visit(field.value));
    }

    fn target(&self) -> &str {
        self.target
    }

    fn authority(&self) -> &str {
        self.host.unwrap_or_default()
    }

    fn authority_value(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.host?).ok()
    }

    fn version(&self) -> Version {
        if self.head.is_http_11 { Version::Http11 } else { Version::Http10 }
    }
}

fn is_host(edit: &HeaderEdit) -> bool {
    matches!(edit, HeaderEdit::Set(name, _) | HeaderEdit::Add(name, _) if *name == header::HOST)
}

/// Finds the empty line that ends a head. A line feed without a carriage return is refused: some servers take it for the
/// end of a line and some do not, which is how requests are smuggled.
pub(super) fn find_end(bytes: &[u8], searched: &mut usize) -> Result<Option<usize>, Refusal> {
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
            match line.split(|&byte| byte == b' ').collect::<Vec<_>>()[..] {
                [_, _, version] if is_version(version) => Refusal::VersionNotSupported,
                _ => Refusal::BadRequest("the request line is malformed"),
            }
        }
        httparse::Error::HeaderName => Refusal::BadRequest("a field name is malformed"),
        httparse::Error::HeaderValue => Refusal::BadRequest("a field value is malformed"),
        httparse::Error::NewLine => Refusal::BadRequest("a line end is malformed"),
        _ => Refusal::BadRequest("the request line is malformed"),
    }
}

/// Whether this is the name of a version of HTTP (RFC 9112, 2.3).
fn is_version(text: &[u8]) -> bool {
    match text {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] => {
            major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffer, Edits, Head, Reader, Refusal, RequestParts, with_request};

    fn check(text: &str) -> Result<Option<Head>, Refusal> {
        check_more(text.as_bytes(), &mut 0)
    }

    fn check_more(bytes: &[u8], searched: &mut usize) -> Result<Option<Head>, Refusal> {
        with_request(bytes, searched, 100, |request| request.head)
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
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: [a]\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: [::1]80\r\n\r\n", 400),
            ("GET http:///x HTTP/1.1\r\nHost: \r\n\r\n", 400),
            ("GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n", 400),
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
            assert!(check_more(&text[..end], &mut searched).unwrap().is_none());
        }
        assert!(check_more(text, &mut searched).unwrap().is_some());
    }

    fn written(text: &str, edits: &Edits) -> String {
        let mut out = Buffer::default();
        with_request(text.as_bytes(), &mut 0, 100, |request| {
            request.write(edits, Reader::Backend, &mut out);
        })
        .unwrap()
        .unwrap();
        String::from_utf8(out.filled().to_vec()).unwrap()
    }

    #[test]
    fn a_head_is_written_for_a_backend() {
        for (text, expected) in [
            (
                "GET /a?b HTTP/1.1\r\nHost: A\r\nConnection: X-Hop, Host\r\nX-Hop: 1\r\nTE: trailers\r\nX:  y \r\n\r\n",
                "GET /a?b HTTP/1.1\r\nHost: A\r\nX: y\r\n\r\n",
            ),
            ("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nhost: \r\n\r\n"),
            ("GET http://a/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?b HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: X\r\n\r\n",
                "POST / HTTP/1.1\r\nHost: a\r\nTrailer: X\r\ntransfer-encoding: chunked\r\n\r\n",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: 3\r\n\r\n",
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
            ),
        ] {
            assert_eq!(written(text, &Edits::default()), expected, "{text:?}");
        }
        let edits = Edits { path: Some("/new".into()), ..Edits::default() };
        let text = "GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(written(text, &edits), "GET /new?b HTTP/1.1\r\nHost: a\r\n\r\n");
    }

    #[test]
    fn a_target_has_its_parts() {
        for (target, host, path, query) in [
            ("/a/b?c=d", "x", "/a/b", Some("c=d")),
            ("http://[::1]:80?q", "[::1]", "/", Some("q")),
            ("http://x:80", "x", "/", None),
            ("/http://y/?", "x", "/http://y/", Some("")),
            ("*", "x", "*", None),
        ] {
            let authority =
                target.strip_prefix("http://").map_or("x:80", |rest| rest.split('?').next().unwrap());
            let method = if target == "*" { "OPTIONS" } else { "GET" };
            let text = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
            let parts = with_request(text.as_bytes(), &mut 0, 100, |request| {
                (request.host().to_owned(), request.path().to_owned(), request.query().map(str::to_owned))
            });
            assert_eq!(
                parts.unwrap().unwrap(),
                (host.into(), path.into(), query.map(str::to_owned)),
                "{target}"
            );
        }
    }
}
