//! The attempts of one request: which backend next, and whether there is a next.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_config::Retry;
use evenkeel_core::Moment;
use evenkeel_core::backend::{Lease, Outcome};
use evenkeel_core::balance::{Sample, Tried};
use evenkeel_core::limit::{Entered, backoff};
use evenkeel_http::message::{Overload, Refusal};

use super::choosing::{Found, Wish, choose};
use super::copy::RequestCopy;
use super::explain::{Explained, Grounds};
use super::failure::{Failure, is_failure};
use super::{Endpoint, Members, Upstream};

/// A backend to try.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Where to connect.
    pub endpoint: Arc<Endpoint>,
    /// Whether a kept connection may be used; not after one of them turned out to be dead.
    pub reuse: bool,
}

/// What is known of a request before its first attempt.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// When it is tried again, if its route says so and not its upstream.
    pub(crate) retry: Option<Arc<Retry>>,
    /// The hash of what it shares with those that it belongs to.
    pub(crate) key: u64,
    /// The backend that the client's cookie names.
    pub(crate) named: Option<usize>,
    /// Whether its method may be repeated without harm (RFC 9110, 9.2.2).
    pub(crate) idempotent: bool,
    /// Whether it has no body.
    pub(crate) bodiless: bool,
    /// Whether a copy of it may be sent, to hear from another backend.
    pub(crate) copied: bool,
    /// How its last backend was chosen, if its route wants to know.
    pub(crate) explained: Option<Box<Explained>>,
}

/// When something happens, and on which worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) worker: usize,
    /// By the connection's clock.
    pub(crate) now: u64,
    /// By the process's.
    pub(crate) moment: Moment,
    /// When the last attempt's backend was connected, and when it had the whole request: zero before that, or an earlier
    /// attempt's.
    pub(crate) sending: (u64, u64),
}

/// The attempts of one request.
#[derive(Debug)]
pub(crate) struct Attempts {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) members: Arc<Members>,
    pub(crate) plan: Plan,
    tried: Tried,
    pub(crate) count: usize,
    pub(crate) current: Option<Current>,
    beside: Beside,
    past: Past,
    /// How long to wait before the next attempt.
    pause: Option<Duration>,
    rng: fastrand::Rng,
    /// Counted by the circuit breaker as a request, and as a retry.
    entered: (Option<Entered>, Option<Entered>),
}

/// What became of earlier attempts.
#[derive(Debug, Default)]
struct Past {
    /// The place of the backend that was tried last, also after its attempt has ended.
    last: Option<usize>,
    failure: Option<Failure>,
    /// How many attempts failed at a backend that takes requests.
    reached: usize,
    /// Whether a kept connection turned out to be dead.
    stale: bool,
}

/// What runs in parallel with the current attempt.
#[derive(Debug, Default)]
struct Beside {
    /// The second attempt.
    second: Option<Current>,
    /// The backend that a copy of the request is to be sent to, by its place.
    hear: Option<usize>,
}

/// The attempt that is on.
#[derive(Debug)]
pub(crate) struct Current {
    index: usize,
    pub(crate) endpoint: Arc<Endpoint>,
    /// By the connection's clock.
    pub(crate) started: u64,
    lease: Lease,
    /// Whether a response has begun.
    answered: bool,
    /// Whether this means that the backend cannot serve requests.
    failed: bool,
}

/// What choosing came to.
pub(crate) enum Choice {
    Chosen(Attempt),
    /// All that may be chosen are busy.
    Full,
}

/// How much longer a request that may not be sent twice leaves the test of a backend in doubt to others.
const GRACE: Duration = Duration::from_secs(5);

// === impl At ===

impl At {
    /// How long an attempt that started then has waited for its backend. The time in which the client sends its request
    /// does not count: a slow client says nothing about the backend.
    pub(crate) fn waited(&self, started: u64) -> Duration {
        let (connected, sent) = self.sending;
        let sending = if started <= connected { sent.saturating_sub(connected) } else { 0 };
        Duration::from_micros(self.now.saturating_sub(started).saturating_sub(sending))
    }

    /// How long ago the backend of the attempt that is on was connected.
    fn connected(&self) -> Duration {
        Duration::from_micros(self.now.saturating_sub(self.sending.0))
    }

    /// Whether the backend of the attempt that is on has the whole request.
    fn is_sent(&self) -> bool {
        let (connected, sent) = self.sending;
        connected > 0 && sent >= connected
    }
}

// === impl Attempts ===

impl Attempts {
    pub(crate) fn new(upstream: Arc<Upstream>, rng: fastrand::Rng) -> Self {
        // One set for all attempts, so that the indices in `tried` keep their meaning.
        let members = upstream.members.load_full();
        Self {
            upstream,
            members,
            plan: Plan::default(),
            tried: Tried::default(),
            count: 0,
            current: None,
            beside: Beside::default(),
            past: Past::default(),
            pause: None,
            rng,
            entered: (None, None),
        }
    }

