//! `rate_limit`: how often each client, or each of something else, can send a request.
//!
//! What is counted is in `evenkeel_core::limit`. Here is what of a request is the key, and what becomes of a request that is
//! too much. It never knows where the request goes.

mod counts;
mod fields;
mod params;

pub use counts::RateLimitResult;
pub(super) use params::{KeyParam, networks};
pub use params::{OnExceed, RateLimitParams};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::Moment;
use evenkeel_core::limit::{Decision, LimitKey, Networks, RateLimitOptions, RateLimiter, TopKey, TopKeys};

use super::key::{Key, Prefixes, is_limit_name, random};
use super::pause::LogPause;
use super::registry::{FilterError, FilterKind};
use super::{BuildContext, Filter, Rejection, Request, Response, Verdict, Wait};
use counts::Counts;
use fields::{Fields, Remaining};

/// Limits how often each key can send a request. See [`RateLimitParams`].
#[derive(Debug)]
pub struct RateLimitFilter {
    name: Box<str>,
    key: Key,
    limiter: RateLimiter,
    exempt: Networks,
    on_exceed: OnExceed,
    fields: Option<Fields>,
    seen: Arc<Seen>,
}

/// What is known of the past, and stays when the limit changes.
#[derive(Debug)]
struct Seen {
    counts: Counts,
    top: TopKeys,
    /// When a line about the limit was last logged.
    logged: LogPause,
}

/// A limit, as `/status` and `/metrics` show it.
#[derive(Debug)]
pub struct RateLimitView<'a>(&'a RateLimitFilter);

/// The most keys that a limit can have room for: 5 GB.
const MOST_KEYS: u32 = 100_000_000;

// === impl RateLimitFilter ===

impl RateLimitFilter {
    /// What it shows.
    pub fn view(&self) -> RateLimitView<'_> {
        RateLimitView(self)
    }

    fn count(&self, request: &Request<'_>, result: RateLimitResult) {
        self.seen.counts.count(request.worker, result);
    }

    /// Explains what would become of the request, and changes nothing.
    fn dry_run(&self, request: &mut Request<'_>) -> Verdict {
        let decision = self.limiter.peek(self.key.of(request, self.limiter.hasher()), request.now);
        let (key, rule) = (self.key.text(request, true), self.limiter.rule());
        request.explain(|| {
            let (rate, burst, remaining) = (rule.rate(), rule.burst(), decision.remaining);
            let name = &self.name;
            format!("limit {name}: {rate}, burst {burst}; key {key}: {remaining} of {burst} requests left")
        });
        self.verdict(decision)
    }

    fn verdict(&self, decision: Decision) -> Verdict {
        match self.on_exceed {
            OnExceed::Reject | OnExceed::Delay if !decision.allowed => {
                Verdict::Refuse(Rejection::rate_limited(decision.reset, "too many requests").into())
            }
            _ if decision.wait > Duration::ZERO => {
                Verdict::Wait(Wait::then(tokio::time::sleep(decision.wait), |(), _| Verdict::Continue))
            }
            _ => Verdict::Continue,
        }
    }

    /// A request is too much.
    #[cold]
    fn exceeded(&self, request: &Request<'_>, key: LimitKey) {
        let text = || self.key.text(request, false);
        self.seen.top.rejected(key, request.now, text);
        match self.on_exceed {
            OnExceed::Reject | OnExceed::Delay => self.count(request, RateLimitResult::Rejected),
            OnExceed::Log => {
                self.count(request, RateLimitResult::Logged);
                if self.seen.logged.is_over(request.now) {
                    let (name, rate, route) = (&self.name, self.limiter.rule().rate(), request.route);
                    log::warn!(
                        "limit {name} of route {route}: {} is over {rate}: request passed (on_exceed: log)",
                        text()
                    );
                }
            }
        }
    }

    /// There is no room for a new key.
    #[cold]
    fn no_room(&self, request: &Request<'_>) {
        self.count(request, RateLimitResult::NoRoom);
        if self.seen.logged.is_over(request.now) {
            let (name, route) = (&self.name, request.route);
            log::warn!(
                "limit {name} of route {route}: no room for more keys: requests of new keys are not limited: raise max_keys"
            );
        }
    }
}

