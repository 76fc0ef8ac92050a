//! Changes of one backend of a running upstream: what can be changed, and what became of it.

use std::sync::Arc;

use evenkeel_config::Backend;
use tokio::sync::oneshot;

use super::handle::UpstreamGone;

/// A change of the backends of an upstream at run time. Backends are named by their URLs, or by `host:port` where only one
/// backend has that.
///
/// A change belongs to the address of its backend. It stays when a source of backends, a program or a reload gives the upstream
/// another set, until it is taken back or the process ends.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// Adds a backend. One that was removed and that the configuration or a source still has returns as they describe it, with
    /// the weight of this one.
    Add(Backend),
    /// Changes how many requests a backend receives.
    Update(String, BackendUpdate),
    /// Removes a backend. Its requests in flight complete. It stays removed although the configuration or a source has it.
    Remove(String),
    /// Takes back every change of the upstream.
    Reset,
}

/// What is to change of a backend; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendUpdate {
    /// Whether it is drained: it gets no new requests, not even those of its sticky sessions, and completes those in flight. Its
    /// weight is kept for later.
    pub drained: Option<bool>,
    /// Its weight.
    pub weight: Option<WeightUpdate>,
}

/// Another weight of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightUpdate {
    /// This one, 0 to 65,535.
    To(u32),
    /// The one that the configuration or the source gives.
    AsGiven,
}

/// A change, with who makes it and what it is based on.
#[derive(Clone, Debug)]
pub struct ChangeRequest {
    /// What is to change.
    pub change: Change,
    /// Who changes it, for the log and `/status`.
    pub by: Arc<str>,
    /// The revision of the upstream that the change is made for: at any other one it is rejected. `None` for any.
    pub revision: Option<u64>,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changed {
    /// The URL of the backend; empty where it was about all of them.
    pub backend: String,
    /// Whether anything is different now.
    pub changed: bool,
    /// The upstream's revision now. It grows with every change of its set.
    pub revision: u64,
    /// How many backends can be picked now. If there are none, every request is rejected.
    pub usable: usize,
}

/// Why a change was rejected. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// There is no such upstream, or the server has ended.
    #[error(transparent)]
    Gone(#[from] UpstreamGone),
    /// The upstream has no such backend.
    #[error("no backend {0}")]
    UnknownBackend(String),
    /// Two backends with different schemes have this address.
    #[error("more than one backend is {0}: expected its URL")]
    Ambiguous(String),
    /// The upstream has it already.
    #[error("backend {0} exists already")]
    Exists(String),
    /// The backend cannot be used: why.
    #[error("{0}")]
    Unusable(String),
    /// Someone else has changed the upstream.
    #[error("the upstream has changed meanwhile: it has revision {current}")]
    Outdated {
        /// The revision now.
        current: u64,
    },
    /// The weight is more than 65,535.
    #[error("weight {0} is out of range: expected 0 to 65535")]
    Weight(u32),
}

/// A change on its way to the keeper.
#[derive(Debug)]
pub(super) struct PendingChange {
    pub(super) order: ChangeRequest,
    /// Receives what became of it, once that is published.
    pub(super) done: oneshot::Sender<Result<Changed, ChangeError>>,
}

/// Largest weight of a backend.
const MOST: u32 = 65_535;

// === impl Change ===

impl Change {
    /// What every change must keep to.
    ///
    /// # Errors
    /// [`ChangeError::Weight`].
    pub(super) fn check(&self) -> Result<(), ChangeError> {
        let weight = match self {
            Self::Add(backend) => Some(backend.weight),
            Self::Update(_, BackendUpdate { weight: Some(WeightUpdate::To(weight)), .. }) => Some(*weight),
            _ => None,
        };
        weight.filter(|weight| *weight > MOST).map_or(Ok(()), |weight| Err(ChangeError::Weight(weight)))
    }

    /// What it does to `backend`, for the log.
    pub(super) fn describe(&self, backend: &str) -> String {
        let Self::Update(_, update) = self else {
            return match self {
                Self::Add(_) => format!("{backend} added"),
                Self::Remove(_) => format!("{backend} removed"),
                _ => "all run-time changes undone".to_owned(),
            };
        };
        let mut parts = Vec::new();
        match update.drained {
            Some(true) => parts.push("drained".to_owned()),
            Some(false) => parts.push("no longer drained".to_owned()),
            None => {}
        }
        match update.weight {
            Some(WeightUpdate::To(weight)) => parts.push(format!("has the weight {weight}")),
            Some(WeightUpdate::AsGiven) => parts.push("has its configured weight again".to_owned()),
            None => {}
        }
        format!("{backend} {}", parts.join(", "))
    }
}

// === impl ChangeRequest ===

impl ChangeRequest {
    /// A change by this author, whatever the revision.
    pub fn new(change: Change, by: impl Into<Arc<str>>) -> Self {
        Self { change, by: by.into(), revision: None }
    }
}
