//! Which failure is retried, when, and why; and what else a request does with the backends of an upstream.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_config::{Retry, UpstreamLimits};

use super::retry::{RetryDecision, RetryFacts, decide};
use super::testing::{at, endpoints, get, hedging, members, post, upstream, usual};
use super::{
    Attempts, Break, BrokenConnection, ConnectError, Failure, NextAttempt, NoRetry, TlsError, Upstream,
    UpstreamError,
};

const REFUSED: Failure = Failure::Connect(ConnectError::Refused);
const RESET: Failure = Failure::Broken(Break::Reset);

/// The backend of the next attempt, by name; or that it must wait, or why there is none.
fn next(attempts: &mut Attempts, millis: u64) -> Result<String, UpstreamError> {
    Ok(match attempts.next(at(millis))? {
        NextAttempt::Start(attempt) => attempt.endpoint.backend.name().to_owned(),
        NextAttempt::Wait => "wait".to_owned(),
        NextAttempt::Later(_) => "later".to_owned(),
    })
}

fn limits(change: impl FnOnce(&mut UpstreamLimits)) -> UpstreamLimits {
    let mut limits = UpstreamLimits::default();
    change(&mut limits);
    limits
}

fn with(backends: u8, limits: UpstreamLimits, retry: Retry) -> Arc<Upstream> {
    Arc::new(upstream(members(&endpoints(backends), usize::from(backends)), limits, retry))
}

