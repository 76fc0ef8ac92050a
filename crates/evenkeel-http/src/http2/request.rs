//! The head of a request that came as HTTP/2: what it means, and how it is passed on.

use bytes::Bytes;
use evenkeel_core::route::RequestParts;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Uri};

use crate::http1::{
    Buffer, MALFORMED_HOST, check_target, decimal, is_for_the_proxy, is_same_origin, write_encoded,
};
use crate::message::{
    AnswerFormat, Edits, HeadFacts, HeaderEdit, Refusal, RequestHead, Version, host_of, is_claim,
    is_for_one_hop, is_spoof, path_of, query_of, same,
};

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Most fields. Each is counted, also the parts of a cookie that came one by one.
    pub fields: usize,
    /// Most bytes, as HTTP/1.1 would write it.
    pub size: usize,
}

/// A head whose framing is sound.
#[derive(Debug)]
pub struct StreamHead {
    facts: HeadFacts,
    parts: http::request::Parts,
    authority: HeaderValue,
    /// Whether a name has an underscore, so that a server could take it for another's.
    has_odd: bool,
}

const CONTRADICTED: Refusal = Refusal::BadRequest(":authority and Host name different hosts");
const NOT_A_PATH: Refusal = Refusal::BadRequest(":path is not a path");

// === impl StreamHead ===

impl StreamHead {
    /// Checks a head by the rules that HTTP/1.1 requests are held to. `ended` if the request has no body.
    ///
    /// # Errors
    /// The refusal, when it is malformed or too large.
    pub fn read(mut parts: http::request::Parts, ended: bool, limits: HeadLimits) -> Result<Self, Refusal> {
        if parts.headers.len() > limits.fields || size(&parts) > limits.size {
            return Err(Refusal::HeaderTooLarge);
        }
        let authority = authority(&parts)?;
        let host = authority.to_str().map_err(|_| MALFORMED_HOST)?;
        let method = parts.method.as_str();
        if method == "CONNECT" {
            check_target(host, host, method)?;
        } else {
            let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
            if !path.starts_with('/') && path != "*" {
                return Err(NOT_A_PATH);
            }
            check_target(path, host, method)?;
            if !matches!(parts.uri.scheme_str(), None | Some("http" | "https")) {
                return Err(Refusal::BadRequest(":scheme is neither http nor https"));
            }
        }
        join_cookies(&mut parts.headers);
        let (facts, has_odd) = facts(&parts, ended)?;
        Ok(Self { facts, parts, authority, has_odd })
    }

    /// What was learned on the way.
    pub fn facts(&self) -> &HeadFacts {
        &self.facts
    }

    /// The head as another data path gets it: in origin form with `Host`, without what is for this hop only, with the edits
    /// applied. `TE: trailers` stays, for backends that speak HTTP/2 themselves.
    pub fn forward(self, edits: &Edits) -> http::request::Parts {
        let Self { facts, mut parts, authority, has_odd } = self;
        parts.uri = origin_form(&parts, edits);
        parts.extensions = http::Extensions::new();
        let expects = facts.chunked || facts.content_length.is_some_and(|length| length > 0);
        let is_dropped = |name: &HeaderName| {
            let bytes = name.as_str().as_bytes();
            *name != header::TE && is_for_one_hop(bytes)
                || is_for_the_proxy(bytes)
                || edits.hides_claims && is_claim(bytes)
                || has_odd && is_spoof(bytes)
                || !expects && *name == header::EXPECT
        };
        remove(&mut parts.headers, is_dropped);
        parts.headers.insert(header::HOST, authority);
        for edit in edits.headers() {
            apply(&mut parts.headers, edit, has_odd);
        }
        parts
    }
}

impl RequestParts for StreamHead {
    fn method(&self) -> &str {
        self.parts.method.as_str()
    }

    fn host(&self) -> &str {
        host_of(self.authority())
    }

    fn path(&self) -> &str {
        path_of(self.target())
    }

    fn query(&self) -> Option<&str> {
        query_of(self.target())
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        if name == "host" {
            return Some(self.authority.as_bytes());
        }
        self.parts.headers.get(name).map(HeaderValue::as_bytes)
    }
}

impl RequestHead for StreamHead {
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        self.parts.headers.get_all(name).iter().for_each(|value| visit(value.as_bytes()));
    }

    fn target(&self) -> &str {
        self.parts.uri.path_and_query().map_or_else(|| self.authority(), PathAndQuery::as_str)
    }

    fn authority(&self) -> &str {
        self.authority.to_str().unwrap_or_default()
    }

    fn authority_value(&self) -> Option<HeaderValue> {
        Some(self.authority.clone())
    }

    fn version(&self) -> Version {
        Version::Http2
    }
}

