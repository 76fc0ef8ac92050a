//! A step on a request's path: it reads the head of a request or an answer, and writes edits, an answer, or a refusal.
//!
//! The filters here use the same trait as a user's do. No filter ever sees a transport: not a Pingora session, not a
//! socket.

mod answer;
mod edits;
mod head;
mod headers;
mod refusal;
mod registry;
mod rewrite_path;
mod strip_prefix;

pub use answer::{Answer, AnswerFormat};
pub use edits::{Edits, HeaderEdit};
pub use head::{RequestHead, ResponseHead};
pub(crate) use head::{host_of, origin_form, path_of, query_of, split_once};
pub use headers::{HeaderParams, RequestHeaders, ResponseHeaders};
pub use refusal::{Refusal, Waited};
pub use registry::{FilterError, FilterKind, Registry};
pub use rewrite_path::{RewritePath, RewritePathParams};
pub use strip_prefix::StripPrefix;

use std::fmt::Debug;
use std::net::IpAddr;

/// A step on a request's path.
///
/// One value serves every request of a route on every core, so it keeps its state behind atomics, and blocks never.
pub trait Filter: Debug + Send + Sync + 'static {
    /// Looks at a request before a backend is chosen. Called once for each request, in the order of the route's filters,
    /// whatever number of attempts follows. Does nothing by default.
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        let _ = request;
        Verdict::Continue
    }

    /// Looks at the head of the answer that goes to the client, a backend's or our own. Called in the reverse order.
    /// Does nothing by default.
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

/// An answer, as a filter sees it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Response<'a> {
    /// The answer's head as it came. The edits of earlier filters are not in it.
    pub head: &'a dyn ResponseHead,
    /// What is changed before the answer goes to the client.
    pub edits: &'a mut Edits,
}

/// What a filter says of a request.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// Go on with the next step.
    Continue,
    /// Give this answer; no backend is asked.
    Answer(Answer),
    /// Refuse; no backend is asked.
    Refuse(Refusal),
}

// === impl Request ===

impl<'a> Request<'a> {
    /// A request for a filter to look at.
    pub fn new(head: &'a dyn RequestHead, client: Option<IpAddr>, edits: &'a mut Edits) -> Self {
        Self { head, client, edits }
    }

    /// The path that the backend will see so far: the client's, or what an earlier filter made of it. Without the query.
    pub fn path(&self) -> &str {
        self.edits.path.as_deref().unwrap_or_else(|| self.head.path())
    }
}

// === impl Response ===

impl<'a> Response<'a> {
    /// An answer for a filter to look at.
    pub fn new(head: &'a dyn ResponseHead, edits: &'a mut Edits) -> Self {
        Self { head, edits }
    }
}
