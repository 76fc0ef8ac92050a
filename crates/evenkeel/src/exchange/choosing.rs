//! Choosing a backend that has room: by the client's cookie, by the algorithm, and, once those were busy too often, by looking
//! at every one.

use evenkeel_core::Moment;
use evenkeel_core::balance::{Pick, Tried};

use super::table::Members;

/// What a choice goes by, apart from what was tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// The hash of what the request shares with those that it belongs to.
    pub(super) key: u64,
    /// The backend that the client's cookie names.
    pub(super) named: Option<usize>,
    pub(super) moment: Moment,
    /// Whether a copy of the request may be sent, to hear from another backend.
    pub(super) copied: bool,
}

/// What choosing came to.
#[derive(Debug)]
pub(super) enum Found<T> {
    One(T),
    /// All that may be chosen are busy.
    Full,
    /// None is left that was not tried.
    Nothing,
}

/// Offers untried backends to `take`, by their place and what the choice went by, until it takes one.
#[inline]
pub(super) fn choose<T>(
    members: &Members,
    wish: Wish,
    tried: &Tried,
    rng: &mut fastrand::Rng,
    mut take: impl FnMut(usize, &Pick<'_>) -> Option<T>,
) -> Found<T> {
    let mut passed = tried.clone();
    let mut named = wish.named.filter(|index| !tried.contains(*index));
    let mut nothing = Found::Nothing;
    loop {
        let mut pick = Pick::new(wish.key, &passed, rng).at(wish.moment).copied(wish.copied);
        let next = named.take().or_else(|| members.balancer.pick(&members.snapshot, &mut pick));
        let Some(index) = next else { return nothing };
        if let Some(taken) = take(index, &pick) {
            return Found::One(taken);
        }
        nothing = Found::Full;
        passed.insert(index);
        if passed.is_full() {
            let pick = Pick::new(wish.key, &passed, rng).at(wish.moment);
            let mut untried = (0..members.endpoints.len()).filter(|index| !tried.contains(*index));
            return untried.find_map(|index| take(index, &pick)).map_or(Found::Full, Found::One);
        }
    }
}
