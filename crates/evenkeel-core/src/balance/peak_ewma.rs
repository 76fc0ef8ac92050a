//! Picks the one of two backends with the lower expected response time.
//!
//! # The problem
//! Attempts in flight show who is slow only while many are in flight. At a light load every backend has none or one, and
//! one that takes ten times as long as its peers still gets nearly its share: that is what the slowest requests are.
//!
//! # The idea
//! Draw two different backends by weight and take the one with the lower cost: its recent response time, times its
//! attempts in flight plus this one, divided by its weight. The response time is an exponentially weighted moving
//! average that follows a rise at once and a fall slowly. A failure doubles it, so that failing fast attracts no
//! requests. A backend without measurements costs nothing while idle, so it is tried, and one second for each attempt
//! in flight until its first response.
//!
//! What looks slow is not drawn into use by letting its average fade, as that sends it a request each time it has faded
//! far enough: it is tested. When it loses a draw, has nothing in flight and was last heard of `retest` ago, it wins one
//! such draw in eight; so however little traffic there is, tests are a small part of it. Until tests have found it slow a
//! few times in a row they come up to eight times sooner. What the test takes replaces the average. Where a copy of a request
//! may be sent ([`Pick::copied`]), the copy is the test, and no request waits for a backend that looks slow.
//!
//! If both look slow, with more than twice the recent response time of all backends, two more are drawn, at most twice.
//! Otherwise the requests that draw two slow backends of ten would be slow.
//!
//! Source: Finagle's `Load Balancer: Peak EWMA` (Twitter, 2015), which linkerd took over; for the two draws M. Mitzenmacher,
//! see [`PowerOfTwoChoices`](super::PowerOfTwoChoices). The tests instead of fading and the second look are our own.
//!
//! # Cost
//! O(1) per pick, however many backends: two draws and the counters of two backends; three times that if many are slow.
//! One word per backend, written once per attempt; one word for all, written when the response times change.
//!
//! # When not to use it
//! If the durations of requests differ by orders of magnitude on every backend, a backend is blamed for the long
//! requests that it happened to receive: [`LeastConnections`](super::LeastConnections) does not have this problem. If
//! responses start before the work is done (streams, long polls), their latency means little.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::weighted::WeightedTable;
use super::{Balancer, PeakEwmaOptions, Pick, Sample};
use crate::backend::{Backend, Member, Smoothing, Snapshot};

/// What an attempt in flight costs where nothing is known yet, in microseconds.
const UNKNOWN: f64 = 1e6;
/// A test that is due is made by one in so many of those who could.
const ONE_IN: u32 = 8;
/// So many pairs are drawn at most.
const PAIRS: usize = 3;
/// How many times the typical latency looks slow.
const SLOW: f64 = 2.0;

/// Picks the one of two with the lower expected response time, both drawn by weight. Before its first
/// [`rebuild`](Balancer::rebuild) all weights count as equal in the draw.
#[derive(Debug, Default)]
pub struct PeakEwma {
    options: PeakEwmaOptions,
    table: WeightedTable,
    typical: Arc<Typical>,
}

/// The typical response time of all backends: a slow average, in microseconds as a float; zero before the first.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Typical(AtomicU32);

/// A backend that was drawn.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    index: usize,
    member: &'a Member,
    in_flight: u32,
    estimate: Option<f32>,
}

// === impl PeakEwma ===

impl PeakEwma {
    /// With these parameters.
    pub fn new(options: PeakEwmaOptions) -> Self {
        Self { options, ..Self::default() }
    }

    fn draw<'a>(
        &self,
        candidates: &'a Snapshot,
        request: &mut Pick<'_>,
        except: Option<usize>,
    ) -> Option<Candidate<'a>> {
        let index = self.table.draw_untried(candidates, request, except)?;
        candidates.members().get(index).map(|member| Candidate::new(index, member))
    }

    /// Whether this backend, which lost, is to be tested by this request.
    #[inline]
    fn tests(&self, loser: Candidate<'_>, request: &mut Pick<'_>) -> bool {
        loser.in_flight == 0
            && loser.estimate.is_some()
            && request.rng.u32(..ONE_IN) == 0
            && loser.member.backend.counters().latency().claim_test(request.now, self.options.retest)
    }
}

