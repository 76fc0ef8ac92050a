//! The attempts of one request: which backend next, and whether there is a next.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_config::{Retry, Timeouts};
use evenkeel_core::Moment;
use evenkeel_core::backend::{Lease, Outcome};
use evenkeel_core::balance::{Sample, Tried};
use evenkeel_core::limit::{Entered, backoff};

use super::error::UpstreamError;
use super::explain::{Explained, PickDetails};
use super::failure::Failure;
use super::pick::{Picked, Selection, pick};
use super::recovery::History;
use super::retry::{NoRetry, RetryDecision, RetryFacts, decide};
use super::{Endpoint, Members, Upstream};

/// A backend to try.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Where to connect.
    pub endpoint: Arc<Endpoint>,
    /// Whether an idle connection can be used; not after one of them turned out to be dead.
    pub reuse: bool,
}

/// What is known of a request before its first attempt.
#[derive(Debug, Default)]
pub struct AttemptOptions {
    /// When it is tried again, if its route says so and not its upstream.
    pub retry: Option<Arc<Retry>>,
    /// How long backends may take, if its route says so and not its upstream.
    pub timeouts: Option<Box<Timeouts>>,
    /// The hash of what it shares with the requests that belong to the same backend.
    pub key: u64,
    /// Whether to send it twice does no more than to send it once.
    pub idempotent: bool,
    /// Whether it has no body.
    pub bodiless: bool,
    /// Whether a copy of it may be sent, to test another backend.
    pub copied: bool,
    /// Whether to note how its last backend was picked.
    pub explained: bool,
}

/// When something happens, and on which worker.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// The worker's number.
    pub worker: usize,
    /// By the connection's clock, in microseconds.
    pub now: u64,
    /// By the process's.
    pub moment: Moment,
    /// When the last attempt's backend was connected, and when it had the whole request: zero before that, or an earlier
    /// attempt's.
    pub sending: (u64, u64),
}

/// The attempts of one request. Dropping it ends the current one.
#[derive(Debug)]
pub struct Attempts {
    pub(super) upstream: Arc<Upstream>,
    /// One set for all attempts, so that the indices in `tried` keep their meaning. Released as soon as no other attempt can
    /// follow: a connection that stays open for days must not keep a set that was replaced long ago.
    pub(super) members: Option<Arc<Members>>,
    pub(super) options: AttemptOptions,
    /// The backend that the client's cookie names, by its place.
    pub(super) sticky: Option<usize>,
    pub(super) tried: Tried,
    count: usize,
    pub(super) current: Option<ActiveAttempt>,
    pub(super) parallel: Parallel,
    pub(super) history: History,
    rng: fastrand::Rng,
    /// Counted by the circuit breaker as a request, and as a retry.
    entered: (Option<Entered>, Option<Entered>),
    explained: Option<Box<Explained>>,
}

/// What runs in parallel with the current attempt.
#[derive(Debug, Default)]
pub(super) struct Parallel {
    /// The second attempt.
    pub(super) second: Option<ActiveAttempt>,
    /// The backend that a copy of the request is to be sent to, by its place.
    pub(super) copy_to: Option<usize>,
}

/// An attempt in progress.
#[derive(Debug)]
pub struct ActiveAttempt {
    pub(super) index: usize,
    /// The backend.
    pub endpoint: Arc<Endpoint>,
    /// When it began, by the connection's clock.
    pub started: u64,
    pub(super) lease: Lease,
    /// Whether a response has begun.
    pub(super) responded: bool,
    /// Whether this means that the backend cannot serve requests.
    pub(super) failed: bool,
}

/// What to do next.
#[derive(Debug)]
pub enum NextAttempt {
    /// Try this backend.
    Start(Attempt),
    /// Wait: all backends that can be picked are busy.
    Wait,
    /// No backend can be picked: look again after this time.
    Later(Duration),
}

/// How much longer a request that cannot be sent twice leaves the test of a backend in doubt to others.
const GRACE: Duration = Duration::from_secs(5);

// === impl At ===

impl At {
    /// How long an attempt that started then has waited for its backend. The time in which the client sends its request
    /// does not count: a slow client says nothing about the backend.
    pub fn waited(&self, started: u64) -> Duration {
        let (connected, sent) = self.sending;
        let sending = if started <= connected { sent.saturating_sub(connected) } else { 0 };
        Duration::from_micros(self.now.saturating_sub(started).saturating_sub(sending))
    }

    /// How long ago the backend of the current attempt was connected.
    fn connected(&self) -> Duration {
        Duration::from_micros(self.now.saturating_sub(self.sending.0))
    }

    /// Whether the backend of the current attempt has the whole request.
    pub(super) fn is_sent(&self) -> bool {
        let (connected, sent) = self.sending;
        connected > 0 && sent >= connected
    }
}

// === impl Attempts ===

