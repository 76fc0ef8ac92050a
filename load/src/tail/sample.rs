//! What became of each request, and what that comes to: quantiles, shares, and how long a change took to show. Every
//! sample is kept, so nothing here is an estimate. Knows nothing of how it was measured.

use std::time::Duration;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// When it was due, in microseconds after the warm-up; below 0 during it.
    pub(crate) at: i64,
    /// How much later it was sent, in microseconds.
    pub(crate) late: u32,
    /// From when it was due to the end of its answer, in microseconds.
    pub(crate) took: u32,
    /// The port of the backend that answered, or [`FAILED`](Self::FAILED).
    pub(crate) backend: u16,
    /// Whether the machine stood still around its beginning or its end, so that its time says nothing.
    pub(crate) disturbed: bool,
}

/// Samples, in the order in which they were due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Samples(Vec<Sample>);

/// How long a share must be what it is, to be judged: long enough for a few hundred requests, so that chance is small.
pub(crate) const JUDGED: Duration = Duration::from_secs(1);

/// How much time a look at the course of a share takes in.
pub(crate) const WINDOW: Duration = Duration::from_millis(250);

/// How finely a moment is looked for.
const STEP: Duration = Duration::from_millis(50);

// === impl Sample ===

impl Sample {
    /// In place of a backend: the request failed.
    pub(crate) const FAILED: u16 = 0;
}

// === impl Samples ===

impl Samples {
    /// In any order.
    pub(crate) fn new(mut samples: Vec<Sample>) -> Self {
        samples.sort_by_key(|s| s.at);
        Self(samples)
    }

    pub(crate) fn all(&self) -> &[Sample] {
        &self.0
    }

    /// Those after the warm-up.
    pub(crate) fn counted(&self) -> Self {
        Self(self.0.iter().copied().filter(|s| s.at >= 0).collect())
    }

    /// Those whose time says something.
    pub(crate) fn undisturbed(&self) -> Self {
        Self(self.0.iter().copied().filter(|s| !s.disturbed).collect())
    }

    /// Those due from then on and before then.
    pub(crate) fn between(&self, from: Duration, to: Duration) -> &[Sample] {
        let index = |time: Duration| self.0.partition_point(|s| s.at < time.as_micros() as i64);
        self.0.get(index(from)..index(to)).unwrap_or_default()
    }

    /// How many failed.
    pub(crate) fn failed(&self) -> usize {
        self.0.iter().filter(|s| s.backend == Sample::FAILED).count()
    }

    /// The time that this part of the requests took at most, in milliseconds. Failures took as long as they did.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        quantile_ms(self.0.iter().map(|s| s.took), quantile)
    }

    /// How late this part of the requests was sent at most, in milliseconds.
    pub(crate) fn lateness_ms(&self, quantile: f64) -> Option<f64> {
        quantile_ms(self.0.iter().map(|s| s.late), quantile)
    }

    /// How long after `change` a backend had `least` of the requests over [`JUDGED`], in seconds; infinite if it never did
    /// before `end`.
    pub(crate) fn share_back(&self, backend: u16, change: Duration, end: Duration, least: f64) -> f64 {
        let mut moments = moments(change, end);
        let back = moments.find(|at| share(self.between(*at, *at + JUDGED), backend) >= least);
        back.map_or(f64::INFINITY, |at| (at - change).as_secs_f64())
    }

    /// How long after `change` a backend had less than `most` of the requests over each [`WINDOW`] of the next [`JUDGED`], not
    /// counting one request, and less than that until `end` in all, in seconds; infinite if that never was so.
    pub(crate) fn share_lost(&self, backend: u16, change: Duration, end: Duration, most: f64) -> f64 {
        let is_small = |at: Duration| {
            let window = self.between(at, at + WINDOW);
            // One may be a retest: an algorithm that never asks again never learns of the recovery.
            share(window, backend) - 1.0 / (window.len().max(1) as f64) < most
        };
        let stays_small = |at: &Duration| {
            let mut starts =
                (0..).map(|step| *at + STEP * step).take_while(|from| *from + WINDOW <= *at + JUDGED);
            starts.all(is_small) && share(self.between(*at, end), backend) < most
        };
        moments(change, end).find(stays_small).map_or(f64::INFINITY, |at| (at - change).as_secs_f64())
    }
}

