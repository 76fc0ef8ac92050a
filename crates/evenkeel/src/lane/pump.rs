//! A request, from the first attempt to the end of its response.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use evenkeel_http::http1::{Body, Head};
use evenkeel_http::message::{Malformed, Refusal};
use tokio::time::Sleep;

use super::answer::RequestEnd;
use super::backend::Backend;
use super::download::{Download, ResponseContext};
use super::upload::Upload;
use super::{Lane, Next, Request};
use crate::exchange::{Ending, Exchange};
use crate::stream::Link;
use crate::upstream::{Attempt, Break, BrokenConnection, Failure};

/// Why passing on came to a stop.
#[derive(Debug)]
pub(super) enum Stop {
    /// The client disconnected, or broke off in the middle of its request.
    ClientDisconnected,
    /// The backend broke off.
    BackendDisconnected(Break),
    /// The response is malformed.
    Malformed(Malformed),
    /// The response is discarded for another attempt.
    Rejected,
    /// The time of one attempt is over, and there is no response.
    TooSlow,
    /// The balancer refuses to go on.
    Refused(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// One request being carried.
pub(super) struct Pump<'a> {
    lane: &'a Lane,
    pub(super) link: &'a Link,
    pub(super) head: Head,
    pub(super) exchange: Box<Exchange>,
    pub(super) upload: Upload,
    download: Download,
}

impl Lane {
    /// Carries a request to its end, whatever that is.
    pub async fn carry(&self, link: &Link, request: Box<Request>) -> Next {
        let Request { mut exchange, head, answer, text } = *request;
        let upload = match answer {
            Some(answer) => Err(answer),
            None => Upload::new(request_body(&exchange, &head), text, link, exchange.replay_limit())
                .map_err(|refusal| exchange.refusal_answer(&refusal)),
        };
        let end = match upload {
            Err(answer) => Ok(Self::answer(link, exchange, &head, &answer, Body::of_request(&head.facts))),
            Ok(upload) => {
                let download = Download::default();
                let mut pump = Pump { lane: self, link, head, exchange, upload, download };
                match pump.run().await {
                    Ok((_, backend)) if pump.download.upgraded => Box::pin(pump.tunnel(backend)).await,
                    Ok((attempt, backend)) => Ok(pump.end(&attempt, backend)),
                    Err(stop) => pump.give_up(stop),
                }
            }
        };
        match end {
            Ok(end) => self.after(link, end).await,
            Err(next) => next,
        }
    }
}

impl Pump<'_> {
    /// Tries one backend after the other, until one has responded and the response is forwarded.
    async fn run(&mut self) -> Result<(Attempt, Backend), Stop> {
        loop {
            let mut attempt = self.next_attempt().await?;
            match self.attempt(&mut attempt).await {
                Ok(backend) => return Ok((attempt, backend)),
                Err(Fault::Attempt(failure)) => {
                    self.exchange.attempt_failed(failure, self.upload.whole)?;
                }
                Err(Fault::Request(Stop::Rejected)) => {}
                Err(Fault::Request(stop)) => return Err(stop),
            }
        }
    }

