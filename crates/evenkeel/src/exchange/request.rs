//! One request, from its head to its record.

use std::sync::Arc;

use arc_swap::ArcSwap;
use evenkeel_config::{PathForm, Paths, SpoofedHeaders};
use evenkeel_core::backend::Outcome;
use evenkeel_http::message::{Answer, Edits, HeadFacts, Refusal, RequestHead, RequestId, ResponseHead};

use super::arrived::Arrived;
use super::client::{ClientAddress, client_address, uses_https};
use super::connection::Connection;
use super::filtering::Waiting;
use super::forwarding::{self, Hop};
use super::in_flight::InFlight;
use super::lane::Lane;
use super::max_forwards;
use super::method::{is_idempotent, is_safe};
use super::outcome::{is_failure, status_text};
use super::path::respelled;
use super::record::{Ending, Record, Text, id_value};
use super::redirect::{redirect, to_https};
use super::seen_head::SeenHead;
use super::table::{Rule, RuleAction, Table};
use super::throttle::Throttles;
use crate::filter::{Sender, State};
use crate::observe::{Metrics, RouteMetrics};
use crate::upstream::{AttemptOptions, Attempts};

/// What every request of one worker shares.
#[derive(Debug)]
pub struct Environment {
    /// The worker's number, for its counters.
    pub worker: usize,
    /// What decides; swapped whole.
    pub table: Arc<ArcSwap<Table>>,
    /// What is counted for the process.
    pub metrics: Arc<Metrics>,
}

/// What the listener adds to the facts of a head: its settings for requests, and when this one began.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListenerFacts {
    /// Largest body that the listener allows, or else the route.
    pub max_body: Option<u64>,
    /// In which form its path is matched and forwarded.
    pub paths: Paths,
    /// What happens to headers that could pass for others.
    pub spoofed_headers: SpoofedHeaders,
    /// When the request's first byte came, by the connection's clock; zero if that is not known.
    pub started: u64,
}

/// What is done with a request.
#[derive(Debug)]
pub enum Decision {
    /// A backend receives the request: see [`Exchange::next_attempt`].
    Proxy,
    /// The balancer responds.
    Answer(Answer),
    /// A filter waits: see [`Exchange::resume`]. Until then, only the head is needed.
    Wait(Waiting),
}

/// One request. Dropping it, on whatever path, writes its one record and counts it once.
#[derive(Debug)]
pub struct Exchange {
    pub(super) environment: Arc<Environment>,
    pub(super) in_flight: Arc<InFlight>,
    pub(super) table: Arc<Table>,
    facts: HeadFacts,
    listener: ListenerFacts,
    pub(super) lane: Lane,
    pub(super) route: Option<usize>,
    pub(super) attempts: Option<Attempts>,
    pub(super) edits: Edits,
    /// What the filters keep of it.
    pub(super) state: State,
    pub(super) record: Record,
    /// How fast its bodies are moved, if that is limited.
    pub(super) throttles: Option<Box<Throttles>>,
}

// === impl Exchange ===

impl Exchange {
    /// Begins with a request whose head has come.
    pub fn new(
        environment: Arc<Environment>,
        in_flight: Arc<InFlight>,
        facts: (HeadFacts, ListenerFacts),
        lane: Lane,
    ) -> Self {
        in_flight.set_begun();
        let connection = in_flight.connection();
        let table = environment.table.load_full();
        let (facts, listener) = facts;
        let mut record = Record::new(if listener.started > 0 { listener.started } else { connection.now() });
        record.client = connection.peer.map(|peer| peer.ip());
        Self {
            environment,
            in_flight,
            table,
            facts,
            listener,
            lane,
            route: None,
            attempts: None,
            edits: Edits::default(),
            state: State::default(),
            record,
            throttles: None,
        }
    }

    /// Begins and ends with a request that never became one: its head is malformed, too large or too slow. Dropping what
    /// is returned records it.
    pub fn refuse_head(
        environment: Arc<Environment>,
        in_flight: Arc<InFlight>,
        refusal: &Refusal,
    ) -> (Self, Answer) {
        let mut exchange = Self::without_head(environment, in_flight);
        let answer = exchange.refusal_answer(refusal);
        exchange.count_sent(answer.body.len() as u64);
        (exchange, answer)
    }

    /// Starts and ends with a request whose client disconnected in the middle of its head.
    pub fn left_in_head(environment: Arc<Environment>, in_flight: Arc<InFlight>) {
        drop(Self::without_head(environment, in_flight));
    }

    fn without_head(environment: Arc<Environment>, in_flight: Arc<InFlight>) -> Self {
        let mut exchange = Self::new(environment, in_flight, Default::default(), Lane::None);
        if exchange.table.log.is_some() {
            exchange.record.text = Some(Box::new(Text::without_head()));
        }
        exchange
    }

