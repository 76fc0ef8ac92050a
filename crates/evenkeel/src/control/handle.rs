//! Replaces the backends of a running upstream, from discovery or from the program.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

/// Replaces the backends of a running upstream. Cloning is cheap. It outlives reloads, for as long as an upstream of this name is
/// configured.
#[derive(Clone, Debug)]
pub struct UpstreamHandle {
    name: Arc<str>,
    updates: mpsc::Sender<SetUpdate>,
}

/// A set that is to be published.
#[derive(Debug)]
pub(super) struct SetUpdate {
    pub(super) set: Vec<evenkeel_config::Backend>,
    /// Receives what has changed, once that is published.
    pub(super) done: oneshot::Sender<SetChange>,
}

/// What a replacement has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetChange {
    /// How many backends have joined.
    pub added: usize,
    /// How many have left. Their requests in flight complete; their idle connections are closed.
    pub removed: usize,
    /// How many stay with another weight, priority or zone.
    pub changed: usize,
    /// How many there are now.
    pub total: usize,
    /// Why backends were left out, one text for each: an own listener of the balancer, or a backend that cannot be probed as the
    /// upstream's health check requires.
    pub rejected: Vec<String>,
}

/// The upstream is no longer configured, or the server has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the upstream is no longer configured")]
pub struct UpstreamGone;

// === impl UpstreamHandle ===

impl UpstreamHandle {
    pub(super) fn new(name: &str, updates: mpsc::Sender<SetUpdate>) -> Self {
        Self { name: name.into(), updates }
    }

    /// The name of the upstream.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Replaces all backends, in this order. Returns once it is published: requests that begin after that see the new set.
    ///
    /// Backends are the same if their URLs are. Those that stay keep their counters, health, ejections, latencies, requests in
    /// flight, stickiness and idle connections. Those that join begin as a restarted backend does: slowly, if there is a slow
    /// start. Those that leave complete their requests. An empty set rejects every request. Of backends with the same URL, the
    /// first one counts. A backend by name is picked once its name has an address.
    ///
    /// A reload keeps the set, unless it changes the upstream's `backends`.
    ///
    /// # Errors
    /// [`UpstreamGone`].
    ///
    /// # Cost
    /// A lookup for each backend; what joins, leaves or changes costs some microseconds. The algorithm prepares itself for the
    /// whole set (a ring, a table). No request waits for any of it.
    pub async fn replace(&self, set: Vec<evenkeel_config::Backend>) -> Result<SetChange, UpstreamGone> {
        let (done, changed) = oneshot::channel();
        self.updates.send(SetUpdate { set, done }).await.map_err(|_| UpstreamGone)?;
        changed.await.map_err(|_| UpstreamGone)
    }
}
