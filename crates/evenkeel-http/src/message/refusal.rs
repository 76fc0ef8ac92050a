//! The only place that maps a cause to a status: every response by which the balancer rejects a request.

use std::borrow::Cow;

use http::{HeaderValue, header};

use super::answer::{Answer, AnswerFormat};
use super::rejection::{Rejection, RejectionCause};

/// Why a request is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The request violates HTTP; the text says how. 400.
    BadRequest(&'static str),
    /// The head did not arrive in time. 408.
    HeaderTimeout,
    /// The body did not arrive in time. 408.
    BodyTimeout,
    /// The head has too many bytes or fields. 431.
    HeaderTooLarge,
    /// The body is larger than allowed. 413.
    BodyTooLarge,
    /// The method is not supported: CONNECT. 405.
    MethodNotAllowed,
    /// The transfer coding is not supported. 501.
    NotImplemented,
    /// The HTTP version is not supported. 505.
    VersionNotSupported,
    /// The connection's certificate is not for this host, and another one is. 421.
    Misdirected,
    /// No route matches. 404.
    NoRoute,
    /// No backend is usable. 503, with `Retry-After`.
    NoBackend,
    /// The upstream accepts no more requests now. 503, with `Retry-After`.
    Overloaded(Overload),
    /// The balancer has no file descriptor, port or memory left to connect with. 503, with `Retry-After`.
    OutOfResources,
    /// No backend could be reached. 502.
    Unreachable,
    /// The backend broke off before its response head, or its response was invalid. 502.
    BadAnswer,
    /// The backend was too slow. 504.
    BackendTimeout(Waited),
    /// The time for the whole request was over. 504.
    Timeout,
    /// The balancer is stopping and does not wait longer for requests in progress. 503, with `Retry-After`.
    ShuttingDown,
    /// A filter rejected the request. 401, 403, 429 or the status of the filter.
    Filter(Box<Rejection>),
    /// A filter replaced the error of a backend with this response.
    Page(Box<Answer>),
    /// An error inside the balancer. 500.
    Internal,
}

/// Why an upstream accepts no more requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overload {
    /// Its circuit breaker is open.
    CircuitBreaker,
    /// Too many requests wait for a backend already.
    QueueFull,
    /// The request has waited for a backend for too long.
    QueueTimeout,
}

/// What evenkeel waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waited {
    /// A connection.
    Connect,
    /// A TLS session.
    Tls,
    /// The response head.
    FirstByte,
}

impl Refusal {
    /// Every [`reason`](Self::reason) for which a request is rejected.
    pub const REASONS: [&str; 23] = [
        "bad_request",
        "header_timeout",
        "body_timeout",
        "header_too_large",
        "body_too_large",
        "method_not_allowed",
        "not_implemented",
        "version_not_supported",
        "misdirected",
        "no_route",
        "no_backend",
        "overloaded",
        "out_of_resources",
        "unreachable",
        "bad_answer",
        "backend_timeout",
        "timeout",
        "shutting_down",
        "unauthorized",
        "forbidden",
        "rate_limited",
        "filter",
        "internal",
    ];