impl Attempts {
    /// Before the first attempt.
    pub fn new(upstream: Arc<Upstream>, options: AttemptOptions, rng: fastrand::Rng) -> Self {
        let members = upstream.members.load_full();
        let explained = options.explained.then(Box::default);
        Self {
            upstream,
            members: Some(members),
            options,
            sticky: None,
            tried: Tried::default(),
            count: 0,
            current: None,
            parallel: Parallel::default(),
            history: History::default(),
            rng,
            entered: (None, None),
            explained,
        }
    }

    /// Prefers the backend at the place that `find` gives, of those that can be picked: the one that the client's cookie names.
    pub fn stick_to(&mut self, find: impl FnOnce(&Members) -> Option<usize>) {
        self.sticky = self.members.as_deref().and_then(find);
    }

    /// Checks the circuit breaker, once.
    ///
    /// # Errors
    /// When it is open.
    pub fn enter(&mut self) -> Result<(), UpstreamError> {
        if let Some(breaker) = &self.upstream.gate.breaker
            && self.entered.0.is_none()
        {
            self.entered.0 = Some(breaker.enter().ok_or(UpstreamError::CircuitOpen)?);
        }
        Ok(())
    }

    /// The upstream.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// How many attempts there were, this one included. A second one in parallel does not count.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The attempt in progress.
    pub fn current(&self) -> Option<&ActiveAttempt> {
        self.current.as_ref()
    }

    /// Whether no backend speaks TLS.
    pub fn is_plain(&self) -> bool {
        self.members.as_ref().is_some_and(|members| members.roster.is_plain())
    }

    /// Whether to send the request twice does no more than to send it once.
    pub fn is_idempotent(&self) -> bool {
        self.options.idempotent
    }

    /// Whether the backend of the current attempt is the one that the client's cookie names.
    pub fn is_sticky(&self) -> bool {
        let current = self.current.as_ref().map(|current| current.index);
        current.is_some() && current == self.sticky
    }

    /// The backend that was tried last, also after its attempt has ended.
    pub fn last(&self) -> Option<&Endpoint> {
        self.current.as_ref().map(|current| &*current.endpoint).or(self.history.last.as_deref())
    }

    /// How the last backend was picked, if that was to be noted.
    pub fn explanation(&self) -> Option<&str> {
        self.explained.as_deref().map(Explained::text)
    }

    /// How long to wait before the next attempt. Gives it once.
    pub fn take_pause(&mut self) -> Option<Duration> {
        self.history.pause.take()
    }

    /// Picks a backend that was not tried yet, and begins an attempt.
    ///
    /// # Errors
    /// When there is none.
    pub fn next(&mut self, at: At) -> Result<NextAttempt, UpstreamError> {
        self.refresh();
        // After a failure that may be the request's own, backends that cannot be picked are left alone.
        let others = self.history.failure.is_none_or(Failure::is_of_reach);
        let picked = match self.pick(at, others) {
            Picked::Nothing => self.pick_recovered(at),
            picked => picked,
        };
        match picked {
            Picked::One(current) => {
                if self.count > 0 {
                    current.endpoint.metrics.retried(at.worker);
                } else {
                    self.upstream.requests.of(at.worker).increment();
                }
                self.count += 1;
                self.history.waits = false;
                let endpoint = current.endpoint.clone();
                self.current = Some(current);
                Ok(NextAttempt::Start(Attempt { endpoint, reuse: !self.history.stale }))
            }
            Picked::Full => {
                self.history.waits = self.count == 0;
                Ok(NextAttempt::Wait)
            }
            Picked::Nothing => {
                if self.count == 0
                    && let (Some(explained), Some(members)) = (&mut self.explained, &self.members)
                {
                    explained.note(&self.upstream, members, PickDetails::default());
                }
                if let Some(pause) = self.wait(at) {
                    return Ok(NextAttempt::Later(pause));
                }
                let stopped = NoRetry::NoBackendLeft;
                Err(match self.history.failure {
                    Some(failure) => UpstreamError::Failed { failure, stopped },
                    None => UpstreamError::NoBackend,
                })
            }
        }
    }

    /// Looks at the backends that there are now, as long as none was tried: a request that waits must not wait for backends that
    /// are gone.
    fn refresh(&mut self) {
        if !self.history.waits {
            return;
        }
        let Some(before) = &self.members else { return };
        let now = self.upstream.members.load_full();
        // The lane was picked by what the backends speak.
        if Arc::ptr_eq(&now, before) || before.roster.is_plain() && !now.roster.is_plain() {
            return;
        }
        let sticky = self.sticky.and_then(|place| before.endpoints.get(place));
        self.sticky = sticky.and_then(|sticky| now.endpoints.iter().position(|one| one.id == sticky.id));
        self.members = Some(now);
    }

