//! `concurrency_limit`: how many requests of each client, or of each of something else, can be in progress at the same time.
//!
//! What is counted, and who is next, is in `evenkeel_core::limit`. Here is what of a request is the key, and how a request
//! waits. It never knows where the request goes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use evenkeel_core::Moment;
use evenkeel_core::limit::{
    ConcurrencyEntered as Entered, ConcurrencyLimiter, ConcurrencyOptions, KeySecret, LimitKey, TopKey,
    TopKeys,
};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::key::{Key, Prefixes, is_limit_name, random};
use super::rate_limit::KeyParam;
use super::registry::{FilterError, FilterKind};
use super::{BuildContext, DurationParam, Filter, Rejection, RejectionCause, Request, Verdict, Wait};

/// Limits how many requests of each key are in progress. See [`ConcurrencyLimitParams`].
#[derive(Debug)]
pub struct ConcurrencyLimitFilter {
    name: Box<str>,
    key: Key,
    options: ConcurrencyOptions,
    timeout: Duration,
    /// Whether there is one key for all requests: then the service is full, else the client sends too much.
    is_constant: bool,
    shared: Arc<Shared>,
}

/// How many requests of each key can be in progress.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with max_requests, like { max_requests: 10 }")]
pub struct ConcurrencyLimitParams {
    /// The name in metrics and `/status`: up to 64 printable characters without quotes. Default: the name in the top-level
    /// `filters`, else the key. Give limits of one route different names.
    pub name: Option<String>,
    /// What is counted: `client_ip`, `header NAME`, `cookie NAME`, `query NAME`, `path`, `host`, `method`, `route` or `all` (all
    /// requests together), or a list of these, as for `rate_limit`. A request without the header, cookie or query parameter
    /// counts for its client's address.
    #[serde(default)]
    pub key: KeyParam,
    /// The most requests of a key that are in progress at the same time, at least 1. A request is in progress until its response
    /// has been sent, and an upgraded connection until it closes.
    #[schemars(range(min = 1))]
    pub max_requests: u32,
    /// Requests over the limit that wait for one in progress to end, in the order in which they came. Default: none wait.
    #[serde(default)]
    pub queue: ConcurrencyQueue,
    /// The part of an IPv4 address that is the client: 1 to 32.
    #[serde(default = "whole_ipv4")]
    #[schemars(range(min = 1, max = 32))]
    pub ipv4_prefix: u8,
    /// The part of an IPv6 address that is the client: 1 to 128. A client usually has a whole /64.
    #[serde(default = "usual_ipv6")]
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix: u8,
}

/// Requests that wait.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map with a size, like { size: 100 }")]
#[schemars(rename = "queue")]
pub struct ConcurrencyQueue {
    /// The most requests of a key that wait. Each holds its connection.
    pub size: u32,
    /// How long a request waits at most, 1ms to 1m; then it is rejected. Default: 1s.
    pub timeout: Option<DurationParam>,
}

/// What became of a request at the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConcurrencyResult {
    /// It was within the limit.
    Allowed,
    /// It waited for its turn.
    Queued,
    /// It was rejected: too many wait.
    Rejected,
    /// It was rejected after it had waited for `queue.timeout`.
    TimedOut,
}

/// A limit, as `/status` and `/metrics` show it.
#[derive(Debug)]
pub struct ConcurrencyLimitView<'a>(&'a ConcurrencyLimitFilter);

/// What stays when the limit changes.
#[derive(Debug)]
struct Shared {
    secret: KeySecret,
    requests: ConcurrencyLimiter<oneshot::Sender<()>>,
    counts: [AtomicU64; ConcurrencyResult::ALL.len()],
    top: TopKeys,
}

/// The place of a request in progress. Dropping it gives it to the next one.
#[derive(Debug)]
struct Place {
    shared: Arc<Shared>,
    key: LimitKey,
}

/// A request that waits for a place. Dropping it ends the wait.
struct Turn {
    /// `None` once it has a place.
    shared: Option<Arc<Shared>>,
    key: LimitKey,
    number: u64,
}

