//! Replaces and changes the backends of a running upstream, from discovery, from the program or from its operator.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::backend_change::{
    BackendUpdate, Change, ChangeError, ChangeRequest, Changed, PendingChange, WeightUpdate,
};

/// Replaces and changes the backends of a running upstream. Cloning is cheap. It outlives reloads, for as long as an upstream of this name is
/// configured.
#[derive(Clone, Debug)]
pub struct UpstreamHandle {
    name: Arc<str>,
    updates: mpsc::Sender<Update>,
}

/// What a keeper is to do with its set.
#[derive(Debug)]
pub(super) enum Update {
    /// To replace it.
    Set(SetUpdate),
    /// To change it.
    Change(PendingChange),
}

/// Who makes the changes that the program makes.
const PROGRAM: &str = "the program";

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
    pub(super) fn new(name: &str, updates: mpsc::Sender<Update>) -> Self {
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
    /// A reload keeps the set, unless it changes the upstream's `backends`. Changes of single backends ([`change`](Self::change))
    /// apply to every set.
    ///
    /// # Errors
    /// [`UpstreamGone`].
    ///
    /// # Cost
    /// A lookup for each backend; what joins, leaves or changes costs some microseconds. The algorithm prepares itself for the
    /// whole set (a ring, a table). No request waits for any of it.
    pub async fn replace(&self, set: Vec<evenkeel_config::Backend>) -> Result<SetChange, UpstreamGone> {
        let (done, changed) = oneshot::channel();
        let update = Update::Set(SetUpdate { set, done });
        self.updates.send(update).await.map_err(|_| UpstreamGone)?;
        changed.await.map_err(|_| UpstreamGone)
    }

    /// Changes the backends. Returns once it is published: requests that begin after that see the change. It is logged with its
    /// author. Two changes at the same time are made one after the other, and each changes only what it names, so neither is
    /// lost.
    ///
    /// # Errors
    /// Why it was rejected. Nothing has changed then.
    pub async fn change(&self, order: ChangeRequest) -> Result<Changed, ChangeError> {
        order.change.check()?;
        let (done, changed) = oneshot::channel();
        let update = Update::Change(PendingChange { order, done });
        self.updates.send(update).await.map_err(|_| UpstreamGone)?;
        changed.await.map_err(|_| UpstreamGone)?
    }

    /// Drains a backend: it gets no new requests, and completes those in flight. Its probes go on.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn drain(&self, backend: &str) -> Result<Changed, ChangeError> {
        self.update(backend, BackendUpdate { drained: Some(true), weight: None }).await
    }

    /// Ends a drain: the backend gets requests again, slowly at first if the upstream has a `slow_start`.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn undrain(&self, backend: &str) -> Result<Changed, ChangeError> {
        self.update(backend, BackendUpdate { drained: Some(false), weight: None }).await
    }

    /// Gives a backend another weight; a drained one has it after its drain.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn weight(&self, backend: &str, weight: WeightUpdate) -> Result<Changed, ChangeError> {
        self.update(backend, BackendUpdate { drained: None, weight: Some(weight) }).await
    }

    /// Adds a backend.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn add(&self, backend: evenkeel_config::Backend) -> Result<Changed, ChangeError> {
        self.change(ChangeRequest::new(Change::Add(backend), PROGRAM)).await
    }

    /// Removes a backend.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn remove(&self, backend: &str) -> Result<Changed, ChangeError> {
        self.change(ChangeRequest::new(Change::Remove(backend.to_owned()), PROGRAM)).await
    }

    async fn update(&self, backend: &str, update: BackendUpdate) -> Result<Changed, ChangeError> {
        let change = Change::Update(backend.to_owned(), update);
        self.change(ChangeRequest::new(change, PROGRAM)).await
    }
}
