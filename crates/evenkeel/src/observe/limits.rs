//! The metrics of rate limits.

use super::exposition::Exposition;

/// A rate limit in a [`View`](super::View).
#[derive(Debug)]
pub struct LimitView<'a> {
    /// What it belongs to: (`route` or `listener`, its name). `None` for a limit that routes and listeners share.
    pub place: Option<(&'static str, &'a str)>,
    /// Its own name; another one than those of the other limits there.
    pub name: &'a str,
    /// How many requests had which result.
    pub results: Vec<(&'static str, u64)>,
    /// How many keys have used some of their quota.
    pub keys: usize,
}

pub(super) fn limits(page: &mut Exposition, limits: &[LimitView<'_>]) {
    let (requests, keys) = ("evenkeel_rate_limit_requests_total", "evenkeel_rate_limit_keys");
    let help = "Requests that came to a rate limit, by route or listener, limit and result: allowed, delayed, rejected, logged, exempt or no_room.";
    page.family(requests, "counter", help);
    for limit in limits {
        for (result, count) in &limit.results {
            let labels = limit.place.into_iter().chain([("limit", limit.name), ("result", result)]);
            page.sample(requests, &labels.collect::<Vec<_>>(), count);
        }
    }
    page.family(keys, "gauge", "Keys that have used some of their quota, by route or listener, and limit.");
    for limit in limits {
        let labels = limit.place.into_iter().chain([("limit", limit.name)]);
        page.sample(keys, &labels.collect::<Vec<_>>(), limit.keys);
    }
}
