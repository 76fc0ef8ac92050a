//! A request and a response, as a filter sees them.

use std::net::IpAddr;

use evenkeel_core::Moment;
use evenkeel_core::route::TextRegex;
use evenkeel_http::message::{
    AnswerFormat, Arrival, Edits, Facts, HeaderEdit, Refusal, RequestFacts, RequestHead, ResponseFacts,
    ResponseHead, Template,
};
use http::{HeaderName, HeaderValue};

use super::{BandwidthShare, State};

/// A request, as a filter sees it.
///
/// A test of a filter makes one without a balancer:
/// ```
/// use evenkeel::explain::Described;
/// use evenkeel::filter::{Answer, Edits, Filter, Request, State, Verdict};
///
/// #[derive(Debug)]
/// struct OnlyGet;
///
/// impl Filter for OnlyGet {
///     fn on_request(&self, request: &mut Request<'_>) -> Verdict {
///         match request.head.method() {
///             "GET" => Verdict::Continue,
///             _ => Verdict::Answer(Answer::new(405)),
///         }
///     }
/// }
///
/// let head = Described::new("POST", "http://example.com/")?;
/// let (mut edits, mut state) = (Edits::default(), State::default());
/// let verdict = OnlyGet.on_request(&mut Request::new(&head, None, &mut edits, &mut state));
/// assert!(matches!(verdict, Verdict::Answer(_)));
/// # Ok::<(), evenkeel::explain::DescribedError>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Request<'a> {
    /// The request's head: what the client sent, with the changes of earlier filters to its headers. Headers by which a client
    /// says who it is are in it only if the client is a trusted proxy. For the path, see [`Request::path`].
    pub head: &'a dyn RequestHead,
    /// The client's address: the one value that limits, hashing, logs and forwarded headers use. `None` for a client on a
    /// Unix socket.
    pub client: Option<IpAddr>,
    /// What is changed before the request goes to a backend.
    pub edits: &'a mut Edits,
    /// What this filter keeps of this request, until it ends.
    pub state: &'a mut State,
    /// The time, by the process's clock. Reading it costs nothing.
    pub now: Moment,
    /// The worker that carries the request, from 0: see [`BuildContext::workers`](super::BuildContext::workers).
    pub worker: usize,
    /// The name of the route.
    pub route: &'a str,
    /// Whether the client speaks TLS to the balancer.
    pub tls: bool,
    /// How it came: for placeholders.
    pub arrival: Arrival<'a>,
    /// What the route asks of the path, if that is an expression: for placeholders.
    pub path_regex: Option<&'a TextRegex>,
    notes: Option<&'a mut Vec<String>>,
    bandwidth: Vec<BandwidthShare>,
}

/// A response, as a filter sees it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Response<'a> {
    /// The response head as received. The edits of earlier filters are not in it.
    pub head: &'a dyn ResponseHead,
    /// What is changed before the response goes to the client.
    pub edits: &'a mut Edits,
    /// What this filter keeps of this request. Empty if [`Filter::on_request`](super::Filter::on_request) of this filter was
    /// not called, because an earlier filter ended the request.
    pub state: &'a mut State,
    /// The time, by the process's clock. Reading it costs nothing.
    pub now: Moment,
    /// The worker that carries the request, from 0.
    pub worker: usize,
    /// The upstream and the backend of the request, as far as they are known.
    pub origin: ResponseFacts<'a>,
    /// The format of an error that the client accepts.
    pub format: AnswerFormat,
    sender: Sender<'a>,
}

/// Who sends a response.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Sender<'a> {
    /// A backend.
    #[default]
    Backend,
    /// A route or a filter.
    Balancer,
    /// The balancer rejects the request.
    Refusal(&'a Refusal),
}

// === impl Request ===

impl<'a> Request<'a> {
    /// A request for a filter: on worker 0, at the start of the clock, without TLS, of a route without a name.
    pub fn new(
        head: &'a dyn RequestHead,
        client: Option<IpAddr>,
        edits: &'a mut Edits,
        state: &'a mut State,
    ) -> Self {
        let (now, worker, route, tls, notes) = (Moment::default(), 0, "", false, None);
        let (arrival, path_regex, bandwidth) = (Arrival::default(), None, Vec::new());
        Self { head, client, edits, state, now, worker, route, tls, arrival, path_regex, notes, bandwidth }
    }

