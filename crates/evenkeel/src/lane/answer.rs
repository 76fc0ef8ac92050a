//! Responses that the balancer generates itself, and what happens to an unused request body.

use evenkeel_http::http1::{Body, DRAINABLE, Head, own_answer};
use evenkeel_http::message::Answer;

use super::{Lane, Then};
use crate::exchange::{Ending, Exchange, Phase};
use crate::stream::{Link, Read};

/// What is left once a request has its response.
#[derive(Debug)]
pub(super) struct Left {
    /// Whether the client's connection can be kept.
    pub(super) keep: bool,
    /// What the client has still to send of the request.
    pub(super) unread: Body,
}

impl Lane {
    /// Sends a response to a request of whose body this is left.
    pub(super) fn answer(
        link: &Link,
        mut exchange: Box<Exchange>,
        head: &Head,
        answer: &Answer,
        unread: Body,
    ) -> Left {
        let short = match &unread {
            Body::Length(0) => true,
            Body::Length(left) => *left <= DRAINABLE && !head.expects,
            body => body.is_done(),
        };
        let keep = head.persistent && short && !exchange.connection().is_draining();
        let connection = head.connection(keep);
        let sent = link.gather(|out| own_answer(answer, head.facts.head_only, connection, out));
        exchange.count_sent(sent);
        exchange.on_end(Ending::Ok);
        Left { keep, unread }
    }

    /// What happens to a connection after a response.
    pub(super) async fn after(&self, link: &Link, left: Left) -> Then {
        match (left.keep, left.unread.is_done()) {
            (false, done) => Then::end(link, !done),
            (true, true) => Then::Next,
            // In a box: it is rare, and would make every request's task larger.
            (true, false) => Box::pin(self.discard(link, left.unread)).await,
        }
    }

    /// Reads the rest of a body, so that the next request can follow. The client has its response, and as much time as
    /// between two requests.
    async fn discard(&self, link: &Link, mut body: Body) -> Then {
        let mut left = DRAINABLE;
        link.in_flight.enter(Phase::Idle);
        while !body.is_done() {
            if link.pending_input() == 0
                && !matches!(std::future::poll_fn(|cx| link.poll_read_ahead(cx)).await, Ok(Read::Some))
            {
                return Then::Close;
            }
            let Ok(piece) = link.peek(|bytes| body.next(bytes)) else { return Then::Linger };
            let read = piece.skip + piece.data;
            link.skip(read);
            match left.checked_sub(read as u64) {
                Some(rest) => left = rest,
                None => return Then::Linger,
            }
        }
        Then::Next
    }
}
