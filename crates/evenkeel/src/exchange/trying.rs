//! A request's attempts, for the transport that carries it.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_http::message::{AnswerFormat, Edits, HeaderEdit, Refusal, RequestHead};
use http::{HeaderName, HeaderValue, header};

use super::grpc;
use super::outcome::{refusal, reported, status_text};
use super::request::Exchange;
use super::table::Rule;
use crate::upstream::{At, Attempt, Attempts, Failure, NextAttempt, RequestCopy, Upstream, UpstreamError};

/// Of the route's time that is left, an attempt to connect takes at least one part in this many.
const MOST_SHARES: usize = 4;

impl Exchange {
    /// The next backend to try, or why there is none. Waits where the request must: for a backend that has room, and
    /// between attempts.
    ///
    /// # Errors
    /// The refusal to give to [`Exchange::refusal_answer`].
    pub async fn next_attempt(&mut self) -> Result<Attempt, Refusal> {
        self.in_flight.connecting();
        // What an earlier attempt was sent is sent again.
        self.record.received = 0;
        let Some(attempts) = &mut self.attempts else { return Err(Refusal::Internal) };
        attempts.enter().map_err(refusal)?;
        if let Some(pause) = attempts.take_pause() {
            // In boxes, here and below: waiting is rare, and every request would carry the room for it.
            Box::pin(tokio::time::sleep(pause)).await;
            self.connection().tick();
        }
        if self.in_flight.time_left().is_some_and(|left| left.is_zero()) {
            return Err(Refusal::Timeout);
        }
        let upstream = loop {
            match self.try_next().map_err(refusal)? {
                NextAttempt::Start(attempt) => return Ok(attempt),
                NextAttempt::Wait => break self.upstream().cloned().ok_or(Refusal::Internal)?,
                NextAttempt::Later(pause) => Box::pin(tokio::time::sleep(pause)).await,
            }
            self.connection().tick();
            if self.in_flight.time_left().is_some_and(|left| left.is_zero()) {
                return Err(Refusal::Timeout);
            }
        };
        let choose = || {
            self.connection().tick();
            match self.try_next() {
                Ok(NextAttempt::Start(attempt)) => Some(Ok(attempt)),
                Ok(NextAttempt::Wait | NextAttempt::Later(_)) => None,
                Err(error) => Some(Err(error)),
            }
        };
        Box::pin(upstream.gate.wait_for(choose)).await.flatten().map_err(refusal)
    }

    fn try_next(&mut self) -> Result<NextAttempt, UpstreamError> {
        let at = self.at();
        self.attempts.as_mut().ok_or(UpstreamError::NoBackend)?.next(at)
    }

    pub(super) fn at(&self) -> At {
        let connection = self.connection();
        At {
            worker: self.environment.worker,
            now: connection.now(),
            moment: connection.moment(),
            sending: self.in_flight.sending(),
        }
    }

    /// The backend is connected.
    pub fn connected(&self) {
        self.in_flight.connected();
    }

    /// An attempt failed. `Ok` when another one may follow; `replayable` is whether the whole request is still
    /// there.
    ///
    /// # Errors
    /// The refusal to give to [`Exchange::refusal_answer`].
    pub fn attempt_failed(&mut self, failure: Failure, replayable: bool) -> Result<(), Refusal> {
        let (at, replayable) = (self.at(), replayable && self.may_be_replayed());
        self.attempts.as_mut().ok_or(Refusal::Internal)?.failed(failure, replayable, at).map_err(refusal)
    }

    /// The response, which has begun, broke off for this cause. [`Exchange::on_end`] follows.
    pub fn cut(&mut self, failure: Failure) {
        self.record.error = Some(failure.text());
        if let Some(attempts) = &self.attempts {
            attempts.cut(failure);
        }
    }

    /// Whether a response with this status is not forwarded: another attempt replaces it. Call it before
    /// [`Exchange::on_head`].
    pub fn rejects(&mut self, status: u16, replayable: bool) -> bool {
        // The check that is almost always false comes first: this runs for every response.
        if !self.attempts.as_ref().is_some_and(|attempts| attempts.retry().on.statuses.contains(&status)) {
            return false;
        }
        let (at, replayable) = (self.at(), replayable && self.may_be_replayed());
        let Some(attempts) = &mut self.attempts else { return false };
        let current = attempts.current().map(|current| (current.endpoint.clone(), current.started));
        let discarded = attempts.discard(status_text(status), replayable, at);
        if let Some((endpoint, started)) = current.filter(|_| discarded) {
            endpoint.metrics.answered(at.worker, status, at.waited(started), true);
        }
        discarded
    }

    /// Whether to send the request twice does no more than to send it once (RFC 9110, 9.2.2). Not before it is decided on.
    pub fn is_idempotent(&self) -> bool {
        self.attempts.as_ref().is_some_and(Attempts::is_idempotent)
    }

    /// Whether the body is small enough to be sent again.
    fn may_be_replayed(&self) -> bool {
        let body = self.facts().content_length.unwrap_or_default().max(self.record.received);
        body <= self.replay_limit() as u64
    }

    /// How long the current attempt can take until its response head, if another one can follow it.
    pub fn time_for_one(&self) -> Option<Duration> {
        self.attempts.as_ref()?.time_for_one()
    }

    /// How many bytes of the request's body are to be kept, to be sent again; none where that would not help.
    pub fn replay_limit(&self) -> usize {
        let Some(attempts) = &self.attempts else { return 0 };
        let retry = attempts.retry();
        let helps =
            attempts.is_idempotent() && (retry.on.reset || retry.on.timeout || !retry.on.statuses.is_empty());
        if helps { retry.max_body } else { 0 }
    }

