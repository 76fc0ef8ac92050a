//! A response on its way to the client.

use std::task::{Context, Poll, ready};

use evenkeel_http::http1::{AnswerHead, AnswerStyle, Body, Head, with_answer};
use evenkeel_http::message::{Interim, Malformed, Refusal, ResponseHead};

use super::GATHER_LIMIT;
use super::backend::Backend;
use super::pump::Stop;
use crate::exchange::Exchange;
use crate::stream::Link;
use crate::upstream::Break;

/// A response: one part is sent, one part is still to come from the backend.
#[derive(Debug, Default)]
pub(super) struct Download {
    /// `None` as long as there is no head.
    body: Option<Body>,
    searched: usize,
    interim: Interim,
    /// Whether the client gets chunks.
    chunked: bool,
    /// Whether the client's connection can carry another request after this response.
    pub(super) keeps_client: bool,
    /// Whether the backend's can.
    pub(super) keeps_backend: bool,
    /// Whether the connection leaves HTTP behind.
    pub(super) upgraded: bool,
}

/// What a response head depends on besides itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResponseContext<'a> {
    pub(super) head: &'a Head,
    /// Whether the client still has to send some of its request, and may never do.
    pub(super) withheld: bool,
    /// Whether the whole request can be sent again.
    pub(super) replayable: bool,
}

impl Download {
    /// Whether the response head has arrived.
    pub(super) fn has_head(&self) -> bool {
        self.body.is_some()
    }

    /// Forwards the response; ready once it has ended.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        link: &Link,
        backend: &mut Backend,
        exchange: &mut Exchange,
        context: ResponseContext<'_>,
    ) -> Poll<Result<(), Stop>> {
        loop {
            while self.body.is_none() && !backend.input.is_empty() {
                // There can be many interim responses.
                ready!(link.poll_room(cx, GATHER_LIMIT)).map_err(|_| Stop::ClientDisconnected)?;
                if !self.read_head(link, backend, exchange, context)? {
                    break;
                }
            }
            if let Some(body) = &mut self.body {
                while !backend.input.is_empty() && !body.is_done() {
                    ready!(pass(cx, link, backend, exchange, body, self.chunked))?;
                }
                if body.is_done() {
                    self.keeps_backend &= backend.input.is_empty();
                    return Poll::Ready(Ok(()));
                }
            }
            match ready!(backend.poll_more(cx)) {
                Ok(()) => exchange.in_flight().backend_moved(),
                Err(Break::Closed) if matches!(self.body, Some(Body::UntilClose)) => {
                    self.end(link);
                    return Poll::Ready(Ok(()));
                }
                Err(broken) => return Poll::Ready(Err(Stop::BackendDisconnected(broken))),
            }
        }
    }

    /// The backend has closed a body that ends so.
    fn end(&self, link: &Link) {
        if self.chunked {
            link.gather(|out| out.push(b"0\r\n\r\n"));
        }
    }

    /// Reads a head, of an interim or the final response; false if it is not complete yet.
    fn read_head(
        &mut self,
        link: &Link,
        backend: &mut Backend,
        exchange: &mut Exchange,
        context: ResponseContext<'_>,
    ) -> Result<bool, Stop> {
        let mut searched = self.searched;
        let mut rejected = false;
        let mut interim = self.interim;
        let read = with_answer(backend.input.filled(), &mut searched, |answer| {
            if answer.status() >= 200 && exchange.rejects(answer.status(), context.replayable) {
                rejected = true;
            } else if answer.status() >= 200 {
                self.begin(link, exchange, answer, context)?;
            } else if answer.status() == 101 {
                if !context.head.facts.upgrade {
                    // The client did not ask for another protocol.
                    return Err(Stop::Malformed(Malformed::UnexpectedUpgrade));
                }
                self.upgrade(link, exchange, answer)?;
            } else if let Err(malformed) = interim.admit(answer.length) {
                return Err(Stop::Malformed(malformed));
            } else if context.head.is_http_11 {
                let edits = exchange.on_head(answer, false)?;
                let style = AnswerStyle { chunked: false, connection: None };
                link.gather(|out| answer.write(&edits, style, out));
            }
            Ok(answer.length)
        });
        match read {
            _ if rejected => Err(Stop::Rejected),
            Ok(Some(Ok(length))) => {
                backend.input.consume(length);
                self.searched = 0;
                self.interim = interim;
                Ok(true)
            }
            Ok(None) => {
                self.searched = searched;
                Ok(false)
            }
            Ok(Some(Err(stop))) => Err(stop),
            Err(malformed) => Err(Stop::Malformed(malformed)),
        }
    }

    /// The connection leaves HTTP behind: what follows is not looked at.
    fn upgrade(
        &mut self,
        link: &Link,
        exchange: &mut Exchange,
        answer: &AnswerHead<'_>,
    ) -> Result<(), Refusal> {
        let edits = exchange.on_head(answer, true)?;
        link.gather(|out| answer.write(&edits, AnswerStyle { chunked: false, connection: None }, out));
        self.upgraded = true;
        self.body = Some(Body::NONE);
        Ok(())
    }

    fn begin(
        &mut self,
        link: &Link,
        exchange: &mut Exchange,
        answer: &AnswerHead<'_>,
        context: ResponseContext<'_>,
    ) -> Result<(), Refusal> {
        let edits = exchange.on_head(answer, false)?;
        let head = context.head;
        let body = answer.body(head.facts.head_only);
        self.chunked = head.is_http_11 && !matches!(body, Body::Length(_));
        let delimited = head.is_http_11 || matches!(body, Body::Length(_));
        let draining = exchange.connection().is_draining();
        self.keeps_client = head.persistent && delimited && !draining && !context.withheld;
        self.keeps_backend = !answer.last && !matches!(body, Body::UntilClose);
        link.begin_answer(!delimited);
        let connection = head.connection(self.keeps_client);
        // The response to a HEAD request has the head that a GET would have.
        let chunked = self.chunked || head.is_http_11 && head.facts.head_only && answer.is_chunked();
        link.gather(|out| answer.write(&edits, AnswerStyle { chunked, connection }, out));
        self.body = Some(body);
        Ok(())
    }
}

/// Forwards the received part of a body: mostly without copying; chunks are written again.
fn pass(
    cx: &mut Context<'_>,
    link: &Link,
    backend: &mut Backend,
    exchange: &mut Exchange,
    body: &mut Body,
    chunked: bool,
) -> Poll<Result<(), Stop>> {
    let allowed = ready!(exchange.poll_download(cx));
    let bytes = backend.input.filled();
    let bytes = bytes.get(..bytes.len().min(allowed)).unwrap_or_default();
    let (read, data) = if let Body::Length(left) = body {
        let most = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
        let sent = ready!(link.poll_write(cx, bytes.get(..most).unwrap_or_default()));
        let sent = sent.map_err(|_| Stop::ClientDisconnected)?;
        *left -= sent as u64;
        (sent, sent)
    } else {
        ready!(link.poll_room(cx, GATHER_LIMIT)).map_err(|_| Stop::ClientDisconnected)?;
        let copied = link.gather(|out| body.copy(bytes, chunked, GATHER_LIMIT, out));
        copied.map_err(Stop::Malformed)?
    };
    backend.input.consume(read);
    exchange.count_sent(data as u64);
    Poll::Ready(Ok(()))
}
