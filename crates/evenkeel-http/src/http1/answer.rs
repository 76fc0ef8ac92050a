//! The head of a backend's response, strictly by RFC 9112, and as a client receives it.

use std::mem::MaybeUninit;

use http::header;

use super::body::Body;
use super::chunked::Chunked;
use super::date::write_date;
use super::fields::{
    ConnectionOptions, ForwardedFields, MessageKind, has_leading_zero, write_connection, write_upgrade,
};
use super::framing::decimal;
use super::request::find_end;
use super::{Buffer, Malformed};
use crate::message::{Edits, HeaderEdit, ResponseHead};

/// The head of a response, in the received bytes.
#[derive(Debug)]
pub struct AnswerHead<'a> {
    /// Its length in bytes, with the empty line that ends it.
    pub length: usize,
    /// Whether the backend's connection ends with this response.
    pub last: bool,
    bytes: &'a [u8],
    status: u16,
    reason: &'a str,
    fields: &'a [httparse::Header<'a>],
    framing: Framing,
}

/// How a response is sent to a client.
#[derive(Clone, Copy, Debug)]
pub struct AnswerStyle {
    /// Whether the body goes in chunks.
    pub chunked: bool,
    /// What `Connection` says, if anything.
    pub connection: Option<&'static str>,
}

/// Most fields of a response.
const MOST_FIELDS: usize = 256;
/// Largest head of a response.
const LARGEST: usize = 64 * 1024;

/// Reads the received part of a response head, and lets `then` look at it. `Ok(None)` if its end has not arrived.
/// `searched` is as in [`with_request`](super::with_request).
///
/// # Errors
/// When it is malformed or too large.
pub fn with_answer<T>(
    bytes: &[u8],
    searched: &mut usize,
    then: impl FnOnce(&AnswerHead<'_>) -> T,
) -> Result<Option<T>, Malformed> {
    let end = find_end(bytes, searched).map_err(|_| Malformed::LineEnd)?;
    let Some(length) = end else {
        return if bytes.len() < LARGEST { Ok(None) } else { Err(Malformed::HeadTooLarge) };
    };
    let Some(bytes) = bytes.get(..length).filter(|head| head.len() <= LARGEST) else {
        return Err(Malformed::HeadTooLarge);
    };
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut response, bytes, &mut fields) {
        // The parser would accept empty lines before a response.
        Ok(httparse::Status::Complete(parsed)) if parsed == length && bytes.starts_with(b"HTTP/1.") => {}
        Ok(_) => return Err(Malformed::StatusLine),
        Err(error) => return Err(malformed(error)),
    }
    let mut framing = Framing::default();
    for field in response.headers.iter() {
        framing.field(field)?;
    }
    let is_http_10 = response.version == Some(0);
    let status = response.code.filter(|code| (100..600).contains(code));
    let status = status.ok_or(Malformed::Status)?;
    framing.check(is_http_10)?;
    if status == 101 && is_http_10 {
        return Err(Malformed::UpgradeHttp10);
    }
    let connection = framing.connection;
    let last = connection.close || is_http_10 && !connection.keep_alive;
    let reason = response.reason.unwrap_or_default();
    Ok(Some(then(&AnswerHead { length, last, bytes, status, reason, fields: response.headers, framing })))
}

/// What the parser found wrong with a head.
pub fn malformed(error: httparse::Error) -> Malformed {
    match error {
        httparse::Error::HeaderName => Malformed::FieldName,
        httparse::Error::HeaderValue => Malformed::FieldValue,
        httparse::Error::NewLine => Malformed::LineEnd,
        httparse::Error::Status | httparse::Error::Token => Malformed::StatusLine,
        httparse::Error::TooManyHeaders => Malformed::TooManyFields,
        httparse::Error::Version => Malformed::Version,
    }
}

/// What the fields say of the body.
#[derive(Clone, Copy, Debug, Default)]
struct Framing {
    content_length: Option<u64>,
    chunked: bool,
    connection: ConnectionOptions,
    has_date: bool,
    /// Whether the length has leading zeros.
    has_odd: bool,
    offers_upgrade: bool,
}

// === impl AnswerHead ===

impl AnswerHead<'_> {
    /// The body that follows, in response to a HEAD or another request (RFC 9112, 6.3).
    pub fn body(&self, head_only: bool) -> Body {
        match self.framing {
            _ if head_only || self.is_bodiless() => Body::NONE,
            Framing { chunked: true, .. } => Body::Chunked(Chunked::default()),
            Framing { content_length: Some(length), .. } => Body::Length(length),
            _ => Body::UntilClose,
        }
    }

    /// Writes the head as a client gets it: as HTTP/1.1, without what is for this hop only, with the edits applied.
    pub fn write(&self, edits: &Edits, style: AnswerStyle, out: &mut Buffer) {
        write_status(out, self.status, self.reason);
        let Self { bytes: head, fields, .. } = *self;
        let Framing { connection: ConnectionOptions { nominates, .. }, has_odd, offers_upgrade, .. } =
            self.framing;
        let offers_upgrade = offers_upgrade && self.status == 426;
        let of = MessageKind::Response { lengthless: !self.may_have_length(), offers_upgrade };
        ForwardedFields { head, fields, edits: &edits.headers, nominates, has_odd, of }.write(out);
        if style.chunked && self.may_have_length() {
            out.push(b"transfer-encoding: chunked\r\n");
        }
        match self.status {
            101 => write_upgrade(out, fields),
            _ => write_connection(out, style.connection, offers_upgrade),
        }
        if !self.framing.has_date && !edits.headers.iter().any(is_date) {
            write_date(out);
        }
        out.push(b"\r\n");
    }

    /// Whether it says that its body comes in chunks, also where there is none.
    pub fn is_chunked(&self) -> bool {
        self.framing.chunked
    }

    /// Whether it may say how long its body is: not where there never is one (RFC 9110, 8.6; RFC 9112, 6.1).
    fn may_have_length(&self) -> bool {
        self.status >= 200 && self.status != 204
    }

    fn is_bodiless(&self) -> bool {
        self.status < 200 || self.status == 204 || self.status == 304
    }
}

