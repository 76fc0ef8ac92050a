//! What was measured about tails: every point and every run with changes, medians over the rounds, ratios within a round,
//! the bounds. Knows nothing of how it was measured.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::contestant::Contestant;
use super::sample::{JUDGED, Sample, Samples, WINDOW, quantile_ms, share};
use super::simulated::Simulated;
use xtask::bench::bounds::Bound;
use xtask::bench::results::Spread;

/// Everything measured in a run.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) contestants: Vec<Contestant>,
    pub(crate) rates: Vec<u32>,
    points: Vec<(Contestant, u32, Figures)>,
    courses: Vec<(Contestant, Course)>,
    pub(crate) simulated: Vec<Simulated>,
}

/// One contestant at one rate in one round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figures {
    pub(crate) requests: usize,
    pub(crate) failed: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
    /// The part of the requests that the slow backend answered.
    pub(crate) slow_share: f64,
    /// How late the load sent: 99.9 % of the requests no later than that.
    pub(crate) late_p999_ms: f64,
    /// The part of the requests whose times are not among these, as the machine stood still.
    pub(crate) disturbed: f64,
}

/// One contestant through the changes, in one round.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    pub(crate) samples: Samples,
    /// When the slow backend became fast, a fast one slow, and all ended.
    pub(crate) moments: [Duration; 3],
    /// The port of the one that becomes fast, and that of the one that becomes slow.
    pub(crate) changing: [u16; 2],
    /// The part of the requests that each backend should have if all are alike.
    pub(crate) fair: f64,
}

/// A moment of a contestant's course, over all rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    /// Its middle.
    pub(crate) at: Duration,
    /// The parts that went to the one that becomes fast, and to the one that becomes slow.
    pub(crate) shares: [f64; 2],
    pub(crate) p99_ms: f64,
}

/// The part of its fair share that a backend must have to have it back.
pub(crate) const BACK: f64 = 0.8;

/// The part of all requests below which a backend has lost its share.
pub(crate) const LOST: f64 = 0.01;

/// The load is behind if it sends this part of its requests later than this many milliseconds.
const BEHIND_MS: f64 = 1.0;

/// What the ratios are to.
pub(crate) const BASE: Contestant = Contestant::NginxLeastTime;

// === impl Results ===

impl Results {
    /// Of a run over these.
    pub(crate) fn new(contestants: Vec<Contestant>, rates: Vec<u32>) -> Self {
        Self { contestants, rates, points: Vec::new(), courses: Vec::new(), simulated: Vec::new() }
    }

    /// Adds a point of the current round.
    pub(crate) fn point(&mut self, contestant: Contestant, rate: u32, figures: Figures) {
        self.points.push((contestant, rate, figures));
    }

    /// Adds a course of the current round.
    pub(crate) fn course(&mut self, contestant: Contestant, course: Course) {
        self.courses.push((contestant, course));
    }

    /// One measure of a contestant at a rate, over the rounds.
    pub(crate) fn of(
        &self,
        contestant: Contestant,
        rate: u32,
        measure: fn(&Figures) -> f64,
    ) -> Option<Spread> {
        Spread::over(self.rounds(contestant, rate, measure))
    }

    /// One measure as a ratio to [`BASE`]'s, taken round by round.
    pub(crate) fn ratio(
        &self,
        contestant: Contestant,
        rate: u32,
        measure: fn(&Figures) -> f64,
    ) -> Option<Spread> {
        let (ours, theirs) = (self.rounds(contestant, rate, measure), self.rounds(BASE, rate, measure));
        Spread::over(ours.iter().zip(&theirs).map(|(a, b)| a / b).collect())
    }

    /// One measure of a contestant's courses, over the rounds.
    pub(crate) fn of_courses(
        &self,
        contestant: Contestant,
        measure: impl Fn(&Course) -> f64,
    ) -> Option<Spread> {
        Spread::over(self.courses_of(contestant).map(measure).collect())
    }

