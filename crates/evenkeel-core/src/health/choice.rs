//! Who may be chosen: priority levels, zones, what is done when too few are left.
//!
//! * The lowest level that has a usable backend is used, and no other: one usable backend of level 0 gets everything,
//!   however many there are in level 1. The panic threshold counts over all levels.
//! * Within the level, backends in the balancer's own zone are preferred, as long as at least half of the level's local ones
//!   are usable. With fewer, all zones are used: what is left at home would have to carry more than twice its load.
//! * In a panic, and when all backends are down and the upstream fails open, requests go to all backends as if all were
//!   up: of one level, in every zone, with their full weights. In a panic it is the level that would be used; when all
//!   are down it is the lowest. Only a backend that waits for its first success ([`Start::Down`](super::Start::Down))
//!   receives nothing even then.
//! * A request that could reach none of the chosen ones tries the others before it fails: see [`Choice::others`].

use super::{Policy, WhenAllDown};
use crate::Moment;
use crate::backend::BackendId;

/// What may be chosen now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Backends in the order in which they were given, and the weight of each, never zero. While any of
    /// them starts slowly all weights are scaled by the same factor, at most a thousand; otherwise they are as configured.
    /// Empty if and only if the mode is [`Mode::Refuse`].
    pub members: Vec<(BackendId, u32)>,
    /// What is left to be tried by a request that could reach no member, the first of these first: usable backends of other
    /// levels and zones, then, unless the upstream refuses requests without a usable one, those that are not usable.
    pub others: Vec<BackendId>,
    /// How that came about.
    pub mode: Mode,
    /// When it changes without an event: an ejection ends, a weight grows.
    pub next: Option<Moment>,
}

/// How an upstream chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Among those that are usable.
    Normal,
    /// None is usable: among all of the lowest level.
    FailOpen,
    /// Too few are usable: among all of the level in use.
    Panic,
    /// There is nothing to choose from, and requests are refused.
    Refuse,
}

/// A backend that has a weight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) id: BackendId,
    pub(super) weight: u32,
    pub(super) priority: u8,
    pub(super) local: bool,
    pub(super) standing: Standing,
}

/// What a candidate is good for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Standing {
    /// With this share of its weight.
    Usable(f64),
    /// Only when there is nothing better.
    Unusable,
    /// Nothing.
    Waits,
}

/// The mode and the members.
pub(super) fn choose(candidates: &[Candidate], policy: &Policy) -> (Mode, Vec<(BackendId, u32)>) {
    let usable = candidates.iter().filter(|c| c.is_usable());
    let Some(level) = usable.clone().map(|c| c.priority).min() else {
        return without_usable(candidates, policy.when_all_down);
    };
    if (usable.count() as f64) < policy.panic_threshold * candidates.len() as f64 {
        return (Mode::Panic, as_if_up(candidates, level));
    }
    let at_home = candidates.iter().filter(|c| c.priority == level && c.local);
    let usable_at_home = at_home.clone().filter(|c| c.is_usable()).count();
    let stay = usable_at_home > 0 && usable_at_home * 2 >= at_home.count();
    let chosen = candidates.iter().filter(|c| c.priority == level && (c.local || !stay));
    let chosen: Vec<_> = chosen.filter_map(|c| c.share().map(|share| (c.id, c.weight, share))).collect();
    (Mode::Normal, scaled(&chosen))
}

/// The candidates that are not members, in the order in which they are worth trying.
pub(super) fn others(
    candidates: &[Candidate],
    members: &[(BackendId, u32)],
    policy: &Policy,
) -> Vec<BackendId> {
    if members.len() == candidates.len() || members.is_empty() {
        return Vec::new();
    }
    // Both are in the same order.
    let mut members = members.iter().peekable();
    let open = policy.when_all_down == WhenAllDown::FailOpen;
    let left = candidates.iter().filter(|c| members.next_if(|(member, _)| *member == c.id).is_none());
    let mut left: Vec<&Candidate> =
        left.filter(|c| c.is_usable() || open && c.standing == Standing::Unusable).collect();
    // Stable: those that are alike stay in their order.
    left.sort_by_key(|c| (!c.is_usable(), c.priority));
    left.into_iter().map(|c| c.id).collect()
}

fn without_usable(candidates: &[Candidate], when_all_down: WhenAllDown) -> (Mode, Vec<(BackendId, u32)>) {
    let open = candidates.iter().filter(|c| c.standing != Standing::Waits);
    match (when_all_down, open.map(|c| c.priority).min()) {
        (WhenAllDown::FailOpen, Some(lowest)) => (Mode::FailOpen, as_if_up(candidates, lowest)),
        _ => (Mode::Refuse, Vec::new()),
    }
}

fn as_if_up(candidates: &[Candidate], level: u8) -> Vec<(BackendId, u32)> {
    let open = candidates.iter().filter(|c| c.priority == level && c.standing != Standing::Waits);
    open.map(|c| (c.id, c.weight)).collect()
}

/// Weights as whole numbers: unchanged if no backend is in slow start, else a thousand times as large, or as much as
/// fits.
fn scaled(members: &[(BackendId, u32, f64)]) -> Vec<(BackendId, u32)> {
    if members.iter().all(|&(.., share)| share >= 1.0) {
        return members.iter().map(|&(id, weight, _)| (id, weight)).collect();
    }
    let largest = members.iter().map(|&(_, weight, _)| weight).max().unwrap_or(1);
    let scale = (u32::MAX / largest.max(1)).clamp(1, 1000);
    let scaled = |weight: u32, share: f64| (f64::from(weight * scale) * share).round().max(1.0) as u32;
    members.iter().map(|&(id, weight, share)| (id, scaled(weight, share))).collect()
}

// === impl Candidate ===

impl Candidate {
    fn is_usable(&self) -> bool {
        self.share().is_some()
    }

    fn share(&self) -> Option<f64> {
        match self.standing {
            Standing::Usable(share) => Some(share),
            Standing::Unusable | Standing::Waits => None,
        }
    }
}
