//! Responses that the balancer generates itself, and what happens to an unused request body.

use evenkeel_http::http1::{Body, Head, own_answer};
use evenkeel_http::message::Answer;

use super::{Lane, Next};
use crate::exchange::{DISCARD_LIMIT, Ending, Exchange, Phase};
use crate::stream::{Link, Read};

/// How a request ended for its client: with a whole response.
#[derive(Debug)]
pub(super) struct RequestEnd {
    /// Whether the client's connection can be kept.
    pub(super) keep: bool,
    /// What the client has still to send of the request.
    pub(super) unread: Body,
}

impl Lane {
    /// Sends a response to a request of whose body this is unread.
    pub(super) fn answer(
        link: &Link,
        mut exchange: Box<Exchange>,
        head: &Head,
        answer: &Answer,
        unread: Body,
    ) -> RequestEnd {
        let rest = match &unread {
            Body::Length(rest) => Some(*rest),
            body => body.is_done().then_some(0),
        };
        let keep =
            head.persistent && Exchange::discards(rest, head.expects) && !exchange.connection().is_draining();
        let connection = head.connection(keep);
        let sent = link.gather(|out| own_answer(answer, head.facts.head_only, connection, out));
        exchange.count_sent(sent);
        exchange.on_end(Ending::Ok);
        RequestEnd { keep, unread }
    }

    /// What happens to a connection after a response.
    pub(super) async fn after(&self, link: &Link, end: RequestEnd) -> Next {
        match (end.keep, end.unread.is_done()) {
            (false, done) => Next::end(link, !done),
            (true, true) => Next::Request,
            // In a box: it is rare, and would make every request's task larger.
            (true, false) => Box::pin(self.discard(link, end.unread)).await,
        }
    }

    /// Reads the rest of a body, so that the next request can follow. The client has its response, and as much time as
    /// between two requests.
    async fn discard(&self, link: &Link, mut body: Body) -> Next {
        let mut allowed = DISCARD_LIMIT;
        link.in_flight.enter(Phase::Idle);
        while !body.is_done() {
            if link.pending_input() == 0
                && !matches!(std::future::poll_fn(|cx| link.poll_read_ahead(cx)).await, Ok(Read::Some))
            {
                return Next::Close;
            }
            let Ok(piece) = link.peek(|bytes| body.next(bytes)) else { return Next::Linger };
            let read = piece.skip + piece.data;
            link.skip(read);
            match allowed.checked_sub(read as u64) {
                Some(rest) => allowed = rest,
                None => return Next::Linger,
            }
        }
        Next::Request
    }
}
