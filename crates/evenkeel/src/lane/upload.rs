//! A request on its way to a backend.

use std::task::{Context, Poll, ready};

use super::GATHER_LIMIT;
use super::backend::Backend;
use super::pump::Stop;
use crate::exchange::Exchange;
use crate::filter::Refusal;
use crate::http1::{Body, Buffer, Head};
use crate::stream::{Link, Read};

/// A request, part sent, part still to come from the client.
#[derive(Debug)]
pub(super) struct Upload {
    /// What of the body the client has still to send.
    pub(super) body: Body,
    /// What is being sent: at first the head, and what came of the body with it.
    out: Buffer,
    sent: usize,
    /// Bytes of body in `out`.
    data: u64,
    /// Whether `out` is still the whole of what was sent, so that it can be sent again.
    pub(super) whole: bool,
    /// Whether the backend takes no more: then there may be an answer all the same.
    pub(super) broken: bool,
}

impl Upload {
    /// Of a request whose head is written, with as much of its body as is there already.
    pub(super) fn new(head: &Head, text: Buffer, link: &Link) -> Result<Self, Stop> {
        let body = Body::of_request(&head.facts);
        let mut upload = Self { body, out: text, sent: 0, data: 0, whole: true, broken: false };
        upload.take_in(link)?;
        Ok(upload)
    }

    /// Begins (again) with the first byte.
    pub(super) fn restart(&mut self, exchange: &mut Exchange) -> Result<(), Stop> {
        (self.sent, self.broken) = (0, false);
        count(exchange, self.data)
    }

    /// Whether any byte may have reached the backend.
    pub(super) fn has_begun(&self) -> bool {
        self.sent > 0 || !self.whole
    }

    /// Sends; ready once all is sent, or the backend takes no more.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        link: &Link,
        backend: &mut Backend,
        exchange: &mut Exchange,
    ) -> Poll<Result<(), Stop>> {
        loop {
            if ready!(self.poll_send(cx, backend)).is_err() {
                self.broken = true;
                return Poll::Ready(Ok(()));
            }
            if self.body.is_done() {
                return Poll::Ready(Ok(()));
            }
            if link.pending_input() == 0 {
                let polled = link.poll_read_ahead(cx);
                if polled.is_pending() {
                    link.connection.awaits_client();
                }
                if !matches!(ready!(polled), Ok(Read::Some)) {
                    return Poll::Ready(Err(Stop::ClientLeft));
                }
            }
            self.whole = false;
            self.out.clear();
            self.sent = 0;
            if let Body::Length(left) = &mut self.body {
                // From where it is: no copy.
                let sent = link.peek(|bytes| {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    backend.socket.poll_write(cx, bytes.get(..most).unwrap_or_default())
                });
                let Ok(sent) = ready!(sent) else {
                    self.broken = true;
                    return Poll::Ready(Ok(()));
                };
                *left -= sent as u64;
                link.skip(sent);
                count(exchange, sent as u64)?;
            } else {
                self.take_in(link)?;
                count(exchange, self.data)?;
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, backend: &mut Backend) -> Poll<std::io::Result<()>> {
        while let Some(rest) = self.out.filled().get(self.sent..).filter(|rest| !rest.is_empty()) {
            self.sent += ready!(backend.socket.poll_write(cx, rest))?;
        }
        // It is kept in case that it must be sent again: in no more memory than it needs.
        self.out.settle();
        Poll::Ready(Ok(()))
    }

    /// Takes what has come of the body.
    fn take_in(&mut self, link: &Link) -> Result<(), Stop> {
        self.data = 0;
        if self.body.is_done() {
            return Ok(());
        }
        let (body, out) = (&mut self.body, &mut self.out);
        let as_chunks = matches!(body, Body::Chunked(_));
        let taken = link.peek(|bytes| {
            let bytes = bytes.get(..bytes.len().min(GATHER_LIMIT)).unwrap_or_default();
            body.copy(bytes, as_chunks, GATHER_LIMIT, out)
        });
        let (read, data) =
            taken.map_err(|_| Stop::Refused(Refusal::BadRequest("the request's body is malformed")))?;
        link.skip(read);
        self.data = data as u64;
        Ok(())
    }
}

/// Counts bytes of a body that came from the client.
fn count(exchange: &mut Exchange, bytes: u64) -> Result<(), Stop> {
    let received = exchange.count_received(bytes);
    match exchange.facts().max_body {
        Some(max) if received > max => Err(Stop::Refused(Refusal::BodyTooLarge)),
        _ => Ok(()),
    }
}
