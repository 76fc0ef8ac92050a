//! The metrics of limits: of requests, of requests in progress, of bytes.

use super::exposition::Exposition;

/// The limits in a [`View`](super::View).
#[derive(Debug, Default)]
pub struct LimitsView<'a> {
    /// Rate limits: requests by result; keys that have used some of their quota.
    pub rates: Vec<LimitView<'a>>,
    /// Limits of concurrency: requests by result; requests in progress, and requests that wait.
    pub concurrency: Vec<LimitView<'a>>,
    /// Adaptive limits: rejected requests by priority; the limit, and requests in progress.
    pub adaptive: Vec<LimitView<'a>>,
    /// Limits of bandwidth: bytes by direction.
    pub bandwidth: Vec<LimitView<'a>>,
}

/// A limit.
#[derive(Debug)]
pub struct LimitView<'a> {
    /// What it belongs to: (`route` or `listener`, its name). `None` for a limit that routes and listeners share.
    pub place: Option<(&'static str, &'a str)>,
    /// Its own name; another one than those of the other limits there.
    pub name: &'a str,
    /// What it has counted, by result or direction.
    pub counts: Vec<(&'static str, u64)>,
    /// What it has now.
    pub gauges: Vec<u64>,
}

pub(super) fn limits(page: &mut Exposition, limits: &LimitsView<'_>) {
    let help = "Requests that came to a rate limit, by route or listener, limit and result: allowed, delayed, rejected, logged, exempt \
                or no_room.";
    counter(page, "evenkeel_rate_limit_requests_total", help, "result", &limits.rates);
    let help = "Keys that have used some of their quota, by route or listener, and limit.";
    gauge(page, "evenkeel_rate_limit_keys", help, 0, &limits.rates);
    let help = "Requests that came to a limit of requests in progress, by route or listener, limit and result: allowed, queued, rejected \
                or timed_out.";
    counter(page, "evenkeel_concurrency_limit_requests_total", help, "result", &limits.concurrency);
    let help = "Requests in progress under a limit, by route or listener, and limit.";
    gauge(page, "evenkeel_concurrency_limit_in_progress", help, 0, &limits.concurrency);
    let help = "Requests that wait for one in progress to end, by route or listener, and limit.";
    gauge(page, "evenkeel_concurrency_limit_waiting", help, 1, &limits.concurrency);
    let help = "Requests that an adaptive limit rejected, by route or listener, limit and priority.";
    counter(page, "evenkeel_adaptive_concurrency_rejected_total", help, "priority", &limits.adaptive);
    let help = "How many requests an adaptive limit lets be in progress, by route or listener, and limit.";
    gauge(page, "evenkeel_adaptive_concurrency_limit", help, 0, &limits.adaptive);
    let help = "Requests in progress under an adaptive limit, by route or listener, and limit.";
    gauge(page, "evenkeel_adaptive_concurrency_in_progress", help, 1, &limits.adaptive);
    let help = "Bytes of bodies under a limit of bandwidth, by route or listener, limit and direction: download or upload.";
    counter(page, "evenkeel_bandwidth_limit_bytes_total", help, "direction", &limits.bandwidth);
}

fn counter(page: &mut Exposition, name: &str, help: &str, label: &str, limits: &[LimitView<'_>]) {
    page.family(name, "counter", help);
    for limit in limits {
        for (value, count) in &limit.counts {
            let labels = limit.place.into_iter().chain([("limit", limit.name), (label, value)]);
            page.sample(name, &labels.collect::<Vec<_>>(), count);
        }
    }
}

fn gauge(page: &mut Exposition, name: &str, help: &str, at: usize, limits: &[LimitView<'_>]) {
    page.family(name, "gauge", help);
    for limit in limits {
        let labels = limit.place.into_iter().chain([("limit", limit.name)]);
        page.sample(name, &labels.collect::<Vec<_>>(), limit.gauges.get(at).copied().unwrap_or_default());
    }
}