    /// The path that the backend will see so far: the client's path, or the result of an earlier filter. Without the
    /// query.
    pub fn path(&self) -> &str {
        self.edits.path.as_deref().unwrap_or_else(|| self.head.path())
    }

    /// What the placeholders of a template stand for, as far as it is known yet.
    pub fn facts(&self) -> RequestFacts<'_> {
        let &Self { head, client, route, path_regex, arrival, .. } = self;
        RequestFacts { head, path: self.path(), client, route, path_regex, arrival }
    }

    /// A template with the values of this request, as the value of a header. `None` if that is empty: then the request should
    /// have no such header.
    pub fn header_value(&self, template: &Template) -> Option<HeaderValue> {
        template.header_value(Facts { request: Some(&self.facts()), response: None })
    }

    /// A template with the values of this request, as text.
    pub fn text(&self, template: &Template) -> String {
        template.render_text(Facts { request: Some(&self.facts()), response: None })
    }

    /// Whether the request is only explained, by `evenkeel explain` or `/explain`: no client waits for a response, and no
    /// backend receives it. The filter must give the same verdict as for a real request and change nothing outside of it: no
    /// limit is consumed, nothing is counted, no other service receives a request.
    pub fn is_dry_run(&self) -> bool {
        self.notes.is_some()
    }

    /// Limits how fast the body of the request or of its response is moved, if there is a limit.
    pub(crate) fn limit_bandwidth(&mut self, limit: Option<BandwidthShare>) {
        self.bandwidth.extend(limit);
    }

    /// How fast the bodies are to be moved.
    pub(crate) fn take_bandwidth(&mut self) -> Vec<BandwidthShare> {
        std::mem::take(&mut self.bandwidth)
    }

    /// Adds a line to the explanation of the request, if it is only explained. Else `text` is not called.
    pub fn explain(&mut self, text: impl FnOnce() -> String) {
        if let Some(notes) = &mut self.notes {
            notes.push(text());
        }
    }

    /// Makes this a request that is only explained: see [`Request::is_dry_run`]. What filters say of it is added to `notes`.
    #[must_use]
    pub fn dry_run(mut self, notes: &'a mut Vec<String>) -> Self {
        self.notes = Some(notes);
        self
    }
}

// === impl Response ===

impl<'a> Response<'a> {
    /// A response for a filter: on worker 0, at the start of the clock.
    pub fn new(head: &'a dyn ResponseHead, edits: &'a mut Edits, state: &'a mut State) -> Self {
        let origin = ResponseFacts { status: head.status(), ..ResponseFacts::default() };
        let (now, format, sender) = (Moment::default(), AnswerFormat::default(), Sender::default());
        Self { head, edits, state, now, worker: 0, origin, format, sender }
    }

    /// A template with the values of this response, as the value of a header; `None` if that is empty. The values of the request
    /// are in the template already ([`Template::with_request`], in `on_request`), or have their defaults.
    pub fn header_value(&self, template: &Template) -> Option<HeaderValue> {
        template.header_value(Facts { request: None, response: Some(self.origin) })
    }

    /// The same as text.
    pub fn text(&self, template: &Template) -> String {
        template.render_text(Facts { request: None, response: Some(self.origin) })
    }

    /// Whether a backend has sent it. Otherwise it is of the balancer: a rejection, or the response of a route or a filter.
    pub fn is_of_backend(&self) -> bool {
        matches!(self.sender, Sender::Backend)
    }

    /// Why the balancer rejected the request, if it did.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self.sender {
            Sender::Refusal(refusal) => Some(refusal),
            Sender::Backend | Sender::Balancer => None,
        }
    }

    /// The values of a header as they are so far: of the response, with the edits of the filters before.
    pub fn values(&self, name: &HeaderName) -> Vec<HeaderValue> {
        let mut values = Vec::new();
        self.head.each(name.as_str(), &mut |value| values.extend(HeaderValue::from_bytes(value)));
        for edit in self.edits.headers() {
            match edit {
                HeaderEdit::Set(edited, value) if edited == name => values = vec![value.clone()],
                HeaderEdit::Add(edited, value) if edited == name => values.push(value.clone()),
                HeaderEdit::Remove(edited) if edited == name => values.clear(),
                _ => {}
            }
        }
        values
    }

    /// Says who sends it.
    pub(crate) fn from(mut self, sender: Sender<'a>) -> Self {
        self.sender = sender;
        self
    }
}
