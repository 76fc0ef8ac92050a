//! The filters of a route, run over a request and its response.
//!
//! A filter can be a user's. So a panic in it ends at this place, and becomes status 500 for that one request.

use std::panic::{AssertUnwindSafe, catch_unwind};

use evenkeel_http::message::{Answer, Edits, Refusal, RequestHead, ResponseHead};

use super::record::Ending;
use super::request::Exchange;
use super::table::Rule;
use crate::filter::{Filter, Request, Response, Verdict};

/// A filter panicked.
#[derive(Clone, Copy, Debug)]
pub struct Panicked;

/// The verdict of the filter at this place of a route.
///
/// # Errors
/// When the filter panicked.
pub fn verdict(filter: &dyn Filter, place: usize, request: &mut Request<'_>) -> Result<Verdict, Panicked> {
    request.state.turn_to(place);
    guarded(|| filter.on_request(request))
}

/// Runs a filter's code. What it has changed so far is not used after a panic, except to be dropped.
fn guarded<T>(code: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|_| Panicked)
}

impl Exchange {
    /// Runs the filters of a request. Returns the response if one of them ends the request.
    pub(super) fn run_filters(&mut self, rule: &Rule, head: &dyn RequestHead) -> Option<Answer> {
        if rule.filters.is_empty() {
            return None;
        }
        let (now, worker) = (self.in_flight.connection().moment(), self.environment.worker);
        let mut request = Request::new(head, self.record.client, &mut self.edits, &mut self.state);
        (request.now, request.worker, request.route) = (now, worker, &rule.name);
        request.tls = self.in_flight.connection().is_tls();
        for (place, filter) in rule.filters.iter().enumerate() {
            match verdict(&**filter, place, &mut request) {
                Ok(Verdict::Continue) => {}
                Ok(Verdict::Answer(answer)) => return Some(self.answered(answer)),
                Ok(Verdict::Refuse(refusal)) => return Some(self.refusal_answer(&refusal)),
                Err(Panicked) => return Some(self.panicked()),
            }
        }
        None
    }

    /// What the filters change in a response; they run in reverse order.
    ///
    /// # Errors
    /// The refusal, if one of them panicked.
    pub(super) fn run_response_filters(&mut self, head: &dyn ResponseHead) -> Result<Edits, Refusal> {
        let mut edits = Edits::default();
        let Some(rule) = self.route.and_then(|index| self.table.rules.get(index)) else { return Ok(edits) };
        if rule.filters.is_empty() {
            return Ok(edits);
        }
        let mut response = Response::new(head, &mut edits, &mut self.state);
        (response.now, response.worker) = (self.in_flight.connection().moment(), self.environment.worker);
        for (place, filter) in rule.filters.iter().enumerate().rev() {
            response.state.turn_to(place);
            if guarded(|| filter.on_response(&mut response)).is_err() {
                self.record.ending = Some(Ending::Panic);
                return Err(Refusal::Internal);
            }
        }
        Ok(edits)
    }

    /// The response to a request of which a filter panicked.
    fn panicked(&mut self) -> Answer {
        self.record.ending = Some(Ending::Panic);
        self.refusal_answer(&Refusal::Internal)
    }
}