    /// Asks the circuit breaker, once.
    pub(crate) fn enter(&mut self) -> Result<(), Refusal> {
        if let Some(breaker) = &self.upstream.gate.breaker
            && self.entered.0.is_none()
        {
            self.entered.0 = Some(breaker.enter().ok_or(Refusal::Overloaded(Overload::CircuitBreaker))?);
        }
        Ok(())
    }

    /// Whether the backend of the attempt that is on is the one that the client's cookie names.
    pub(crate) fn is_named(&self) -> bool {
        let current = self.current.as_ref().map(|current| current.index);
        current.is_some() && current == self.plan.named
    }

    /// The backend that was tried last, also after its attempt has ended.
    pub(crate) fn last(&self) -> Option<&Endpoint> {
        self.members.endpoint(self.past.last?).map(Arc::as_ref)
    }

    /// How long to wait before the next attempt.
    pub(crate) fn take_pause(&mut self) -> Option<Duration> {
        self.pause.take()
    }

    /// Chooses a backend that was not tried yet, and begins an attempt.
    pub(crate) fn next(&mut self, at: At) -> Result<Choice, Refusal> {
        // After a failure that may be the request's own, those that are out of use are left alone.
        let others = self.past.failure.is_none_or(Failure::is_of_reach);
        match self.choose(at, others) {
            Found::One(current) => {
                if self.count > 0 {
                    current.endpoint.metrics.retried(at.worker);
                }
                self.count += 1;
                self.past.last = Some(current.index);
                let endpoint = current.endpoint.clone();
                self.current = Some(current);
                Ok(Choice::Chosen(Attempt { endpoint, reuse: !self.past.stale }))
            }
            Found::Full => Ok(Choice::Full),
            Found::Nothing => {
                if self.count == 0
                    && let Some(explained) = &mut self.plan.explained
                {
                    explained.note(&self.upstream, &self.members, Grounds::default());
                }
                Err(self.past.failure.map_or(Refusal::NoBackend, Failure::refusal))
            }
        }
    }

    /// Ends the attempt that is on. `Ok` when another one may follow; `replayable` is whether the whole request can be sent
    /// again.
    pub(crate) fn failed(&mut self, failure: Failure, replayable: bool, at: At) -> Result<(), Refusal> {
        let failure = failure.after(at.connected());
        self.note_failure(failure, at);
        if let Some(second) = self.beside.second.take() {
            self.release(second, Outcome::Abandoned);
        }
        let goes_on = self.goes_on(failure, self.plan.idempotent && replayable, at);
        if goes_on { Ok(()) } else { Err(failure.refusal()) }
    }

    /// How the last attempt failed.
    pub(crate) fn last_failure(&self) -> Option<Failure> {
        self.past.failure
    }

    /// Whether another attempt may follow this failure. What no backend has worked on adds no load to any: it goes on for as
    /// long as there is a backend that was not tried. Everything else is bounded by attempts and by the budget.
    fn goes_on(&mut self, failure: Failure, repeatable: bool, at: At) -> bool {
        if !failure.is_asked_for(&self.retry().on) {
            return false;
        }
        match failure {
            Failure::Stale => true,
            _ if failure.never_reached() => true,
            Failure::Closed(_) if repeatable => {
                self.set_pause();
                true
            }
            _ => repeatable && self.past.reached < self.retry().attempts.get() && self.permit(at.moment),
        }
    }

    /// Whether a response with this status should be retried, according to the configuration.
    pub(crate) fn retries_status(&self, status: u16) -> bool {
        self.retry().on.statuses.contains(&status)
    }

    /// Whether a response with a status that should be retried is discarded for another attempt, which then follows.
    pub(crate) fn rejects(&mut self, status: u16, replayable: bool, at: At) -> bool {
        let retry = self.retry();
        if !replayable || !self.plan.idempotent || self.past.reached + 1 >= retry.attempts.get() {
            return false;
        }
        if self.members.endpoints.len() <= self.tried.len() + 1 {
            return false;
        }
        if !self.permit(at.moment) {
            return false;
        }
        self.note_failure(Failure::Status(status), at);
        true
    }

    /// The response head arrived after this time.
    pub(crate) fn answered(&mut self, status: u16, waited: Duration, at: At) {
        let Some(current) = &mut self.current else { return };
        (current.answered, current.failed) = (true, is_failure(status));
        current.endpoint.metrics.answered(at.worker, status, waited, current.failed);
        let sample = Sample::new(waited, !current.failed, at.moment);
        self.members.balancer.observe(&current.endpoint.backend, sample);
        current.endpoint.backend.counters().reach().succeeded();
        if let Some(hedging) = &self.upstream.hedging {
            hedging.answered(waited);
        }
    }