/// How many bytes HTTP/1.1 would need.
fn size(parts: &http::request::Parts) -> usize {
    let fields = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    let target = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    fields.sum::<usize>() + parts.method.as_str().len() + target + "  HTTP/1.1\r\n\r\n".len()
}

/// The one host that a request names, in `:authority` or `Host` (RFC 9113, 8.3.1).
fn authority(parts: &http::request::Parts) -> Result<HeaderValue, Refusal> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::BadRequest("there is more than one Host"));
    }
    match (parts.uri.authority(), host) {
        (None, None) => Err(Refusal::BadRequest("there is neither :authority nor Host")),
        (None, Some(host)) => Ok(host.clone()),
        (Some(authority), host) => {
            let authority = authority.as_str();
            if let Some(host) = host {
                let host = host.to_str().map_err(|_| MALFORMED_HOST)?;
                let port = if parts.uri.scheme_str() == Some("https") { "443" } else { "80" };
                if !authority.eq_ignore_ascii_case(host) && !is_same_origin(authority, host, port) {
                    return Err(CONTRADICTED);
                }
            }
            HeaderValue::from_str(authority).map_err(|_| MALFORMED_HOST)
        }
    }
}

/// Joins the parts of a cookie that came as fields of their own (RFC 9113, 8.2.3): backends and filters know one field.
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    let Some(first) = crumbs.next() else { return };
    let Some(second) = crumbs.next() else { return };
    let mut cookie = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        cookie.extend_from_slice(b"; ");
        cookie.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(cookie) = HeaderValue::from_maybe_shared(Bytes::from(cookie)) {
        headers.insert(header::COOKIE, cookie);
    }
}

fn facts(parts: &http::request::Parts, ended: bool) -> Result<(HeadFacts, bool), Refusal> {
    let headers = &parts.headers;
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let content_length = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(length), None) => {
            Some(decimal(length.as_bytes()).ok_or(Refusal::BadRequest("Content-Length is malformed"))?)
        }
        _ => return Err(Refusal::BadRequest("there is more than one Content-Length")),
    };
    let (mut claims, mut has_odd, mut spoofed) = (false, false, false);
    for name in headers.keys() {
        let name = name.as_str().as_bytes();
        if memchr::memchr(b'_', name).is_some() {
            has_odd = true;
            spoofed |= is_spoof(name);
        } else {
            claims |= name.len() >= 8 && is_claim(name);
        }
    }
    let value = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    let facts = HeadFacts {
        content_length,
        // Its length is not known before it ends, as with chunks.
        chunked: !ended && content_length.is_none(),
        claims,
        spoofed,
        upgrade: false,
        head_only: parts.method == http::Method::HEAD,
        format: AnswerFormat::of(value(header::ACCEPT), value(header::CONTENT_TYPE)),
    };
    Ok((facts, has_odd))
}

/// The target for a backend: a path, and perhaps a query.
fn origin_form(parts: &http::request::Parts, edits: &Edits) -> Uri {
    let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let mut text = Buffer::default();
    match (&edits.path, query_of(target)) {
        (None, _) => write_encoded(target.as_bytes(), &mut text),
        (Some(path), query) => {
            write_encoded(path.as_bytes(), &mut text);
            if let Some(query) = query {
                text.push(b"?");
                write_encoded(query.as_bytes(), &mut text);
            }
        }
    }
    let target = PathAndQuery::try_from(text.filled());
    target.map_or_else(
        |_| Uri::default(),
        |target| {
            let mut uri = http::uri::Parts::default();
            uri.path_and_query = Some(target);
            Uri::from_parts(uri).unwrap_or_default()
        },
    )
}

fn apply(headers: &mut HeaderMap, edit: &HeaderEdit, has_odd: bool) {
    // CGI-style servers make one variable of `X-User` and `X_User`.
    if has_odd && let HeaderEdit::Set(name, _) | HeaderEdit::Remove(name) = edit {
        remove(headers, |other| same(other.as_str().as_bytes(), name.as_str().as_bytes()));
    }
    match edit {
        HeaderEdit::Set(name, value) => _ = headers.insert(name, value.clone()),
        HeaderEdit::Add(name, value) => _ = headers.append(name, value.clone()),
        HeaderEdit::Remove(name) => _ = headers.remove(name),
    }
}