    /// The status that the client gets.
    pub fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::HeaderTimeout | Self::BodyTimeout => 408,
            Self::HeaderTooLarge => 431,
            Self::BodyTooLarge => 413,
            Self::MethodNotAllowed => 405,
            Self::NotImplemented => 501,
            Self::VersionNotSupported => 505,
            Self::Misdirected => 421,
            Self::NoRoute => 404,
            Self::NoBackend | Self::Overloaded(_) | Self::OutOfResources | Self::ShuttingDown => 503,
            Self::Unreachable | Self::BadAnswer => 502,
            Self::BackendTimeout(_) | Self::Timeout => 504,
            Self::Filter(rejection) => rejection.cause.status(),
            Self::Page(answer) => answer.status,
            Self::Internal => 500,
        }
    }

    /// The name in metrics and JSON.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::HeaderTimeout => "header_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::HeaderTooLarge => "header_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::NotImplemented => "not_implemented",
            Self::VersionNotSupported => "version_not_supported",
            Self::Misdirected => "misdirected",
            Self::NoRoute => "no_route",
            Self::NoBackend => "no_backend",
            Self::Overloaded(_) => "overloaded",
            Self::OutOfResources => "out_of_resources",
            Self::Unreachable => "unreachable",
            Self::BadAnswer => "bad_answer",
            Self::BackendTimeout(_) => "backend_timeout",
            Self::Timeout => "timeout",
            Self::ShuttingDown => "shutting_down",
            Self::Filter(rejection) => match rejection.cause {
                RejectionCause::Unauthorized => "unauthorized",
                RejectionCause::Forbidden => "forbidden",
                RejectionCause::RateLimited => "rate_limited",
                RejectionCause::Overloaded => "overloaded",
                RejectionCause::Status(_) => "filter",
            },
            Self::Page(_) => "page",
            Self::Internal => "internal",
        }
    }

    /// How the access log records the end of the request: `timeout=…` if a timeout was the cause, else `refused=…`.
    pub fn end(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "refused=bad_request",
            Self::HeaderTimeout => "timeout=header",
            Self::BodyTimeout => "timeout=body",
            Self::HeaderTooLarge => "refused=header_too_large",
            Self::BodyTooLarge => "refused=body_too_large",
            Self::MethodNotAllowed => "refused=method_not_allowed",
            Self::NotImplemented => "refused=not_implemented",
            Self::VersionNotSupported => "refused=version_not_supported",
            Self::Misdirected => "refused=misdirected",
            Self::NoRoute => "refused=no_route",
            Self::NoBackend => "refused=no_backend",
            Self::Overloaded(_) => "refused=overloaded",
            Self::OutOfResources => "refused=out_of_resources",
            Self::Unreachable => "refused=unreachable",
            Self::BadAnswer => "refused=bad_answer",
            Self::BackendTimeout(Waited::Connect) => "timeout=connect",
            Self::BackendTimeout(Waited::Tls) => "timeout=tls",
            Self::BackendTimeout(Waited::FirstByte) => "timeout=first_byte",
            Self::Timeout => "timeout=total",
            Self::ShuttingDown => "refused=shutting_down",
            Self::Filter(rejection) => match rejection.cause {
                RejectionCause::Unauthorized => "refused=unauthorized",
                RejectionCause::Forbidden => "refused=forbidden",
                RejectionCause::RateLimited => "refused=rate_limited",
                RejectionCause::Overloaded => "refused=overloaded",
                RejectionCause::Status(_) => "refused=filter",
            },
            Self::Page(_) => "ok",
            Self::Internal => "refused=internal",
        }
    }

    /// The text for the client.
    pub fn message(&self) -> &str {
        match self {
            Self::BadRequest(what) => what,
            Self::HeaderTimeout => "the request head took too long",
            Self::BodyTimeout => "the request body took too long",
            Self::HeaderTooLarge => "the request head is too large",
            Self::BodyTooLarge => "the request body is too large",
            Self::MethodNotAllowed => "this method is not supported",
            Self::NotImplemented => "this transfer coding is not supported",
            Self::VersionNotSupported => "this HTTP version is not supported",
            Self::Misdirected => "this connection is not for this host",
            Self::NoRoute => "no route matches this request",
            Self::NoBackend => "no backend is available",
            Self::Overloaded(_) => "the service is overloaded",
            Self::OutOfResources => "the balancer has no resources left for this request",
            Self::Unreachable => "no backend could be reached",
            Self::BadAnswer => "the backend sent an invalid response",
            Self::BackendTimeout(_) => "the backend took too long",
            Self::Timeout => "the request took too long",
            Self::ShuttingDown => "the service is shutting down",
            Self::Filter(rejection) => &rejection.message,
            Self::Page(_) => "",
            Self::Internal => "internal error",
        }
    }

    /// The cause, as the access log says it: for the operator, with the limit that was reached.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::BadRequest(what) => what,
            Self::HeaderTimeout => "request head not received within header_timeout",
            Self::BodyTimeout => "no more data of the request body within body_timeout",
            Self::HeaderTooLarge => "request head exceeds max_header_size or max_header_fields",
            Self::BodyTooLarge => "request body exceeds max_body_size",
            Self::MethodNotAllowed => "method CONNECT is not supported",
            Self::NotImplemented => "request has a Transfer-Encoding other than chunked",
            Self::VersionNotSupported => "HTTP version is not supported",
            Self::Misdirected => "certificate of the connection is not for this host, and another one is",
            Self::NoRoute => "no route matches",
            Self::ShuttingDown => "cut by shutdown.drain_timeout",
            Self::NoBackend => "no healthy backend",
            Self::Overloaded(Overload::CircuitBreaker) => "circuit breaker is open",
            Self::Overloaded(Overload::QueueFull) => "queue is full: queue.max_pending reached",
            Self::Overloaded(Overload::QueueTimeout) => "no backend had room within queue.timeout",
            Self::OutOfResources => "no file descriptors, memory or ports left to connect",
            Self::Unreachable => "no backend could be reached",
            Self::BadAnswer => "invalid response from the backend",
            Self::BackendTimeout(Waited::Connect) => "no connection within timeouts.connect",
            Self::BackendTimeout(Waited::Tls) => "no TLS session within timeouts.connect",
            Self::BackendTimeout(Waited::FirstByte) => "no response head within timeouts.first_byte",
            Self::Timeout => "no response head within the route's timeout",
            Self::Filter(rejection) => match rejection.message {
                Cow::Borrowed(message) => message,
                Cow::Owned(_) => "rejected by a filter",
            },
            Self::Page(_) => "error of the backend",
            Self::Internal => "internal error",
        }
    }

    /// The response, in the format that the client accepts.
    pub fn answer(&self, format: AnswerFormat) -> Answer {
        if let Self::Page(answer) = self {
            return (**answer).clone();
        }
        let status = self.status();
        let mut answer = Answer::new(status);
        if let Some(seconds) = self.retry_after() {
            answer = answer.header(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if matches!(self, Self::MethodNotAllowed) {
            // RFC 9110, 15.5.6: a 405 must list the supported methods.
            let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            answer = answer.header(header::ALLOW, methods);
        }
        if let Self::Filter(rejection) = self {
            answer.headers.extend_from_slice(&rejection.headers);
        }
        let message = self.message();
        match format {
            AnswerFormat::Text => {
                answer.content("text/plain; charset=utf-8", format!("{status} {message}\n"))
            }
            AnswerFormat::Json => {
                let body =
                    serde_json::json!({ "status": status, "error": self.reason(), "message": message });
                answer.content("application/json", format!("{body}\n"))
            }
            AnswerFormat::Html => answer.content("text/html; charset=utf-8", html(status, message)),
            AnswerFormat::Grpc => grpc(answer, self.grpc_status(), message),
        }
    }

    /// The status of gRPC.
    /// <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>
    fn grpc_status(&self) -> u16 {
        match self.status() {
            400 | 413 | 431 => 13,
            401 => 16,
            403 => 7,
            404 | 405 | 501 => 12,
            408 | 504 => 4,
            // That page says UNAVAILABLE, for clients that only see a 429 and then retry at once. RESOURCE_EXHAUSTED is what it
            // means (https://grpc.io/docs/guides/status-codes/).
            429 => 8,
            502 | 503 => 14,
            _ => 2,
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::NoBackend | Self::Overloaded(_) | Self::OutOfResources | Self::ShuttingDown => Some(1),
            Self::Filter(rejection) => {
                // Rounded up: a client that retries a moment early is rejected again.
                rejection.retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
            }
            _ => None,
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Filter(Box::new(rejection))
    }
}

fn html(status: u16, message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for c in message.chars() {
        match c {
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '&' => text.push_str("&amp;"),
            c => text.push(c),
        }
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{status}</title></head>\n\
         <body><h1>{status}</h1><p>{text}</p></body></html>\n"
    )
}

/// gRPC carries its status in fields of its own, over a 200.
fn grpc(mut answer: Answer, code: u16, message: &str) -> Answer {
    answer.status = 200;
    let message: String =
        message.chars().map(|c| if c == ' ' || c.is_ascii_graphic() && c != '%' { c } else { '_' }).collect();
    let message = HeaderValue::from_str(&message).unwrap_or(HeaderValue::from_static(""));
    answer
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
        .header(http::HeaderName::from_static("grpc-status"), HeaderValue::from(code))
        .header(http::HeaderName::from_static("grpc-message"), message)
}

#[cfg(test)]
mod tests {
    use super::{AnswerFormat, Overload, Refusal, Rejection, Waited};
    use http::{HeaderName, HeaderValue, header};
    use std::time::Duration;

    fn all() -> Vec<Refusal> {
        vec![
            Refusal::BadRequest("bad"),
            Refusal::HeaderTimeout,
            Refusal::BodyTimeout,
            Refusal::HeaderTooLarge,
            Refusal::BodyTooLarge,
            Refusal::MethodNotAllowed,
            Refusal::NotImplemented,
            Refusal::VersionNotSupported,
            Refusal::Misdirected,
            Refusal::NoRoute,
            Refusal::NoBackend,
            Refusal::Overloaded(Overload::QueueFull),
            Refusal::OutOfResources,
            Refusal::Unreachable,
            Refusal::BadAnswer,
            Refusal::BackendTimeout(Waited::FirstByte),
            Refusal::Timeout,
            Refusal::ShuttingDown,
            Rejection::unauthorized(HeaderValue::from_static("Basic"), "sign in").into(),
            Rejection::forbidden("no <b>").into(),
            Rejection::rate_limited(Duration::from_millis(1500), "too many requests").into(),
            Rejection::status(451, "no").into(),
            Refusal::Internal,
        ]
    }

    #[test]
    fn every_refusal_reads_well_in_every_form() {
        for refusal in all() {
            let status = refusal.status();
            let text = refusal.answer(AnswerFormat::Text);
            assert_eq!(text.body, format!("{status} {}\n", refusal.message()));
            let json: serde_json::Value =
                serde_json::from_slice(&refusal.answer(AnswerFormat::Json).body).unwrap();
            assert_eq!(json["status"], status);
            assert_eq!(json["error"], refusal.reason());
            let html = refusal.answer(AnswerFormat::Html);
            assert!(!String::from_utf8_lossy(&html.body).contains("<b>"));
            let grpc = refusal.answer(AnswerFormat::Grpc);
            assert_eq!((grpc.status, grpc.body.len()), (200, 0));
            assert!(grpc.headers.iter().any(|(name, _)| name == "grpc-status"));
        }
    }

    #[test]
    fn every_reason_is_listed() {
        let mut reasons: Vec<_> = all().iter().map(Refusal::reason).collect();
        reasons.dedup();
        assert_eq!(reasons, Refusal::REASONS);
    }

    #[test]
    fn a_rejection_has_its_headers_and_its_own_status_in_grpc() {
        let values = |refusal: &Refusal, format, name: HeaderName| {
            let answer = refusal.answer(format);
            let named = answer.headers.iter().filter(|(known, _)| *known == name);
            let values = named.map(|(_, value)| value.to_str().unwrap().to_owned()).collect::<Vec<_>>();
            values.join(", ")
        };
        let grpc = HeaderName::from_static("grpc-status");
        let policy = HeaderName::from_static("ratelimit-policy");
        let limited = Rejection::rate_limited(Duration::from_millis(1500), "slow down")
            .header(policy.clone(), HeaderValue::from_static("\"a\";q=10"));
        let challenge = HeaderValue::from_static("Bearer");
        for (rejection, status, code, name, value) in [
            (limited.clone(), 429, "8", header::RETRY_AFTER, "2"),
            (limited, 429, "8", policy, "\"a\";q=10"),
            (Rejection::unauthorized(challenge, "who?"), 401, "16", header::WWW_AUTHENTICATE, "Bearer"),
            (Rejection::forbidden("no"), 403, "7", header::RETRY_AFTER, ""),
            (Rejection::status(200, "no status of a rejection"), 500, "2", header::RETRY_AFTER, ""),
        ] {
            let refusal = Refusal::from(rejection);
            assert_eq!(refusal.status(), status);
            for format in [AnswerFormat::Text, AnswerFormat::Html, AnswerFormat::Json, AnswerFormat::Grpc] {
                assert_eq!(values(&refusal, format, name.clone()), value, "{refusal:?} {format:?}");
            }
            assert_eq!(values(&refusal, AnswerFormat::Grpc, grpc.clone()), code, "{refusal:?}");
        }
    }
}
