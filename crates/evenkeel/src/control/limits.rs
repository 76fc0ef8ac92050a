//! What `/status` and `/metrics` show of limits.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use evenkeel_core::limit::{ConcurrencyOptions, Priority, TopKey};
use serde_json::{Value, json};

use crate::exchange::Table;
use crate::filter::{
    AdaptiveConcurrencyFilter, BandwidthLimitFilter, ConcurrencyLimitFilter, ConcurrencyResult, Direction,
    Filter, RateLimitFilter, RateLimitResult,
};
use crate::observe::{LimitView, LimitsView};
use crate::upstream::moment_of;

/// How many of the keys that are limited most are shown.
const TOP: usize = 10;

/// All limits, as metrics. Limits of one place with the same name are one series.
pub(super) fn metrics(table: &Table) -> LimitsView<'_> {
    let now = moment_of(Instant::now());
    let rates = limits::<RateLimitFilter>(table).map(|(place, limit)| {
        let limit = limit.view();
        let counts = RateLimitResult::ALL.map(|result| (result.name(), limit.count(result)));
        LimitView { place, name: limit.name(), counts: counts.into(), gauges: vec![limit.keys(now) as u64] }
    });
    let concurrency = limits::<ConcurrencyLimitFilter>(table).map(|(place, limit)| {
        let limit = limit.view();
        let counts = ConcurrencyResult::ALL.map(|result| (result.name(), limit.count(result)));
        let (_, in_progress, waiting) = limit.totals();
        LimitView {
            place,
            name: limit.name(),
            counts: counts.into(),
            gauges: vec![in_progress, waiting as u64],
        }
    });
    let bandwidth = limits::<BandwidthLimitFilter>(table).map(|(place, limit)| {
        let limit = limit.view();
        let counts = Direction::ALL.map(|direction| (direction.name(), limit.moved(direction)));
        LimitView { place, name: limit.name(), counts: counts.into(), gauges: Vec::new() }
    });
    let adaptive = limits::<AdaptiveConcurrencyFilter>(table).map(|(place, limit)| {
        let limit = limit.view();
        let counts = Priority::ALL.map(|priority| (priority.name(), limit.counts(priority).1));
        let gauges = vec![limit.limit(Priority::High).into(), limit.in_progress().into()];
        LimitView { place, name: limit.name(), counts: counts.into(), gauges }
    });
    LimitsView {
        rates: joined(rates),
        concurrency: joined(concurrency),
        adaptive: joined(adaptive),
        bandwidth: joined(bandwidth),
    }
}

/// Adds up limits that have the same place and name.
fn joined<'a>(limits: impl Iterator<Item = LimitView<'a>>) -> Vec<LimitView<'a>> {
    let mut joined: Vec<LimitView<'a>> = Vec::new();
    for limit in limits {
        match joined.iter_mut().find(|known| (known.place, known.name) == (limit.place, limit.name)) {
            Some(known) => {
                known.counts.iter_mut().zip(limit.counts).for_each(|((_, sum), (_, count))| *sum += count);
                known.gauges.iter_mut().zip(limit.gauges).for_each(|(sum, value)| *sum += value);
            }
            None => joined.push(limit),
        }
    }
    joined
}

/// The rate limits.
pub(super) fn rates(table: &Table) -> Vec<Value> {
    let now = moment_of(Instant::now());
    let shown = limits::<RateLimitFilter>(table).map(|(place, limit)| {
        let limit = limit.view();
        let shown = json!({
            "name": limit.name(),
            "key": limit.key().to_string(),
            "rate": limit.rate().to_string(),
            "burst": limit.burst(),
            "keys": limit.keys(now),
            "max_keys": limit.max_keys(),
            "top": top(limit.top(TOP, now)),
        });
        with(shown, place, RateLimitResult::ALL.map(|result| (result.name(), limit.count(result))))
    });
    shown.collect()
}

