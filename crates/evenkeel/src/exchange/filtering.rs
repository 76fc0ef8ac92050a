//! The filters of a route, run over a request and its response.
//!
//! A filter can be a user's. So a panic in it ends at this place, and becomes status 500 for that one request.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use evenkeel_core::route::Origin;
use evenkeel_http::message::{
    Answer, Arrival, Edits, Refusal, RequestFacts, RequestHead, RequestId, ResponseFacts, ResponseHead,
};

use super::connection::Connection;
use super::path::respelled;
use super::record::Ending;
use super::request::{Decision, Exchange};
use super::seen_head::SeenHead;
use super::table::{Rule, Table};
use super::throttle::throttle;
use crate::filter::{Filter, Request, Response, Resume, Sender, Verdict, Wait};

/// A filter panicked.
#[derive(Clone, Copy, Debug)]
pub struct Panicked;

/// A request whose filter waits.
#[derive(Debug)]
pub struct Waiting {
    wait: Wait,
    /// The filter's place in the route.
    place: usize,
}

/// How a request goes on after its filter waited: see [`Exchange::resume`].
pub struct Resumption {
    resume: Result<Resume, Panicked>,
    place: usize,
}

/// What ends a request in its filters, or makes it wait.
enum Ended {
    Answer(Answer),
    Refuse(Refusal),
    Wait(Waiting),
}

// === impl Waiting ===

impl Waiting {
    /// Looks whether the wait is over.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Resumption> {
        let place = self.place;
        self.wait.poll(cx).map(|resume| Resumption { resume: resume.map_err(|_| Panicked), place })
    }
}

/// The verdict of the filter at this place of a route.
///
/// # Errors
/// When the filter panicked.
pub fn verdict(filter: &dyn Filter, place: usize, request: &mut Request<'_>) -> Result<Verdict, Panicked> {
    request.state.turn_to(place);
    guarded(|| filter.on_request(request))
}

/// How a request came, for placeholders.
fn arrival<'a>(
    connection: &'a Connection,
    client: Option<IpAddr>,
    https: bool,
    request_id: Option<&'a RequestId>,
) -> Arrival<'a> {
    let agreed = connection.agreed();
    // A proxy's port is none of the client.
    let peer = connection.peer.filter(|peer| Some(peer.ip()) == client);
    Arrival {
        listener: &connection.listener_name,
        https,
        client_port: peer.map(|peer| peer.port()),
        tls_version: agreed.map(|agreed| agreed.version),
        server_name: agreed.and_then(|agreed| agreed.server_name.as_deref()),
        request_id,
    }
}

/// Runs a filter's code. What it has changed so far is not used after a panic, except to be dropped.
fn guarded<T>(code: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|_| Panicked)
}

// === impl Exchange ===

impl Exchange {
    /// Goes on with a request whose filter waited.
    pub fn resume(&mut self, head: &dyn RequestHead, resumption: Resumption) -> Decision {
        let without_claims = SeenHead::without_claims(head);
        let head: &dyn RequestHead = if self.edits.hides_claims() { &without_claims } else { head };
        match respelled(head, self.paths()) {
            Ok(None) => self.resume_at(head, resumption),
            Ok(Some(path)) => self.resume_at(&SeenHead::with_path(head, &path), resumption),
            Err(refusal) => Decision::Answer(self.refusal_answer(&refusal)),
        }
    }

    fn resume_at(&mut self, head: &dyn RequestHead, resumption: Resumption) -> Decision {
        let table = self.table.clone();
        match self.route.and_then(|index| table.rules.get(index)) {
            Some(rule) => self.filter((&table, rule), head, Some(resumption), fastrand::Rng::new()),
            None => Decision::Answer(self.refusal_answer(&Refusal::Internal)),
        }
    }

    /// Runs the filters of a request, from the first or from the one that waited, and then does what the route says.
    pub(super) fn filter(
        &mut self,
        (table, rule): (&Table, &Rule),
        head: &dyn RequestHead,
        resumption: Option<Resumption>,
        rng: fastrand::Rng,
    ) -> Decision {
        match self.run_filters((table, rule), head, resumption) {
            Some(Ended::Answer(answer)) => Decision::Answer(self.answered(answer)),
            Some(Ended::Refuse(refusal)) => Decision::Answer(self.refusal_answer(&refusal)),
            Some(Ended::Wait(waiting)) => {
                // A second wait has what the first one left.
                let left = self.in_flight.time_left().or_else(|| self.timeout(rule, head));
                self.in_flight.set_deadline(left);
                Decision::Wait(waiting)
            }
            None => self.act(rule, head, rng),
        }
    }

