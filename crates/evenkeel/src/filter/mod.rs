//! A step in the processing of a request. It reads the head of a request or response, and returns edits, a response, or
//! a rejection.
//!
//! The filters here use the same trait as a user's filters. No filter ever sees a transport: neither a Pingora session
//! nor a socket.

mod access;
mod adaptive_concurrency;
mod bandwidth_limit;
mod basic_auth;
mod compress;
mod concurrency_limit;
mod context;
mod cors;
mod duration;
mod error_pages;
mod forward_auth;
mod headers;
mod identity;
mod jwt;
mod key;
mod maintenance;
mod pause;
mod place;
mod rate_limit;
mod registry;
mod request;
mod rewrite_location;
mod rewrite_path;
mod security_headers;
mod service;
mod set_cookie;
mod state;
mod strip_prefix;
mod value;
mod wait;
mod watched;

pub(crate) use access::{AllowFilter, DenyFilter};
pub(crate) use adaptive_concurrency::AdaptiveConcurrencyFilter;
pub(crate) use bandwidth_limit::{BandwidthLimitFilter, BandwidthShare, Direction};
pub(crate) use basic_auth::BasicAuthFilter;
pub(crate) use compress::CompressFilter;
pub(crate) use concurrency_limit::{ConcurrencyLimitFilter, ConcurrencyResult};
pub use context::{BuildContext, Task};
pub(crate) use cors::CorsFilter;
use duration::DurationParam;
pub(crate) use error_pages::ErrorPagesFilter;
pub use evenkeel_http::message::{
    Answer, AnswerFormat, Arrival, Coding, Compression, EditError, Edits, Escape, Facts, HeaderEdit,
    Overload, Phase, Placeholder, Refusal, Rejection, RejectionCause, Replacement, RequestFacts, RequestHead,
    RequestId, ResponseFacts, ResponseHead, Scope, Template, TemplateError, Version, Waited,
};
pub(crate) use forward_auth::ForwardAuthFilter;
pub(crate) use headers::{RequestHeaders, ResponseHeaders};
pub(crate) use jwt::JwtFilter;
pub(crate) use maintenance::MaintenanceFilter;
pub(crate) use rate_limit::{RateLimitFilter, RateLimitResult};
pub use registry::{FilterError, FilterKind, Registry};
pub(crate) use request::Sender;
pub use request::{Request, Response};
pub(crate) use rewrite_location::RewriteLocation;
pub(crate) use rewrite_path::RewritePath;
pub(crate) use security_headers::SecurityHeaders;
pub(crate) use set_cookie::CookieFilter;
pub use state::State;
pub(crate) use strip_prefix::StripPrefix;
pub use value::RouteFilters;
pub(crate) use wait::Resume;
pub use wait::Wait;

use std::any::Any;
use std::fmt::Debug;

/// A step in the processing of a request.
///
/// One value serves every request of a route on every core. So it keeps its state in atomics and never blocks: a filter that must
/// wait returns [`Verdict::Wait`]. What it keeps of one request is in [`Request::state`]. A panic ends the request with status
/// 500 and nothing else.
pub trait Filter: Any + Debug + Send + Sync {
    /// Sees a request before a backend is picked. Called once for each request, in the order of the route's filters,
    /// whatever the number of attempts. Does nothing by default.
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        let _ = request;
        Verdict::Continue
    }

    /// Called instead of `on_request` when an earlier filter has ended the request: the last time to keep what `on_response`
    /// needs of the request. What it changes in the request has no effect. Does nothing by default.
    fn on_skipped(&self, request: &mut Request<'_>) {
        let _ = request;
    }

    /// Sees the head of the response to the client, from a backend or from the balancer. Called in reverse order. Does
    /// nothing by default.
    fn on_response(&self, response: &mut Response<'_>) {
        let _ = response;
    }
}

/// The decision of a filter about a request.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// Continue with the next filter.
    Continue,
    /// Return this response; no backend receives the request.
    Answer(Answer),
    /// Reject the request; no backend receives it. Usually a [`Rejection`], as `Verdict::Refuse(rejection.into())`.
    Refuse(Refusal),
    /// Wait for the verdict. Other requests of the worker go on meanwhile. Then the next filters run, with the edits so far. A
    /// request that is only explained does not wait: the explanation says that the filter would, and goes on.
    Wait(Wait),
}
