//! A request on its way to a backend.

use std::task::{Context, Poll, ready};

use evenkeel_http::http1::{Body, Buffer};
use evenkeel_http::message::Refusal;

use super::GATHER_LIMIT;
use super::backend::Backend;
use super::pump::Stop;
use crate::exchange::Exchange;
use crate::stream::{Link, Read};

/// A request, part sent, part still to come from the client.
#[derive(Debug)]
pub(super) struct Upload {
    /// What of the body the client has still to send.
    pub(super) body: Body,
    /// What is being sent: first the head, and the part of the body that arrived with it.
    out: Buffer,
    sent: usize,
    /// Bytes of body in `out`.
    data: u64,
    /// How many bytes of body are kept there at most, to be sent again.
    keep: usize,
    /// Whether `out` is still the whole of what was sent, so that it can be sent again.
    pub(super) whole: bool,
    /// Whether the backend reads no more: there may be a response nevertheless.
    pub(super) broken: bool,
}

impl Upload {
    /// Of a request whose head is written, with as much of its body as is there already.
    pub(super) fn new(body: Body, text: Buffer, link: &Link, keep: usize) -> Result<Self, Refusal> {
        let mut upload = Self { body, out: text, sent: 0, data: 0, keep, whole: true, broken: false };
        upload.take_in(link, GATHER_LIMIT)?;
        Ok(upload)
    }

    /// Begins (again) with the first byte.
    pub(super) fn restart(&mut self, exchange: &mut Exchange) -> Result<(), Stop> {
        (self.sent, self.broken) = (0, false);
        if let Some((name, value)) = exchange.deadline() {
            self.replace(name.as_str(), value.as_bytes());
        }
        count(exchange, self.data)
    }

    /// Whether any byte may have reached the backend.
    pub(super) fn has_begun(&self) -> bool {
        self.sent > 0 || !self.whole
    }

    /// The whole request, if all of it is here.
    pub(super) fn all(&self) -> Option<&[u8]> {
        (self.whole && self.body.is_done()).then(|| self.out.filled())
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
                    link.in_flight.awaits_client();
                }
                if !matches!(ready!(polled), Ok(Read::Some)) {
                    return Poll::Ready(Err(Stop::ClientDisconnected));
                }
            }
            let allowed = ready!(exchange.poll_upload(cx));
            let room = self.room_to_keep();
            if room > 0 {
                let taken = self.take_in(link, self.out.len() + room.min(GATHER_LIMIT).min(allowed))?;
                count(exchange, taken)?;
                continue;
            }
            self.whole = false;
            self.out.clear();
            self.sent = 0;
            if let Body::Length(left) = &mut self.body {
                // From where it is: no copy.
                let sent = link.peek(|bytes| {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len()).min(allowed);
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
                let taken = self.take_in(link, GATHER_LIMIT.min(allowed))?;
                count(exchange, taken)?;
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, backend: &mut Backend) -> Poll<std::io::Result<()>> {
        ready!(backend.poll_send(cx, self.out.filled(), &mut self.sent))?;
        // It is kept in case that it must be sent again: in no more memory than it needs.
        self.out.settle();
        Poll::Ready(Ok(()))
    }

    /// How much more of the body may be kept; nothing of one that cannot be kept whole.
    fn room_to_keep(&self) -> usize {
        let room = (self.keep as u64).saturating_sub(self.data);
        let fits = !matches!(self.body, Body::Length(left) if left > room);
        if self.whole && fits { room as usize } else { 0 }
    }

    /// Takes the received part of the body, until there are `most` bytes to send. Returns how many bytes of body that
    /// was.
    fn take_in(&mut self, link: &Link, most: usize) -> Result<u64, Refusal> {
        if !self.whole {
            self.data = 0;
        }
        if self.body.is_done() {
            return Ok(0);
        }
        let (body, out) = (&mut self.body, &mut self.out);
        let as_chunks = matches!(body, Body::Chunked(_));
        let taken = link.peek(|bytes| {
            let room = most.saturating_sub(out.len());
            let bytes = bytes.get(..bytes.len().min(room)).unwrap_or_default();
            body.copy(bytes, as_chunks, most, out)
        });
        let (read, data) = taken.map_err(|malformed| Refusal::BadRequest(malformed.text()))?;
        link.skip(read);
        self.data += data as u64;
        Ok(data as u64)
    }

    /// Writes another value of the same length over that of a field which the head has.
    fn replace(&mut self, name: &str, value: &[u8]) {
        let field = format!("\r\n{name}: ");
        let head = self.out.filled_mut();
        if let Some(at) = memchr::memmem::find(head, field.as_bytes())
            && let Some(place) = head.get_mut(at + field.len()..at + field.len() + value.len())
        {
            place.copy_from_slice(value);
        }
    }
}

/// Counts bytes of a body that came from the client.
fn count(exchange: &mut Exchange, bytes: u64) -> Result<(), Stop> {
    exchange.receive_body(bytes).map_err(Stop::from)
}