    /// The client's address, the route, its filters: what is done with the request.
    pub fn decide(&mut self, head: &dyn RequestHead) -> Decision {
        let client = client_address(&self.table, self.record.client, head);
        self.record.client = client.ip;
        self.record.https = uses_https(client, self.connection().is_tls(), head);
        if self.table.log.is_some() {
            self.record.text = Some(Box::new(self.log_text(head)));
        }
        let mut rng = fastrand::Rng::new();
        let given = if client.peer_trusted { forwarding::given_request_id(head) } else { None };
        let request_id = given.map_or_else(|| RequestId::Random(rng.u128(..)), RequestId::Given);
        self.record.request_id = Some(request_id);
        if self.facts.spoofed && self.listener.spoofed_headers == SpoofedHeaders::Reject {
            return self.refuse(&Refusal::BadRequest("a header name has an underscore in place of a hyphen"));
        }
        if head.method() == "CONNECT" {
            return self.refuse(&Refusal::MethodNotAllowed);
        }
        if !client.peer_trusted && self.is_misdirected(head) {
            return self.refuse(&Refusal::Misdirected);
        }
        if let Some(port) = self.connection().limits.https_redirect {
            return match to_https(head, port) {
                Ok(answer) => Decision::Answer(self.answered(answer)),
                Err(refusal) => self.refuse(&refusal),
            };
        }
        let without_claims = SeenHead::without_claims(head);
        let hides = self.facts.claims && !client.peer_trusted;
        let head: &dyn RequestHead = if hides { &without_claims } else { head };
        match respelled(head, self.listener.paths) {
            Ok(None) => self.route(head, client, rng),
            Ok(Some(path)) => {
                if self.listener.paths.forward == PathForm::Normal {
                    self.edits.path = Some(path.clone());
                }
                self.route(&SeenHead::with_path(head, &path), client, rng)
            }
            Err(refusal) => self.refuse(&refusal),
        }
    }

    /// Whether the client should have opened another connection: clients of HTTP/2 send requests for several hosts on one.
    fn is_misdirected(&self, head: &dyn RequestHead) -> bool {
        self.in_flight.stream().is_some()
            && self.connection().agreed().is_some_and(|agreed| agreed.is_misdirected(head.host()))
    }

    /// The route and its filters, for a head whose path is in the form that they see.
    fn route(&mut self, head: &dyn RequestHead, client: ClientAddress, rng: fastrand::Rng) -> Decision {
        let table = self.table.clone();
        let arrived = Arrived { head, origin: self.origin() };
        let found = table.routes.find(&arrived).and_then(|index| Some((index, table.rules.get(index)?)));
        let Some((index, rule)) = found else { return self.refuse(&Refusal::NoRoute) };
        self.route = Some(index);
        let hop = Hop { connection: self.in_flight.connection(), client, head, claims: self.facts.claims };
        let request_id = self.record.request_id.as_ref().and_then(id_value);
        forwarding::write(&table, hop, request_id, &mut self.edits);
        self.edits.end_own();
        if let Some(max) = rule.max_body {
            self.listener.max_body = max;
        }
        if let Err(refusal) = self.admit_body(self.facts.content_length.unwrap_or_default()) {
            return self.refuse(&refusal);
        }
        self.filter((&table, rule), head, None, rng)
    }

    /// Does what the route says.
    pub(super) fn act(&mut self, rule: &Rule, head: &dyn RequestHead, mut rng: fastrand::Rng) -> Decision {
        let upstream = match &rule.action {
            RuleAction::Upstream(upstream) => upstream,
            RuleAction::Split { shares, total } => {
                let draw = rng.u64(..(*total).max(1));
                match shares.iter().find(|(end, _)| draw < *end) {
                    Some((_, upstream)) => upstream,
                    None => return self.refuse(&Refusal::Internal),
                }
            }
            RuleAction::Redirect(to) => {
                return match redirect(to, &self.facts_of(rule, head)) {
                    Ok(answer) => Decision::Answer(self.answered(answer)),
                    Err(refusal) => self.refuse(&refusal),
                };
            }
            RuleAction::Respond(answer) => return Decision::Answer(self.answered(answer.clone())),
            RuleAction::Make(answer) => {
                let answer = answer.answer(&self.facts_of(rule, head));
                return Decision::Answer(self.answered(answer));
            }
        };
        if let Some(answer) = max_forwards::count(head, &mut self.edits) {
            return Decision::Answer(self.answered(answer));
        }
        // Its time has begun if a filter waited.
        let timeout = self.in_flight.time_left().or_else(|| self.timeout(rule, head));
        let timeouts = rule.timeouts.as_ref().map(|own| Box::new(own.over(&upstream.timeouts)));
        self.in_flight.set_limits(timeouts.as_deref().unwrap_or(&upstream.timeouts), timeout);
        let (method, bodiless) = (head.method(), !self.has_body());
        let lean = self.lane == Lane::Lean && !self.edits.transforms_response();
        let copies = upstream.hedging.is_some() && lean;
        let options = AttemptOptions {
            retry: rule.retry.clone(),
            timeouts,
            key: upstream.affinity.key_of(&SeenHead::with_filters(head, &self.edits), self.record.client),
            idempotent: is_idempotent(method),
            bodiless,
            copied: copies && bodiless && is_safe(method),
            explained: rule.explain && self.table.log.is_some(),
        };
        let mut attempts = Attempts::new(upstream.clone(), options, rng);
        attempts.stick_to(|members| upstream.affinity.named(head, members));
        self.attempts = Some(attempts);
        self.announce_deadline();
        Decision::Proxy
    }

