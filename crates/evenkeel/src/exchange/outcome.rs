//! What the result of an attempt means in HTTP: the one map from a failure of an upstream to a refusal, and which statuses
//! count as failures.

use evenkeel_http::message::{Overload, Refusal, Waited};

use crate::upstream::{Failure, RequestFailure, UpstreamError};

/// The response to a request that an upstream does not serve.
pub(super) fn refusal(error: UpstreamError) -> Refusal {
    match error {
        UpstreamError::NoBackend => Refusal::NoBackend,
        UpstreamError::CircuitOpen => Refusal::Overloaded(Overload::CircuitBreaker),
        UpstreamError::QueueFull => Refusal::Overloaded(Overload::QueueFull),
        UpstreamError::QueueTimeout => Refusal::Overloaded(Overload::QueueTimeout),
        UpstreamError::Failed { failure, .. } => match failure {
            Failure::Connect(_) | Failure::Tls(_) | Failure::Unsent => Refusal::Unreachable,
            Failure::Shortage => Refusal::OutOfResources,
            Failure::ConnectTimeout => Refusal::BackendTimeout(Waited::Connect),
            Failure::TlsTimeout => Refusal::BackendTimeout(Waited::Tls),
            Failure::Slow | Failure::Idle => Refusal::BackendTimeout(Waited::FirstByte),
            Failure::Stale
            | Failure::Closed(_)
            | Failure::Broken(_)
            | Failure::Malformed(_)
            | Failure::Response(_)
            | Failure::Cut(_) => Refusal::BadAnswer,
        },
    }
}

/// How the error log reports a refusal, if the upstream is to blame for it.
pub(super) fn reported(refusal: &Refusal) -> Option<RequestFailure> {
    match refusal {
        // Its backends are not to blame.
        Refusal::ShuttingDown => None,
        Refusal::Overloaded(_) => Some(RequestFailure::Overloaded),
        Refusal::NoBackend => Some(RequestFailure::NoBackend),
        refusal => matches!(refusal.status(), 502..=504).then_some(RequestFailure::AllAttempts),
    }
}

/// Whether a response with this status means that the backend, or a server behind it, cannot serve requests at all.
pub fn is_failure(status: u16) -> bool {
    matches!(status, 502..=504)
}

/// What the log says of a response with a status that is a failure, or is retried.
pub(super) fn status_text(status: u16) -> &'static str {
    match status {
        500 => "the backend responded with status 500",
        502 => "the backend responded with status 502",
        503 => "the backend responded with status 503",
        504 => "the backend responded with status 504",
        _ => "the backend responded with a status of retry.on",
    }
}