    /// How a contestant went through the changes, all rounds together: a look each [`WINDOW`], and each as long as [`JUDGED`],
    /// which smooths it.
    pub(crate) fn windows(&self, contestant: Contestant) -> Vec<Window> {
        let Some(first) = self.courses_of(contestant).next() else { return Vec::new() };
        let [.., end] = first.moments;
        let starts = (0..).map(|n| WINDOW * n).take_while(|from| *from + JUDGED <= end);
        starts.filter_map(|from| self.window(contestant, from, from + JUDGED)).collect()
    }

    /// When the changes were, and the end.
    pub(crate) fn moments(&self) -> Option<[Duration; 3]> {
        self.courses.first().map(|(_, course)| course.moments)
    }

    /// Failed requests of all points and courses of a contestant.
    pub(crate) fn failed(&self, contestant: Contestant) -> usize {
        let points = self.points.iter().filter(|(c, ..)| *c == contestant).map(|(.., f)| f.failed);
        points.sum::<usize>() + self.courses_of(contestant).map(|c| c.samples.failed()).sum::<usize>()
    }

    /// The points at which the load could not keep up, in words.
    pub(crate) fn behind(&self) -> Vec<String> {
        let behind = self.points.iter().filter(|(.., figures)| figures.is_behind());
        behind.map(|(c, rate, f)| format!("{} at {rate}/s: {:.1} ms", c.title(), f.late_p999_ms)).collect()
    }

    /// How many of a hundred requests had their times left out, over all points.
    pub(crate) fn disturbed(&self) -> Option<Spread> {
        Spread::over(self.points.iter().map(|(.., figures)| figures.disturbed * 100.0).collect())
    }

    /// What evenkeel, and the harness, hold themselves to.
    pub(crate) fn bounds(&self) -> Vec<Bound> {
        let mut bounds = Vec::new();
        let mut at_most = |what: String, limit: f64, unit: &'static str, spread: Option<Spread>| {
            let measured = spread.map(|s| s.median);
            bounds.push(Bound { what, limit, at_least: false, unit, measured });
        };
        for rate in &self.rates {
            let alone = self.of(Contestant::Direct, *rate, |f| f.p999_ms);
            at_most(format!("The harness, {rate}/s: p99.9 without a proxy"), HARNESS_MS, " ms", alone);
        }
        for contestant in Contestant::ALL.into_iter().filter(|c| c.is_bound()) {
            let title = contestant.title();
            for rate in &self.rates {
                let p99 = self.ratio(contestant, *rate, |f| f.p99_ms);
                at_most(format!("{title}, {rate}/s: p99 to {}", BASE.title()), 1.0, "×", p99);
                let p999 = self.ratio(contestant, *rate, |f| f.p999_ms);
                at_most(format!("{title}, {rate}/s: p99.9 to {}", BASE.title()), 1.0, "×", p999);
            }
            let back = self.of_courses(contestant, Course::back);
            at_most(format!("{title}: a backend that became fast has its share back"), 5.0, " s", back);
            let lost = self.of_courses(contestant, Course::lost);
            at_most(format!("{title}: a backend that became slow has lost its share"), 1.0, " s", lost);
            let ran = self.contestants.contains(&contestant);
            let failed = ran.then(|| self.failed(contestant) as f64).and_then(|n| Spread::over(vec![n]));
            at_most(format!("{title}: failed requests"), 0.0, "", failed);
        }
        bounds
    }

    /// Every value measured, for machines.
    pub(crate) fn json(&self, facts: &Value) -> String {
        let bound = |bound: &Bound| -> Value {
            json!({ "what": bound.what, "limit": bound.limit, "measured": bound.measured, "holds": bound.holds() })
        };
        let all = json!({
            "machine": facts,
            "points": self.points.iter().map(|(c, rate, f)| f.json(*c, *rate)).collect::<Vec<_>>(),
            "courses": self.courses.iter().map(|(c, course)| course.json(*c)).collect::<Vec<_>>(),
            "simulated": self.simulated.iter().map(Simulated::json).collect::<Vec<_>>(),
            "bounds": self.bounds().iter().map(bound).collect::<Vec<_>>(),
        });
        format!("{all:#}\n")
    }

    fn rounds(&self, contestant: Contestant, rate: u32, measure: fn(&Figures) -> f64) -> Vec<f64> {
        let mine = self.points.iter().filter(|(c, r, _)| *c == contestant && *r == rate);
        mine.map(|(.., figures)| measure(figures)).collect()
    }

    fn courses_of(&self, contestant: Contestant) -> impl Iterator<Item = &Course> {
        self.courses.iter().filter(move |(c, _)| *c == contestant).map(|(_, course)| course)
    }

    fn window(&self, contestant: Contestant, from: Duration, to: Duration) -> Option<Window> {
        let (mut took, mut shares, mut rounds) = (Vec::new(), [0.0; 2], 0.0);
        for course in self.courses_of(contestant) {
            let samples = course.samples.between(from, to);
            took.extend(samples.iter().map(|s| s.took));
            let mine = course.changing.map(|backend| share(samples, backend));
            shares = [shares[0] + mine[0], shares[1] + mine[1]];
            rounds += 1.0;
        }
        let p99_ms = quantile_ms(took.into_iter(), 0.99)?;
        Some(Window { at: from + (to - from) / 2, shares: shares.map(|sum| sum / rounds), p99_ms })
    }
}

