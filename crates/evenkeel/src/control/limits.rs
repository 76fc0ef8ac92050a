//! What `/status` and `/metrics` show of rate limits.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use crate::exchange::Table;
use crate::filter::{Filter, RateLimitFilter, RateLimitResult, RateLimitView};
use crate::observe::LimitView;
use crate::upstream::moment_of;

/// How many of the keys that are limited most are shown.
const TOP: usize = 10;

/// The limits of all routes, as metrics. Limits of one route with the same name are one series.
pub(super) fn metrics(table: &Table) -> Vec<LimitView<'_>> {
    let now = moment_of(Instant::now());
    let mut views: Vec<LimitView<'_>> = Vec::new();
    for (place, limit) in limits(table) {
        let (name, keys) = (limit.name(), limit.keys(now));
        match views.iter_mut().find(|view| (view.place, view.name) == (place, name)) {
            Some(view) => {
                view.keys += keys;
                for ((_, sum), result) in view.results.iter_mut().zip(RateLimitResult::ALL) {
                    *sum += limit.count(result);
                }
            }
            None => {
                let results = RateLimitResult::ALL.map(|result| (result.name(), limit.count(result)));
                views.push(LimitView { place, name, results: results.into(), keys });
            }
        }
    }
    views
}

/// The limits of all routes, in order.
pub(super) fn status(table: &Table) -> Vec<Value> {
    let now = moment_of(Instant::now());
    let shown = limits(table).map(|(place, limit)| {
        let mut shown = json!({
            "name": limit.name(),
            "key": limit.key().to_string(),
            "rate": limit.rate().to_string(),
            "burst": limit.burst(),
            "keys": limit.keys(now),
            "max_keys": limit.max_keys(),
        });
        let top = limit.top(TOP, now).into_iter();
        let top: Value = top.map(|key| json!({ "key": key.text, "rejected": key.rejected })).collect();
        if let Value::Object(shown) = &mut shown {
            let counts =
                RateLimitResult::ALL.map(|result| (result.name().to_owned(), limit.count(result).into()));
            shown.extend(counts);
            shown.insert("top".to_owned(), top);
            if let Some((kind, name)) = place {
                shown.insert(kind.to_owned(), name.into());
            }
        }
        shown
    });
    shown.collect()
}

/// The limits, each with the route or the listener that it belongs to; `None` for one that is shared.
fn limits(table: &Table) -> impl Iterator<Item = (Option<Place<'_>>, RateLimitView<'_>)> {
    let routes = table.rules.iter().map(|rule| (("route", &*rule.name), &rule.filters));
    let listeners = table.listeners.iter().map(|one| (("listener", &*one.name), &one.filters));
    let own = routes.chain(listeners).flat_map(|(place, filters)| {
        filters.iter().filter(|filter| !is_shared(table, filter)).map(move |filter| (Some(place), filter))
    });
    let shared = table.shared.iter().map(|(_, filter)| (None, filter));
    own.chain(shared).filter_map(|(place, filter)| {
        let filter: &dyn Any = &**filter;
        Some((place, filter.downcast_ref::<RateLimitFilter>()?.view()))
    })
}

/// What a filter belongs to: `route` or `listener`, and its name.
type Place<'a> = (&'static str, &'a str);

fn is_shared(table: &Table, filter: &Arc<dyn Filter>) -> bool {
    table.shared.iter().any(|(_, shared)| Arc::ptr_eq(shared, filter))
}
