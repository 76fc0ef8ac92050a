//! A request whose filter waits: its head is copied, so that the connection's buffer is free meanwhile.

use std::task::Poll;

use evenkeel_http::http1::{Head, with_request};

use super::pump::says_no_more;
use super::{Dispatch, Lane};
use crate::exchange::{self, Ending, Exchange, Waiting};
use crate::stream::Link;

/// A request whose filter waits.
#[derive(Debug)]
pub struct WaitingRequest {
    pub(super) exchange: Box<Exchange>,
    pub(super) waiting: Waiting,
    pub(super) head: Head,
    /// The head as the client sent it.
    pub(super) text: Vec<u8>,
    /// The lane that is to take the request, if it can.
    pub(super) lane: exchange::Lane,
}

// === impl WaitingRequest ===

impl WaitingRequest {
    /// The framing of its head.
    pub fn head(&self) -> &Head {
        &self.head
    }
}

impl Lane {
    /// Waits for the filter of a request, and goes on with it: perhaps another one waits then. `None` if the client
    /// disconnects meanwhile.
    pub async fn wait(&self, link: &Link, request: Box<WaitingRequest>) -> Option<Dispatch> {
        let WaitingRequest { mut exchange, mut waiting, head, text, lane } = *request;
        let resumption = std::future::poll_fn(|cx| {
            if let Poll::Ready(resumption) = waiting.poll(cx) {
                return Poll::Ready(Some(resumption));
            }
            match link.poll_next_request(cx) {
                Poll::Ready(Ok(())) if says_no_more(link, &head) => Poll::Pending,
                Poll::Ready(_) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        let Some(resumption) = resumption else {
            exchange.on_end(Ending::ClientDisconnected);
            return None;
        };
        // The same bytes were a request before.
        let begun = with_request(&text, &mut 0, usize::MAX, |request| {
            let decision = exchange.resume(request, resumption);
            self.begun(exchange, request, decision, lane)
        });
        begun.ok().flatten()
    }
}
