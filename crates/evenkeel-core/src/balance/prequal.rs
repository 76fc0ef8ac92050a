//! The backend with the lowest latency of those that are not hot, by what was learned of a few of them.
//!
//! # The problem
//! Even load is not what users feel: latency is. A backend may be slow with little in flight, because it shares its machine
//! with others, or fast with much. And what one balancer counts is not what the backend has, where several send to it.
//!
//! # The idea
//! For each request, probe a few random backends for their requests in flight and their latency. No request waits for
//! the results. They go into a pool, from which this and later requests pick. The hot-cold rule: a backend is hot if it
//! has more in flight (for its weight) than a high quantile of recent reports, and more than four. Of the cold
//! backends, the one with the lowest latency is picked. If all are hot, the one with the fewest in flight. So latency
//! decides until load becomes dangerous. Latencies up to 1.5 times the lowest count as equal: then the fewest in flight
//! decides, so that noise does not give one backend more than its share.
//!
//! A report ages: attempts that started later are added to its requests in flight; it is dropped when it is too old or
//! was used often enough; and from time to time the oldest or the worst report is dropped, because otherwise only bad
//! reports would be left. A backend whose last attempts failed counts as slower, twofold for each failure, so that
//! failing fast attracts no requests.
//!
//! Without a probe path, or while the pool has fewer than two reports, the balancer's own measurements replace reports:
//! eight backends are drawn by weight for each request, and judged by their attempts in flight from here and their
//! average response time. A backend that looks slow is tested as in [`PeakEwma`](super::PeakEwma).
//!
//! Source: B. Wydrowski, R. Kleinberg, S. Rumble, A. Archer, "Load is not what you should balance: introducing Prequal", NSDI
//! 2024. The rule, the pool, its sizes, and how often a report is used come from there. Our own are the factor of 1.5,
//!       the four that are never hot, the weights, and the behavior without probes.
//!
//! # Cost
//! O(1) a choice, however many backends: the pool, or eight backends, are looked at, each a cache line. Probes cost the
//! backends a small request each.
//!
//! # When not to use it
//! With few requests a second for each backend, a pool is mostly old and own measurements are all there is: then
//! [`PeakEwma`](super::PeakEwma) is as good and looks at two. With two or three backends "more than most" says little.

use std::sync::Arc;
use std::time::Duration;

use super::probe_pool::{MAX_POOL, ProbePool, Probed};
use super::quantile::Quantile;
use super::weighted::WeightedTable;
use super::{Balancer, Pick, PrequalOptions, Sample, Tried};
use crate::backend::{Backend, Member, Reported, Smoothing, Snapshot};

/// Backends drawn for a request without probes.
const LOOKS: usize = 8;
/// Latencies up to this many times the lowest count as equal. Less lets noise send many requests to the backend that
/// looked best last. More hides slow backends.
const SLACK: f32 = 1.5;
/// This many in flight, at the mean weight, is never hot, however few the others have: a short burst must not send
/// requests to a backend that is known to be slow.
const NEVER_HOT: f32 = 4.0;
/// How own measurements follow, and the longest pause between tests of what looks slow.
const SMOOTHING: Smoothing = Smoothing::mean(Duration::from_secs(1));
const RETEST: Duration = Duration::from_secs(4);
/// A test that is due is made by one request in so many.
const TEST_ONE_IN: u32 = 32;
/// What one has in flight is learned from one look in so many.
const LEARN_ONE_IN: u32 = 16;
/// Reports dropped for each probe, apart from those that are too old: a third of what comes.
const DROPPED_PER_PROBE: f64 = 1.0 / 3.0;
/// How much more often a report may be used than it must be, for all requests to find one.
const SPARE: f64 = 2.0;
/// Most probes for one request.
const MAX_PROBES: usize = 8;

/// Chooses by reports of backends or by own measurements. Before its first [`rebuild`](Balancer::rebuild) it knows no weights and
/// takes no reports.
#[derive(Debug)]
pub struct Prequal {
    options: PrequalOptions,
    table: WeightedTable,
    mean_weight: f32,
    /// How many attempts may follow one report.
    reuse: u64,
    pool: ProbePool,
    hot: Arc<Quantile>,
}

/// What is known of a backend that may be chosen.
#[derive(Clone, Copy, Default)]
struct Seen {
    index: usize,
    /// In flight, per weight, where the mean weight is one.
    load: f32,
    /// In microseconds.
    latency: f32,
}

/// Some of those, in a place that needs no allocation.
struct Shortlist {
    seen: [Seen; MAX_POOL],
    count: usize,
}

// === impl Prequal ===

impl Prequal {
    /// With these parameters. A pool has at least one place and at most 32.
    pub fn new(options: PrequalOptions) -> Self {
        let hot = Arc::new(Quantile::new(options.hot_quantile));
        Self {
            options,
            table: WeightedTable::default(),
            mean_weight: 1.0,
            reuse: 1,
            pool: ProbePool::default(),
            hot,
        }
    }

