//! What one request keeps between Pingora's phases, from the listener's handover on.

use std::sync::Arc;

use evenkeel_http::message::{Answer, Interim, Malformed, Refusal};
use parking_lot::Mutex;
use pingora_core::{Error, ErrorSource, ErrorType, Result};

use super::cause;
use super::turns::Turn;
use crate::exchange::Exchange;
use crate::upstream::Failure;

/// What the listener hands over with a request: Pingora carries it as the connection's user context, or, where it has none,
/// in the extensions of the request's head. It is taken out as Pingora takes the request.
#[derive(Clone, Debug)]
pub struct Incoming(Arc<Mutex<Option<Decided>>>);

/// A request on which the exchange has decided, and the balancer's own response if there is one.
type Decided = (Exchange, Option<Answer>);

/// What one request keeps between the phases.
#[derive(Debug, Default)]
pub struct Context {
    pub(super) exchange: Option<Exchange>,
    /// The balancer's own response, if there is one.
    pub(super) answer: Option<Answer>,
    /// The protocol that the client wants to change to, if it is one that Pingora itself does not pass on.
    pub(super) upgrade: Option<http::HeaderValue>,
    pub(super) refusal: Option<Refusal>,
    /// What we found wrong with the response.
    pub(super) malformed: Option<Malformed>,
    /// The interim responses of this attempt.
    pub(super) interim: Interim,
    /// Whether a response was discarded for another attempt.
    pub(super) rejected: bool,
    /// Whether the body of the response is compressed.
    pub(super) compressed: bool,
    /// While an HTTP/2 connection to a backend is looked for, or opened.
    pub(super) turn: Option<Turn>,
}

// === impl Incoming ===

impl Incoming {
    /// A request on which the exchange has decided, and the balancer's own response if there is one.
    pub fn new(exchange: Exchange, answer: Option<Answer>) -> Self {
        Self(Arc::new(Mutex::new(Some((exchange, answer)))))
    }

    /// The request, if it was not taken yet.
    pub fn take(&self) -> Option<Decided> {
        self.0.lock().take()
    }
}

// === impl Context ===

impl Context {
    /// Takes the request, if it was not taken yet.
    pub(super) fn take(&mut self, incoming: &Incoming) {
        if let Some((exchange, answer)) = incoming.take() {
            exchange.taken_over();
            (self.exchange, self.answer) = (Some(exchange), answer);
        }
    }

    pub(super) fn exchange(&mut self) -> Result<&mut Exchange> {
        match &mut self.exchange {
            Some(exchange) => Ok(exchange),
            None => Error::e_explain(ErrorType::InternalError, "a request without its connection"),
        }
    }

    /// The response to the client for an error that no attempt explained.
    pub(super) fn refusal_of(&mut self, error: &Error) -> Option<Refusal> {
        if let Some(refusal) = self.refusal.take() {
            return Some(refusal);
        }
        match (error.esource(), error.etype()) {
            (ErrorSource::Downstream, ErrorType::InvalidHTTPHeader) => {
                Some(Refusal::BadRequest("the request's head is malformed"))
            }
            (ErrorSource::Downstream, ErrorType::Custom("InvalidChunk")) => {
                Some(Refusal::BadRequest(Malformed::Chunk.text()))
            }
            (ErrorSource::Downstream, ErrorType::Custom("InvalidTrailerEnd")) => {
                Some(Refusal::BadRequest(Malformed::Trailer.text()))
            }
            (ErrorSource::Downstream, _) => {
                cause::request_body(error).map(|malformed| Refusal::BadRequest(malformed.text()))
            }
            (ErrorSource::Upstream, _) => Some(Refusal::BadAnswer),
            _ => Some(Refusal::Internal),
        }
    }

    /// An attempt failed: tells Pingora whether another one may follow, and remembers what to say if none may.
    pub(super) fn fail(&mut self, failure: Failure, replayable: bool, error: &mut Error) {
        let Some(exchange) = &mut self.exchange else { return };
        match exchange.attempt_failed(failure, replayable) {
            Ok(()) => error.set_retry(true),
            Err(refusal) => {
                self.refusal = Some(refusal);
                error.set_retry(false);
            }
        }
    }
}