    /// Ends the current attempt. `Ok` when another one may follow; `replayable` is whether the whole request can be sent again.
    ///
    /// # Errors
    /// When none may.
    pub fn failed(&mut self, failure: Failure, replayable: bool, at: At) -> Result<(), UpstreamError> {
        let failure = failure.after(at.connected());
        self.note_failure(failure, at);
        if let Some(second) = self.parallel.second.take() {
            self.release(second, Outcome::Abandoned);
        }
        let (idempotent, counted) = (self.options.idempotent, self.history.counts(failure));
        let facts = RetryFacts { idempotent, replayable, used: self.history.used, counted };
        let stopped = match decide(failure, self.retry(), facts) {
            RetryDecision::Free => return Ok(()),
            RetryDecision::FreeAfterPause => {
                self.set_pause();
                return Ok(());
            }
            RetryDecision::WithinBudget => match self.permit(at.moment) {
                Ok(()) => return Ok(()),
                Err(stopped) => stopped,
            },
            RetryDecision::No(stopped) => stopped,
        };
        Err(UpstreamError::Failed { failure, stopped })
    }

    /// How the last attempt failed.
    pub fn last_failure(&self) -> Option<Failure> {
        self.history.failure
    }

    /// Whether a response that the caller wants to replace, for this reason, is discarded for another attempt, which then
    /// follows.
    pub fn discard(&mut self, reason: &'static str, replayable: bool, at: At) -> bool {
        let failure = Failure::Response(reason);
        let used = self.history.used + 1;
        let facts = RetryFacts { idempotent: self.options.idempotent, replayable, used, counted: true };
        if decide(failure, self.retry(), facts) != RetryDecision::WithinBudget {
            return false;
        }
        let members = self.members.as_ref().map_or(0, |members| members.endpoints.len());
        if members <= self.tried.len() + 1 || self.permit(at.moment).is_err() {
            return false;
        }
        self.note_failure(failure, at);
        true
    }

    /// A response began after this time; `success` unless it means that the backend cannot serve requests. No other attempt
    /// follows.
    pub fn responded(&mut self, success: bool, waited: Duration, at: At) {
        // Now, and not with the end of the response: see the field.
        let members = self.members.take();
        let (Some(current), Some(members)) = (&mut self.current, members) else { return };
        (current.responded, current.failed) = (true, !success);
        let sample = Sample::new(waited, success, at.moment);
        members.balancer.observe(&current.endpoint.backend, sample);
        current.endpoint.backend.counters().reach().succeeded();
        if let Some(hedging) = &self.upstream.hedging {
            hedging.responded(waited);
        }
    }

    /// How many backends are left that were not tried.
    pub fn untried(&self) -> usize {
        let all = self.members.as_ref().map_or(0, |members| members.endpoints.len() + members.others.len());
        all.saturating_sub(self.tried.len() + 1)
    }

    /// Takes one more retry from the upstream's budget.
    pub(super) fn permit(&mut self, moment: Moment) -> Result<(), NoRetry> {
        let gate = &self.upstream.gate;
        if let Some(breaker) = &gate.breaker
            && self.entered.1.is_none()
        {
            self.entered.1 = Some(breaker.enter_retry().ok_or(NoRetry::TooManyRetries)?);
        }
        if !gate.budget.take(moment, self.upstream.requests()) {
            return Err(NoRetry::BudgetExhausted);
        }
        self.set_pause();
        Ok(())
    }

    fn set_pause(&mut self) {
        let retry = u32::try_from(self.count).unwrap_or(u32::MAX);
        let pause = self.retry().backoff;
        self.history.pause = pause.map(|base| backoff(base, retry, &mut self.rng));
    }

    /// A backend that was not tried and has room, and a lease of it; `others` is whether to look beyond those that can be picked.
    pub(super) fn pick(&mut self, at: At, others: bool) -> Picked<ActiveAttempt> {
        let Self { upstream, members, options, tried, parallel, history, rng, explained, sticky, .. } = self;
        let Some(members) = members else { return Picked::Nothing };
        let selection = Selection {
            key: options.key,
            sticky: *sticky,
            moment: at.moment,
            copied: options.copied && tried.is_empty(),
            others,
            test: Some(upstream.timeouts.connect),
            grace: if options.idempotent || history.has_waited() { Duration::ZERO } else { GRACE },
            proof: history.again.then(|| history.proof()),
        };
        pick(members, selection, tried, rng, |index, pick| {
            if let Some(explained) = explained {
                // Before the lease: the score that the pick went by.
                let details = PickDetails {
                    score: members.balancer.score(&members.snapshot, index, pick),
                    sticky: selection.sticky == Some(index),
                    tried: tried.len(),
                    skipped: pick.tried.len().saturating_sub(tried.len()),
                };
                explained.note(upstream, members, details);
            }
            let endpoint = members.endpoint(index)?;
            let lease = upstream.lease(endpoint)?;
            parallel.copy_to = pick.hear.filter(|hear| *hear != index);
            let (endpoint, started) = (endpoint.clone(), at.now);
            Some(ActiveAttempt { index, endpoint, started, lease, responded: false, failed: false })
        })
    }
}
