//! How a backend is chosen, told to people: shortly for the access log, and asked beforehand without an attempt.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::Moment;
use evenkeel_core::balance::Tried;

use super::pick::{Picked, Selection, pick};
use super::{Endpoint, Members, Upstream};

/// How many backends a text names that were left out.
const NAMED: usize = 5;

/// How the last backend of a request was chosen. Only made for routes that ask for it.
#[derive(Debug, Default)]
pub(super) struct Explained {
    text: String,
}

/// What a choice went by.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PickDetails {
    /// What the algorithm thought of the backend, if it has a number for that.
    pub(super) score: Option<f64>,
    /// Whether the client's cookie named it.
    pub(super) sticky: bool,
    /// How many backends had been tried before.
    pub(super) tried: usize,
    /// How many were skipped over because they had no room, or could not be reached a moment ago.
    pub(super) skipped: usize,
}

/// What choosing would come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WouldChoose {
    /// The backend at this place of the members.
    Backend(usize),
    /// Nothing now: all that may be chosen are busy.
    Full,
    /// Nothing: there are none.
    Nothing,
}

// === impl Explained ===

impl Explained {
    /// Takes note of a choice, in place of the one before.
    pub(super) fn note(&mut self, upstream: &Upstream, members: &Members, details: PickDetails) {
        let PickDetails { score, sticky, tried, skipped } = details;
        let (out, text) = (left_out(members), &mut self.text);
        text.clear();
        let _ =
            write!(text, "{}: {} of {}", upstream.algorithm, members.endpoints.len(), members.roster.len());
        if sticky {
            text.push_str(", by cookie");
        }
        for (count, what) in [(tried, "tried"), (skipped, "passed over")] {
            if count > 0 {
                let _ = write!(text, ", {count} {what}");
            }
        }
        if let Some(score) = score {
            let _ = write!(text, ", score {}", (score * 1e3).round() / 1e3);
        }
        for (at, endpoint) in out.iter().take(NAMED).enumerate() {
            let _ = write!(text, "{}{}", if at == 0 { "; out: " } else { ", " }, endpoint.backend.name());
        }
        if let Some(more) = out.len().checked_sub(NAMED + 1) {
            let _ = write!(text, " and {} more", more + 1);
        }
    }

    /// As the access log has it: `least_connections: 2 of 3, score 1.5; out: http://10.0.0.3:80`.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// The backends that cannot be picked. Members are in the same order as all backends.
fn left_out(members: &Members) -> Vec<&Endpoint> {
    let mut picked = members.endpoints.iter().peekable();
    let is_out = |endpoint: &&Arc<Endpoint>| picked.next_if(|member| Arc::ptr_eq(member, endpoint)).is_none();
    members.roster.iter().filter(is_out).map(Arc::as_ref).collect()
}

/// Which backend a request with this key and this named backend would be sent to first, now. Takes no lease and counts no
/// attempt, but the algorithm is truly asked: one that gives turns gives one away.
pub fn would_choose(
    upstream: &Upstream,
    members: &Members,
    (key, named): (u64, Option<usize>),
    now: Moment,
) -> WouldChoose {
    let most = upstream.gate.limits.max_connections.map_or(u32::MAX, |most| most.get());
    let (test, grace) = (None, Duration::ZERO);
    let selection =
        Selection { key, sticky: named, moment: now, copied: true, others: false, test, grace, proof: None };
    let found = pick(members, selection, &Tried::default(), &mut fastrand::Rng::new(), |index, _| {
        let endpoint = members.endpoints.get(index)?;
        (endpoint.backend.counters().in_flight() < most).then_some(index)
    });
    match found {
        Picked::One(index) => WouldChoose::Backend(index),
        Picked::Full => WouldChoose::Full,
        Picked::Nothing => WouldChoose::Nothing,
    }
}