fn stopped(result: Result<(), UpstreamError>) -> Option<NoRetry> {
    match result {
        Ok(()) => None,
        Err(UpstreamError::Failed { stopped, .. }) => Some(stopped),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn what_is_retried_depends_on_the_failure_the_method_the_body_and_the_attempts() {
    use RetryDecision::{Free, FreeAfterPause, No, WithinBudget};
    let never_reached = [
        REFUSED,
        Failure::Connect(ConnectError::Unresolved),
        Failure::ConnectTimeout,
        Failure::Tls(TlsError::Expired),
        Failure::TlsTimeout,
        Failure::Unsent,
    ];
    let perhaps_worked_on = [RESET, Failure::Broken(Break::Closed), Failure::Slow, Failure::Response("503")];
    let never = [Failure::Malformed("head"), Failure::Shortage, Failure::Cut(Break::Closed), Failure::Idle];
    let mut retry = Retry::default();
    retry.on.timeout = true;
    for idempotent in [true, false] {
        for replayable in [true, false] {
            for used in 0..5 {
                let facts = RetryFacts { idempotent, replayable, used, counted: false };
                let decided = |failure| decide(failure, &retry, facts);
                assert_eq!(decided(Failure::Stale), Free, "{facts:?}");
                for failure in never_reached {
                    assert_eq!(decided(failure), Free, "{failure:?} {facts:?}");
                }
                for failure in never {
                    assert_eq!(decided(failure), No(NoRetry::NotConfigured), "{failure:?} {facts:?}");
                }
                let unsafe_to_repeat = match (idempotent, replayable) {
                    (false, _) => Some(No(NoRetry::NotIdempotent)),
                    (true, false) => Some(No(NoRetry::NotReplayable)),
                    (true, true) => None,
                };
                let closed = decided(Failure::Closed(Break::Closed));
                assert_eq!(closed, unsafe_to_repeat.unwrap_or(FreeAfterPause), "{facts:?}");
                let bounded = if used < 3 { WithinBudget } else { No(NoRetry::AttemptsUsed) };
                for failure in perhaps_worked_on {
                    let expected = unsafe_to_repeat.unwrap_or(bounded);
                    assert_eq!(decided(failure), expected, "{failure:?} {facts:?}");
                }
            }
        }
    }
}

#[test]
fn what_a_broken_connection_means_depends_on_what_was_sent_and_received() {
    let failure = |reused, responding: bool, sent: bool, repeatable| {
        Failure::from(BrokenConnection {
            how: Break::Reset,
            reused,
            silent: !responding,
            unsent: !sent,
            repeatable,
        })
    };
    let (broken, closed) = (Failure::Broken(Break::Reset), Failure::Closed(Break::Reset));
    for repeatable in [true, false] {
        for sent in [true, false] {
            for reused in [true, false] {
                assert_eq!(failure(reused, true, sent, repeatable), broken, "a response has begun");
            }
        }
        assert_eq!(failure(true, false, false, repeatable), Failure::Stale);
        assert_eq!(failure(false, false, false, repeatable), Failure::Unsent);
        assert_eq!(failure(false, false, true, repeatable), closed);
    }
    assert_eq!(failure(true, false, true, true), Failure::Stale);
    assert_eq!(failure(true, false, true, false), broken, "it may have had its effect");
}

#[test]
fn what_the_configuration_does_not_name_is_not_retried() {
    let facts = RetryFacts { idempotent: true, replayable: true, used: 0, counted: false };
    let mut retry = Retry::default();
    (retry.on.connect_failure, retry.on.reset) = (false, false);
    for failure in
        [REFUSED, Failure::ConnectTimeout, Failure::TlsTimeout, Failure::Unsent, RESET, Failure::Slow]
    {
        assert_eq!(decide(failure, &retry, facts), RetryDecision::No(NoRetry::NotConfigured), "{failure:?}");
    }
    assert_eq!(decide(Failure::Stale, &retry, facts), RetryDecision::Free, "its idle connection was dead");
}

#[test]
fn a_request_that_reached_no_backend_tries_all_of_them_whatever_its_method() {
    for mut attempts in [get(&usual(5)), post(&usual(5))] {
        for name in ["a", "b", "c", "d", "e"] {
            assert_eq!(next(&mut attempts, 0).as_deref(), Ok(name));
            assert_eq!(attempts.failed(REFUSED, true, at(1)), Ok(()));
        }
        let last = UpstreamError::Failed { failure: REFUSED, stopped: NoRetry::NoBackendLeft };
        assert_eq!(next(&mut attempts, 2), Err(last));
        assert_eq!(attempts.count(), 5);
    }
}

#[test]
fn a_request_that_may_have_had_its_effect_is_sent_twice_only_if_that_is_safe() {
    let mut attempts = post(&usual(3));
    assert_eq!(next(&mut attempts, 0).as_deref(), Ok("a"));
    assert_eq!(stopped(attempts.failed(RESET, true, at(1))), Some(NoRetry::NotIdempotent));
    let mut attempts = get(&usual(3));
    assert_eq!(next(&mut attempts, 0).as_deref(), Ok("a"));
    assert_eq!(stopped(attempts.failed(RESET, false, at(1))), Some(NoRetry::NotReplayable));
    let mut attempts = get(&usual(4));
    for (name, reason) in [("a", None), ("b", None), ("c", Some(NoRetry::AttemptsUsed))] {
        assert_eq!(next(&mut attempts, 0).as_deref(), Ok(name));
        assert_eq!(stopped(attempts.failed(RESET, true, at(1))), reason);
    }
}

#[test]
fn a_connection_that_closes_at_once_counts_as_never_reached_and_later_as_broken() {
    let closed = Failure::Closed(Break::Closed);
    let mut attempts = get(&usual(5));
    for _ in 0..5 {
        next(&mut attempts, 0).unwrap();
        assert_eq!(attempts.failed(closed, true, at(1)), Ok(()), "no attempt is used");
    }
    let mut attempts = get(&usual(5));
    let later = |millis| super::At { sending: (1, 1), ..at(millis) };
    for reason in [None, None, Some(NoRetry::AttemptsUsed)] {
        next(&mut attempts, 0).unwrap();
        assert_eq!(stopped(attempts.failed(closed, true, later(251))), reason);
    }
}

#[test]
fn a_dead_idle_connection_says_nothing_against_its_backend() {
    let upstream = usual(2);
    let mut attempts = post(&upstream);
    for reuse in [true, false] {
        let NextAttempt::Start(attempt) = attempts.next(at(0)).unwrap() else { panic!("busy") };
        assert_eq!((attempt.endpoint.backend.name(), attempt.reuse), ("a", reuse));
        assert_eq!(attempts.failed(Failure::Stale, true, at(1)), Ok(()));
    }
    assert_eq!(upstream.members.load().roster[0].backend.counters().failures(), 0);
}

#[test]
fn the_budget_and_the_circuit_breaker_bound_retries() {
    let mut retry = Retry::default();
    (retry.budget.ratio, retry.budget.min_per_second) = (0.0, 1);
    let upstream = with(9, UpstreamLimits::default(), retry);
    let (mut first, mut second) = (get(&upstream), get(&upstream));
    for attempts in [&mut first, &mut second] {
        next(attempts, 0).unwrap();
    }
    assert_eq!(first.failed(RESET, true, at(1)), Ok(()));
    assert_eq!(stopped(second.failed(RESET, true, at(1))), Some(NoRetry::BudgetExhausted));

    let upstream = with(9, limits(|limits| limits.circuit_breaker.max_retries = Some(1)), Retry::default());
    let (mut first, mut second) = (get(&upstream), get(&upstream));
    for attempts in [&mut first, &mut second] {
        next(attempts, 0).unwrap();
    }
    assert_eq!(first.failed(RESET, true, at(1)), Ok(()));
    assert_eq!(stopped(second.failed(RESET, true, at(1))), Some(NoRetry::TooManyRetries));
    drop(first);
    let mut third = get(&upstream);
    next(&mut third, 2).unwrap();
    assert_eq!(third.failed(RESET, true, at(3)), Ok(()), "the first has ended");
}

#[test]
fn a_pause_comes_before_a_retry_of_a_backend_that_was_reached() {
    let mut retry = Retry::default();
    retry.backoff = Some(Duration::from_millis(100));
    let upstream = with(9, UpstreamLimits::default(), retry);
    for (failure, pauses) in [(REFUSED, false), (Failure::Closed(Break::Reset), true), (RESET, true)] {
        let mut attempts = get(&upstream);
        next(&mut attempts, 0).unwrap();
        assert_eq!(attempts.failed(failure, true, at(0)), Ok(()));
        let pause = attempts.take_pause();
        assert_eq!(pause.is_some(), pauses, "{failure:?}");
        assert!(pause.is_none_or(|pause| (50..=100).contains(&pause.as_millis())), "{pause:?}");
    }
}

#[test]
fn a_response_is_discarded_only_if_another_attempt_follows() {
    let discards = |backends, replayable, attempts: usize| {
        let mut retry = Retry::default();
        retry.attempts = NonZeroUsize::new(attempts).unwrap();
        let mut request = get(&with(backends, UpstreamLimits::default(), retry));
        next(&mut request, 0).unwrap();
        let discarded = request.discard("status 503", replayable, at(1));
        // Otherwise it goes to the client: the attempt goes on.
        assert_eq!(request.current().is_none(), discarded);
        discarded
    };
    assert!(discards(2, true, 2));
    assert!(!discards(1, true, 2), "there is no other backend");
    assert!(!discards(2, false, 2), "the body is gone");
    assert!(!discards(2, true, 1), "it was sent as often as it may be");
}

#[test]
fn backends_out_of_use_are_tried_only_by_requests_that_reached_none() {
    let upstream = Arc::new(upstream(members(&endpoints(3), 1), UpstreamLimits::default(), Retry::default()));
    let mut attempts = get(&upstream);
    for name in ["a", "b", "c"] {
        assert_eq!(next(&mut attempts, 0).as_deref(), Ok(name));
        attempts.failed(REFUSED, true, at(0)).unwrap();
    }
    let mut attempts = get(&upstream);
    // `a` is in doubt now, and passed over as long as there are others.
    assert_eq!(next(&mut attempts, 5_000).as_deref(), Ok("a"), "its test is due");
    attempts.failed(RESET, true, at(5_000)).unwrap();
    let last = UpstreamError::Failed { failure: RESET, stopped: NoRetry::NoBackendLeft };
    assert_eq!(next(&mut attempts, 5_001), Err(last));
}

#[test]
fn a_backend_that_could_not_be_reached_is_passed_over_until_its_test() {
    let upstream = usual(2);
    let mut first = get(&upstream);
    assert_eq!(next(&mut first, 0).as_deref(), Ok("a"));
    first.failed(REFUSED, true, at(0)).unwrap();
    for (millis, name) in [(1, "b"), (999, "b"), (1_001, "a"), (1_002, "b")] {
        assert_eq!(next(&mut get(&upstream), millis).as_deref(), Ok(name), "after {millis} ms");
    }
    assert_eq!(
        next(&mut post(&upstream), 4_000).as_deref(),
        Ok("b"),
        "others make the test, if there are any"
    );
    assert_eq!(next(&mut post(&upstream), 9_000).as_deref(), Ok("a"));
}

#[test]
fn the_circuit_breaker_counts_a_request_once() {
    let upstream = with(2, limits(|limits| limits.circuit_breaker.max_in_flight = Some(1)), Retry::default());
    let (mut first, mut second) = (get(&upstream), get(&upstream));
    assert_eq!((first.enter(), first.enter()), (Ok(()), Ok(())));
    assert_eq!(second.enter(), Err(UpstreamError::CircuitOpen));
    drop(first);
    assert_eq!(second.enter(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_in_a_bounded_queue_for_a_bounded_time() {
    let limits = limits(|limits| {
        limits.max_connections = NonZeroU32::new(1);
        (limits.queue.max_pending, limits.queue.timeout) = (1, Duration::from_secs(2));
    });
    let upstream = with(1, limits, Retry::default());
    let mut first = get(&upstream);
    assert_eq!(next(&mut first, 0).as_deref(), Ok("a"));
    let wait = |mut attempts: Attempts| {
        let upstream = upstream.clone();
        async move {
            let start = |attempts: &mut Attempts| match attempts.next(at(0)) {
                Ok(NextAttempt::Start(attempt)) => Some(attempt.endpoint.backend.name().to_owned()),
                _ => None,
            };
            upstream.gate.wait_for(|| start(&mut attempts)).await
        }
    };
    let mut waiting = std::pin::pin!(wait(get(&upstream)));
    assert!(futures_poll(waiting.as_mut()).await.is_none());
    assert_eq!(wait(get(&upstream)).await, Err(UpstreamError::QueueFull));
    first.end(evenkeel_core::backend::Outcome::Answered);
    assert_eq!(waiting.await.as_deref(), Ok("a"), "the first has left");

    let mut busy = get(&upstream);
    assert_eq!(next(&mut busy, 0).as_deref(), Ok("a"));
    assert_eq!(wait(get(&upstream)).await, Err(UpstreamError::QueueTimeout));
}

/// What a future gives when it is polled once.
async fn futures_poll<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        std::task::Poll::Ready(value) => std::task::Poll::Ready(Some(value)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[test]
fn a_request_that_waits_sees_the_backends_that_join() {
    let limits = limits(|limits| limits.max_connections = NonZeroU32::new(1));
    let all = endpoints(3);
    let upstream = Arc::new(upstream(members(&all[..1], 1), limits, Retry::default()));
    let mut first = get(&upstream);
    assert_eq!(next(&mut first, 0).as_deref(), Ok("a"));
    let mut second = get(&upstream);
    assert_eq!(next(&mut second, 0).as_deref(), Ok("wait"));
    upstream.publish(members(&all[1..], 2));
    assert_eq!(next(&mut second, 1).as_deref(), Ok("b"));
    // One that has tried keeps its set: the places of backends that it tried must mean the same.
    second.failed(REFUSED, true, at(2)).unwrap();
    upstream.publish(members(&all[..1], 1));
    assert_eq!(next(&mut second, 3).as_deref(), Ok("c"));
}

#[test]
fn a_request_keeps_the_backends_only_until_its_response_begins() {
    let upstream = usual(2);
    let mut attempts = get(&upstream);
    next(&mut attempts, 0).unwrap();
    let before = Arc::downgrade(&upstream.publish(members(&endpoints(1), 1)));
    assert!(before.upgrade().is_some(), "it may be retried");
    attempts.responded(true, Duration::from_millis(1), at(1));
    assert!(before.upgrade().is_none());
    assert_eq!(attempts.last().map(|endpoint| endpoint.backend.name()), Some("a"));
    attempts.end(evenkeel_core::backend::Outcome::Answered);
    assert_eq!(attempts.last().map(|endpoint| endpoint.backend.name()), Some("a"));
}

#[test]
fn a_cookie_names_the_first_backend_and_no_later_one() {
    let mut attempts = get(&usual(3));
    attempts.stick_to(|members| members.by_cookie(b"cookie-2"));
    assert_eq!(next(&mut attempts, 0).as_deref(), Ok("c"));
    assert!(attempts.is_sticky());
    attempts.failed(REFUSED, true, at(0)).unwrap();
    assert_eq!(next(&mut attempts, 0).as_deref(), Ok("a"));
    assert!(!attempts.is_sticky());
}

#[test]
fn a_second_attempt_goes_elsewhere_and_each_lease_ends_once() {
    let mut upstream = upstream(members(&endpoints(2), 2), UpstreamLimits::default(), Retry::default());
    upstream.hedging = Some(hedging());
    let upstream = Arc::new(upstream);
    let in_flight = || {
        let members = upstream.members.load();
        [0, 1].map(|index| members.roster[index].backend.counters().in_flight())
    };
    for second_wins in [true, false] {
        let mut attempts = get(&upstream);
        assert_eq!(attempts.hedge_delay(), Some(Duration::ZERO));
        assert_eq!(next(&mut attempts, 0).as_deref(), Ok("a"));
        let hedge = attempts.hedge(at(1)).expect("one for each request");
        assert_eq!((hedge.endpoint.backend.name(), in_flight()), ("b", [1, 1]));
        attempts.settle_hedge(second_wins, at(2));
        let winner = if second_wins { "b" } else { "a" };
        assert_eq!(attempts.last().map(|endpoint| endpoint.backend.name()), Some(winner));
        drop(attempts);
        assert_eq!(in_flight(), [0, 0]);
    }
    assert!(post(&upstream).hedge_delay().is_none(), "it cannot be sent twice");
}

#[test]
fn a_second_attempt_that_ends_late_does_not_put_its_backend_in_doubt() {
    let mut upstream = upstream(members(&endpoints(2), 2), UpstreamLimits::default(), Retry::default());
    upstream.hedging = Some(hedging());
    let upstream = Arc::new(upstream);
    let in_doubt = || upstream.members.load().roster[1].backend.counters().reach().is_in_doubt();
    for (later, doubted) in [(1_000_000, false), (1_000, true)] {
        // A backend that closes three connections in a row at once does not serve.
        for start in [0, 1, 2] {
            let mut attempts = get(&upstream);
            assert_eq!(next(&mut attempts, start).as_deref(), Ok("a"));
            attempts.hedge(at(start)).expect("one for each request");
            let begun = at(start);
            let now = super::At { now: begun.now + later, ..begun };
            attempts.hedge_failed(true, Failure::Closed(Break::Closed), now);
        }
        assert_eq!(in_doubt(), doubted, "closed {later} us after its start");
    }
}

#[test]
fn failures_count_against_a_backend_only_if_it_has_a_part_in_them() {
    for (failure, counts) in [
        (REFUSED, true),
        (RESET, true),
        (Failure::Slow, true),
        (Failure::Malformed("head"), true),
        (Failure::Response("503"), true),
        (Failure::Stale, false),
        (Failure::Shortage, false),
    ] {
        let upstream = usual(2);
        let mut attempts = get(&upstream);
        next(&mut attempts, 0).unwrap();
        let _ = attempts.failed(failure, true, at(1));
        let failures = upstream.members.load().roster[0].backend.counters().failures();
        assert_eq!(failures, u64::from(counts), "{failure:?}");
    }
    let upstream = usual(1);
    let mut attempts = get(&upstream);
    next(&mut attempts, 0).unwrap();
    attempts.client_left(at(60_000));
    assert_eq!(upstream.members.load().roster[0].backend.counters().failures(), 0);
}

#[test]
fn requests_are_counted_once_however_often_they_are_tried() {
    let upstream = usual(3);
    let mut attempts = get(&upstream);
    for _ in 0..3 {
        next(&mut attempts, 0).unwrap();
        let _ = attempts.failed(RESET, true, at(0));
    }
    assert_eq!(upstream.requests(), 1);
    // And they are not forgotten with their backends.
    upstream.publish(members(&endpoints(1), 1));
    next(&mut get(&upstream), 0).unwrap();
    assert_eq!(upstream.requests(), 2);
}
