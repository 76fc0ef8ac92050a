//! A request that the lean lane may carry: decided, and written for a backend.

use std::sync::Arc;

use super::Lane;
use crate::exchange::{self, Connection, Decision, Exchange};
use crate::filter::{Answer, RequestHead};
use crate::http1::{Buffer, Head, ReadHead};

/// A request on which the exchange has decided.
#[derive(Debug)]
pub struct Request {
    /// In a box, for it is handed on more than once.
    pub(super) exchange: Box<Exchange>,
    pub(super) head: Head,
    /// The response of the balancer itself, if any.
    pub(super) answer: Option<Answer>,
    /// The head as a backend gets it.
    pub(super) text: Buffer,
}

/// What became of a request once the exchange had decided on it.
#[derive(Debug)]
pub enum Begun {
    /// This lane carries it to its end.
    Lean(Box<Request>),
    /// Another lane must; nothing has happened but the decision.
    Other(Box<Exchange>),
}

impl Lane {
    /// Lets the exchange decide on a request whose head has come. The head's facts must be complete.
    pub fn begin(&self, connection: &Arc<Connection>, head: &ReadHead<'_>) -> Begun {
        let lane = exchange::Lane::Lean;
        let facts = head.head.facts;
        let mut exchange = Box::new(Exchange::new(self.environment.clone(), connection.clone(), facts, lane));
        let view: &dyn RequestHead = head;
        let (mut answer, mut text) = (None, Buffer::default());
        match exchange.decide(view) {
            Decision::Answer(given) => answer = Some(given),
            Decision::Proxy if exchange.upstream().is_some_and(|upstream| upstream.plain) => {
                head.write(exchange.request_edits(), &mut text);
            }
            Decision::Proxy => return Begun::Other(exchange),
        }
        Begun::Lean(Box::new(Request { exchange, head: head.head, answer, text }))
    }
}

impl Request {
    /// The framing of its head.
    pub fn head(&self) -> &Head {
        &self.head
    }
}
