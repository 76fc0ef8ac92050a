//! A request with its decision, written for a backend or for another data path.

use std::sync::Arc;

use evenkeel_http::http1::{Buffer, Head, ReadHead, Reader};
use evenkeel_http::message::{Answer, RequestHead};

use super::{Lane, WaitingRequest};
use crate::exchange::{self, Decision, Exchange, InFlight, ListenerFacts};

/// A request on which the exchange has decided.
#[derive(Debug)]
pub struct Request {
    /// In a box, for it is handed on more than once.
    pub(super) exchange: Box<Exchange>,
    pub(super) head: Head,
    /// The response of the balancer itself, if any.
    pub(super) answer: Option<Answer>,
    /// The head as a backend gets it, or another data path.
    pub(super) text: Buffer,
}

/// What became of a request once the exchange had decided on it.
#[derive(Debug)]
pub enum Dispatch {
    /// This lane carries it to its end.
    Lean(Box<Request>),
    /// Another lane must; nothing has happened but the decision.
    Other(Box<Request>),
    /// None yet: a filter waits. See [`Lane::wait`].
    Waiting(Box<WaitingRequest>),
}

// === impl Dispatch ===

impl Dispatch {
    /// The framing of the request's head.
    pub fn head(&self) -> &Head {
        match self {
            Self::Lean(request) | Self::Other(request) => request.head(),
            Self::Waiting(request) => request.head(),
        }
    }
}

// === impl Lane ===

impl Lane {
    /// Lets the exchange decide on a request whose head has come, and which is to take this lane, if it can.
    pub fn begin(
        &self,
        in_flight: &Arc<InFlight>,
        head: &ReadHead<'_>,
        listener: ListenerFacts,
        lane: exchange::Lane,
    ) -> Dispatch {
        let facts = (head.head.facts, listener);
        let mut exchange = Box::new(Exchange::new(self.environment.clone(), in_flight.clone(), facts, lane));
        let view: &dyn RequestHead = head;
        let decision = exchange.decide(view);
        self.begun(exchange, head, decision, lane)
    }

    /// What becomes of a request by this decision.
    pub(super) fn begun(
        &self,
        exchange: Box<Exchange>,
        head: &ReadHead<'_>,
        decision: Decision,
        lane: exchange::Lane,
    ) -> Dispatch {
        let answer = match decision {
            Decision::Answer(answer) => Some(answer),
            Decision::Proxy => None,
            Decision::Wait(waiting) => {
                let (text, head) = (head.bytes().to_vec(), head.head);
                return Dispatch::Waiting(Box::new(WaitingRequest { exchange, waiting, head, text, lane }));
            }
        };
        let lean = lane == exchange::Lane::Lean && (answer.is_some() || exchange.is_plain());
        let mut text = Buffer::default();
        match (lean, &answer) {
            (true, Some(_)) => {}
            (true, None) => head.write(exchange.request_edits(), Reader::Backend, &mut text),
            (false, _) => head.write(exchange.request_edits(), Reader::DataPath, &mut text),
        }
        let request = Box::new(Request { exchange, head: head.head, answer, text });
        if lean { Dispatch::Lean(request) } else { Dispatch::Other(request) }
    }
}

// === impl Request ===

impl Request {
    /// The framing of its head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// What another lane needs: the exchange, the balancer's own response if there is one, and the head as that lane is
    /// to read it.
    pub fn into_parts(self) -> (Exchange, Option<Answer>, Buffer) {
        (*self.exchange, self.answer, self.text)
    }
}
