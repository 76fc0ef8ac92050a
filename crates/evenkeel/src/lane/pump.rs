//! A request, from the first attempt to the end of its answer.

use std::task::{Context, Poll};

use super::backend::Backend;
use super::download::{Circumstances, Download};
use super::upload::Upload;
use super::{Lane, Request, Then};
use crate::exchange::{Attempt, Ending, Exchange, Failure};
use crate::filter::Refusal;
use crate::http1::Head;
use crate::stream::Link;

/// Why passing on came to a stop.
#[derive(Debug)]
pub(super) enum Stop {
    /// The client left, or broke off in the middle of its request.
    ClientLeft,
    /// The backend broke off.
    BackendLeft,
    /// The head of the answer makes no sense.
    Malformed,
    /// The balancer refuses to go on.
    Refused(Refusal),
}

/// One request being carried.
struct Pump<'a> {
    lane: &'a Lane,
    link: &'a Link,
    head: Head,
    exchange: Box<Exchange>,
    upload: Upload,
    download: Download,
}

impl Lane {
    /// Carries a request to its end, whatever that is.
    pub async fn carry(&self, link: &Link, request: Box<Request>) -> Then {
        let Request { mut exchange, head, answer, text } = *request;
        if let Some(answer) = answer {
            return self.answer(link, exchange, &head, answer).await;
        }
        match Upload::new(&head, text, link) {
            Ok(upload) => {
                let download = Download::default();
                Pump { lane: self, link, head, exchange, upload, download }.run().await
            }
            Err(Stop::Refused(refusal)) => {
                let answer = exchange.refusal_answer(&refusal);
                self.answer(link, exchange, &head, answer).await
            }
            Err(_) => Then::Close,
        }
    }
}

impl Pump<'_> {
    async fn run(mut self) -> Then {
        loop {
            let attempt = match self.exchange.next_attempt() {
                Ok(attempt) => attempt,
                Err(refusal) => return self.refuse(&refusal).await,
            };
            let failure = match self.connect(&attempt).await {
                Ok(backend) => match self.attempt(backend).await {
                    Ok(backend) => return self.end(&attempt, backend).await,
                    Err(Fault::Attempt(failure)) => failure,
                    Err(Fault::Request(stop)) => return self.give_up(stop).await,
                },
                Err(failure) => failure,
            };
            if let Err(refusal) = self.exchange.attempt_failed(failure) {
                return self.refuse(&refusal).await;
            }
        }
    }

    async fn connect(&self, attempt: &Attempt) -> Result<Backend, Failure> {
        if attempt.reuse
            && let Some(socket) = self.lane.pool.take(attempt.endpoint.group)
        {
            return Ok(Backend::kept(socket));
        }
        Backend::connect(&attempt.endpoint, self.exchange.connect_timeout()).await
    }

    /// Sends the request and passes the answer on.
    async fn attempt(&mut self, mut backend: Backend) -> Result<Backend, Fault> {
        self.exchange.connected();
        self.upload.restart(&mut self.exchange).map_err(Fault::Request)?;
        self.download = Download::default();
        let mut progress = Progress { sent: false, half_closed: false };
        let passed = std::future::poll_fn(|cx| self.poll_pass(cx, &mut backend, &mut progress)).await;
        match passed {
            Ok(()) => {
                self.download.keeps_backend &= progress.sent && !self.upload.broken;
                Ok(backend)
            }
            Err(Stop::BackendLeft) if !self.download.has_head() => {
                Err(Fault::Attempt(self.failure(&backend)))
            }
            Err(Stop::Malformed) => Err(Fault::Attempt(Failure::Malformed)),
            Err(stop) => Err(Fault::Request(stop)),
        }
    }

    fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        backend: &mut Backend,
        progress: &mut Progress,
    ) -> Poll<Result<(), Stop>> {
        if !progress.sent && self.upload.poll(cx, self.link, backend, &mut self.exchange)?.is_ready() {
            progress.sent = true;
            self.exchange.connection().request_sent();
            if self.upload.body.is_done() {
                self.exchange.connection().set_reusable();
            }
        }
        let withheld = self.head.expects && !progress.sent;
        let circumstances = Circumstances { head: &self.head, withheld };
        let passed = self.download.poll(cx, self.link, backend, &mut self.exchange, circumstances)?;
        if passed.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if progress.sent && !progress.half_closed {
            match self.link.poll_next_request(cx) {
                // It said before that this is its last request, or has sent the next one with it: then that it says nothing
                // more is no news.
                Poll::Ready(Ok(())) if !self.head.persistent || self.link.pending_input() > 0 => {
                    progress.half_closed = true;
                }
                Poll::Ready(_) => return Poll::Ready(Err(Stop::ClientLeft)),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// What it means that a backend broke off before its answer.
    fn failure(&self, backend: &Backend) -> Failure {
        let silent = backend.input.is_empty();
        let unread = !self.upload.has_begun() || self.head.is_idempotent && self.upload.whole;
        if backend.reused && silent && unread { Failure::Stale } else { Failure::Broken }
    }

    /// The answer is passed on whole.
    async fn end(mut self, attempt: &Attempt, backend: Backend) -> Then {
        self.link.end_answer();
        self.exchange.on_end(Ending::Ok);
        if self.download.keeps_backend
            && let Some(upstream) = self.exchange.upstream()
        {
            let connection = self.exchange.connection();
            let until = connection.instant(connection.now()) + upstream.pool_idle_timeout;
            self.lane.pool.put(attempt.endpoint.group, backend.socket, until, upstream.pool_max_idle);
        } else {
            drop(backend);
        }
        let (keep, unread) = (self.download.keeps_client, !self.upload.body.is_done());
        drop(self.exchange);
        if !keep {
            return Then::end(self.link, unread);
        }
        if unread { self.lane.discard(self.link, self.upload.body).await } else { Then::Next }
    }

    async fn refuse(mut self, refusal: &Refusal) -> Then {
        let answer = self.exchange.refusal_answer(refusal);
        self.lane.answer_with(self.link, self.exchange, &self.head, answer, self.upload.body).await
    }

    /// Nothing more can be done for the request. If its answer has begun, it is broken off, and the client can tell: from the
    /// framing, or from a reset (see [`Link::begin_answer`]).
    async fn give_up(mut self, stop: Stop) -> Then {
        match stop {
            Stop::Refused(refusal) if !self.download.has_head() => self.refuse(&refusal).await,
            Stop::Refused(refusal) => {
                self.exchange.note_refusal(&refusal);
                Then::Linger
            }
            Stop::ClientLeft => {
                self.exchange.on_end(Ending::ClientLeft);
                Then::Close
            }
            Stop::BackendLeft | Stop::Malformed => {
                self.exchange.on_end(Ending::BackendLeft);
                Then::Close
            }
        }
    }
}

/// What an attempt failed of.
enum Fault {
    /// Another one may follow, if the exchange says so.
    Attempt(Failure),
    /// The request has ended.
    Request(Stop),
}

/// How far one attempt is.
struct Progress {
    /// Whether the request is sent, or as much of it as the backend takes.
    sent: bool,
    /// Whether the client will say nothing more, and still listens.
    half_closed: bool,
}