fn whole_ipv4() -> u8 {
    32
}

fn usual_ipv6() -> u8 {
    64
}

// === impl ConcurrencyLimitFilter ===

impl ConcurrencyLimitFilter {
    /// What it shows.
    pub fn view(&self) -> ConcurrencyLimitView<'_> {
        ConcurrencyLimitView(self)
    }

    /// Explains what would become of the request, and changes nothing.
    fn dry_run(&self, request: &mut Request<'_>, key: LimitKey) -> Verdict {
        let ConcurrencyOptions { max_requests, queue_size } = self.options;
        let (requests, waiting) = self.shared.requests.of(key);
        let (text, timeout) = (self.key.text(request, true), self.timeout);
        request.explain(|| {
            let name = &self.name;
            format!(
                "limit {name}: key {text}: {requests} of {max_requests} requests in progress, \
                 {waiting} of {queue_size} waiting for at most {timeout:?}"
            )
        });
        if requests < max_requests {
            Verdict::Continue
        } else if waiting < queue_size as usize {
            Verdict::Wait(Wait::new(std::future::ready(Verdict::Continue)))
        } else {
            self.rejection()
        }
    }

    fn rejection(&self) -> Verdict {
        rejection(self.is_constant)
    }

    /// Waits for a place.
    fn wait(&self, key: LimitKey, number: u64, woken: oneshot::Receiver<()>) -> Wait {
        let turn = Turn { shared: Some(self.shared.clone()), key, number };
        let (timeout, is_constant, shared) = (self.timeout, self.is_constant, self.shared.clone());
        Wait::then(turn.place(woken, timeout), move |place, request| match place {
            Some(place) => {
                shared.count(ConcurrencyResult::Queued);
                request.state.set(place);
                Verdict::Continue
            }
            None => {
                shared.count(ConcurrencyResult::TimedOut);
                rejection(is_constant)
            }
        })
    }
}

fn rejection(is_constant: bool) -> Verdict {
    let cause = if is_constant { RejectionCause::Overloaded } else { RejectionCause::RateLimited };
    let rejection =
        Rejection::new(cause, "too many requests in progress").retry_after(Duration::from_secs(1));
    Verdict::Refuse(rejection.into())
}

impl Filter for ConcurrencyLimitFilter {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        let key = self.key.of(request, self.shared.secret.hasher());
        if request.is_dry_run() {
            return self.dry_run(request, key);
        }
        let mut woken = None;
        let wake = || {
            let (sender, receiver) = oneshot::channel();
            woken = Some(receiver);
            sender
        };
        match (self.shared.requests.enter(key, self.options, wake), woken) {
            (Entered::Now, _) => {
                self.shared.count(ConcurrencyResult::Allowed);
                request.state.set(Place { shared: self.shared.clone(), key });
                Verdict::Continue
            }
            (Entered::Waiting(number), Some(woken)) => Verdict::Wait(self.wait(key, number, woken)),
            _ => {
                self.shared.count(ConcurrencyResult::Rejected);
                self.shared.top.rejected(key, request.now, || self.key.text(request, false));
                self.rejection()
            }
        }
    }
}

impl FilterKind for ConcurrencyLimitFilter {
    const NAME: &'static str = "concurrency_limit";
    const EXAMPLE: &'static str =
        "concurrency_limit: { key: client_ip, max_requests: 10, queue: { size: 20, timeout: 1s } }";
    const DOC: &'static str = "Limits how many requests of each client, or of each value of another key, are in progress at the same time. \
                               A request over the limit waits in the queue, if there is one, or is rejected with status 429; with 503 \
                               if `key` is `route` or `all`.";
    type Params = ConcurrencyLimitParams;