impl Filter for RateLimitFilter {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        if request.client.is_some_and(|client| !self.exempt.is_empty() && self.exempt.contains(client)) {
            request.explain(|| format!("limit {}: the client is exempt", self.name));
            if !request.is_dry_run() {
                self.count(request, RateLimitResult::Exempt);
            }
            return Verdict::Continue;
        }
        if request.is_dry_run() {
            return self.dry_run(request);
        }
        let key = self.key.of(request, self.limiter.hasher());
        let Some(decision) = self.limiter.charge(key, request.now) else {
            self.no_room(request);
            return Verdict::Continue;
        };
        match decision.allowed {
            true if decision.wait > Duration::ZERO => self.count(request, RateLimitResult::Delayed),
            true => self.count(request, RateLimitResult::Allowed),
            false => self.exceeded(request, key),
        }
        if self.fields.is_some() {
            request.state.set(Remaining::from(decision));
        }
        self.verdict(decision)
    }

    fn on_response(&self, response: &mut Response<'_>) {
        if response.head.status() >= 200
            && let Some(fields) = &self.fields
            && let Some(left) = response.state.get::<Remaining>().copied()
        {
            fields.write(left, response.edits);
        }
    }
}

impl FilterKind for RateLimitFilter {
    const NAME: &'static str = "rate_limit";
    const EXAMPLE: &'static str = "rate_limit: { key: client_ip, rate: 100/s, burst: 200 }";
    const DOC: &'static str = "Limits how often each client, or each value of another key, can send a request. \
                               A request over the limit is rejected with status 429.";
    type Params = RateLimitParams;

    fn new(params: RateLimitParams, context: &BuildContext<'_>) -> Result<Self, FilterError> {
        let prefixes = Prefixes { v4: params.ipv4_prefix, v6: params.ipv6_prefix };
        let key = Key::new(&params.key.0, prefixes)?;
        let name = params.name.or_else(|| context.name.map(str::to_owned)).unwrap_or_else(|| key.to_string());
        if !is_limit_name(&name) {
            return Err(FilterError::new("name", "1 to 64 printable ASCII characters, without \" and \\"));
        }
        if params.burst == Some(0) {
            return Err(FilterError::new("burst", "at least 1"));
        }
        if !(1..=MOST_KEYS).contains(&params.max_keys) {
            return Err(FilterError::new("max_keys", format!("a number from 1 to {MOST_KEYS}")));
        }
        let mut options = RateLimitOptions::new(params.rate.0);
        options.burst = params.burst.unwrap_or(options.burst);
        options.delayed = params::delayed(params.max_delay, params.on_exceed, options.rate)?;
        options.max_keys = if key.is_constant(context.route) { 1 } else { params.max_keys };
        // Another key has nothing in common with what was counted.
        let previous = context.previous::<Self>().filter(|previous| previous.key == key);
        let limiter = match previous {
            Some(previous) => previous.limiter.changed(options, context.now),
            None => RateLimiter::new(options, random(), context.now),
        };
        let seen =
            previous.map_or_else(|| Arc::new(Seen::new(context.workers)), |previous| previous.seen.clone());
        let fields = params.headers.then(|| Fields::new(&name, limiter.rule())).transpose()?;
        let exempt = params::networks(&params.exempt, "exempt")?;
        let (name, on_exceed) = (name.into(), params.on_exceed);
        Ok(Self { name, key, limiter, exempt, on_exceed, fields, seen })
    }
}

// === impl Seen ===

impl Seen {
    fn new(workers: usize) -> Self {
        Self { counts: Counts::new(workers), top: TopKeys::default(), logged: LogPause::default() }
    }
}

// === impl RateLimitView ===

impl<'a> RateLimitView<'a> {
    /// The limit's name.
    pub fn name(&self) -> &'a str {
        &self.0.name
    }

    /// What is counted, as written.
    pub fn key(&self) -> impl fmt::Display {
        &self.0.key
    }

    /// How often.
    pub fn rate(&self) -> impl fmt::Display {
        self.0.limiter.rule().rate()
    }

    /// How many at once.
    pub fn burst(&self) -> u32 {
        self.0.limiter.rule().burst()
    }

    /// For how many keys there is room.
    pub fn max_keys(&self) -> u32 {
        self.0.limiter.max_keys()
    }

    /// How many keys have used some of their quota. Looks at all of them.
    pub fn keys(&self, now: Moment) -> usize {
        self.0.limiter.keys_in_use(now)
    }

    /// How many requests had this result.
    pub fn count(&self, result: RateLimitResult) -> u64 {
        self.0.seen.counts.get(result)
    }

    /// The keys that were over the limit most often in this minute and the one before.
    pub fn top(&self, most: usize, now: Moment) -> Vec<TopKey> {
        self.0.seen.top.top(most, now)
    }
}
