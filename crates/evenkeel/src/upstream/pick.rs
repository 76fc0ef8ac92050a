//! Picks a backend that has room and can be reached: by the client's cookie, by the algorithm, and, once those were skipped too
//! often, by looking at every one.

use std::cell::Cell;
use std::time::Duration;

use evenkeel_core::Moment;
use evenkeel_core::balance::{Pick, Tried};

use super::{Endpoint, Members};

/// What a choice goes by, apart from what was tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selection {
    /// The hash of what the request shares with those that it belongs to.
    pub(super) key: u64,
    /// The backend that the client's cookie names, by its place.
    pub(super) sticky: Option<usize>,
    pub(super) moment: Moment,
    /// Whether a copy of the request may be sent, to hear from another backend.
    pub(super) copied: bool,
    /// Whether to look beyond the members once none of them is left.
    pub(super) others: bool,
    /// How long a test of a backend that could not be reached may take; `None` where nothing is to be tested.
    pub(super) test: Option<Duration>,
    /// How much longer than others the request leaves such tests to them.
    pub(super) grace: Duration,
    /// What a backend must have shown meanwhile; `None` until every backend was tried.
    pub(super) proof: Option<Proof>,
}

/// What shows that a backend that failed a request can serve it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// It was reached again, by another request or by a health check.
    Reached,
    /// The last request to it was successful.
    Served,
    /// It can be reached, or a test of that is due. Enough for a request that has waited.
    Due,
}

/// What choosing came to.
#[derive(Debug)]
pub(super) enum Picked<T> {
    One(T),
    /// All that may be chosen are busy.
    Full,
    /// None is left that was not tried.
    Nothing,
}

/// Offers untried backends to `take`, by their place and what the choice went by, until it takes one. Backends that could not
/// be reached a moment ago are passed over as long as there are others.
#[inline]
pub(super) fn pick<T>(
    members: &Members,
    selection: Selection,
    tried: &Tried,
    rng: &mut fastrand::Rng,
    mut take: impl FnMut(usize, &Pick<'_>) -> Option<T>,
) -> Picked<T> {
    let mut passed = tried.clone();
    let mut sticky = selection.sticky.filter(|index| !tried.contains(*index));
    let mut full = false;
    while !passed.is_full() {
        let mut pick = Pick::new(selection.key, &passed, rng).at(selection.moment).copied(selection.copied);
        let next = sticky.take().or_else(|| members.balancer.pick(&members.snapshot, &mut pick));
        let Some(index) = next else { break };
        if !selection.passes_over(members, index) {
            if let Some(taken) = take(index, &pick) {
                return Picked::One(taken);
            }
            full = true;
        }
        passed.insert(index);
    }
    search(members, selection, (tried, &passed), rng, full, take)
}

/// Looks at every backend that was not tried: first at those of the members that were not passed over, then at the others,
/// and last at those in doubt.
#[cold]
fn search<T>(
    members: &Members,
    selection: Selection,
    (tried, passed): (&Tried, &Tried),
    rng: &mut fastrand::Rng,
    full: bool,
    mut take: impl FnMut(usize, &Pick<'_>) -> Option<T>,
) -> Picked<T> {
    let (count, all) = (members.endpoints.len(), members.endpoints.len() + members.others.len());
    // From anywhere, so that what is left does not all go to one.
    let start = if count > 0 { rng.usize(..count) } else { 0 };
    let mine = (start..count).chain(0..start);
    let others = count..if selection.others { all } else { count };
    let pick = Pick::new(selection.key, passed, rng).at(selection.moment);
    let full = Cell::new(full);
    let mut offer = |index: usize| {
        let taken = take(index, &pick);
        full.set(full.get() || taken.is_none());
        taken
    };
    // All of them, if the algorithm was not asked to the end; it has room for the first few only.
    let unasked = mine.clone().filter(|index| passed.is_full() && !passed.contains(*index));
    if let Some(taken) = unasked.filter(|index| !selection.passes_over(members, *index)).find_map(&mut offer)
    {
        return Picked::One(taken);
    }
    let beyond =
        others.clone().filter(|index| !tried.contains(*index) && !selection.passes_over(members, *index));
    if !full.get()
        && let Some(taken) = beyond.clone().find_map(&mut offer)
    {
        return Picked::One(taken);
    }
    if full.get() {
        return Picked::Full;
    }
    if selection.proof.is_some() {
        return Picked::Nothing;
    }
    match mine.chain(others).filter(|index| !tried.contains(*index)).find_map(&mut offer) {
        Some(taken) => Picked::One(taken),
        None if full.get() => Picked::Full,
        None => Picked::Nothing,
    }
}

// === impl Proof ===

impl Proof {
    /// Whether this backend has shown it.
    pub(super) fn is_given_by(self, endpoint: &Endpoint, moment: Moment) -> bool {
        let counters = endpoint.backend.counters();
        match self {
            Self::Reached => !counters.reach().is_in_doubt(),
            Self::Served => !counters.reach().is_in_doubt() && counters.failures_in_a_row() == 0,
            Self::Due => !counters.reach().would_pass_over(moment, Duration::ZERO),
        }
    }
}

// === impl Selection ===

impl Selection {
    /// Whether the backend at this place could not be reached a moment ago, and it is not this request that tests it.
    #[inline]
    fn passes_over(&self, members: &Members, place: usize) -> bool {
        let Some(endpoint) = members.endpoint(place) else { return true };
        let counters = endpoint.backend.counters();
        if self.proof.is_some_and(|proof| !proof.is_given_by(endpoint, self.moment)) {
            return true;
        }
        let reach = counters.reach();
        match self.test {
            Some(patience) => reach.passes_over(self.moment, self.grace, patience),
            None => reach.would_pass_over(self.moment, self.grace),
        }
    }
}
