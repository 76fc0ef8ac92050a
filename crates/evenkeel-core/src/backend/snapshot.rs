//! The immutable set of backends that may be chosen now.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::Backend;

/// A backend's share of an upstream's requests, relative to its peers'. One unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(NonZeroU32);

/// A backend in a [`Snapshot`], with the weight it has there.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Member {
    /// The backend, shared with other snapshots.
    pub backend: Arc<Backend>,
    /// Its weight in this set.
    pub weight: Weight,
}

/// The backends of an upstream that may be chosen now. Never changed: a change publishes another one.
///
/// A backend that may not be chosen is not in the snapshot, so choosing never asks about health.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    members: Box<[Member]>,
}

// === impl Weight ===

impl Weight {
    /// The weight of a backend that was given none.
    pub const ONE: Self = Self(NonZeroU32::MIN);

    /// A weight, or `None` for zero: a backend that may not be chosen does not belong into a snapshot.
    pub fn new(weight: u32) -> Option<Self> {
        NonZeroU32::new(weight).map(Self)
    }

    /// The weight as a number.
    #[inline]
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

// === impl Member ===

impl Member {
    /// A backend with a weight.
    pub fn new(backend: Arc<Backend>, weight: Weight) -> Self {
        Self { backend, weight }
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// A set of backends, in the order in which they were configured.
    pub fn new(members: impl Into<Box<[Member]>>) -> Self {
        Self { members: members.into() }
    }

    /// The backends, in the order in which they were configured.
    #[inline]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// How many backends may be chosen.
    #[inline]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is no backend to choose.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}