/// The limits of requests in progress.
pub(super) fn concurrency(table: &Table) -> Vec<Value> {
    let now = moment_of(Instant::now());
    let shown = limits::<ConcurrencyLimitFilter>(table).map(|(place, limit)| {
        let limit = limit.view();
        let (ConcurrencyOptions { max_requests, queue_size }, (keys, in_progress, waiting)) =
            (limit.options(), limit.totals());
        let shown = json!({
            "name": limit.name(),
            "key": limit.key().to_string(),
            "max_requests": max_requests,
            "queue_size": queue_size,
            "keys": keys,
            "in_progress": in_progress,
            "waiting": waiting,
            "top": top(limit.top(TOP, now)),
        });
        with(shown, place, ConcurrencyResult::ALL.map(|result| (result.name(), limit.count(result))))
    });
    shown.collect()
}

/// The adaptive limits.
pub(super) fn adaptive(table: &Table) -> Vec<Value> {
    let shown = limits::<AdaptiveConcurrencyFilter>(table).map(|(place, limit)| {
        let limit = limit.view();
        let priorities: Value = Priority::ALL
            .into_iter()
            .map(|priority| {
                let (allowed, rejected) = limit.counts(priority);
                let limit = limit.limit(priority);
                json!({ "priority": priority.name(), "limit": limit, "allowed": allowed, "rejected": rejected })
            })
            .collect();
        let shown =
            json!({ "name": limit.name(), "in_progress": limit.in_progress(), "priorities": priorities });
        with(shown, place, [])
    });
    shown.collect()
}

/// The limits of bandwidth. Rates and counts are in bytes.
pub(super) fn bandwidth(table: &Table) -> Vec<Value> {
    let shown = limits::<BandwidthLimitFilter>(table).map(|(place, limit)| {
        let limit = limit.view();
        let shown = json!({
            "name": limit.name(),
            "key": limit.key().to_string(),
            "download_rate": limit.rate(Direction::Download),
            "upload_rate": limit.rate(Direction::Upload),
        });
        with(shown, place, Direction::ALL.map(|direction| (direction.name(), limit.moved(direction))))
    });
    shown.collect()
}

fn top(keys: Vec<TopKey>) -> Value {
    keys.into_iter().map(|key| json!({ "key": key.text, "rejected": key.rejected })).collect()
}

/// Adds counts and the place.
fn with<const N: usize>(mut shown: Value, place: Option<Place<'_>>, counts: [(&str, u64); N]) -> Value {
    if let Value::Object(shown) = &mut shown {
        shown.extend(counts.map(|(name, count)| (name.to_owned(), count.into())));
        shown.extend(place.map(|(kind, name)| (kind.to_owned(), name.into())));
    }
    shown
}

/// The limits of a kind, each with the route or the listener that it belongs to; `None` for one that is shared.
fn limits<F: Filter>(table: &Table) -> impl Iterator<Item = (Option<Place<'_>>, &F)> {
    let routes = table.rules.iter().map(|rule| (("route", &*rule.name), &rule.filters));
    let listeners = table.listeners.iter().map(|one| (("listener", &*one.name), &one.filters));
    let own = routes.chain(listeners).flat_map(|(place, filters)| {
        filters.iter().filter(|filter| !is_shared(table, filter)).map(move |filter| (Some(place), filter))
    });
    let shared = table.shared.iter().map(|(_, filter)| (None, filter));
    own.chain(shared).filter_map(|(place, filter)| {
        let filter: &dyn Any = &**filter;
        Some((place, filter.downcast_ref::<F>()?))
    })
}

/// What a filter belongs to: `route` or `listener`, and its name.
type Place<'a> = (&'static str, &'a str);

fn is_shared(table: &Table, filter: &Arc<dyn Filter>) -> bool {
    table.shared.iter().any(|(_, shared)| Arc::ptr_eq(shared, filter))
}