    fn new(params: ConcurrencyLimitParams, context: &BuildContext<'_>) -> Result<Self, FilterError> {
        let prefixes = Prefixes { v4: params.ipv4_prefix, v6: params.ipv6_prefix };
        let key = Key::new(&params.key.0, prefixes)?;
        let name = params.name.or_else(|| context.name.map(str::to_owned)).unwrap_or_else(|| key.to_string());
        if !is_limit_name(&name) {
            return Err(FilterError::new("name", "1 to 64 printable ASCII characters, without \" and \\"));
        }
        if params.max_requests == 0 {
            return Err(FilterError::new("max_requests", "at least 1"));
        }
        let timeout = params.queue.timeout.map_or(Duration::from_secs(1), |timeout| timeout.0);
        if params.queue.timeout.is_some() && params.queue.size == 0 {
            return Err(FilterError::new("queue.size", "at least 1 with queue.timeout"));
        }
        if !(Duration::from_millis(1)..=Duration::from_secs(60)).contains(&timeout) {
            return Err(FilterError::new("queue.timeout", "a time from 1ms to 1m"));
        }
        // Another key has nothing in common with what is in progress.
        let previous = context.previous::<Self>().filter(|previous| previous.key == key);
        let shared =
            previous.map_or_else(|| Arc::new(Shared::new(random())), |previous| previous.shared.clone());
        let options = ConcurrencyOptions { max_requests: params.max_requests, queue_size: params.queue.size };
        let is_constant = key.has_one_value();
        Ok(Self { name: name.into(), key, options, timeout, is_constant, shared })
    }
}

// === impl ConcurrencyResult ===

impl ConcurrencyResult {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Allowed, Self::Queued, Self::Rejected, Self::TimedOut];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Queued => "queued",
            Self::Rejected => "rejected",
            Self::TimedOut => "timed_out",
        }
    }
}

// === impl Shared ===

impl Shared {
    fn new(secret: u128) -> Self {
        Self {
            secret: KeySecret::new(secret),
            requests: ConcurrencyLimiter::default(),
            counts: Default::default(),
            top: TopKeys::default(),
        }
    }

    fn count(&self, result: ConcurrencyResult) {
        if let Some(count) = self.counts.get(result as usize) {
            count.fetch_add(1, Relaxed);
        }
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(next) = self.shared.requests.leave(self.key) {
            // If no one hears it, that one gives the place back as it ends: see `Turn`.
            let _ = next.send(());
        }
    }
}

// === impl Turn ===

impl Turn {
    /// The place, unless that takes too long.
    async fn place(mut self, woken: oneshot::Receiver<()>, timeout: Duration) -> Option<Place> {
        let woken = tokio::time::timeout(timeout, woken).await.is_ok_and(|woken| woken.is_ok());
        let shared = self.shared.take()?;
        // Its turn may have come at the last moment.
        if !woken && shared.requests.give_up(self.key, self.number) {
            return None;
        }
        Some(Place { shared, key: self.key })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take()
            && !shared.requests.give_up(self.key, self.number)
        {
            // Its turn has come, and no one was left to notice.
            drop(Place { shared, key: self.key });
        }
    }
}

// === impl ConcurrencyLimitView ===

impl<'a> ConcurrencyLimitView<'a> {
    /// The limit's name.
    pub fn name(&self) -> &'a str {
        &self.0.name
    }

    /// What is counted, as written.
    pub fn key(&self) -> impl fmt::Display {
        &self.0.key
    }

    /// How many can be in progress, and how many can wait.
    pub fn options(&self) -> ConcurrencyOptions {
        self.0.options
    }

    /// How many keys have requests, how many requests are in progress, and how many wait. Looks at all keys.
    pub fn totals(&self) -> (usize, u64, usize) {
        self.0.shared.requests.totals()
    }

    /// How many requests had this result.
    pub fn count(&self, result: ConcurrencyResult) -> u64 {
        self.0.shared.counts.get(result as usize).map_or(0, |count| count.load(Relaxed))
    }

    /// The keys that were rejected most often in this minute and the one before.
    pub fn top(&self, most: usize, now: Moment) -> Vec<TopKey> {
        self.0.shared.top.top(most, now)
    }
}
