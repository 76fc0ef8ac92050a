//! What `/status` and `/metrics` show of rate limits.

use std::any::Any;
use std::time::Instant;

use serde_json::{Value, json};

use crate::exchange::{Rule, Table};
use crate::filter::{RateLimitFilter, RateLimitResult, RateLimitView};
use crate::observe::LimitView;
use crate::upstream::moment_of;

/// How many of the keys that are limited most are shown.
const TOP: usize = 10;

/// The limits of all routes, as metrics. Limits of one route with the same name are one series.
pub(super) fn metrics(table: &Table) -> Vec<LimitView<'_>> {
    let now = moment_of(Instant::now());
    let mut views: Vec<LimitView<'_>> = Vec::new();
    for (rule, limit) in limits(table) {
        let (route, name, keys) = (&*rule.name, limit.name(), limit.keys(now));
        match views.iter_mut().find(|view| (view.route, view.name) == (route, name)) {
            Some(view) => {
                view.keys += keys;
                for ((_, sum), result) in view.results.iter_mut().zip(RateLimitResult::ALL) {
                    *sum += limit.count(result);
                }
            }
            None => {
                let results = RateLimitResult::ALL.map(|result| (result.name(), limit.count(result)));
                views.push(LimitView { route, name, results: results.into(), keys });
            }
        }
    }
    views
}

/// The limits of all routes, in order.
pub(super) fn status(table: &Table) -> Vec<Value> {
    let now = moment_of(Instant::now());
    let shown = limits(table).map(|(rule, limit)| {
        let mut shown = json!({
            "route": &*rule.name,
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
        }
        shown
    });
    shown.collect()
}

fn limits(table: &Table) -> impl Iterator<Item = (&Rule, RateLimitView<'_>)> {
    table.rules.iter().flat_map(|rule| {
        rule.filters.iter().filter_map(move |filter| {
            let filter: &dyn Any = &**filter;
            Some((rule, filter.downcast_ref::<RateLimitFilter>()?.view()))
        })
    })
}
