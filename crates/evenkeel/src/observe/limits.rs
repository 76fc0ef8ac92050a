//! The metrics of rate limits.

use super::exposition::Exposition;

/// A rate limit in a [`View`](super::View).
#[derive(Debug)]
pub struct LimitView<'a> {
    /// The name of its route.
    pub route: &'a str,
    /// Its own name; another one than those of the other limits of the route.
    pub name: &'a str,
    /// How many requests had which result.
    pub results: Vec<(&'static str, u64)>,
    /// How many keys have used some of their quota.
    pub keys: usize,
}

pub(super) fn limits(page: &mut Exposition, limits: &[LimitView<'_>]) {
    let (requests, keys) = ("evenkeel_rate_limit_requests_total", "evenkeel_rate_limit_keys");
    let help = "Requests that came to a rate limit, by route, limit and result: allowed, rejected, logged, exempt or no_room.";
    page.family(requests, "counter", help);
    for limit in limits {
        for (result, count) in &limit.results {
            let labels = [("route", limit.route), ("limit", limit.name), ("result", result)];
            page.sample(requests, &labels, count);
        }
    }
    page.family(keys, "gauge", "Keys that have used some of their quota, by route and limit.");
    for limit in limits {
        page.sample(keys, &[("route", limit.route), ("limit", limit.name)], limit.keys);
    }
}
