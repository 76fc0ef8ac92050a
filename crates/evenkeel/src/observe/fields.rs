//! The catalogue of the access log's fields, and the three forms of a record.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use evenkeel_config::LogHeaders;

use super::text;

/// One finished request, as the access log sees it.
pub trait Entry {
    /// The value of a field.
    fn field(&self, field: Field) -> Value<'_>;

    /// The value of a header, by its place in the list of those that are recorded.
    fn header(&self, of: Message, place: usize) -> Option<&str>;
}

/// What a header is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Of the request.
    Request,
    /// Of the response.
    Response,
}

/// A field of the access log. The JSON form writes them in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// When the request began: RFC 3339, UTC, milliseconds.
    Time,
    /// The request's id, as in `X-Request-Id`.
    RequestId,
    /// The client's address.
    Client,
    /// The method.
    Method,
    /// The host that was asked for.
    Host,
    /// The request target as sent: path and query.
    Target,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`.
    Protocol,
    /// The stream of its connection, of a request that came as HTTP/2.
    Stream,
    /// The status of the response; 499 if the client disconnected before there was one.
    Status,
    /// The route that took the request.
    Route,
    /// The upstream it went to.
    Upstream,
    /// The last backend that was tried.
    Backend,
    /// How many backends were tried.
    Attempts,
    /// Milliseconds from the request's first byte to the end of the response.
    Duration,
    /// Milliseconds from the pick of the last backend to its response head, without the time in which the client sent
    /// the request.
    FirstByte,
    /// Bytes of the request's body.
    Received,
    /// Bytes of the response body.
    Sent,
    /// The client's `User-Agent`.
    UserAgent,
    /// The client's `Referer`.
    Referer,
    /// How it ended: `ok`, `client_left`, `backend_left`, `timeout=…`, `refused=…`, `panic`.
    End,
    /// Why it failed: the cause of a 502, 503 or 504 and of a 400, such as `connection refused`.
    Error,
    /// Which data path carried it.
    Lane,
    /// The version of TLS that the client uses: `TLSv1.2` or `TLSv1.3`. Absent without TLS.
    TlsVersion,
    /// The cipher suite of the client's connection.
    TlsCipher,
    /// The name that the client asked for in its handshake (SNI).
    TlsServerName,
    /// Whether the client resumed an earlier TLS session: `yes` or `no`.
    TlsResumed,
    /// The subject of the client's certificate; for listeners with `client_auth`.
    TlsClientSubject,
    /// The SHA-256 fingerprint of the client's certificate, in hexadecimal.
    TlsClientFingerprint,
    /// How the last backend was chosen; for routes with `explain: true`.
    Explain,
}

/// The value of a [`Field`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// Nothing to say: JSON leaves the field out, other forms write `-`.
    Absent,
    /// Text that may hold anything that a client sent.
    Text(&'a str),
    /// A number.
    Number(u64),
    /// A span of time, written in milliseconds.
    Span(Duration),
    /// A number of 128 bits, written as 32 hexadecimal digits.
    Id(u128),
    /// An address.
    Address(IpAddr),
    /// A moment.
    Moment(jiff::Timestamp),
}

// === impl Field ===

impl Field {
    /// Every field, in the order of the JSON form.
    pub const ALL: [Self; 29] = [
        Self::Time,
        Self::RequestId,
        Self::Client,
        Self::Method,
        Self::Host,
        Self::Target,
        Self::Protocol,
        Self::Stream,
        Self::Status,
        Self::Route,
        Self::Upstream,
        Self::Backend,
        Self::Attempts,
        Self::Duration,
        Self::FirstByte,
        Self::Received,
        Self::Sent,
        Self::UserAgent,
        Self::Referer,
        Self::End,
        Self::Error,
        Self::Lane,
        Self::TlsVersion,
        Self::TlsCipher,
        Self::TlsServerName,
        Self::TlsResumed,
        Self::TlsClientSubject,
        Self::TlsClientFingerprint,
        Self::Explain,
    ];

    /// What the field is called in JSON and in templates.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::RequestId => "request_id",
            Self::Client => "client",
            Self::Method => "method",
            Self::Host => "host",
            Self::Target => "target",
            Self::Protocol => "protocol",
            Self::Stream => "stream",
            Self::Status => "status",
            Self::Route => "route",
            Self::Upstream => "upstream",
            Self::Backend => "backend",
            Self::Attempts => "attempts",
            Self::Duration => "duration_ms",
            Self::FirstByte => "first_byte_ms",
            Self::Received => "bytes_in",
            Self::Sent => "bytes_out",
            Self::UserAgent => "user_agent",
            Self::Referer => "referer",
            Self::End => "end",
            Self::Error => "error",
            Self::Lane => "lane",
            Self::TlsVersion => "tls_version",
            Self::TlsCipher => "tls_cipher",
            Self::TlsServerName => "tls_server_name",
            Self::TlsResumed => "tls_resumed",
            Self::TlsClientSubject => "tls_client_subject",
            Self::TlsClientFingerprint => "tls_client_fingerprint",
            Self::Explain => "explain",
        }
    }

    /// The field of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

/// Appends a record as one JSON object, without a line end.
pub(super) fn json(out: &mut String, entry: &impl Entry, headers: &LogHeaders) {
    let mut separator = '{';
    for field in Field::ALL {
        let value = entry.field(field);
        if value == Value::Absent {
            continue;
        }
        out.push(separator);
        out.push('"');
        out.push_str(field.name());
        out.push_str("\":");
        separator = ',';
        match value {
            Value::Text(text) => text::json(out, text),
            Value::Address(_) | Value::Id(_) | Value::Moment(_) => {
                out.push('"');
                plain(out, value);
                out.push('"');
            }
            value => plain(out, value),
        }
    }
    for (key, of, names) in [
        (",\"request_headers\":", Message::Request, &headers.request),
        (",\"response_headers\":", Message::Response, &headers.response),
    ] {
        json_headers(out, key, names, |place| entry.header(of, place));
    }
    out.push('}');
}

/// Appends an object of the headers that are there, if any are.
fn json_headers<'a>(
    out: &mut String,
    key: &str,
    names: &[Box<str>],
    value: impl Fn(usize) -> Option<&'a str>,
) {
    let mut separator = "{";
    for (place, name) in names.iter().enumerate() {
        let Some(value) = value(place) else { continue };
        if separator == "{" {
            out.push_str(key);
        }
        out.push_str(separator);
        separator = ",";
        text::json(out, name);
        out.push(':');
        text::json(out, value);
    }
    if separator == "," {
        out.push('}');
    }
}

/// Appends a record in the combined log format of Apache and nginx, without a line end.
pub(super) fn combined(out: &mut String, entry: &impl Entry) {
    plain(out, entry.field(Field::Client));
    out.push_str(" - - [");
    if let Value::Moment(moment) = entry.field(Field::Time) {
        let _ = write!(out, "{}", moment.strftime("%d/%b/%Y:%H:%M:%S +0000"));
    }
    out.push_str("] \"");
    for (separator, field) in [("", Field::Method), (" ", Field::Target), (" ", Field::Protocol)] {
        out.push_str(separator);
        escaped(out, entry.field(field));
    }
    out.push_str("\" ");
    plain(out, entry.field(Field::Status));
    out.push(' ');
    plain(out, entry.field(Field::Sent));
    for field in [Field::Referer, Field::UserAgent] {
        out.push_str(" \"");
        escaped(out, entry.field(field));
        out.push('"');
    }
    // At the end, and only where there is one: what reads this format takes the line of a good request as it always was.
    let error = entry.field(Field::Error);
    if error != Value::Absent {
        out.push_str(" \"");
        escaped(out, error);
        out.push('"');
    }
}

/// Appends a value as templates write it: nothing in it can end the line or a quoted string.
pub(super) fn escaped(out: &mut String, value: Value<'_>) {
    match value {
        Value::Text(text) => text::escaped(out, text),
        value => plain(out, value),
    }
}

fn plain(out: &mut String, value: Value<'_>) {
    match value {
        Value::Absent => out.push('-'),
        Value::Text(text) => out.push_str(text),
        Value::Number(number) => text::number(out, number),
        Value::Span(span) => text::span(out, span),
        Value::Id(id) => text::id(out, id),
        Value::Address(address) => text::address(out, address),
        Value::Moment(moment) => text::moment(out, moment),
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Field, LogHeaders, Message, Value, combined, escaped, json};
    use std::time::Duration;

    struct Sample;

    impl Entry for Sample {
        fn field(&self, field: Field) -> Value<'_> {
            match field {
                Field::Time => Value::Moment("2026-11-22T10:20:30.4567Z".parse().unwrap()),
                Field::Client => Value::Address("192.0.2.1".parse().unwrap()),
                Field::Method => Value::Text("GET"),
                Field::Target => Value::Text("/a\"b\\c\n?é"),
                Field::Protocol => Value::Text("HTTP/1.1"),
                Field::Status => Value::Number(200),
                Field::Duration => Value::Span(Duration::from_micros(1_234_005)),
                Field::Sent => Value::Number(15),
                _ => Value::Absent,
            }
        }

        fn header(&self, of: Message, place: usize) -> Option<&str> {
            (of == Message::Request && place > 0).then_some("a \"b\"")
        }
    }

    #[test]
    fn a_json_record_is_json() {
        let mut line = String::new();
        let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
        let headers = LogHeaders { request: names(&["x-none", "x-a", "x-b"]), response: names(&["x-none"]) };
        json(&mut line, &Sample, &headers);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["target"], "/a\"b\\c\n?é");
        assert_eq!(value["time"], "2026-11-22T10:20:30.456Z");
        assert_eq!(value["duration_ms"], 1234.005);
        assert!(value.get("route").is_none());
        assert_eq!(value["request_headers"], serde_json::json!({ "x-a": "a \"b\"", "x-b": "a \"b\"" }));
        assert!(value.get("response_headers").is_none());
    }

    #[test]
    fn a_combined_record_stays_on_its_line() {
        let mut line = String::new();
        combined(&mut line, &Sample);
        assert_eq!(
            line,
            "192.0.2.1 - - [22/Nov/2026:10:20:30 +0000] \"GET /a\\x22b\\x5Cc\\x0A?é HTTP/1.1\" 200 15 \"-\" \"-\""
        );
    }

    #[test]
    fn names_find_their_fields() {
        for field in Field::ALL {
            assert_eq!(Field::named(field.name()), Some(field));
        }
        let names = Field::ALL.map(Field::name);
        assert_eq!(names, evenkeel_config::model::ACCESS_LOG_FIELDS, "what templates may name");
        let mut out = String::new();
        escaped(&mut out, Value::Absent);
        assert_eq!(out, "-");
    }
}