/// The moments from which one can look as far ahead as is needed.
fn moments(from: Duration, end: Duration) -> impl Iterator<Item = Duration> {
    (0..).map(move |step| from + STEP * step).take_while(move |at| *at + JUDGED <= end)
}

/// The part of these that a backend answered.
pub(crate) fn share(samples: &[Sample], backend: u16) -> f64 {
    samples.iter().filter(|s| s.backend == backend).count() as f64 / samples.len().max(1) as f64
}

/// The smallest value that is not exceeded by this part of all, given in microseconds.
pub(crate) fn quantile_ms(micros: impl Iterator<Item = u32>, quantile: f64) -> Option<f64> {
    let mut micros: Vec<u32> = micros.collect();
    let rank = (micros.len() as f64 * quantile).ceil() as usize;
    let index = rank.clamp(1, micros.len().max(1)) - 1;
    if index >= micros.len() {
        return None;
    }
    let (_, value, _) = micros.select_nth_unstable(index);
    Some(f64::from(*value) / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A thousand requests a second, each to the backend that `choose` names, given the millisecond.
    fn samples(seconds: i64, choose: impl Fn(i64) -> u16) -> Samples {
        let sample =
            |ms: i64| Sample { at: ms * 1000, late: 0, took: 10_000, backend: choose(ms), disturbed: false };
        Samples::new((0..seconds * 1000).map(sample).collect())
    }

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let of = |quantile| quantile_ms((1..=1000).map(|ms| ms * 1000), quantile);
        assert_eq!(of(0.5), Some(500.0));
        assert_eq!(of(0.99), Some(990.0));
        assert_eq!(of(0.999), Some(999.0));
        assert_eq!(of(1.0), Some(1000.0));
        assert_eq!(quantile_ms([7000].into_iter(), 0.0), Some(7.0));
        assert_eq!(quantile_ms(std::iter::empty(), 0.5), None);
    }

    #[test]
    fn samples_are_sorted_and_sifted() {
        let samples = Samples::new(vec![
            Sample { at: 5, late: 1, took: 10_000, backend: 18_081, disturbed: true },
            Sample { at: -5, late: 0, took: u32::MAX, backend: Sample::FAILED, disturbed: false },
        ]);
        assert_eq!(samples.all()[0].at, -5);
        assert_eq!((samples.failed(), samples.counted().failed()), (1, 0));
        assert_eq!(samples.undisturbed().all().len(), 1);
    }

    #[test]
    fn a_share_is_back_once_a_whole_second_has_it() {
        // A tenth from 12.5 s on.
        let samples = samples(20, |ms| if ms >= 12_500 && ms % 10 == 0 { 1 } else { 2 });
        let back = samples.share_back(1, SECOND * 10, SECOND * 20, 0.08);
        // A window that begins 0.2 s earlier has 80 of its 1000.
        assert!((back - 2.3).abs() < 0.051, "{back}");
        assert!(samples.share_back(3, SECOND * 10, SECOND * 20, 0.08).is_infinite());
        assert!(samples.share_back(2, SECOND * 10, SECOND * 20, 0.08).abs() < 1e-9, "it never was away");
    }

    #[test]
    fn a_share_is_lost_once_it_stays_away_but_for_a_retest() {
        // Gone from 10.7 s on, but for a request each 2 s.
        let samples = samples(20, |ms| if ms % 10 == 0 && ms < 10_700 || ms % 2000 == 0 { 1 } else { 2 });
        let lost = samples.share_lost(1, SECOND * 10, SECOND * 20, 0.01);
        // A window that begins at 10.7 s has none; one that begins 0.05 s earlier has five of its 250.
        assert!((lost - 0.7).abs() < 1e-9, "{lost}");
        assert!(samples.share_lost(2, SECOND * 10, SECOND * 20, 0.01).is_infinite());
        assert!(samples.share_lost(3, SECOND * 10, SECOND * 20, 0.01).abs() < 1e-9);
    }

    #[test]
    fn a_share_that_comes_again_is_not_lost() {
        let pause = samples(20, |ms| if (11_000..12_500).contains(&ms) || ms % 10 != 0 { 2 } else { 1 });
        assert!(pause.share_lost(1, SECOND * 10, SECOND * 20, 0.01).is_infinite());
        // Half a percent, but never more than one at once, is what retests come to.
        let seldom = samples(20, |ms| if ms % 200 == 0 { 1 } else { 2 });
        assert!(seldom.share_lost(1, SECOND * 10, SECOND * 20, 0.01).abs() < 1e-9);
    }
}