impl Balancer for PeakEwma {
    #[inline]
    fn pick(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Option<usize> {
        let mut best = self.draw(candidates, request, None)?;
        if candidates.len() == 1 {
            return Some(best.index);
        }
        let slow = self.typical.micros() * SLOW;
        for pair in 0..PAIRS {
            if pair > 0 {
                // Another first of a pair; the one that is held stands against both.
                let Some(first) = self.draw(candidates, request, Some(best.index)) else { break };
                best = best.cheaper(first).0;
            }
            let Some(second) = self.draw(candidates, request, Some(best.index)) else { break };
            let (winner, loser) = best.cheaper(second);
            best = winner;
            if self.tests(loser, request) && request.must_hear(loser.index) {
                return Some(loser.index);
            }
            if slow == 0.0 || best.estimate.is_none_or(|estimate| f64::from(estimate) <= slow) {
                break;
            }
        }
        Some(best.index)
    }

    fn rebuild(&self, candidates: &Snapshot) -> Option<Arc<dyn Balancer>> {
        let table = WeightedTable::new(candidates);
        Some(Arc::new(Self { options: self.options.clone(), table, typical: Arc::clone(&self.typical) }))
    }

    fn observe(&self, backend: &Backend, sample: Sample) {
        sample.teach(backend.counters().latency(), Smoothing::peaks(self.options.decay));
        if sample.success && !sample.unfinished {
            self.typical.learn(sample.latency.as_secs_f32() * 1e6);
        }
    }

    fn score(&self, candidates: &Snapshot, index: usize, _: &Pick<'_>) -> Option<f64> {
        let member = candidates.members().get(index)?;
        // In milliseconds, as people speak of latencies.
        Some(Candidate::new(index, member).cost() / 1e3 / f64::from(member.weight.get()))
    }
}

// === impl Typical ===

impl Typical {
    #[inline]
    fn micros(&self) -> f64 {
        f64::from(f32::from_bits(self.0.load(Relaxed)))
    }

    /// Moves by one sixteenth of the difference, limited so that no single response moves it by more than a sixteenth
    /// of itself. Two cores at once may lose one of two steps. Small steps are not written, so that a steady state is
    /// only read.
    #[inline]
    fn learn(&self, micros: f32) {
        let known = f32::from_bits(self.0.load(Relaxed));
        let next =
            if known > 0.0 { known + (micros.min(2.0 * known) - known) / 16.0 } else { micros.max(1.0) };
        if (next - known).abs() > known / 128.0 {
            self.0.store(next.to_bits(), Relaxed);
        }
    }
}

// === impl Candidate ===

impl<'a> Candidate<'a> {
    #[inline]
    fn new(index: usize, member: &'a Member) -> Self {
        let counters = member.backend.counters();
        let (in_flight, estimate) = (counters.in_flight(), counters.latency().estimate_micros());
        Self { index, member, in_flight, estimate }
    }

    /// Microseconds, before the weight is looked at.
    #[inline]
    fn cost(self) -> f64 {
        match self.estimate {
            Some(estimate) => f64::from(estimate) * (f64::from(self.in_flight) + 1.0),
            None => UNKNOWN * f64::from(self.in_flight),
        }
    }

