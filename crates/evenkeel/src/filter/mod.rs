//! A step in the processing of a request. It reads the head of a request or response, and returns edits, a response, or
//! a rejection.
//!
//! The filters here use the same trait as a user's filters. No filter ever sees a transport: neither a Pingora session
//! nor a socket.

mod headers;
mod registry;
mod rewrite_path;
mod strip_prefix;

pub use evenkeel_http::message::{
    Answer, AnswerFormat, EditError, Edits, HeaderEdit, Overload, Refusal, RequestHead, ResponseHead, Waited,
};
pub use headers::{HeaderParams, RequestHeaders, ResponseHeaders};
pub use registry::{FilterError, FilterKind, Registry};
pub use rewrite_path::{RewritePath, RewritePathParams};
pub use strip_prefix::StripPrefix;

use std::fmt::Debug;
use std::net::IpAddr;

/// A step in the processing of a request.
///
/// One value serves every request of a route on every core. So it keeps its state in atomics and never blocks.
pub trait Filter: Debug + Send + Sync + 'static {
    /// Sees a request before a backend is picked. Called once for each request, in the order of the route's filters,
    /// whatever the number of attempts. Does nothing by default.
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        let _ = request;
        Verdict::Continue
    }

    /// Sees the head of the response to the client, from a backend or from the balancer. Called in reverse order. Does
    /// nothing by default.
    fn on_response(&self, response: &mut Response<'_>) {
        let _ = response;
    }
}

/// A request, as a filter sees it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Request<'a> {
    /// The request's head as the client sent it. The edits of earlier filters are not in it; see [`Request::path`].
    pub head: &'a dyn RequestHead,
    /// The client's address: the one value that limits, hashing, logs and forwarded headers use. `None` for a client on a
    /// Unix socket.
    pub client: Option<IpAddr>,
    /// What is changed before the request goes to a backend.
    pub edits: &'a mut Edits,
}

/// A response, as a filter sees it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Response<'a> {
    /// The response head as received. The edits of earlier filters are not in it.
    pub head: &'a dyn ResponseHead,
    /// What is changed before the response goes to the client.
    pub edits: &'a mut Edits,
}

/// The decision of a filter about a request.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// Continue with the next filter.
    Continue,
    /// Return this response; no backend receives the request.
    Answer(Answer),
    /// Reject the request; no backend receives it.
    Refuse(Refusal),
}

// === impl Request ===

impl<'a> Request<'a> {
    /// A request for a filter.
    pub fn new(head: &'a dyn RequestHead, client: Option<IpAddr>, edits: &'a mut Edits) -> Self {
        Self { head, client, edits }
    }

    /// The path that the backend will see so far: the client's path, or the result of an earlier filter. Without the
    /// query.
    pub fn path(&self) -> &str {
        self.edits.path.as_deref().unwrap_or_else(|| self.head.path())
    }
}

// === impl Response ===

impl<'a> Response<'a> {
    /// A response for a filter.
    pub fn new(head: &'a dyn ResponseHead, edits: &'a mut Edits) -> Self {
        Self { head, edits }
    }
}