    /// The attempt that is on was given up because its backend was too slow.
    pub(crate) fn too_slow(&mut self, at: At) {
        match &self.current {
            Some(current) if !current.answered => self.note_failure(Failure::Slow, at),
            Some(current) => {
                current.endpoint.metrics.timed_out(at.worker);
                self.upstream.attempt_failed(&current.endpoint, Failure::Idle.text());
                self.end(Outcome::Failed);
            }
            None => {}
        }
    }

    /// The response of the attempt that is on broke off, for this cause.
    pub(crate) fn cut(&self, failure: Failure) {
        if let Some(current) = &self.current {
            self.upstream.attempt_failed(&current.endpoint, failure.text());
        }
    }

    /// Ends the attempt that is on, if there is one, for good.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        if let Some(current) = self.current.take() {
            let outcome =
                if current.failed && outcome == Outcome::Answered { Outcome::Failed } else { outcome };
            self.release(current, outcome);
        }
    }

    /// The client has left. If it has waited for long, the backend was slow.
    pub(crate) fn left(&mut self, at: At) {
        match self.current.take() {
            Some(current) if !current.answered && at.is_sent() => self.give_up(current, at),
            current => self.current = current,
        }
        self.end(Outcome::Abandoned);
    }

    /// Ends an attempt without a response: it took longer than this, and the full time stays unknown.
    fn give_up(&self, current: Current, at: At) {
        let sample = Sample::unfinished(at.waited(current.started), at.moment);
        self.members.balancer.observe(&current.endpoint.backend, sample);
        self.release(current, Outcome::Abandoned);
    }

    /// When a second attempt can start in parallel with the first: for a request without a body that is safe to repeat.
    pub(crate) fn hedge_delay(&self) -> Option<Duration> {
        let hedging = self.upstream.hedging.as_ref()?;
        if self.plan.idempotent && self.plan.bodiless { hedging.delay() } else { None }
    }

    /// Starts a second attempt on another backend, in parallel with the current one, if one more is allowed.
    pub(crate) fn hedge(&mut self, at: At) -> Option<Attempt> {
        let hedging = self.upstream.hedging.as_ref()?;
        if self.beside.second.is_some() || !hedging.budget.take(at.moment, self.upstream.requests()) {
            return None;
        }
        let first = self.current.as_ref()?.index;
        self.tried.insert(first);
        let Found::One(hedge) = self.choose(at, false) else { return None };
        hedge.endpoint.metrics.hedged(at.worker);
        let endpoint = hedge.endpoint.clone();
        self.beside.second = Some(hedge);
        Some(Attempt { endpoint, reuse: true })
    }

    /// Whether the algorithm wants to hear from a backend that it has not chosen.
    pub(crate) fn is_to_hear(&self) -> bool {
        self.beside.hear.is_some()
    }

    /// A copy of the request for the backend that the algorithm wants to hear from, if there may be one.
    pub(crate) fn copy(&mut self, at: At) -> Option<RequestCopy> {
        let index = self.beside.hear.take()?;
        let hedging = self.upstream.hedging.as_ref()?;
        if !hedging.budget.take(at.moment, self.upstream.requests()) {
            return None;
        }
        let endpoint = self.members.endpoints.get(index)?.clone();
        let lease = self.upstream.lease(&endpoint)?;
        endpoint.metrics.copied(at.worker);
        Some(RequestCopy::new(self.upstream.clone(), self.members.clone(), endpoint, lease))
    }

    /// One of two attempts is to go on, the second if `second`; the other one is given up.
    pub(crate) fn settle_hedge(&mut self, second: bool, at: At) {
        let Some(hedge) = self.beside.second.take() else { return };
        if !second {
            return self.give_up(hedge, at);
        }
        self.past.last = Some(hedge.index);
        if let Some(first) = self.current.replace(hedge) {
            self.give_up(first, at);
        }
    }

    /// How many backends are left that were not tried.
    pub(crate) fn untried(&self) -> usize {
        let all = self.members.endpoints.len() + self.members.others.len();
        all.saturating_sub(self.tried.len() + 1)
    }

    fn retry(&self) -> &Retry {
        self.plan.retry.as_ref().unwrap_or(&self.upstream.retry)
    }

    /// How long one attempt can take until its response head, if another attempt should follow.
    pub(crate) fn time_for_one(&self) -> Option<Duration> {
        let retry = self.retry();
        let first_byte = retry.on.timeout.then_some(self.upstream.timeouts.first_byte);
        retry.per_try_timeout.or(first_byte)
    }

    /// How many bytes of a body are kept to be sent again; none where that would not help.
    pub(crate) fn replay_limit(&self) -> usize {
        let on = &self.retry().on;
        let helps = self.plan.idempotent && (on.reset || on.timeout || !on.statuses.is_empty());
        if helps { self.retry().max_body } else { 0 }
    }

    /// Whether there may be one more retry over all requests of the upstream.
    fn permit(&mut self, moment: Moment) -> bool {
        let gate = &self.upstream.gate;
        if let Some(breaker) = &gate.breaker
            && self.entered.1.is_none()
        {
            self.entered.1 = breaker.enter_retry();
            if self.entered.1.is_none() {
                return false;
            }
        }
        if !gate.budget.take(moment, self.upstream.requests()) {
            return false;
        }
        self.set_pause();
        true
    }

    fn set_pause(&mut self) {
        let retry = u32::try_from(self.count).unwrap_or(u32::MAX);
        let pause = self.retry().backoff;
        self.pause = pause.map(|base| backoff(base, retry, &mut self.rng));
    }

    /// One of two attempts failed, the second if `second`; the other one goes on.
    pub(crate) fn hedge_failed(&mut self, second: bool, failure: Failure, at: At) {
        let failed = if second { self.beside.second.take() } else { self.current.take() };
        if let Some(failed) = failed {
            self.charge(failed, failure, at);
        }
    }

    fn note_failure(&mut self, failure: Failure, at: At) {
        self.past.failure = Some(failure);
        self.past.reached += usize::from(failure.uses_an_attempt());
        if let Some(current) = self.current.take() {
            self.charge(current, failure, at);
        }
    }

    /// Ends an attempt that failed, and holds it against its backend unless the backend has no part in it.
    fn charge(&mut self, current: Current, failure: Failure, at: At) {
        let metrics = &current.endpoint.metrics;
        match failure {
            Failure::Connect(_) | Failure::Tls(_) | Failure::Unsent => metrics.connect_failed(at.worker),
            Failure::ConnectTimeout | Failure::TlsTimeout => {
                metrics.connect_failed(at.worker);
                metrics.timed_out(at.worker);
            }
            Failure::Slow => metrics.timed_out(at.worker),
            Failure::Closed(_) | Failure::Broken(_) | Failure::Malformed(_) => metrics.broke(at.worker),
            Failure::Stale | Failure::Shortage | Failure::Status(_) | Failure::Cut(_) | Failure::Idle => {}
        }
        let waited = at.waited(current.started);
        match failure {
            // A connection that the backend closed while it was idle says nothing against the backend.
            Failure::Stale => {
                self.past.stale = true;
                return self.release(current, Outcome::Abandoned);
            }
            Failure::Shortage => return self.release(current, Outcome::Abandoned),
            Failure::Status(status) => metrics.answered(at.worker, status, waited, true),
            _ => self.upstream.attempt_failed(&current.endpoint, failure.text()),
        }
        self.tried.insert(current.index);
        self.members.balancer.observe(&current.endpoint.backend, Sample::new(waited, false, at.moment));
        let counters = current.endpoint.backend.counters();
        if failure.puts_in_doubt(counters.failures_in_a_row()) {
            counters.reach().failed(at.moment, waited);
        }
        self.release(current, Outcome::Failed);
    }

    /// A backend that was not tried and has room, and a lease of it; `others` is whether to look beyond those that may be chosen.
    fn choose(&mut self, at: At, others: bool) -> Found<Current> {
        let Self { upstream, members, plan, tried, beside, rng, .. } = self;
        let copied = plan.copied && tried.is_empty();
        let wish = Wish {
            key: plan.key,
            named: plan.named,
            moment: at.moment,
            copied,
            others,
            test: Some(upstream.timeouts.connect),
            grace: if plan.idempotent { Duration::ZERO } else { GRACE },
        };
        choose(members, wish, tried, rng, |index, pick| {
            if let Some(explained) = &mut plan.explained {
                // Before the lease: the score that the choice went by.
                let grounds = Grounds {
                    score: members.balancer.score(&members.snapshot, index, pick),
                    named: wish.named == Some(index),
                    tried: tried.len(),
                    passed: pick.tried.len().saturating_sub(tried.len()),
                };
                explained.note(upstream, members, grounds);
            }
            let endpoint = members.endpoint(index)?;
            let lease = upstream.lease(endpoint)?;
            beside.hear = pick.hear.filter(|hear| *hear != index);
            let (endpoint, started) = (endpoint.clone(), at.now);
            Some(Current { index, endpoint, started, lease, answered: false, failed: false })
        })
    }

    fn release(&self, current: Current, outcome: Outcome) {
        self.upstream.release(&current.endpoint, current.lease, outcome);
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        for current in [self.current.take(), self.beside.second.take()].into_iter().flatten() {
            self.release(current, Outcome::Abandoned);
        }
    }
}
