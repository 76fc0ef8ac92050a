//! What `/status` says of an upstream.

use std::collections::HashMap;
use std::sync::Arc;

use evenkeel_core::health::State;
use serde_json::{Map, Value, json};

use super::board::{LastProbe, StatusBoard, mode_name, state_name};
use super::overrides::Override;
use super::state::SourceView;
use crate::upstream::{Endpoint, Upstream, moment_of};

/// An upstream with its backends.
pub(super) fn upstream(upstream: &Upstream, board: &StatusBoard, source: Option<&SourceView>) -> Value {
    let members = upstream.members.load_full();
    board.read(|content| {
        let overrides: HashMap<_, _> =
            content.overrides.iter().map(|one| ((one.url.tls, &one.url.host), one)).collect();
        let known = |endpoint: &Arc<Endpoint>| Some((endpoint.clone(), content.status(endpoint.id)?));
        let backends = members.roster.iter().filter_map(known).map(|(endpoint, status)| {
            let mut shown = backend(&endpoint);
            shown.insert("state".to_owned(), state_name(status.state).into());
            shown.insert("gray".to_owned(), status.gray.into());
            if endpoint.backend.counters().reach().is_in_doubt() {
                shown.insert("unreachable".to_owned(), true.into());
            }
            match status.state {
                State::Ejected { until } => {
                    let left = until.since(moment_of(std::time::Instant::now()));
                    shown.insert("ejected_for_seconds".to_owned(), rounded(left.as_secs_f64()).into());
                }
                State::Starting { share } => {
                    shown.insert("share".to_owned(), rounded(share).into());
                }
                _ => {}
            }
            from(&mut shown, source, &endpoint);
            let url = &endpoint.spec.url;
            if let Some(one) = overrides.get(&(url.tls, &url.host)) {
                shown.insert("change".to_owned(), difference(one));
            }
            if let Some(probe) = &status.probe {
                shown.insert("last_probe".to_owned(), last_probe(probe));
            }
            shown
        });
        let mut shown = json!({
            "name": &*upstream.name,
            "mode": mode_name(content.mode),
            "pending": upstream.gate.pending(),
            "revision": content.revision.to_string(),
            "backends": backends.collect::<Vec<_>>(),
        });
        if let Value::Object(shown) = &mut shown {
            if let Some(source) = source {
                shown.insert("discovery".to_owned(), discovery(source));
            }
            if !content.overrides.is_empty() {
                shown.insert("changes".to_owned(), content.overrides.iter().map(difference).collect());
            }
        }
        shown
    })
}

/// A difference from the configuration and the source that was made at run time.
fn difference(one: &Override) -> Value {
    let at = jiff::Timestamp::try_from(one.at).unwrap_or_default();
    json!({
        "backend": one.url.text,
        "drained": one.drained,
        "weight": one.weight,
        "given_weight": one.given_weight,
        "added": one.added.is_some(),
        "removed": one.removed,
        "in_effect": one.is_in_effect(),
        "by": &*one.by,
        "at": format!("{at:.3}"),
        "survives_reload": true,
        "survives_restart": false,
    })
}

/// Where a backend comes from, if that can be more than one place.
fn from(shown: &mut Map<String, Value>, source: Option<&SourceView>, endpoint: &Endpoint) {
    let Some(source) = source else { return };
    let is_fixed = source.fixed.contains(&endpoint.spec.url.text);
    let from = if is_fixed { "configuration" } else { source.status.source() };
    shown.insert("from".to_owned(), from.into());
    if !endpoint.spec.metadata.is_empty() {
        shown.insert("metadata".to_owned(), json!(endpoint.spec.metadata));
    }
}

/// What is known of a source.
fn discovery(source: &SourceView) -> Value {
    let known = source.status.read();
    json!({
        "source": source.status.source(),
        "backends": known.backends,
        "age_seconds": known.confirmed.map(|confirmed| rounded(confirmed.elapsed().as_secs_f64())),
        "updates": known.counts.updates,
        "failures": known.counts.unreachable + known.counts.invalid + known.counts.empty,
        "error": known.error.map(|error| error.to_string()),
    })
}

fn backend(endpoint: &Endpoint) -> Map<String, Value> {
    let counters = endpoint.backend.counters();
    let (responses, response_time) = endpoint.metrics.answers();
    let shown = json!({
        "name": endpoint.backend.name(),
        "address": endpoint.dialer.first().as_ref().unwrap_or(endpoint.backend.address()).to_string(),
        "weight": endpoint.spec.weight,
        "in_flight": counters.in_flight(),
        "attempts": counters.attempts(),
        "failures": counters.failures(),
        "connect_failures": endpoint.metrics.connect_failures(),
        "responses": responses,
        // To a microsecond: latencies are differences of it.
        "response_seconds": (response_time.as_secs_f64() * 1e6).round() / 1e6,
    });
    if let Value::Object(shown) = shown { shown } else { Map::new() }
}

fn last_probe(probe: &LastProbe) -> Value {
    let at = jiff::Timestamp::try_from(probe.at).unwrap_or_default();
    let (at, took) = (format!("{at:.3}"), rounded(probe.took.as_secs_f64() * 1e3));
    match &probe.failed {
        None => json!({ "at": at, "took_ms": took, "result": "passed" }),
        Some(reason) => json!({ "at": at, "took_ms": took, "result": "failed", "reason": reason }),
    }
}

/// To a thousandth: more is noise to read past.
pub(super) fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}
