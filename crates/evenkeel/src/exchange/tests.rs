//! Requests as decisions, without sockets: what follows a failure, by method, body and state; and what the client gets.

use std::sync::Arc;

use arc_swap::ArcSwap;
use evenkeel_config::{HttpLimits, Retry, UpstreamLimits};
use evenkeel_core::route::{RouteMatch, RouteTable};
use evenkeel_http::message::{HeadFacts, Overload, Refusal, Waited};

use super::outcome::{is_failure, refusal};
use super::{
    Connection, Decision, Environment, Exchange, InFlight, Lane, ListenerFacts, Rule, RuleAction, Table,
};
use crate::control::Described;
use crate::observe::{Metrics, RouteMetrics};
use crate::upstream::testing::{endpoints, members, upstream};
use crate::upstream::{Break, ConnectError, Failure, NoRetry, TlsError, Upstream, UpstreamError};

fn environment(upstream: Upstream) -> Arc<Environment> {
    let rule = Rule {
        name: "all".into(),
        path_regex: None,
        filters: Vec::new(),
        kinds: Vec::new(),
        action: RuleAction::Upstream(Arc::new(upstream)),
        timeout: None,
        timeouts: None,
        max_body: None,
        retry: None,
        explain: false,
        metrics: Arc::new(RouteMetrics::new(1)),
    };
    let routes = RouteTable::new([RouteMatch::default()]);
    let table = Table { routes, rules: vec![rule], ..Table::default() };
    let metrics = Arc::new(Metrics::new(1));
    Arc::new(Environment { worker: 0, table: Arc::new(ArcSwap::from_pointee(table)), metrics })
}

/// A request that was decided on, to an upstream of three backends.
fn request(method: &str, body: Option<u64>, retry: Retry) -> Exchange {
    let environment = environment(upstream(members(&endpoints(3), 3), UpstreamLimits::default(), retry));
    let connection = Arc::new(Connection::new(None, false, Arc::new(HttpLimits::default())));
    let in_flight = Arc::new(InFlight::new(connection));
    let facts = HeadFacts { content_length: body, ..HeadFacts::default() };
    let mut exchange = Exchange::new(environment, in_flight, (facts, ListenerFacts::default()), Lane::Lean);
    let head = Described::new(method, "http://a.test/").unwrap();
    assert!(matches!(exchange.decide(&head), Decision::Proxy));
    exchange
}

#[tokio::test]
async fn a_failure_is_retried_by_method_and_body() {
    let (refused, reset) = (Failure::Connect(ConnectError::Refused), Failure::Broken(Break::Reset));
    let replayable_body = Some(64 << 10);
    let large_body = Some((64 << 10) + 1);
    for (method, body, failure, retried) in [
        ("GET", None, reset, true),
        ("HEAD", None, reset, true),
        ("OPTIONS", None, reset, true),
        ("TRACE", None, reset, true),
        ("PUT", replayable_body, reset, true),
        ("DELETE", None, reset, true),
        ("PUT", large_body, reset, false),
        ("POST", None, reset, false),
        ("POST", replayable_body, reset, false),
        ("PATCH", replayable_body, reset, false),
        ("REPORT", None, reset, false),
        ("POST", replayable_body, refused, true),
        ("POST", large_body, refused, true),
        ("PATCH", None, Failure::Stale, true),
        ("GET", None, Failure::Slow, false),
        ("GET", None, Failure::Malformed("head"), false),
    ] {
        let mut exchange = request(method, body, Retry::default());
        exchange.next_attempt().await.unwrap();
        let result = exchange.attempt_failed(failure, true);
        assert_eq!(result.is_ok(), retried, "{method} with {body:?} after {failure:?}: {result:?}");
        if retried {
            exchange.next_attempt().await.unwrap();
        }
        exchange.on_end(super::Ending::ClientDisconnected);
    }
}

#[tokio::test]
async fn a_status_is_retried_if_it_is_named_and_safe() {
    for (method, status, whole, retried) in [
        ("GET", 503, true, true),
        ("GET", 500, true, false),
        ("GET", 200, true, false),
        ("GET", 503, false, false),
        ("POST", 503, true, false),
    ] {
        let mut retry = Retry::default();
        retry.on.statuses = vec![502, 503];
        let mut exchange = request(method, None, retry);
        let first = exchange.next_attempt().await.unwrap();
        assert_eq!(exchange.rejects(status, whole), retried, "{method} {status}");
        if retried {
            let second = exchange.next_attempt().await.unwrap();
            assert!(!Arc::ptr_eq(&first.endpoint, &second.endpoint));
            assert_eq!(first.endpoint.backend.counters().failures(), 1);
        }
        exchange.on_end(super::Ending::ClientDisconnected);
    }
}

#[tokio::test]
async fn bodies_are_kept_only_where_that_can_help() {
    let most = Retry::default().max_body;
    assert_eq!(request("GET", None, Retry::default()).replay_limit(), most);
    assert_eq!(request("POST", Some(1), Retry::default()).replay_limit(), 0);
    let mut never = Retry::default();
    never.on.reset = false;
    assert_eq!(request("PUT", Some(1), never.clone()).replay_limit(), 0);
    never.on.statuses = vec![503];
    assert_eq!(request("PUT", Some(1), never).replay_limit(), most);
}

#[test]
fn every_failure_has_its_refusal() {
    let failed = |failure| UpstreamError::Failed { failure, stopped: NoRetry::AttemptsUsed };
    for (error, expected) in [
        (UpstreamError::NoBackend, Refusal::NoBackend),
        (UpstreamError::CircuitOpen, Refusal::Overloaded(Overload::CircuitBreaker)),
        (UpstreamError::QueueFull, Refusal::Overloaded(Overload::QueueFull)),
        (UpstreamError::QueueTimeout, Refusal::Overloaded(Overload::QueueTimeout)),
        (failed(Failure::Connect(ConnectError::Refused)), Refusal::Unreachable),
        (failed(Failure::Tls(TlsError::Expired)), Refusal::Unreachable),
        (failed(Failure::Unsent), Refusal::Unreachable),
        (failed(Failure::Shortage), Refusal::OutOfResources),
        (failed(Failure::ConnectTimeout), Refusal::BackendTimeout(Waited::Connect)),
        (failed(Failure::TlsTimeout), Refusal::BackendTimeout(Waited::Tls)),
        (failed(Failure::Slow), Refusal::BackendTimeout(Waited::FirstByte)),
        (failed(Failure::Stale), Refusal::BadAnswer),
        (failed(Failure::Closed(Break::Closed)), Refusal::BadAnswer),
        (failed(Failure::Broken(Break::Reset)), Refusal::BadAnswer),
        (failed(Failure::Malformed("head")), Refusal::BadAnswer),
        (failed(Failure::Response("503")), Refusal::BadAnswer),
    ] {
        assert_eq!(refusal(error), expected, "{error:?}");
    }
}

#[test]
fn a_status_is_a_failure_only_if_the_backend_cannot_serve_requests_at_all() {
    let failures: Vec<u16> = (100..600).filter(|status| is_failure(*status)).collect();
    assert_eq!(failures, [502, 503, 504]);
}