    /// What this was made with.
    pub fn options(&self) -> &PrequalOptions {
        &self.options
    }

    /// Which backends to probe on the occasion of a request: different ones, drawn by weight,
    /// [`probes_per_request`](PrequalOptions::probes_per_request) of them on average and eight at most.
    pub fn to_probe<'a>(
        &'a self,
        candidates: &Snapshot,
        rng: &'a mut fastrand::Rng,
    ) -> impl Iterator<Item = usize> + use<'a> {
        let (wanted, count) =
            (self.options.probes_per_request.clamp(0.0, MAX_PROBES as f64), candidates.len());
        let more = usize::from(rng.f64() < wanted.fract());
        let mut drawn = Tried::default();
        (0..(wanted as usize + more).min(count)).filter_map(move |_| {
            // A backend that was drawn already is drawn again, but not forever.
            let fresh =
                (0..LOOKS).map(|_| self.table.draw(count, rng)).find(|&index| !drawn.contains(index))?;
            drawn.insert(fresh);
            Some(fresh)
        })
    }

    /// What a backend that was probed says. `candidates` is the set that this balancer was rebuilt with.
    pub fn report(&self, candidates: &Snapshot, index: usize, report: Reported) {
        let Some(member) = candidates.members().get(index) else { return };
        member.backend.counters().report(report);
        self.pool.add(index, candidates);
        self.hot.learn(self.load(report.in_flight, member));
    }

    /// The load above which a backend is hot.
    #[inline]
    fn hot(&self) -> f32 {
        self.hot.get().max(NEVER_HOT)
    }

    /// In flight for its weight.
    #[inline]
    fn load(&self, in_flight: u32, member: &Member) -> f32 {
        in_flight as f32 * self.mean_weight / member.weight.get() as f32
    }

    /// Those in the pool whose reports may be used.
    #[inline]
    fn reported(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Shortlist {
        let mut list = Shortlist::default();
        let (mut oldest, mut worst) = (None, None);
        for probed in self.pool.probed(candidates) {
            if request.now.since(probed.report.at) > self.options.max_age || probed.since >= self.reuse {
                self.pool.remove(probed.slot, probed.index);
                continue;
            }
            if request.tried.contains(probed.index) {
                continue;
            }
            let seen = self.judge_reported(&probed);
            list.push(seen);
            let place = (probed.slot, probed.index);
            if oldest.is_none_or(|(at, _)| probed.report.at < at) {
                oldest = Some((probed.report.at, place));
            }
            if worst.is_none_or(|(other, _)| self.is_worse(seen, other)) {
                worst = Some((seen, place));
            }
        }
        // What is dropped may still be chosen by this request.
        if request.rng.f64() < self.options.probes_per_request * DROPPED_PER_PROBE {
            let place = if request.rng.bool() {
                worst.map(|(_, place)| place)
            } else {
                oldest.map(|(_, place)| place)
            };
            if let Some((slot, index)) = place {
                self.pool.remove(slot, index);
            }
        }
        list
    }

    #[inline]
    fn judge_reported(&self, probed: &Probed<'_>) -> Seen {
        let counters = probed.member.backend.counters();
        let begun = u32::try_from(probed.since).unwrap_or(u32::MAX);
        let in_flight = probed.report.in_flight.saturating_add(begun).max(counters.in_flight());
        let failures = counters.failures_in_a_row().min(16);
        let latency = match probed.report.latency {
            Some(latency) => latency.as_secs_f32() * 1e6 * (1_u32 << failures) as f32,
            None => own_latency(probed.member),
        };
        Seen { index: probed.index, load: self.load(in_flight, probed.member), latency }
    }

    /// Hot before cold, by load; the cold by latency.
    #[inline]
    fn is_worse(&self, one: Seen, other: Seen) -> bool {
        let hot = self.hot();
        match (one.load > hot, other.load > hot) {
            (true, true) => one.load > other.load,
            (false, false) => one.latency > other.latency,
            (one_is_hot, _) => one_is_hot,
        }
    }

    /// Some drawn by weight, the first of them first, judged by own measurements.
    #[inline]
    fn drawn(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Shortlist {
        let mut list = Shortlist::default();
        let few = candidates.len() <= LOOKS;
        let looks = if few { candidates.len() + 1 } else { LOOKS };
        for look in 0..looks {
            // Of a few each is looked at, after one drawn by weight to which ties belong.
            let index = match look.checked_sub(1) {
                Some(index) if few => Some(index).filter(|&index| !request.tried.contains(index)),
                _ => self.table.draw_untried(candidates, request, None),
            };
            if let Some(index) = index
                && let Some(member) = candidates.members().get(index)
            {
                let load = self.load(member.backend.counters().in_flight(), member);
                list.push(Seen { index, load, latency: own_latency(member) });
            }
        }
        if request.rng.u32(..LEARN_ONE_IN) == 0 {
            list.seen().iter().for_each(|seen| self.hot.learn(seen.load));
        }
        list
    }

    /// One that looks slow, has nothing in flight, and shall be tested by this request.
    #[inline]
    fn to_test(&self, candidates: &Snapshot, list: &Shortlist, request: &mut Pick<'_>) -> Option<usize> {
        if request.rng.u32(..TEST_ONE_IN) != 0 {
            return None;
        }
        let most = list.lowest_latency(f32::INFINITY) * SLACK;
        let due = |seen: &&Seen| {
            let counters = candidates.members().get(seen.index).map(|member| member.backend.counters());
            let slow = seen.latency > most && seen.load == 0.0;
            slow && counters.is_some_and(|counters| counters.latency().claim_test(request.now, RETEST))
        };
        list.seen().iter().find(due).map(|seen| seen.index)
    }
}

/// The expected time of an attempt from the response times, in microseconds. Zero without measurements, so that the
/// backend is tried; one second for each attempt in flight until its first response.
#[inline]
fn own_latency(member: &Member) -> f32 {
    let counters = member.backend.counters();
    counters.latency().estimate_micros().unwrap_or_else(|| 1e6 * counters.in_flight() as f32)
}

impl Default for Prequal {
    fn default() -> Self {
        Self::new(PrequalOptions::default())
    }
}

impl Balancer for Prequal {
    #[inline]
    fn pick(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Option<usize> {
        if self.options.probe_path.is_some() {
            let list = self.reported(candidates, request);
            if list.count >= 2 {
                // Ties belong to whom a draw by weight hits, if that is there.
                let hit = self.table.draw(candidates.len(), request.rng);
                let first = list.seen().iter().position(|seen| seen.index == hit);
                let first = first.unwrap_or_else(|| request.rng.usize(..list.count));
                return list.best(self.hot(), first);
            }
        }
        let list = self.drawn(candidates, request);
        match self.to_test(candidates, &list, request) {
            Some(index) if request.must_hear(index) => Some(index),
            _ => list.best(self.hot(), 0),
        }
    }

    fn score(&self, candidates: &Snapshot, index: usize, _: &Pick<'_>) -> Option<f64> {
        let member = candidates.members().get(index)?;
        // In milliseconds, as people speak of latencies; what is hot says the rule, not this.
        Some(f64::from(own_latency(member)) / 1e3)
    }

    fn rebuild(&self, candidates: &Snapshot) -> Option<Arc<dyn Balancer>> {
        let count = candidates.len().max(1) as f64;
        let weights = candidates.members().iter().map(|member| f64::from(member.weight.get()));
        // The paper's limit: how often a report must be used for all requests to find one, with some to spare.
        let probes = self.options.probes_per_request;
        let fresh = (1.0 - self.options.pool_size as f64 / count) * probes - probes * DROPPED_PER_PROBE;
        let reuse = if fresh > 0.0 { (SPARE / fresh).max(1.0) as u64 } else { u64::MAX };
        Some(Arc::new(Self {
            options: self.options.clone(),
            table: WeightedTable::new(candidates),
            mean_weight: (weights.sum::<f64>() / count) as f32,
            reuse,
            pool: ProbePool::new(self.options.pool_size, candidates),
            hot: Arc::clone(&self.hot),
        }))
    }

    fn observe(&self, backend: &Backend, sample: Sample) {
        sample.teach(backend.counters().latency(), SMOOTHING);
    }

    fn probing(&self) -> Option<&Prequal> {
        self.options.probe_path.is_some().then_some(self)
    }
}

// === impl Shortlist ===

impl Default for Shortlist {
    fn default() -> Self {
        Self { seen: [Seen::default(); MAX_POOL], count: 0 }
    }
}

impl Shortlist {
    #[inline]
    fn push(&mut self, seen: Seen) {
        if let Some(place) = self.seen.get_mut(self.count) {
            *place = seen;
            self.count += 1;
        }
    }

    #[inline]
    fn seen(&self) -> &[Seen] {
        self.seen.get(..self.count).unwrap_or_default()
    }

    /// Of those with no more load than this.
    #[inline]
    fn lowest_latency(&self, most: f32) -> f32 {
        let cold = self.seen().iter().filter(|seen| seen.load <= most);
        cold.map(|seen| seen.latency).fold(f32::INFINITY, f32::min)
    }

    /// By the hot-cold rule; of several that are as good, the first from `first` on.
    #[inline]
    fn best(&self, hot: f32, first: usize) -> Option<usize> {
        let lowest = self.lowest_latency(hot);
        let all_hot = lowest == f32::INFINITY;
        let (before, from) = self.seen().split_at_checked(first)?;
        let good = |seen: &&Seen| all_hot || seen.load <= hot && seen.latency <= lowest * SLACK;
        let least =
            from.iter().chain(before).filter(good).min_by(|one, other| one.load.total_cmp(&other.load));
        least.map(|seen| seen.index)
    }
}

#[cfg(test)]
mod tests;