    /// What is changed in the request before it goes to a backend.
    pub fn request_edits(&self) -> &Edits {
        &self.edits
    }

    /// The response head has arrived from the backend; `upgraded` if it leaves HTTP. Returns the edits for it before it
    /// goes to the client.
    ///
    /// # Errors
    /// The refusal to give to [`Exchange::refusal_answer`], if a filter panicked or replaced the response.
    pub fn on_head(&mut self, head: &dyn ResponseHead, upgraded: bool) -> Result<Edits, Refusal> {
        let status = head.status();
        let mut edits = self.response_edits(head, Sender::Backend)?;
        let replacement = edits.take_replacement().filter(|_| status >= 400);
        if status >= 200 || upgraded {
            self.keep_client(&mut edits);
            self.log_response(head, &edits);
            self.record.status = status;
            self.record.error = is_failure(status).then(|| status_text(status));
            if replacement.is_none() {
                self.in_flight.head_received(upgraded);
            }
            let at = self.at();
            if let Some(attempts) = &mut self.attempts
                && let Some(current) = attempts.current()
            {
                let (waited, failed) = (at.waited(current.started), is_failure(status));
                self.record.first_byte = Some(waited);
                current.endpoint.metrics.answered(at.worker, status, waited, failed);
                attempts.responded(!failed, waited, at);
            }
        }
        if let Some(replacement) = replacement {
            if let Some(attempts) = &mut self.attempts {
                attempts.end(Outcome::Answered);
            }
            return Err(Refusal::Page(Box::new(Answer::replacing(head, *replacement))));
        }
        Ok(edits)
    }

    /// The exchange is over, as the transport sees it: with a complete response, or broken off by the backend or the
    /// client.
    pub fn on_end(&mut self, ending: Ending) {
        let at = self.at();
        if let Some(attempts) = &mut self.attempts {
            match ending {
                Ending::Ok => attempts.end(Outcome::Answered),
                Ending::BackendDisconnected => attempts.end(Outcome::Failed),
                Ending::ClientDisconnected => attempts.client_left(at),
                _ => attempts.end(Outcome::Abandoned),
            }
        }
        self.record.ending.get_or_insert(ending);
    }

    /// Hands a request that was decided on to another lane. The connection waits until that has taken it: see
    /// [`Exchange::taken_over`].
    pub fn hand_over(&mut self, lane: Lane) {
        self.lane = lane;
        self.in_flight.unset_begun();
    }

    /// The other lane has taken the request.
    pub fn taken_over(&self) {
        self.in_flight.set_begun();
    }

    /// Whether the request's body was said to be there.
    pub fn has_body(&self) -> bool {
        self.facts.has_body()
    }

    /// What the listener learned of the head.
    pub fn facts(&self) -> &HeadFacts {
        &self.facts
    }

    /// In which form its path is matched and forwarded.
    pub(super) fn paths(&self) -> Paths {
        self.listener.paths
    }

    /// Largest body that the route allows, or else the listener.
    pub(super) fn max_body(&self) -> Option<u64> {
        self.listener.max_body
    }

    /// What it waits for, and for how long.
    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// The connection that it came on.
    pub fn connection(&self) -> &Connection {
        self.in_flight.connection()
    }

    pub(super) fn rule(&self) -> Option<&Rule> {
        self.route.and_then(|index| self.table.rules.get(index))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.record.ending.is_none() || self.in_flight.expired().is_some() {
            self.settle();
        }
        if self.record.status == 0 {
            self.record.status = if std::thread::panicking() { 500 } else { 499 };
        }
        let metrics: &RouteMetrics = match self.rule() {
            Some(rule) => &rule.metrics,
            None => &self.environment.metrics.unrouted,
        };
        let record = &self.record;
        let bytes = (record.received, record.sent);
        self.environment.metrics.carried(self.environment.worker, self.lane.name());
        metrics.record(
            self.environment.worker,
            record.status,
            self.connection().since(record.started),
            bytes,
        );
        let failed = record.status >= 500 || record.ending != Some(Ending::Ok);
        if let Some(log) = self.table.log.as_ref().filter(|log| log.takes(failed)) {
            log.record(self.environment.worker, self);
        }
    }
}
