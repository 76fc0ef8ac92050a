//! `adaptive_concurrency`: as many requests in progress as there can be without a queue, found from latency; the least important
//! are rejected first.
//!
//! How the limit is found is in `evenkeel_core::limit`. Here is which priority a request has. It never knows where the request goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use evenkeel_core::Moment;
use evenkeel_core::limit::{AdaptiveLimiter, AdaptiveOptions, Networks, Priority};
use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use super::key::is_limit_name;
use super::rate_limit::networks;
use super::registry::{FilterError, FilterKind};
use super::{BuildContext, Filter, Rejection, RejectionCause, Request, Response, Verdict};

/// Limits the requests in progress by what latency says. See [`AdaptiveConcurrencyParams`].
#[derive(Debug)]
pub struct AdaptiveConcurrencyFilter {
    name: Box<str>,
    rules: Vec<Rule>,
    options: AdaptiveOptions,
    shared: Arc<Shared>,
}

/// Which requests are rejected first, and within which bounds the limit is found.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map of keys and values, or {} for the defaults")]
pub struct AdaptiveConcurrencyParams {
    /// The name in metrics and `/status`: up to 64 printable characters without quotes. Default: the name in the top-level
    /// `filters`, else `adaptive`.
    pub name: Option<String>,
    /// Which priority a request has: the first rule that matches. Default: every request has the priority `normal`.
    pub priorities: Vec<PriorityRule>,
    /// The lowest limit, at least 1.
    #[schemars(range(min = 1))]
    pub min_limit: u32,
    /// The highest limit.
    #[schemars(range(min = 1))]
    pub max_limit: u32,
}

/// Gives requests a priority. All conditions must match; without any, every request matches.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with a priority, like { priority: high, route: checkout }")]
#[schemars(rename = "priority_rule")]
pub struct PriorityRule {
    /// `high` is rejected last, `low` first.
    pub priority: PriorityParam,
    /// The name of a header that the request must have. Clients can send any header: see that only your own can.
    pub header: Option<String>,
    /// The value of that header. Default: any.
    pub value: Option<String>,
    /// The name of the route.
    pub route: Option<String>,
    /// Networks and addresses of clients.
    #[serde(default)]
    pub clients: Vec<String>,
}

/// A priority, as written.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", expecting = "high, normal or low")]
#[schemars(inline)]
pub enum PriorityParam {
    /// Rejected last.
    High,
    /// As requests without a rule.
    Normal,
    /// Rejected first.
    Low,
}

/// A limit, as `/status` and `/metrics` show it.
#[derive(Debug)]
pub struct AdaptiveConcurrencyView<'a>(&'a AdaptiveConcurrencyFilter);

#[derive(Debug)]
struct Rule {
    priority: Priority,
    header: Option<String>,
    value: Option<String>,
    route: Option<String>,
    clients: Option<Networks>,
}

/// What stays when the rules change.
#[derive(Debug)]
struct Shared {
    limiter: AdaptiveLimiter,
    allowed: [AtomicU64; Priority::ALL.len()],
    rejected: [AtomicU64; Priority::ALL.len()],
}

/// A request in progress. Dropping it ends that.
#[derive(Debug)]
struct InProgress {
    shared: Arc<Shared>,
    began: Moment,
}

// === impl AdaptiveConcurrencyFilter ===

impl AdaptiveConcurrencyFilter {
    /// What it shows.
    pub fn view(&self) -> AdaptiveConcurrencyView<'_> {
        AdaptiveConcurrencyView(self)
    }

    fn priority(&self, request: &Request<'_>) -> Priority {
        self.rules
            .iter()
            .find(|rule| rule.matches(request))
            .map_or_else(Priority::default, |rule| rule.priority)
    }

    fn dry_run(&self, request: &mut Request<'_>, priority: Priority) -> Verdict {
        let limiter = &self.shared.limiter;
        let (limit, in_progress) = (limiter.limit(priority), limiter.in_progress());
        request.explain(|| {
            let (name, priority) = (&self.name, priority.name());
            format!("limit {name}: priority {priority}: {in_progress} of {limit} requests in progress")
        });
        if in_progress < limit { Verdict::Continue } else { rejection() }
    }
}

fn rejection() -> Verdict {
    let rejection = Rejection::new(RejectionCause::Overloaded, "the service is overloaded");
    Verdict::Refuse(rejection.retry_after(Duration::from_secs(1)).into())
}

impl Filter for AdaptiveConcurrencyFilter {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        let priority = self.priority(request);
        if request.is_dry_run() {
            return self.dry_run(request, priority);
        }
        let entered = self.shared.limiter.enter(priority);
        let counts = if entered { &self.shared.allowed } else { &self.shared.rejected };
        if let Some(count) = counts.get(priority as usize) {
            count.fetch_add(1, Relaxed);
        }
        if !entered {
            return rejection();
        }
        request.state.set(InProgress { shared: self.shared.clone(), began: request.now });
        Verdict::Continue
    }

    fn on_response(&self, response: &mut Response<'_>) {
        if (200..500).contains(&response.head.status())
            && let Some(request) = response.state.get::<InProgress>()
        {
            self.shared.limiter.observe(response.now.since(request.began), response.now);
        }
    }
}

