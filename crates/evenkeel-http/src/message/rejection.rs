//! A rejection by a filter: why, the text for the client, and headers.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderName, HeaderValue, header};

/// A rejection by a filter: why, the text for the client, and headers.
///
/// ```
/// use evenkeel_http::message::{Refusal, Rejection};
/// use http::HeaderValue;
///
/// let challenge = HeaderValue::from_static("Basic realm=\"staff\"");
/// let refusal = Refusal::from(Rejection::unauthorized(challenge, "sign in first"));
/// assert_eq!((refusal.status(), refusal.reason()), (401, "unauthorized"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejection {
    /// Why.
    pub cause: RejectionCause,
    /// The text for the client.
    pub message: Cow<'static, str>,
    /// When the client should retry: `Retry-After`, rounded up to a second. Default: none.
    pub retry_after: Option<Duration>,
    /// Other headers of the response. Default: none.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Why a filter rejects a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejectionCause {
    /// The request has no valid credentials. 401.
    Unauthorized,
    /// The client may not do this, whatever its credentials. 403.
    Forbidden,
    /// The client has sent too many requests. 429.
    RateLimited,
    /// The service has no room for the request now, whatever client sends it. 503.
    Overloaded,
    /// Another cause, with this status, 400 to 599. Any other status becomes 500.
    Status(u16),
}

// === impl Rejection ===

impl Rejection {
    /// A rejection without headers.
    pub fn new(cause: RejectionCause, message: impl Into<Cow<'static, str>>) -> Self {
        Self { cause, message: message.into(), retry_after: None, headers: Vec::new() }
    }

    /// A rejection with this status, 400 to 599.
    pub fn status(status: u16, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RejectionCause::Status(status), message)
    }

    /// 401, with the challenge that `WWW-Authenticate` must have (RFC 9110, 11.6.1).
    pub fn unauthorized(challenge: HeaderValue, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RejectionCause::Unauthorized, message).header(header::WWW_AUTHENTICATE, challenge)
    }

    /// 403.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RejectionCause::Forbidden, message)
    }

    /// 429, with the time after which the client should retry.
    pub fn rate_limited(retry_after: Duration, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RejectionCause::RateLimited, message).retry_after(retry_after)
    }

    /// With the time after which the client should retry.
    #[must_use]
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    /// With another header. Headers that frame the message or are for one hop only are dropped.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

// === impl RejectionCause ===

impl RejectionCause {
    /// Its status.
    pub(super) fn status(self) -> u16 {
        match self {
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::RateLimited => 429,
            Self::Overloaded => 503,
            Self::Status(status @ 400..=599) => status,
            Self::Status(_) => 500,
        }
    }
}
