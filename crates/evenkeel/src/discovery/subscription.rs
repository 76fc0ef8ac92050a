//! Follows one source, and decides what its sets and failures lead to: the same for every kind of source.
//!
//! * A source that fails leaves the last set in use. It is tried again, after pauses that grow and differ from balancer to
//!   balancer.
//! * A set without backends counts as a failure unless it is allowed: an empty set is more often a fault of the source than
//!   the truth, and it would take everything down.
//! * A changed set is published at once, unless another one was published less than `debounce` ago: then at the end of that
//!   time. So one change is fast, and many changes cost no more than a few.
//! * The log has one line when a source begins to fail and one when it works again.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use evenkeel_core::limit::backoff;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{BackendSet, Discovery, DiscoveryError, Status};

/// How sets and failures of a source are handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether a set without backends is accepted. Default no.
    pub allow_empty: bool,
    /// The least time between two sets that are published. Default 100 ms.
    pub debounce: Duration,
}

/// A source that is followed. Dropping it ends that.
#[derive(Debug)]
pub struct Subscription {
    sets: watch::Receiver<Option<BackendSet>>,
    status: Arc<Status>,
    task: JoinHandle<()>,
}

/// The task that follows a source.
struct Follower {
    /// What the log calls the receiver of the backends, such as `upstream web`.
    owner: String,
    options: Options,
    sets: watch::Sender<Option<BackendSet>>,
    status: Arc<Status>,
    /// A set that waits until the time since the last one has passed.
    pending: Option<BackendSet>,
    /// When a set can be published again.
    open: Instant,
    /// Errors in a row.
    failures: u32,
    rng: fastrand::Rng,
}

/// The pause after the first error; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the pause doubles: up to 1.6 s, so that changes are in use within 2 s of the source's return.
const DOUBLINGS: u32 = 5;
/// The least time between two reads, so that a source that returns at once cannot keep a core busy.
const REST: Duration = Duration::from_millis(5);
/// How many changed backends the log names.
const NAMED: usize = 5;

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self { allow_empty: false, debounce: Duration::from_millis(100) }
    }
}

// === impl Subscription ===

impl Subscription {
    /// Follows a source, on a task of its own. `owner` is what the log calls the receiver of the backends, such as
    /// `upstream web`.
    pub fn start(owner: impl Into<String>, source: Box<dyn Discovery>, options: Options) -> Self {
        let status = Arc::new(Status::new(source.name()));
        let (sender, sets) = watch::channel(None);
        let follower = Follower {
            owner: owner.into(),
            options,
            sets: sender,
            status: status.clone(),
            pending: None,
            open: Instant::now(),
            failures: 0,
            rng: fastrand::Rng::new(),
        };
        Self { sets, status, task: tokio::spawn(follower.run(source)) }
    }

    /// The set in use; `None` while there is none yet.
    pub fn current(&self) -> Option<BackendSet> {
        self.sets.borrow().clone()
    }

    /// The set in use, to wait for the next one: several changes at once count as one.
    pub fn sets(&self) -> watch::Receiver<Option<BackendSet>> {
        self.sets.clone()
    }

    /// Waits for the first set until `limit`. Gives whether there is one.
    pub async fn ready(&self, limit: Instant) -> bool {
        let mut sets = self.sets.clone();
        timeout_at(limit, sets.wait_for(Option::is_some)).await.is_ok_and(|found| found.is_ok())
    }

    /// What is known of the source.
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Follower ===

impl Follower {
    async fn run(mut self, mut source: Box<dyn Discovery>) {
        loop {
            let result = self.read(source.as_mut()).await;
            let now = Instant::now();
            let pause = match result {
                Ok(set) => {
                    self.failures = 0;
                    self.accept(set, now);
                    REST
                }
                // The source itself knows when to look again.
                Err(error @ DiscoveryError::Empty(_)) => {
                    self.failed(&error, now);
                    REST
                }
                Err(error) => {
                    self.failures += 1;
                    self.failed(&error, now);
                    backoff(PAUSE, self.failures.min(DOUBLINGS), &mut self.rng)
                }
            };
            let pause = sleep_until(now + pause);
            self.publishing(pause).await;
        }
    }

    /// What the source returns next.
    async fn read(&mut self, source: &mut dyn Discovery) -> Result<BackendSet, DiscoveryError> {
        let mut next = pin!(async { source.next().await });
        // Polled no more after a panic, so nothing sees what the panic left half done.
        let next = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| next.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(result)) => Poll::Ready(result),
            Err(_) => Poll::Ready(Err(DiscoveryError::Panicked)),
        });
        let result = self.publishing(next).await;
        match result {
            Ok(set) if set.is_empty() && !self.options.allow_empty => {
                Err(DiscoveryError::Empty("the source reports no backends".to_owned()))
            }
            Err(DiscoveryError::Empty(_)) if self.options.allow_empty => Ok(BackendSet::default()),
            result => result,
        }
    }

    /// Waits for `work`, and publishes the set that waits when its time has come.
    async fn publishing<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = sleep_until(self.open), if self.pending.is_some() => self.publish(),
            }
        }
    }

    fn accept(&mut self, set: BackendSet, now: Instant) {
        if let Some(since) = self.status.confirmed(now) {
            let (owner, source, after) = (&self.owner, self.status.source(), now - since);
            log::info!("{owner}: {source}: works again after {after:.1?}");
        }
        let same = self.sets.borrow().as_ref() == Some(&set);
        self.pending = (!same).then_some(set);
        if self.open <= now {
            self.publish();
        }
    }

    fn failed(&mut self, error: &DiscoveryError, now: Instant) {
        if !self.status.failed(error, now) {
            log::debug!("{}: {}: {error}", self.owner, self.status.source());
            return;
        }
        let (owner, source) = (&self.owner, self.status.source());
        match self.sets.borrow().as_ref().map(|set| set.len()) {
            Some(kept) => log::warn!("{owner}: {source}: {error}: keeping the last set of {kept} backends"),
            None => log::warn!("{owner}: {source}: {error}: no backends from it yet"),
        }
    }

    fn publish(&mut self) {
        let Some(set) = self.pending.take() else { return };
        let now = Instant::now();
        self.open = now + self.options.debounce;
        self.log_changes(&set);
        self.status.published(set.len(), now);
        self.sets.send_replace(Some(set));
    }

    fn log_changes(&self, set: &BackendSet) {
        let (owner, source) = (&self.owner, self.status.source());
        let before = self.sets.borrow();
        let Some(before) = before.as_ref() else {
            log::info!("{owner}: {source}: {} backends", set.len());
            return;
        };
        let added = missing(set, before);
        let removed = missing(before, set);
        let listed =
            added.iter().map(|url| format!("+{url}")).chain(removed.iter().map(|url| format!("-{url}")));
        let listed: Vec<String> = listed.take(NAMED).collect();
        let more = (added.len() + removed.len()).saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let list = if listed.is_empty() { String::new() } else { format!(": {}{more}", listed.join(" ")) };
        let count = set.len();
        log::debug!(
            "{owner}: {source}: {count} backends, {} added, {} removed{list}",
            added.len(),
            removed.len()
        );
    }
}

/// The URLs of `set` that are not in `other`.
fn missing<'a>(set: &'a BackendSet, other: &BackendSet) -> Vec<&'a str> {
    let known: std::collections::HashSet<&str> = other.iter().map(|one| one.url.text.as_str()).collect();
    set.iter().map(|one| one.url.text.as_str()).filter(|url| !known.contains(url)).collect()
}