    /// After how long without a response head a second attempt can start in parallel with the first.
    pub fn hedge_delay(&self) -> Option<Duration> {
        self.attempts.as_ref()?.hedge_delay()
    }

    /// Starts a second attempt in parallel with the current one. `None` if none is allowed.
    pub fn hedge(&mut self) -> Option<Attempt> {
        let at = self.at();
        self.attempts.as_mut()?.hedge(at)
    }

    /// One of two attempts goes on, the second if `second`; the other one is given up.
    pub fn settle_hedge(&mut self, second: bool) {
        let at = self.at();
        if let Some(attempts) = &mut self.attempts {
            attempts.settle_hedge(second, at);
        }
    }

    /// One of two attempts failed, the second if `second`, and the other one goes on. [`Exchange::settle_hedge`] follows.
    pub fn hedge_failed(&mut self, second: bool, failure: Failure) {
        let at = self.at();
        if let Some(attempts) = &mut self.attempts {
            attempts.hedge_failed(second, failure, at);
        }
    }

    /// A copy of the request for a backend that looks slow, if the algorithm wants to test one. The caller sends it,
    /// complete, at once.
    pub fn copy(&mut self) -> Option<RequestCopy> {
        // The check that is almost always true comes first: this runs for every attempt.
        if !self.attempts.as_ref()?.wants_copy() {
            return None;
        }
        let at = self.at();
        self.attempts.as_mut()?.copy(at)
    }

    /// How long connecting to the backend may take: the upstream's limit, or a share of what is left of the route's time, so
    /// that a backend which does not respond leaves enough for those that were not tried.
    pub fn connect_timeout(&self) -> Duration {
        let limit = self.attempts.as_ref().map_or(Duration::ZERO, |attempts| attempts.timeouts().connect);
        let limit = self.time_for_one().map_or(limit, |time| limit.min(time));
        let share = |left: Duration| {
            let untried = self.attempts.as_ref().map_or(0, Attempts::untried).min(MOST_SHARES - 1);
            left / u32::try_from(untried + 1).unwrap_or(1)
        };
        self.in_flight.time_left().map_or(limit, |left| limit.min(share(left)))
    }

    /// `grpc-timeout` with the time that is left for a gRPC call, now. `None` if it has no deadline, or is none.
    pub fn grpc_timeout(&self) -> Option<HeaderValue> {
        if self.facts().format != AnswerFormat::Grpc {
            return None;
        }
        grpc::value(self.in_flight.time_left()?)
    }

    /// The field with the milliseconds that are left of the route's time, now; its length is fixed. `None` if it is not
    /// configured.
    pub fn deadline(&self) -> Option<(HeaderName, HeaderValue)> {
        let name = self.upstream()?.gate.limits.deadline_header.as_deref()?.parse::<HeaderName>().ok()?;
        let left = self.in_flight.time_left()?;
        Some((name, HeaderValue::from_str(&format!("{:010}", left.as_millis())).ok()?))
    }

    /// The route's timeout, or the client's own of a gRPC call if that is shorter.
    pub(super) fn timeout(&self, rule: &Rule, head: &dyn RequestHead) -> Option<Duration> {
        if self.facts().format != AnswerFormat::Grpc {
            return rule.timeout;
        }
        let own = head.header("grpc-timeout").and_then(grpc::parse);
        own.into_iter().chain(rule.timeout).min()
    }

    /// Makes room in the head for the time that is left: see [`Exchange::deadline`].
    pub(super) fn announce_deadline(&mut self) {
        if let Some((name, value)) = self.deadline() {
            self.edits.danger_set(name, value);
        }
    }

    /// Notes why, for the record; and for the error log, if the upstream is to blame.
    pub(super) fn note_cause(&mut self, refusal: &Refusal) {
        let Some(attempts) = &self.attempts else {
            self.record.error = Some(refusal.cause());
            return;
        };
        let cause = match (refusal, attempts.last_failure()) {
            (Refusal::Unreachable | Refusal::BadAnswer, Some(failure)) => failure.text(),
            _ => refusal.cause(),
        };
        self.record.error = Some(cause);
        if let Some(failed) = reported(refusal) {
            attempts.upstream().request_failed(failed, cause);
        }
    }

    /// Whether it goes to an upstream of which no backend speaks TLS, and the body of its response stays as it is.
    pub fn is_plain(&self) -> bool {
        self.attempts.as_ref().is_some_and(Attempts::is_plain) && !self.edits.transforms_response()
    }

    /// The upstream that it goes to.
    pub fn upstream(&self) -> Option<&Arc<Upstream>> {
        self.attempts.as_ref().map(Attempts::upstream)
    }

    pub(super) fn last_backend(&self) -> Option<&str> {
        Some(self.attempts.as_ref()?.last()?.backend.name())
    }

    /// Names the backend to the client, where clients stay with theirs, unless it has named it itself.
    pub(super) fn keep_client(&self, edits: &mut Edits) {
        let Some(attempts) = &self.attempts else { return };
        let Some(current) = attempts.current() else { return };
        if !attempts.is_sticky()
            && let Some(cookie) =
                attempts.upstream().affinity.set_cookie(&current.endpoint, self.connection().is_tls())
        {
            edits.danger_push(HeaderEdit::Add(header::SET_COOKIE, cookie));
        }
    }
}
