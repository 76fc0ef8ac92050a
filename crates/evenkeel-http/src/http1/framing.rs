//! What the fields of a request say of its body, its host and its connection, learned in one pass.

use super::fields::{ConnectionOptions, has_leading_zero, names_http_2};
use super::request::Head;
use super::target::{self, MALFORMED_HOST};
use crate::message::HeadFacts;
use crate::message::{AnswerFormat, Refusal};
use crate::message::{has_underscore, is_claim, is_guarded};

/// What the fields say.
#[derive(Debug, Default)]
pub(super) struct Framing<'a> {
    pub(super) host: Option<&'a str>,
    pub(super) connection: ConnectionOptions,
    /// Whether there is a field that is not passed on as it is, other than those for one hop.
    pub(super) has_odd: bool,
    content_length: Option<u64>,
    chunked: bool,
    claims: bool,
    underscored: bool,
    upgrade: bool,
    /// Whether one of the protocols is HTTP/2.
    http_2: bool,
    expects: bool,
    accept: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
}

impl<'a> Framing<'a> {
    pub(super) fn field(&mut self, field: &httparse::Header<'a>) -> Result<(), Refusal> {
        let name = field.name.as_bytes();
        // By length first: most fields are none of these.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                let host = std::str::from_utf8(field.value).map_err(|_| MALFORMED_HOST)?;
                if self.host.replace(host).is_some() {
                    return Err(Refusal::BadRequest("there is more than one Host"));
                }
            }
            6 if name.eq_ignore_ascii_case(b"expect") => self.expects = true,
            6 if name.eq_ignore_ascii_case(b"accept") => _ = self.accept.get_or_insert(field.value),
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade = true;
                self.http_2 |= names_http_2(field.value);
            }
            12 if name.eq_ignore_ascii_case(b"content-type") => self.content_type = Some(field.value),
            10 if name.eq_ignore_ascii_case(b"connection") => self.connection.read(field.value),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length =
                    decimal(field.value).ok_or(Refusal::BadRequest("Content-Length is malformed"))?;
                if self.content_length.replace(length).is_some() {
                    return Err(Refusal::BadRequest("there is more than one Content-Length"));
                }
                self.has_odd |= has_leading_zero(field.value);
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
            8.. => self.note(name),
            _ => {}
        }
        Ok(())
    }

    /// Notes a field that says who the client is, or whose name a CGI-style server could take for another's.
    fn note(&mut self, name: &[u8]) {
        let claim = is_claim(name);
        if !claim && !is_guarded(name) {
            return;
        }
        if has_underscore(name) {
            self.underscored = true;
        } else {
            self.claims |= claim;
        }
    }

    /// What was learned, once all fields were seen.
    ///
    /// # Errors
    /// The refusal, when the fields contradict each other or the request line.
    pub(super) fn finish(
        &mut self,
        length: usize,
        is_http_10: bool,
        [method, target]: [&str; 2],
    ) -> Result<Head, Refusal> {
        if self.chunked && self.content_length.is_some() {
            return Err(Refusal::BadRequest("there are both Content-Length and Transfer-Encoding"));
        }
        if self.chunked && is_http_10 {
            return Err(Refusal::BadRequest("HTTP/1.0 has no Transfer-Encoding"));
        }
        let host = match self.host {
            Some(host) => host,
            None if is_http_10 => "",
            None => return Err(Refusal::BadRequest("there is no Host")),
        };
        target::check(target, host, method)?;
        let has_body = self.chunked || self.content_length.unwrap_or_default() > 0;
        let expects = self.expects && has_body && !is_http_10;
        self.has_odd |= self.underscored || self.expects && !expects;
        let ConnectionOptions { close, keep_alive, upgrade, .. } = self.connection;
        let facts = HeadFacts {
            content_length: self.content_length,
            chunked: self.chunked,
            claims: self.claims,
            spoofed: self.underscored,
            // A client of HTTP/1.0 cannot ask for one (RFC 9110, 7.8).
            upgrade: self.upgrade && upgrade && !self.http_2 && !is_http_10,
            head_only: method == "HEAD",
            format: AnswerFormat::of(self.accept, self.content_type),
        };
        Ok(Head {
            length,
            facts,
            is_http_11: !is_http_10,
            persistent: !close && (!is_http_10 || keep_alive),
            expects,
        })
    }
}

/// Digits only: no sign, no space, no list, and not more than fits.
pub(crate) fn decimal(value: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let (first, rest) = value.split_first()?;
    rest.iter().try_fold(digit(first)?, |number, byte| number.checked_mul(10)?.checked_add(digit(byte)?))
}