    /// The cheaper one for its weight, and the other; this one when they cost the same.
    #[inline]
    fn cheaper(self, other: Self) -> (Self, Self) {
        let weight = |candidate: Self| f64::from(candidate.member.weight.get());
        let other_is = other.cost() * weight(self) < self.cost() * weight(other);
        if other_is { (other, self) } else { (self, other) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Moment;
    use crate::balance::testing::{assert_follows_weights, built, busy, none_tried, picks, snapshot};

    fn answered(balancer: &dyn Balancer, candidates: &Snapshot, millis: &[u64], now: Moment) {
        // Often enough that what is typical is known.
        for (member, &millis) in (0..10).flat_map(|_| candidates.members().iter().zip(millis)) {
            balancer.observe(&member.backend, Sample::new(Duration::from_millis(millis), true, now));
        }
    }

    #[test]
    fn an_idle_pool_follows_the_weights_known_or_not() {
        for (seed, weights) in [(1, vec![1; 10]), (2, vec![5, 1, 1]), (3, vec![1000, 1])] {
            let candidates = snapshot(&weights);
            let balancer = built(&PeakEwma::default(), &candidates);
            assert_follows_weights(&picks(&*balancer, &candidates, 100_000, seed), &weights);
        }
        let candidates = snapshot(&[1; 10]);
        let balancer = built(&PeakEwma::default(), &candidates);
        answered(&*balancer, &candidates, &[10; 10], Moment::default());
        assert_follows_weights(&picks(&*balancer, &candidates, 100_000, 4), &[1; 10]);
    }

    #[test]
    fn a_score_is_the_expected_time_for_the_weight() {
        let candidates = snapshot(&[1, 2]);
        let balancer = built(&PeakEwma::default(), &candidates);
        answered(&*balancer, &candidates, &[10, 10], Moment::default());
        let _leases = busy(&candidates, &[2, 1]);
        let mut rng = fastrand::Rng::with_seed(7);
        let request = Pick::new(0, none_tried(), &mut rng);
        let scores = [0, 1].map(|index| balancer.score(&candidates, index, &request).unwrap());
        assert!((scores[0] - 30.0).abs() < 0.1 && (scores[1] - 10.0).abs() < 0.1, "{scores:?}");
    }

    #[test]
    fn what_looks_slow_is_left_out_but_for_tests() {
        let candidates = snapshot(&[1; 10]);
        let balancer = built(&PeakEwma::default(), &candidates);
        answered(&*balancer, &candidates, &[100, 100, 10, 10, 10, 10, 10, 10, 10, 10], Moment::default());
        let counts = picks(&*balancer, &candidates, 10_000, 5);
        assert!(counts[0] + counts[1] <= 10, "{counts:?}");
        let mut rng = fastrand::Rng::with_seed(6);
        let mut tests = 0;
        for millis in 0..1_000 {
            let now = Moment::from_micros(600_000 + millis);
            let index =
                balancer.pick(&candidates, &mut Pick::new(0, none_tried(), &mut rng).at(now)).unwrap();
            tests += u32::from(index < 2);
        }
        assert!((2..=4).contains(&tests), "one for each of the two slow ones: {tests}");
    }

    #[test]
    fn a_copy_is_the_test_where_there_may_be_one() {
        let candidates = snapshot(&[1; 10]);
        let balancer = built(&PeakEwma::default(), &candidates);
        answered(&*balancer, &candidates, &[100, 100, 10, 10, 10, 10, 10, 10, 10, 10], Moment::default());
        let mut rng = fastrand::Rng::with_seed(6);
        let (mut chosen, mut heard) = (0, 0);
        for millis in 0..1_000 {
            let now = Moment::from_micros(600_000 + millis);
            let mut pick = Pick::new(0, none_tried(), &mut rng).at(now).copied(true);
            chosen += u32::from(balancer.pick(&candidates, &mut pick).unwrap() < 2);
            heard += u32::from(pick.hear.is_some_and(|index| index < 2));
        }
        assert!(chosen <= 1 && (2..=4).contains(&heard), "chosen {chosen}, heard from {heard}");
    }

    #[test]
    fn whoever_never_answers_is_known_by_how_long_clients_waited() {
        let candidates = snapshot(&[1; 2]);
        let balancer = built(&PeakEwma::default(), &candidates);
        answered(&*balancer, &candidates, &[10, 10], Moment::default());
        let given_up = |millis| Sample::unfinished(Duration::from_millis(millis), Moment::default());
        balancer.observe(&candidates.members()[0].backend, given_up(2));
        let counts = picks(&*balancer, &candidates, 1_000, 7);
        assert!(counts[0] > 400, "impatient clients say nothing: {counts:?}");
        balancer.observe(&candidates.members()[0].backend, given_up(1_000));
        assert_eq!(picks(&*balancer, &candidates, 1_000, 7), [0, 1_000]);
    }

    #[test]
    fn an_unknown_one_is_tried_but_not_piled_upon() {
        let candidates = snapshot(&[1; 2]);
        let balancer = built(&PeakEwma::default(), &candidates);
        balancer.observe(
            &candidates.members()[0].backend,
            Sample::new(Duration::from_millis(10), true, Moment::default()),
        );
        assert_eq!(picks(&*balancer, &candidates, 100, 7), [0, 100]);
        let _leases = busy(&candidates, &[20, 1]);
        assert_eq!(picks(&*balancer, &candidates, 100, 7), [100, 0]);
    }

    #[test]
    fn cost_counts_what_is_in_flight_for_its_weight() {
        let candidates = snapshot(&[3, 1]);
        let balancer = built(&PeakEwma::default(), &candidates);
        answered(&*balancer, &candidates, &[10, 10], Moment::default());
        let leases = busy(&candidates, &[4, 1]);
        assert_eq!(picks(&*balancer, &candidates, 100, 8), [100, 0], "5/3 against 2");
        drop(leases);
        let _leases = busy(&candidates, &[6, 1]);
        assert_eq!(picks(&*balancer, &candidates, 100, 8), [0, 100], "7/3 against 2");
    }
}