/// What the harness may add at most to the 10 ms of a fast backend.
const HARNESS_MS: f64 = 11.0;

// === impl Figures ===

impl Figures {
    /// Of what was counted, given the port of the slow backend. None if nothing was.
    pub(crate) fn of(samples: &Samples, slow: u16) -> Option<Self> {
        let (requests, timed) = (samples.all().len(), samples.undisturbed());
        Some(Self {
            requests,
            failed: samples.failed(),
            p50_ms: timed.quantile_ms(0.5)?,
            p99_ms: timed.quantile_ms(0.99)?,
            p999_ms: timed.quantile_ms(0.999)?,
            max_ms: timed.quantile_ms(1.0)?,
            slow_share: share(samples.all(), slow),
            late_p999_ms: timed.lateness_ms(0.999)?,
            disturbed: (requests - timed.all().len()) as f64 / requests as f64,
        })
    }

    /// Whether the load could not keep up, so that these say more about it than about the proxy.
    pub(crate) fn is_behind(&self) -> bool {
        self.late_p999_ms > BEHIND_MS
    }

    fn json(&self, contestant: Contestant, rate: u32) -> Value {
        json!({
            "contestant": contestant.to_string(), "rate": rate, "requests": self.requests, "failed": self.failed,
            "p50_ms": self.p50_ms, "p99_ms": self.p99_ms, "p999_ms": self.p999_ms, "max_ms": self.max_ms,
            "slow_share": self.slow_share, "late_p999_ms": self.late_p999_ms, "disturbed": self.disturbed,
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:>6.2} ms, p99 {:>7.2} ms, p99.9 {:>7.2} ms, max {:>7.2} ms, {:>5.2} % to the slow one, {} failed, {:.1} % disturbed",
            self.p50_ms,
            self.p99_ms,
            self.p999_ms,
            self.max_ms,
            self.slow_share * 100.0,
            self.failed,
            self.disturbed * 100.0
        )?;
        if self.is_behind() {
            write!(f, "; THE LOAD FELL BEHIND by {:.1} ms", self.late_p999_ms)
        } else {
            Ok(())
        }
    }
}

// === impl Course ===

impl Course {
    /// How long the backend that became fast took to have its share back, in seconds.
    pub(crate) fn back(&self) -> f64 {
        let ([change, end, _], [backend, _]) = (self.moments, self.changing);
        self.samples.share_back(backend, change, end, self.fair * BACK)
    }

    /// How long the backend that became slow took to lose its share, in seconds.
    pub(crate) fn lost(&self) -> f64 {
        let ([_, change, end], [_, backend]) = (self.moments, self.changing);
        self.samples.share_lost(backend, change, end, LOST)
    }