impl FilterKind for AdaptiveConcurrencyFilter {
    const NAME: &'static str = "adaptive_concurrency";
    const EXAMPLE: &'static str =
        "adaptive_concurrency: { priorities: [{ priority: high, header: x-priority, value: critical }] }";
    const DOC: &'static str = "Limits the requests in progress to what backends can do without a queue, which it finds from latency. \
                               Under overload the requests of the lowest priority are rejected first, with status 503.";
    type Params = AdaptiveConcurrencyParams;

    fn new(params: AdaptiveConcurrencyParams, context: &BuildContext<'_>) -> Result<Self, FilterError> {
        let name =
            params.name.or_else(|| context.name.map(str::to_owned)).unwrap_or_else(|| "adaptive".to_owned());
        if !is_limit_name(&name) {
            return Err(FilterError::new("name", "1 to 64 printable ASCII characters, without \" and \\"));
        }
        if params.min_limit == 0 {
            return Err(FilterError::new("min_limit", "at least 1"));
        }
        if params.max_limit < params.min_limit {
            return Err(FilterError::new("max_limit", "at least min_limit"));
        }
        let rules = params.priorities.into_iter().enumerate().map(|(at, rule)| Rule::new(rule, at));
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        let options = AdaptiveOptions { min: params.min_limit, max: params.max_limit };
        let previous = context.previous::<Self>().filter(|previous| previous.options == options);
        let shared = previous.map(|previous| previous.shared.clone());
        let shared = shared.unwrap_or_else(|| Arc::new(Shared::new(options, context.now)));
        Ok(Self { name: name.into(), rules, options, shared })
    }
}

// === impl AdaptiveConcurrencyParams ===

impl Default for AdaptiveConcurrencyParams {
    fn default() -> Self {
        let AdaptiveOptions { min, max } = AdaptiveOptions::default();
        Self { name: None, priorities: Vec::new(), min_limit: min, max_limit: max }
    }
}

// === impl Rule ===

impl Rule {
    fn new(rule: PriorityRule, at: usize) -> Result<Self, FilterError> {
        let PriorityRule { priority, header, value, route, clients } = rule;
        let path = |key: &str| format!("priorities[{at}].{key}");
        if let Some(name) = &header
            && HeaderName::from_bytes(name.as_bytes()).is_err()
        {
            return Err(FilterError::new(path("header"), "the name of a header"));
        }
        if value.is_some() && header.is_none() {
            return Err(FilterError::new(path("value"), "the header whose value it is"));
        }
        let clients = if clients.is_empty() { None } else { Some(networks(&clients, &path("clients"))?) };
        let priority = match priority {
            PriorityParam::High => Priority::High,
            PriorityParam::Normal => Priority::Normal,
            PriorityParam::Low => Priority::Low,
        };
        Ok(Self { priority, header: header.map(|name| name.to_ascii_lowercase()), value, route, clients })
    }

    fn matches(&self, request: &Request<'_>) -> bool {
        let header = self.header.as_ref().is_none_or(|name| {
            let value = request.head.header(name);
            value.is_some_and(|value| self.value.as_ref().is_none_or(|wanted| wanted.as_bytes() == value))
        });
        let route = self.route.as_ref().is_none_or(|route| route == request.route);
        let client =
            self.clients.as_ref().is_none_or(|known| request.client.is_some_and(|ip| known.contains(ip)));
        header && route && client
    }
}

// === impl Shared ===

impl Shared {
    fn new(options: AdaptiveOptions, now: Moment) -> Self {
        let limiter = AdaptiveLimiter::new(options, now);
        Self { limiter, allowed: Default::default(), rejected: Default::default() }
    }
}

// === impl InProgress ===

impl Drop for InProgress {
    fn drop(&mut self) {
        self.shared.limiter.leave();
    }
}

// === impl AdaptiveConcurrencyView ===

impl<'a> AdaptiveConcurrencyView<'a> {
    /// The limit's name.
    pub fn name(&self) -> &'a str {
        &self.0.name
    }

    /// The limit of a priority now.
    pub fn limit(&self, priority: Priority) -> u32 {
        self.0.shared.limiter.limit(priority)
    }

    /// How many requests are in progress.
    pub fn in_progress(&self) -> u32 {
        self.0.shared.limiter.in_progress()
    }

    /// How many requests of a priority were within the limit, and how many were rejected.
    pub fn counts(&self, priority: Priority) -> (u64, u64) {
        let count =
            |counts: &[AtomicU64]| counts.get(priority as usize).map_or(0, |count| count.load(Relaxed));
        (count(&self.0.shared.allowed), count(&self.0.shared.rejected))
    }
}
