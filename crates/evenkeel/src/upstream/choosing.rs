//! Choosing a backend that has room and can be reached: by the client's cookie, by the algorithm, and, once those were passed
//! over too often, by looking at every one.

use std::cell::Cell;
use std::time::Duration;

use evenkeel_core::Moment;
use evenkeel_core::balance::{Pick, Tried};

use super::Members;

/// What a choice goes by, apart from what was tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// The hash of what the request shares with those that it belongs to.
    pub(crate) key: u64,
    /// The backend that the client's cookie names.
    pub(crate) named: Option<usize>,
    pub(crate) moment: Moment,
    /// Whether a copy of the request may be sent, to hear from another backend.
    pub(crate) copied: bool,
    /// Whether to look beyond the members once none of them is left.
    pub(crate) others: bool,
    /// How long a test of a backend that could not be reached may take; `None` where nothing is to be tested.
    pub(crate) test: Option<Duration>,
    /// How much longer than others the request leaves such tests to them.
    pub(crate) grace: Duration,
}

/// What choosing came to.
#[derive(Debug)]
pub(crate) enum Found<T> {
    One(T),
    /// All that may be chosen are busy.
    Full,
    /// None is left that was not tried.
    Nothing,
}

/// Offers untried backends to `take`, by their place and what the choice went by, until it takes one. Backends that could not
/// be reached a moment ago are passed over as long as there are others.
#[inline]
pub(crate) fn choose<T>(
    members: &Members,
    wish: Wish,
    tried: &Tried,
    rng: &mut fastrand::Rng,
    mut take: impl FnMut(usize, &Pick<'_>) -> Option<T>,
) -> Found<T> {
    let mut passed = tried.clone();
    let mut named = wish.named.filter(|index| !tried.contains(*index));
    let mut full = false;
    while !passed.is_full() {
        let mut pick = Pick::new(wish.key, &passed, rng).at(wish.moment).copied(wish.copied);
        let next = named.take().or_else(|| members.balancer.pick(&members.snapshot, &mut pick));
        let Some(index) = next else { break };
        if !wish.passes_over(members, index) {
            if let Some(taken) = take(index, &pick) {
                return Found::One(taken);
            }
            full = true;
        }
        passed.insert(index);
    }
    search(members, wish, (tried, &passed), rng, full, take)
}

/// Looks at every backend that was not tried: first at those of the members that were not passed over, then at the others,
/// and last at those in doubt.
#[cold]
fn search<T>(
    members: &Members,
    wish: Wish,
    (tried, passed): (&Tried, &Tried),
    rng: &mut fastrand::Rng,
    full: bool,
    mut take: impl FnMut(usize, &Pick<'_>) -> Option<T>,
) -> Found<T> {
    let (count, all) = (members.endpoints.len(), members.endpoints.len() + members.others.len());
    // From anywhere, so that what is left does not all go to one.
    let start = if count > 0 { rng.usize(..count) } else { 0 };
    let mine = (start..count).chain(0..start);
    let others = count..if wish.others { all } else { count };
    let pick = Pick::new(wish.key, passed, rng).at(wish.moment);
    let full = Cell::new(full);
    let mut offer = |index: usize| {
        let taken = take(index, &pick);
        full.set(full.get() || taken.is_none());
        taken
    };
    // All of them, if the algorithm was not asked to the end; it has room for the first few only.
    let unasked = mine.clone().filter(|index| passed.is_full() && !passed.contains(*index));
    if let Some(taken) = unasked.filter(|index| !wish.passes_over(members, *index)).find_map(&mut offer) {
        return Found::One(taken);
    }
    let beyond = others.clone().filter(|index| !tried.contains(*index) && !wish.passes_over(members, *index));
    if !full.get()
        && let Some(taken) = beyond.clone().find_map(&mut offer)
    {
        return Found::One(taken);
    }
    if full.get() {
        return Found::Full;
    }
    match mine.chain(others).filter(|index| !tried.contains(*index)).find_map(&mut offer) {
        Some(taken) => Found::One(taken),
        None if full.get() => Found::Full,
        None => Found::Nothing,
    }
}

// === impl Wish ===

impl Wish {
    /// Whether the backend at this place could not be reached a moment ago, and it is not this request that tests it.
    #[inline]
    fn passes_over(&self, members: &Members, place: usize) -> bool {
        let Some(endpoint) = members.endpoint(place) else { return true };
        let reach = endpoint.backend.counters().reach();
        match self.test {
            Some(patience) => reach.passes_over(self.moment, self.grace, patience),
            None => reach.would_pass_over(self.moment, self.grace),
        }
    }
}
