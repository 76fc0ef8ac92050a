//! The only place that maps a cause to a status: every response by which the balancer rejects a request.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderValue, header};

use super::answer::{Answer, AnswerFormat};

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
    /// A filter rejected the request, with this status and text.
    Filter {
        /// The status, 400 to 599.
        status: u16,
        /// The text for the client.
        message: Cow<'static, str>,
        /// When the client should retry.
        retry_after: Option<Duration>,
    },
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
            Self::NoRoute => 404,
            Self::NoBackend | Self::Overloaded(_) | Self::OutOfResources | Self::ShuttingDown => 503,
            Self::Unreachable | Self::BadAnswer => 502,
            Self::BackendTimeout(_) | Self::Timeout => 504,
            Self::Filter { status, .. } => *status,
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
            Self::NoRoute => "no_route",
            Self::NoBackend => "no_backend",
            Self::Overloaded(_) => "overloaded",
            Self::OutOfResources => "out_of_resources",
            Self::Unreachable => "unreachable",
            Self::BadAnswer => "bad_answer",
            Self::BackendTimeout(_) => "backend_timeout",
            Self::Timeout => "timeout",
            Self::ShuttingDown => "shutting_down",
            Self::Filter { .. } => "filter",
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
            Self::Filter { .. } => "refused=filter",
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
            Self::NoRoute => "no route matches this request",
            Self::NoBackend => "no backend is available",
            Self::Overloaded(_) => "the service is overloaded",
            Self::OutOfResources => "the balancer has no resources left for this request",
            Self::Unreachable => "no backend could be reached",
            Self::BadAnswer => "the backend sent an invalid response",
            Self::BackendTimeout(_) => "the backend took too long",
            Self::Timeout => "the request took too long",
            Self::ShuttingDown => "the service is shutting down",
            Self::Filter { message, .. } => message,
            Self::Internal => "internal error",
        }
    }

    /// The cause, as the access log says it: for the operator, with the limit that was reached.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::BadRequest(what) => what,
            Self::HeaderTimeout => "request head not received within header_timeout",
            Self::BodyTimeout => "no more of the request body within body_timeout",
            Self::HeaderTooLarge => "request head exceeds max_header_size or max_header_fields",
            Self::BodyTooLarge => "request body exceeds max_body_size",
            Self::MethodNotAllowed => "method CONNECT is not supported",
            Self::NotImplemented => "request has a Transfer-Encoding other than chunked",
            Self::VersionNotSupported => "HTTP version is not supported",
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
            Self::Filter { message: Cow::Borrowed(message), .. } => message,
            Self::Filter { .. } => "rejected by a filter",
            Self::Internal => "internal error",
        }
    }

    /// The response, in the format that the client accepts.
    pub fn answer(&self, format: AnswerFormat) -> Answer {
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
            AnswerFormat::Grpc => grpc(answer, status, message),
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::NoBackend | Self::Overloaded(_) | Self::OutOfResources | Self::ShuttingDown => Some(1),
            Self::Filter { retry_after, .. } => {
                // Rounded up: a client that retries a moment early is rejected again.
                retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
            }
            _ => None,
        }
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
/// <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>
fn grpc(mut answer: Answer, status: u16, message: &str) -> Answer {
    let code = match status {
        400 | 413 | 431 => 13,
        401 => 16,
        403 => 7,
        404 | 405 | 501 => 12,
        408 | 504 => 4,
        429 | 502 | 503 => 14,
        _ => 2,
    };
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
    use super::{AnswerFormat, Overload, Refusal, Waited};

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
            Refusal::NoRoute,
            Refusal::NoBackend,
            Refusal::Overloaded(Overload::QueueFull),
            Refusal::OutOfResources,
            Refusal::Unreachable,
            Refusal::BadAnswer,
            Refusal::BackendTimeout(Waited::FirstByte),
            Refusal::Timeout,
            Refusal::ShuttingDown,
            Refusal::Filter { status: 403, message: "no <b>".into(), retry_after: None },
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
}
