//! A request that the lean lane may carry: decided, and written for a backend.

use std::sync::Arc;

use super::Lane;
use crate::exchange::{self, Connection, Decision, Exchange};
use crate::filter::{Answer, RequestHead};
use crate::http1::Buffer;
use crate::http1::{Head, ReadHead};

/// A request on which the exchange has decided.
#[derive(Debug)]
pub struct Request {
    /// In a box, for it is handed on more than once.
    pub(super) exchange: Box<Exchange>,
    pub(super) head: Head,
    /// What the balancer answers itself, if it does.
    pub(super) answer: Option<Answer>,
    /// The head as a backend gets it.
    pub(super) text: Buffer,
}

impl Lane {
    /// Lets the exchange decide on a request whose head has come. The head's facts must be complete.
    pub fn begin(&self, connection: &Arc<Connection>, head: &ReadHead<'_>) -> Request {
        let lane = exchange::Lane::Lean;
        let facts = head.head.facts;
        let mut exchange = Box::new(Exchange::new(self.environment.clone(), connection.clone(), facts, lane));
        let view: &dyn RequestHead = head;
        let (mut answer, mut text) = (None, Buffer::default());
        match exchange.decide(view) {
            Decision::Answer(given) => answer = Some(given),
            Decision::Proxy => head.write(exchange.request_edits(), &mut text),
        }
        Request { exchange, head: head.head, answer, text }
    }
}

impl Request {
    /// Whether this lane can carry it to its end. If not, nothing has happened but the decision.
    pub fn is_plain(&self) -> bool {
        self.answer.is_some() || self.exchange.upstream().is_some_and(|upstream| upstream.plain)
    }

    /// Gives the exchange up to another lane.
    pub fn into_exchange(self) -> Box<Exchange> {
        self.exchange
    }

    /// The framing of its head.
    pub fn head(&self) -> &Head {
        &self.head
    }
}