fn remove(headers: &mut HeaderMap, which: impl Fn(&HeaderName) -> bool) {
    // Almost always none: then nothing is allocated.
    let names: Vec<HeaderName> = headers.keys().filter(|name| which(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Edits, HeadLimits, HeaderEdit, HeaderName, HeaderValue, RequestHead, RequestParts, StreamHead,
    };
    use crate::message::Refusal;

    const LIMITS: HeadLimits = HeadLimits { fields: 10, size: 1024 };

    fn parts(method: &str, uri: &str, fields: &[(&str, &str)]) -> http::request::Parts {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn read(uri: &str, fields: &[(&str, &str)]) -> Result<StreamHead, Refusal> {
        StreamHead::read(parts("GET", uri, fields), true, LIMITS)
    }

    #[test]
    fn authority_and_host_must_agree() {
        for (uri, host, expected) in [
            ("http://a/x", None, Some("a")),
            ("/x", Some("b:80"), Some("b:80")),
            ("http://a/x", Some("A"), Some("a")),
            ("http://a:80/x", Some("a"), Some("a:80")),
            ("https://a:443/x", Some("a"), Some("a:443")),
            ("http://a/x", Some("b"), None),
            ("https://a:80/x", Some("a"), None),
            ("http://u@a/x", None, None),
            ("/x", None, None),
            ("/x", Some("a,b"), None),
        ] {
            let fields: Vec<_> = host.map(|host| ("host", host)).into_iter().collect();
            let head = read(uri, &fields);
            assert_eq!(head.as_ref().ok().map(|head| head.authority()), expected, "{uri} {host:?}");
        }
        assert!(read("/", &[("host", "a"), ("host", "a")]).is_err());
    }

    #[test]
    fn each_field_is_counted_and_the_parts_of_a_cookie_too() {
        let crumbs = |count: usize| vec![("cookie", "a=b"); count];
        let head = read("http://a/", &crumbs(10)).unwrap();
        assert_eq!(head.header("cookie").unwrap(), ["a=b"; 10].join("; ").as_bytes());
        assert_eq!(read("http://a/", &crumbs(11)).unwrap_err(), Refusal::HeaderTooLarge);
        let long = "x".repeat(1024);
        assert_eq!(read("http://a/", &[("x", &long)]).unwrap_err(), Refusal::HeaderTooLarge);
        assert_eq!(read(&format!("http://a/{long}"), &[]).unwrap_err(), Refusal::HeaderTooLarge);
    }

    #[test]
    fn a_head_is_passed_on_without_what_is_for_one_hop() {
        let fields = [
            ("te", "trailers"),
            ("proxy-authorization", "secret"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x_forwarded_for", "1.2.3.4"),
            ("x_user", "spoofed"),
            ("x-user", "spoofed"),
            ("expect", "100-continue"),
            ("accept", "*/*"),
        ];
        let head = read("http://a/x?y=`1", &fields).unwrap();
        assert!(head.facts().claims);
        let mut edits = Edits::default();
        edits.hide_claims(true);
        let user = HeaderName::from_static("x-user");
        edits.danger_push(HeaderEdit::Add(user.clone(), HeaderValue::from_static("0")));
        edits.danger_push(HeaderEdit::Set(user.clone(), HeaderValue::from_static("1")));
        edits.danger_push(HeaderEdit::Add(user, HeaderValue::from_static("2")));
        edits.path = Some("/new".to_owned());
        let parts = head.forward(&edits);
        assert_eq!(parts.uri, "/new?y=%601");
        let mut written: Vec<_> = parts
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        written.sort();
        assert_eq!(written, ["accept: */*", "host: a", "te: trailers", "x-user: 1", "x-user: 2"]);
    }

    #[test]
    fn a_body_is_known_by_its_length_or_its_end() {
        let facts = |ended: bool, fields: &[(&str, &str)]| {
            StreamHead::read(parts("POST", "http://a/", fields), ended, LIMITS)
                .map(|head| (head.facts().content_length, head.facts().chunked))
        };
        assert_eq!(facts(true, &[]), Ok((None, false)));
        assert_eq!(facts(false, &[]), Ok((None, true)));
        assert_eq!(facts(false, &[("content-length", "5")]), Ok((Some(5), false)));
        for length in ["+5", "5,5", "", "-1", "99999999999999999999"] {
            assert!(facts(false, &[("content-length", length)]).is_err(), "{length}");
        }
        assert!(facts(false, &[("content-length", "5"), ("content-length", "5")]).is_err());
    }

    #[test]
    fn a_path_is_a_path() {
        for (method, path, sound) in
            [("GET", "/", true), ("OPTIONS", "*", true), ("GET", "*", false), ("GET", "http://a/", false)]
        {
            let mut parts = parts(method, "/", &[("host", "a")]);
            let mut uri = http::uri::Parts::default();
            let Ok(path_and_query) = path.parse() else { continue };
            uri.path_and_query = Some(path_and_query);
            parts.uri = http::Uri::from_parts(uri).unwrap();
            assert_eq!(StreamHead::read(parts, true, LIMITS).is_ok(), sound, "{method} {path}");
        }
    }
}