impl ResponseHead for AnswerHead<'_> {
    fn status(&self) -> u16 {
        self.status
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        let named = self.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.for_each(|field| visit(field.value));
    }
}

/// Writes the status line of a response.
pub(super) fn write_status(out: &mut Buffer, status: u16, reason: &str) {
    let digit = |power: u16| b'0' + (status / power % 10) as u8;
    let digits = [digit(100), digit(10), digit(1), b' '];
    out.push_all([b"HTTP/1.1 ", &digits, reason.as_bytes(), b"\r\n"]);
}

fn is_date(edit: &HeaderEdit) -> bool {
    matches!(edit, HeaderEdit::Set(name, _) | HeaderEdit::Add(name, _) if *name == header::DATE)
}

// === impl Framing ===

impl Framing {
    fn field(&mut self, field: &httparse::Header<'_>) -> Result<(), Malformed> {
        let name = field.name.as_bytes();
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"date") => self.has_date = true,
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.offers_upgrade = true,
            10 if name.eq_ignore_ascii_case(b"connection") => self.connection.read(field.value),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = decimal(field.value).ok_or(Malformed::ContentLength)?;
                if self.content_length.replace(length).is_some() {
                    return Err(Malformed::TwoContentLengths);
                }
                self.has_odd = has_leading_zero(field.value);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed::TransferEncoding);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn check(&self, is_http_10: bool) -> Result<(), Malformed> {
        if self.chunked && self.content_length.is_some() {
            return Err(Malformed::BothLengths);
        }
        if self.chunked && is_http_10 {
            return Err(Malformed::ChunkedHttp10);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{AnswerStyle, Body, Buffer, with_answer};
    use crate::message::Edits;
    use http::{HeaderName, HeaderValue};

    fn written(text: &str, edits: &Edits) -> String {
        let mut out = Buffer::default();
        let style = AnswerStyle { chunked: false, connection: None };
        with_answer(text.as_bytes(), &mut 0, |answer| answer.write(edits, style, &mut out)).unwrap().unwrap();
        String::from_utf8(out.filled().to_vec()).unwrap()
    }

    #[test]
    fn the_body_is_framed_as_rfc_9112_says() {
        for (text, head_only, framing) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, "5"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, "0"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, "chunked"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true, "0"),
            ("HTTP/1.1 200 OK\r\n\r\n", false, "close"),
            ("HTTP/1.0 200 OK\r\n\r\n", false, "close"),
            ("HTTP/1.1 204 \r\nContent-Length: 5\r\n\r\n", false, "0"),
            ("HTTP/1.1 304\r\nContent-Length: 5\r\n\r\n", false, "0"),
            ("HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", false, "0"),
        ] {
            let body =
                with_answer(text.as_bytes(), &mut 0, |answer| answer.body(head_only)).unwrap().unwrap();
            let got = match body {
                Body::Length(length) => length.to_string(),
                Body::Chunked(_) => "chunked".to_owned(),
                Body::UntilClose => "close".to_owned(),
            };
            assert_eq!(got, framing, "{text:?}");
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 5\n\n",
            "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: y\r\n folded\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 600 OK\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert!(with_answer(text.as_bytes(), &mut 0, |_| ()).is_err(), "{text:?}");
        }
        let large = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(70_000));
        assert!(with_answer(large.as_bytes(), &mut 0, |_| ()).is_err());
    }

    #[test]
    fn the_head_is_written_for_the_client() {
        let date = "Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n";
        let text = format!(
            "HTTP/1.0 299 Fine, Thanks\r\n{date}Connection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nServer: s\r\nX-Twice: 1\r\nx-twice: 2\r\n\r\n"
        );
        assert_eq!(
            written(&text, &Edits::default()),
            format!("HTTP/1.1 299 Fine, Thanks\r\n{date}Server: s\r\nX-Twice: 1\r\nx-twice: 2\r\n\r\n")
        );
        let mut edits = Edits::default();
        edits.remove(HeaderName::from_static("server")).unwrap();
        edits.add(HeaderName::from_static("x-new"), HeaderValue::from_static("lost")).unwrap();
        edits.set(HeaderName::from_static("x-new"), HeaderValue::from_static("1")).unwrap();
        edits.set(HeaderName::from_static("x-twice"), HeaderValue::from_static("3")).unwrap();
        edits.add(HeaderName::from_static("x-twice"), HeaderValue::from_static("4")).unwrap();
        assert_eq!(
            written(&text, &edits),
            format!("HTTP/1.1 299 Fine, Thanks\r\n{date}x-new: 1\r\nx-twice: 3\r\nx-twice: 4\r\n\r\n")
        );
        assert!(
            written("HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", &Edits::default())
                .starts_with("HTTP/1.1 204 No\r\ndate: ")
        );
    }
}