    /// Runs the filters of a request. Gives what ends it, or makes it wait.
    fn run_filters(
        &mut self,
        (table, rule): (&Table, &Rule),
        head: &dyn RequestHead,
        resumption: Option<Resumption>,
    ) -> Option<Ended> {
        let chain = table.chain(self.connection().listener, rule);
        if chain.is_empty() {
            return None;
        }
        let first = resumption.as_ref().map_or(0, |resumption| resumption.place);
        let mut resume = resumption.map(|resumption| resumption.resume);
        let connection = self.in_flight.connection();
        // What filters have changed so far is part of the head that the next one sees.
        let mut changed = self.edits.of_filters().to_vec();
        for (place, filter) in chain.filters().skip(first) {
            let edited = SeenHead::with_edits(head, &changed);
            let head: &dyn RequestHead = if changed.is_empty() { head } else { &edited };
            let mut request = Request::new(head, self.record.client, &mut self.edits, &mut self.state);
            (request.now, request.worker) = (connection.moment(), self.environment.worker);
            (request.route, request.tls) = (&rule.name, connection.is_tls());
            request.arrival =
                arrival(connection, self.record.client, self.record.https, self.record.request_id.as_ref());
            request.path_regex = rule.path_regex.as_ref();
            let verdict = match resume.take() {
                None => verdict(filter, place, &mut request),
                Some(Ok(resume)) => {
                    request.state.turn_to(place);
                    guarded(|| resume(&mut request))
                }
                Some(Err(Panicked)) => Err(Panicked),
            };
            let ended = match verdict {
                Ok(Verdict::Continue) => {
                    throttle(&mut self.throttles, request.take_bandwidth());
                    if self.edits.of_filters().len() != changed.len() {
                        changed = self.edits.of_filters().to_vec();
                    }
                    continue;
                }
                Ok(Verdict::Answer(answer)) => Ended::Answer(answer),
                Ok(Verdict::Refuse(refusal)) => Ended::Refuse(refusal),
                Ok(Verdict::Wait(wait)) => {
                    throttle(&mut self.throttles, request.take_bandwidth());
                    return Some(Ended::Wait(Waiting { wait, place }));
                }
                Err(Panicked) => {
                    self.record.ending = Some(Ending::Panic);
                    Ended::Refuse(Refusal::Internal)
                }
            };
            for (place, filter) in chain.filters().skip(place + 1) {
                request.state.turn_to(place);
                if guarded(|| filter.on_skipped(&mut request)).is_err() {
                    self.record.ending = Some(Ending::Panic);
                    return Some(Ended::Refuse(Refusal::Internal));
                }
            }
            return Some(ended);
        }
        None
    }

    /// What the placeholders of the route stand for.
    pub(super) fn facts_of<'a>(&'a self, rule: &'a Rule, head: &'a dyn RequestHead) -> RequestFacts<'a> {
        let connection = self.in_flight.connection();
        RequestFacts {
            head,
            path: self.edits.path.as_deref().unwrap_or_else(|| head.path()),
            client: self.record.client,
            route: &rule.name,
            path_regex: rule.path_regex.as_ref(),
            arrival: arrival(
                connection,
                self.record.client,
                self.record.https,
                self.record.request_id.as_ref(),
            ),
        }
    }

    /// How the request came, for routes.
    pub(super) fn origin(&self) -> Origin<'_> {
        let connection = self.in_flight.connection();
        Origin {
            listener: &connection.listener_name,
            client: self.record.client,
            https: self.record.https,
            server_name: connection.agreed().and_then(|agreed| agreed.server_name.as_deref()),
        }
    }

    /// What the filters change in a response; they run in reverse order.
    ///
    /// # Errors
    /// The refusal, if one of them panicked.
    pub(super) fn run_response_filters(
        &mut self,
        head: &dyn ResponseHead,
        sender: Sender<'_>,
    ) -> Result<Edits, Refusal> {
        let mut edits = Edits::default();
        let Some(rule) = self.route.and_then(|index| self.table.rules.get(index)) else { return Ok(edits) };
        let chain = self.table.chain(self.in_flight.connection().listener, rule);
        if chain.is_empty() {
            return Ok(edits);
        }
        let format = self.facts().format;
        let mut response = Response::new(head, &mut edits, &mut self.state).from(sender);
        response.format = format;
        response.origin = ResponseFacts {
            status: head.status(),
            upstream: self.attempts.as_ref().map(|attempts| &*attempts.upstream().name),
            backend: self.attempts.as_ref().and_then(|attempts| Some(attempts.last()?.backend.name())),
        };
        (response.now, response.worker) = (self.in_flight.connection().moment(), self.environment.worker);
        for (place, filter) in chain.filters().rev() {
            response.state.turn_to(place);
            if guarded(|| filter.on_response(&mut response)).is_err() {
                self.record.ending = Some(Ending::Panic);
                return Err(Refusal::Internal);
            }
        }
        Ok(edits)
    }
}