    /// In windows that do not overlap, for machines.
    fn json(&self, contestant: Contestant) -> Value {
        let [.., end] = self.moments;
        let starts = (0..).map(|n| WINDOW * n).take_while(|from| *from + WINDOW <= end);
        let window = |from: Duration| -> Value {
            let samples = self.samples.between(from, from + WINDOW);
            let of = |backend: u16| samples.iter().filter(|s: &&Sample| s.backend == backend).count();
            let [faster, slower] = self.changing.map(of);
            json!({
                "at_ms": from.as_millis() as u64, "requests": samples.len(), "to_faster": faster,
                "to_slower": slower, "p99_ms": quantile_ms(samples.iter().map(|s| s.took), 0.99),
            })
        };
        json!({
            "contestant": contestant.to_string(), "back_s": self.back(), "lost_s": self.lost(),
            "failed": self.samples.failed(), "windows": starts.map(window).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |s: f64| if s.is_finite() { format!("after {s:.2} s") } else { "never".to_owned() };
        let (back, lost) = (time(self.back()), time(self.lost()));
        write!(f, "share back {back}, share lost {lost}, {} failed", self.samples.failed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(p99_ms: f64) -> Figures {
        Figures {
            requests: 100,
            failed: 0,
            p50_ms: 10.0,
            p99_ms,
            p999_ms: p99_ms,
            max_ms: p99_ms,
            slow_share: 0.1,
            late_p999_ms: 0.1,
            disturbed: 0.0,
        }
    }

    /// 100 requests a second; the first backend has a tenth from 2.5 s on, the second always.
    fn course() -> Course {
        let backend = |n: i64| match n % 10 {
            0 if n >= 250 => 1,
            1 => 2,
            _ => 3,
        };
        let sample =
            |n: i64| Sample { at: n * 10_000, late: 0, took: 20_000, backend: backend(n), disturbed: false };
        Course {
            samples: Samples::new((0..600).map(sample).collect()),
            moments: [2, 4, 6].map(Duration::from_secs),
            changing: [1, 2],
            fair: 0.1,
        }
    }

    #[test]
    fn bounds_are_held_against_the_same_round() {
        let mut results = Results::new(Contestant::ALL.to_vec(), vec![400]);
        // The second round is twice as slow for all.
        for slow in [1.0, 2.0] {
            results.point(BASE, 400, figures(15.0 * slow));
            results.point(Contestant::PeakEwma, 400, figures(12.0 * slow));
            results.point(Contestant::Prequal, 400, figures(18.0 * slow));
        }
        results.course(Contestant::PeakEwma, course());
        let bounds = results.bounds();
        let of = |what: &str| bounds.iter().find(|b| b.what.starts_with(what)).unwrap();
        assert_eq!(of("evenkeel peak_ewma, 400/s: p99 to").holds(), Some(true));
        assert_eq!(of("evenkeel prequal, 400/s: p99 to").measured, Some(1.2));
        assert_eq!(of("evenkeel prequal, 400/s: p99.9").holds(), Some(false));
        assert_eq!(of("evenkeel peak_ewma: a backend that became fast").holds(), Some(true));
        // It never loses it.
        assert_eq!(of("evenkeel peak_ewma: a backend that became slow").holds(), Some(false));
        assert_eq!(of("evenkeel prequal: a backend that became slow").holds(), None);
        assert_eq!(of("The harness").holds(), None);
    }

    #[test]
    fn windows_hold_what_all_rounds_together_saw() {
        let mut results = Results::new(Contestant::ALL.to_vec(), vec![100]);
        results.course(BASE, course());
        results.course(BASE, course());
        let windows = results.windows(BASE);
        assert_eq!(windows.len(), 21);
        let last = windows.last().unwrap();
        assert_eq!(last.at, Duration::from_millis(5500));
        assert!(last.shares.iter().all(|s| (s - 0.1).abs() < 1e-9), "{last:?}");
        assert!(windows[0].shares[0].abs() < 1e-9 && (windows[0].p99_ms - 20.0).abs() < 1e-9);
        assert!(results.windows(Contestant::Prequal).is_empty());
    }

    #[test]
    fn a_load_that_is_late_says_so() {
        let late = Figures { late_p999_ms: 1.5, ..figures(10.0) };
        assert!(late.to_string().contains("FELL BEHIND by 1.5 ms") && !figures(10.0).is_behind());
        let mut results = Results::new(Contestant::ALL.to_vec(), vec![400]);
        results.point(BASE, 400, late);
        assert_eq!(results.behind(), ["nginx least_time at 400/s: 1.5 ms"]);
    }
}