    /// The next backend to try. If the client disconnects during the wait, the request needs no response any more.
    async fn next_attempt(&mut self) -> Result<Attempt, Stop> {
        let mut next = std::pin::pin!(self.exchange.next_attempt());
        let (link, head, read) = (self.link, &self.head, self.upload.body.is_done());
        std::future::poll_fn(|cx| {
            if let Poll::Ready(attempt) = next.as_mut().poll(cx) {
                return Poll::Ready(attempt.map_err(Stop::from));
            }
            if !read {
                return Poll::Pending;
            }
            match link.poll_next_request(cx) {
                Poll::Ready(Ok(())) if says_no_more(link, head) => Poll::Pending,
                Poll::Ready(_) => Poll::Ready(Err(Stop::ClientDisconnected)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Connects, sends the request and forwards the response; within its time, if one attempt has a time limit.
    async fn attempt(&mut self, attempt: &mut Attempt) -> Result<Backend, Fault> {
        let timer = self.exchange.time_for_one().map(timer);
        let mut backend = self.connect(attempt).await.map_err(Fault::Attempt)?;
        self.exchange.connected();
        self.upload.restart(&mut self.exchange).map_err(Fault::Request)?;
        self.send_copy();
        self.download = Download::default();
        let mut progress = Progress { sent: false, half_closed: false, timer };
        if !self.head.facts.upgrade
            && let Some(delay) = self.exchange.hedge_delay()
        {
            backend = Box::pin(self.race(backend, attempt, &mut progress, delay)).await?;
        }
        let passed = std::future::poll_fn(|cx| self.poll_pass(cx, &mut backend, &mut progress)).await;
        match passed {
            Ok(()) => {
                self.download.keeps_backend &= progress.sent && !self.upload.broken;
                Ok(backend)
            }
            Err(stop) => Err(self.fault(stop, &backend)),
        }
    }

    async fn connect(&self, attempt: &Attempt) -> Result<Backend, Failure> {
        match self.kept(attempt) {
            Some(backend) => Ok(backend),
            None => {
                let (limit, client) = (self.exchange.connect_timeout(), self.exchange.connection().peer);
                Box::pin(Backend::connect(&attempt.endpoint, limit, client)).await
            }
        }
    }

    /// A connection that was kept, if one may be used.
    pub(super) fn kept(&self, attempt: &Attempt) -> Option<Backend> {
        if !attempt.reuse {
            return None;
        }
        self.lane.pool.take(&attempt.endpoint.connections).map(Backend::kept)
    }

    /// What it means for the attempt that passing on came to a stop.
    pub(super) fn fault(&self, stop: Stop, backend: &Backend) -> Fault {
        match stop {
            Stop::BackendDisconnected(broken) if !self.download.has_head() => {
                Fault::Attempt(self.failure(backend, broken))
            }
            Stop::Malformed(malformed) if !self.download.has_head() => {
                Fault::Attempt(Failure::Malformed(malformed.text()))
            }
            Stop::TooSlow => Fault::Attempt(Failure::Slow),
            stop => Fault::Request(stop),
        }
    }

    fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        backend: &mut Backend,
        progress: &mut Progress,
    ) -> Poll<Result<(), Stop>> {
        if !progress.sent && self.upload.poll(cx, self.link, backend, &mut self.exchange)?.is_ready() {
            self.is_sent(progress);
        }
        let withheld = self.head.expects && !progress.sent;
        let context = ResponseContext { head: &self.head, withheld, replayable: self.upload.whole };
        let passed = self.download.poll(cx, self.link, backend, &mut self.exchange, context)?;
        if passed.is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.poll_stop(cx, progress).map(Err)
    }

    /// The request is sent, or as much of it as the backend takes.
    pub(super) fn is_sent(&self, progress: &mut Progress) {
        progress.sent = true;
        self.exchange.in_flight().request_sent();
        if self.upload.body.is_done() {
            self.exchange.in_flight().set_reusable();
        }
    }

    /// What can end the wait for a backend: the client disconnects, or the attempt's time is over.
    pub(super) fn poll_stop(&self, cx: &mut Context<'_>, progress: &mut Progress) -> Poll<Stop> {
        if let Some(timer) = &mut progress.timer
            && !self.download.has_head()
            && timer.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Stop::TooSlow);
        }
        // After its last request, a client can only disconnect: that is checked only if the response takes long.
        let looks = self.head.persistent || self.link.is_watched();
        if progress.sent && !progress.half_closed && looks {
            match self.link.poll_next_request(cx) {
                Poll::Ready(Ok(())) if says_no_more(self.link, &self.head) => progress.half_closed = true,
                Poll::Ready(_) => return Poll::Ready(Stop::ClientDisconnected),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// What it means that a backend broke off before its response.
    pub(super) fn failure(&self, backend: &Backend, broken: Break) -> Failure {
        Failure::from(BrokenConnection {
            how: broken,
            reused: backend.reused,
            silent: backend.input.is_empty(),
            unsent: !self.upload.has_begun(),
            repeatable: self.exchange.is_idempotent() && self.upload.whole,
        })
    }

    /// The response is forwarded completely.
    fn end(mut self, attempt: &Attempt, backend: Backend) -> RequestEnd {
        self.link.end_answer();
        self.exchange.on_end(Ending::Ok);
        // A connection that began with a PROXY header is its client's alone.
        if self.download.keeps_backend
            && attempt.endpoint.dialer.header().is_none()
            && let Some(upstream) = self.exchange.upstream()
        {
            let connection = self.exchange.connection();
            let until = connection.instant(connection.now()) + upstream.pool.idle_timeout;
            self.lane.pool.put(&attempt.endpoint.connections, backend.socket, until, upstream.pool.max_idle);
        } else {
            drop(backend);
        }
        RequestEnd { keep: self.download.keeps_client, unread: self.upload.body }
    }

    /// Nothing more can be done for the request. If its response has begun, it is broken off, and the client can detect
    /// that: from the framing, or from a reset (see [`Link::begin_answer`]).
    pub(super) fn give_up(mut self, stop: Stop) -> Result<RequestEnd, Next> {
        Err(match stop {
            Stop::Refused(refusal) if !self.download.has_head() => {
                let answer = self.exchange.refusal_answer(&refusal);
                return Ok(Lane::answer(self.link, self.exchange, &self.head, &answer, self.upload.body));
            }
            Stop::Refused(refusal) => {
                self.exchange.note_refusal(&refusal);
                Next::Linger
            }
            Stop::ClientDisconnected => {
                self.exchange.on_end(Ending::ClientDisconnected);
                Next::Close
            }
            stop @ (Stop::BackendDisconnected(_) | Stop::Malformed(_) | Stop::Rejected | Stop::TooSlow) => {
                match stop {
                    Stop::BackendDisconnected(broken) => self.exchange.cut(Failure::Cut(broken)),
                    Stop::Malformed(malformed) => self.exchange.cut(Failure::Malformed(malformed.text())),
                    _ => {}
                }
                self.exchange.on_end(Ending::BackendDisconnected);
                Next::Close
            }
        })
    }
}

/// What an attempt failed of.
pub(super) enum Fault {
    /// Another one may follow, if the exchange says so.
    Attempt(Failure),
    /// The request has ended.
    Request(Stop),
}

/// How far one attempt is.
pub(super) struct Progress {
    /// Whether the request is sent, or as much of it as the backend takes.
    pub(super) sent: bool,
    /// Whether the client will say nothing more, and still listens.
    half_closed: bool,
    /// When the response head must have arrived, if one attempt has a time limit.
    timer: Option<Pin<Box<Sleep>>>,
}

/// Whether a client that has closed its half may still be there: it said before that this is its last request, or has sent
/// the next one with it, and then that it says nothing more is no news.
pub(super) fn says_no_more(link: &Link, head: &Head) -> bool {
    !head.persistent || link.pending_input() > 0
}

fn timer(time: Duration) -> Pin<Box<Sleep>> {
    Box::pin(tokio::time::sleep(time))
}

/// The body of a request. Trailers could bring back what filters have removed or replaced, so a request with edits of filters
/// loses them.
fn request_body(exchange: &Exchange, head: &Head) -> Body {
    let body = Body::of_request(&head.facts);
    if exchange.request_edits().of_filters().is_empty() { body } else { body.without_trailers() }
}
