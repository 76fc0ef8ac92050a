//! Which backends were probed lately: a small set of indices that every core reads and changes, without a lock.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::Moment;
use crate::backend::{Member, Reported, Snapshot};

/// No pool is larger: all of it is looked at for each choice.
pub(super) const MAX_POOL: usize = 32;

/// Slots with the index of a backend, plus one; zero if empty. The report itself is in the backend's counters.
#[derive(Debug, Default)]
pub(super) struct ProbePool {
    slots: Box<[AtomicU32]>,
}

/// A backend in the pool, with what it reported.
pub(super) struct Probed<'a> {
    pub(super) slot: usize,
    pub(super) index: usize,
    pub(super) member: &'a Member,
    pub(super) report: Reported,
    /// Attempts that began since.
    pub(super) since: u64,
}

// === impl ProbePool ===

impl ProbePool {
    /// So many slots, at most [`MAX_POOL`], holding those of the set that reported last.
    pub(super) fn new(size: usize, candidates: &Snapshot) -> Self {
        let reported = |(index, member): (u32, &Member)| Some((reported(member)?.0.at, index));
        let mut latest: Vec<(Moment, u32)> = (0..).zip(candidates.members()).filter_map(reported).collect();
        latest.sort_unstable();
        let held = latest.iter().rev().map(|&(_, index)| index + 1).chain(std::iter::repeat(0));
        Self { slots: held.take(size.clamp(1, MAX_POOL)).map(AtomicU32::new).collect() }
    }

    /// Adds a backend that has just reported, in place of the one whose report is oldest if there is no room. When two add
    /// at once to one slot, the later one stands.
    pub(super) fn add(&self, index: usize, candidates: &Snapshot) {
        let Ok(value) = u32::try_from(index + 1) else { return };
        let held = || self.slots.iter().map(|slot| (slot, slot.load(Relaxed)));
        if held().any(|(_, other)| other == value) {
            return;
        }
        let at = |value: u32| {
            let member = candidates.members().get((value as usize).checked_sub(1)?)?;
            Some(reported(member)?.0.at)
        };
        // Nothing is older than something.
        if let Some((slot, _)) = held().min_by_key(|&(_, value)| at(value)) {
            slot.store(value, Relaxed);
        }
    }

    /// What is in the pool.
    #[inline]
    pub(super) fn probed<'a>(&'a self, candidates: &'a Snapshot) -> impl Iterator<Item = Probed<'a>> {
        let probed = |(slot, value): (usize, &AtomicU32)| {
            let index = (value.load(Relaxed) as usize).checked_sub(1)?;
            let member = candidates.members().get(index)?;
            let (report, since) = reported(member)?;
            Some(Probed { slot, index, member, report, since })
        };
        self.slots.iter().enumerate().filter_map(probed)
    }

    /// Empties a slot, if it still holds this backend.
    #[inline]
    pub(super) fn remove(&self, slot: usize, index: usize) {
        if let (Some(slot), Ok(value)) = (self.slots.get(slot), u32::try_from(index + 1)) {
            // If another core changed it meanwhile, that value is newer.
            let _ = slot.compare_exchange(value, 0, Relaxed, Relaxed);
        }
    }
}

#[inline]
fn reported(member: &Member) -> Option<(Reported, u64)> {
    member.backend.counters().reported()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::snapshot;

    fn report(pool: &ProbePool, candidates: &Snapshot, index: usize, at: u64) {
        let report = Reported::new(0, None, Moment::from_micros(at));
        candidates.members()[index].backend.counters().report(report);
        pool.add(index, candidates);
    }

    fn indices(pool: &ProbePool, candidates: &Snapshot) -> Vec<usize> {
        let mut indices: Vec<_> = pool.probed(candidates).map(|probed| probed.index).collect();
        indices.sort_unstable();
        indices
    }

    #[test]
    fn the_oldest_makes_room() {
        let candidates = snapshot(&[1; 6]);
        let pool = ProbePool::new(3, &candidates);
        for (index, at) in [(0, 10), (1, 11), (2, 12), (0, 13), (4, 14)] {
            report(&pool, &candidates, index, at);
        }
        assert_eq!(indices(&pool, &candidates), [0, 2, 4]);
        let removed = pool.probed(&candidates).find(|probed| probed.index == 2).unwrap();
        pool.remove(removed.slot, 1);
        assert_eq!(indices(&pool, &candidates).len(), 3, "another one's slot stays");
        pool.remove(removed.slot, 2);
        report(&pool, &candidates, 5, 15);
        assert_eq!(indices(&pool, &candidates), [0, 4, 5]);
    }

    #[test]
    fn a_new_set_begins_with_its_latest_reports() {
        let candidates = snapshot(&[1; 6]);
        let pool = ProbePool::new(6, &candidates);
        [3, 1, 4].into_iter().zip(1..).for_each(|(index, at)| report(&pool, &candidates, index, at));
        assert_eq!(indices(&ProbePool::new(2, &candidates), &candidates), [1, 4]);
        assert_eq!(indices(&ProbePool::new(100, &candidates), &candidates), [1, 3, 4]);
    }
}
