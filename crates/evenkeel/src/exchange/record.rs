//! What is known of one request when it ends: one line of the access log, one set of metrics.

use std::net::IpAddr;
use std::time::Duration;

use evenkeel_http::message::{RequestHead, RequestId, Version};
use http::HeaderValue;

use crate::observe::hexadecimal;

/// What is known of one request.
#[derive(Debug)]
pub struct Record {
    /// When its first byte came, by the connection's clock.
    pub started: u64,
    /// The client.
    pub client: Option<IpAddr>,
    /// Whether the client uses HTTPS, with the balancer or with a trusted proxy in front of it.
    pub https: bool,
    /// Its id: 32 hexadecimal digits, or what a trusted proxy called it.
    pub request_id: Option<RequestId>,
    /// The status of its response; zero while there is none.
    pub status: u16,
    /// How it ended, once that is known.
    pub ending: Option<Ending>,
    /// The cause, if it failed.
    pub error: Option<&'static str>,
    /// Bytes of its body.
    pub received: u64,
    /// Bytes of its response body.
    pub sent: u64,
    /// From the pick of the last backend to its response head, without the time in which the client sent the request.
    pub first_byte: Option<Duration>,
    /// What only the access log asks for; nothing if there is none.
    pub text: Option<Box<Text>>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// With a complete response from a backend, a route or a filter.
    Ok,
    /// The client disconnected before it had its complete response.
    ClientDisconnected,
    /// The backend broke off in the middle of its response.
    BackendDisconnected,
    /// The balancer refused or gave up: `refused=…` or `timeout=…`.
    Refused(&'static str),
    /// Its task panicked.
    Panic,
}

/// The parts of a head that the access log shows, in one allocation.
#[derive(Debug, Default)]
pub struct Text {
    /// When the request began, by the wall clock.
    pub time: jiff::Timestamp,
    text: String,
    /// Where each part ends in `text`.
    ends: [usize; 5],
    /// The version of HTTP.
    pub version: Version,
    /// The headers of the request that the log has, in the order of its list.
    pub request_headers: Vec<Option<Box<str>>>,
    /// The same of the response.
    pub response_headers: Vec<Option<Box<str>>>,
}

impl Record {
    /// A request whose first byte came then.
    pub fn new(started: u64) -> Self {
        Self {
            started,
            client: None,
            https: false,
            request_id: None,
            status: 0,
            ending: None,
            error: None,
            received: 0,
            sent: 0,
            first_byte: None,
            text: None,
        }
    }
}

impl Ending {
    /// What the access log calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientDisconnected => "client_left",
            Self::BackendDisconnected => "backend_left",
            Self::Refused(end) => end,
            Self::Panic => "panic",
        }
    }
}

impl Text {
    /// The value of a header as the log has it.
    pub fn header(name: &str, value: Option<&[u8]>) -> Option<Box<str>> {
        const SECRET: [&str; 7] = [
            "authorization",
            "cookie",
            "proxy-authenticate",
            "proxy-authorization",
            "set-cookie",
            "x-api-key",
            "x-auth-token",
        ];
        let value = value?;
        if SECRET.contains(&name) {
            return Some("(redacted)".into());
        }
        Some(shortened(&String::from_utf8_lossy(value), Self::LONGEST_HEADER).into())
    }

    /// Longest value of a header that is kept.
    const LONGEST_HEADER: usize = 1024;

    /// Longest part that is kept: a log line must not be as long as a client likes.
    const LONGEST: usize = 4096;

    /// Of a request that never became one: only the time.
    pub fn without_head() -> Self {
        Self { time: jiff::Timestamp::now(), ..Self::default() }
    }

    /// Of a request's head.
    pub fn of(head: &dyn RequestHead) -> Self {
        let mut parts = Self { time: jiff::Timestamp::now(), version: head.version(), ..Self::default() };
        let field = |name: &str| String::from_utf8_lossy(head.header(name).unwrap_or_default());
        let (user_agent, referer) = (field("user-agent"), field("referer"));
        let texts = [head.method(), head.authority(), head.target(), &user_agent, &referer];
        parts.text.reserve(texts.iter().map(|text| text.len().min(Self::LONGEST)).sum());
        for (end, text) in parts.ends.iter_mut().zip(texts) {
            parts.text.push_str(shortened(text, Self::LONGEST));
            *end = parts.text.len();
        }
        parts
    }

    /// The method.
    pub fn method(&self) -> &str {
        self.part(0)
    }

    /// The host and port that were asked for.
    pub fn host(&self) -> &str {
        self.part(1)
    }

    /// The request target.
    pub fn target(&self) -> &str {
        self.part(2)
    }

    /// The client's `User-Agent`.
    pub fn user_agent(&self) -> &str {
        self.part(3)
    }

    /// The client's `Referer`.
    pub fn referer(&self) -> &str {
        self.part(4)
    }

    fn part(&self, at: usize) -> &str {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        let end = self.ends.get(at).copied().unwrap_or_default();
        self.text.get(start..end).unwrap_or_default()
    }
}

/// The value of `X-Request-Id`.
pub(super) fn id_value(id: &RequestId) -> Option<HeaderValue> {
    match id {
        RequestId::Random(id) => HeaderValue::from_bytes(&hexadecimal(*id)).ok(),
        RequestId::Given(id) => HeaderValue::from_str(id).ok(),
        _ => None,
    }
}

fn shortened(text: &str, longest: usize) -> &str {
    text.get(..text.floor_char_boundary(longest)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::{RequestId, id_value};

    #[test]
    fn a_random_id_is_32_digits() {
        for id in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0011_2233_4455_6677] {
            assert_eq!(id_value(&RequestId::Random(id)).unwrap(), format!("{id:032x}"));
            assert_eq!(RequestId::Random(id).to_string(), format!("{id:032x}"));
        }
    }
}
