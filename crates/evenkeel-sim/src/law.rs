//! How long a backend works on a request.

use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

/// The distribution of a backend's service times, not counting the wait for a free slot. No time is shorter than a
/// microsecond.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Law {
    /// Always the same.
    Constant(Duration),
    /// Memoryless: the M in M/M/1.
    Exponential {
        /// The mean time.
        mean: Duration,
    },
    /// What most services look like: a bell on a logarithmic scale.
    LogNormal {
        /// Half of the times are below.
        median: Duration,
        /// The spread: the standard deviation of the time's logarithm. 0.5 is calm, 1.5 wild.
        sigma: f64,
    },
    /// A heavy tail: few requests take very long.
    Pareto {
        /// The shortest time.
        minimum: Duration,
        /// How fast the tail thins out. At 1 and below the mean is infinite, at 2 and below the variance.
        shape: f64,
    },
    /// Whatever was measured: any of these times, each as likely as the others.
    Empirical(Samples),
}

/// Measured times, at least one. Cloning shares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Samples(Arc<[Duration]>);

/// A service time is at least this many nanoseconds, so that time always goes on.
const SHORTEST: f64 = 1_000.0;

// === impl Law ===

impl Law {
    /// A parameter with which there is no such distribution.
    pub(super) fn invalid_parameter(&self) -> Option<f64> {
        match *self {
            Self::Constant(_) | Self::Exponential { .. } | Self::Empirical(_) => None,
            Self::LogNormal { sigma, .. } => {
                Some(sigma).filter(|sigma| !(sigma.is_finite() && *sigma >= 0.0))
            }
            Self::Pareto { shape, .. } => Some(shape).filter(|shape| !(shape.is_finite() && *shape > 0.0)),
        }
    }

    /// A service time in nanoseconds, `factor` times as long as the law has it. Saturates.
    pub(super) fn sample(&self, factor: f64, rng: &mut fastrand::Rng) -> u64 {
        let nanos = match *self {
            Self::Constant(time) => nanos(time),
            Self::Exponential { mean } => nanos(mean) * standard_exponential(rng),
            Self::LogNormal { median, sigma } => nanos(median) * (sigma * standard_normal(rng)).exp(),
            Self::Pareto { minimum, shape } => nanos(minimum) * (standard_exponential(rng) / shape).exp(),
            Self::Empirical(ref samples) => nanos(samples.draw(rng)),
        };
        (nanos * factor).max(SHORTEST) as u64
    }
}

// === impl Samples ===

impl Samples {
    /// These times, in any order; `None` when there are none.
    pub fn new(times: impl Into<Arc<[Duration]>>) -> Option<Self> {
        let times = times.into();
        if times.is_empty() { None } else { Some(Self(times)) }
    }

    /// The times, in the order given.
    pub fn times(&self) -> &[Duration] {
        &self.0
    }

    fn draw(&self, rng: &mut fastrand::Rng) -> Duration {
        let index = rng.u64(..self.0.len() as u64);
        self.0.get(index as usize).copied().unwrap_or_default()
    }
}

/// A time with mean one.
pub(super) fn standard_exponential(rng: &mut fastrand::Rng) -> f64 {
    // One minus a number in [0, 1) is never zero.
    -(1.0 - rng.f64()).ln()
}

/// Box and Muller, 1958.
fn standard_normal(rng: &mut fastrand::Rng) -> f64 {
    (2.0 * standard_exponential(rng)).sqrt() * (TAU * rng.f64()).cos()
}

fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean and the median of many samples, in milliseconds.
    fn mean_and_median(law: Law) -> (f64, f64) {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut samples: Vec<f64> = (0..100_001).map(|_| law.sample(1.0, &mut rng) as f64 / 1e6).collect();
        samples.sort_by(f64::total_cmp);
        (samples.iter().sum::<f64>() / samples.len() as f64, samples[samples.len() / 2])
    }

    #[track_caller]
    fn assert_near(measured: f64, theory: f64) {
        assert!((measured / theory - 1.0).abs() < 0.02, "measured {measured}, theory {theory}");
    }

    #[test]
    fn samples_have_the_mean_and_median_of_their_law() {
        let ms = Duration::from_millis;
        let (mean, median) = mean_and_median(Law::Constant(ms(3)));
        assert_eq!((mean.round(), median), (3.0, 3.0));
        let (mean, median) = mean_and_median(Law::Exponential { mean: ms(10) });
        assert_near(mean, 10.0);
        assert_near(median, 10.0 * 2.0_f64.ln());
        let (mean, median) = mean_and_median(Law::LogNormal { median: ms(10), sigma: 0.8 });
        assert_near(mean, 10.0 * 0.32_f64.exp());
        assert_near(median, 10.0);
        let (mean, median) = mean_and_median(Law::Pareto { minimum: ms(10), shape: 3.0 });
        assert_near(mean, 15.0);
        assert_near(median, 10.0 * 2.0_f64.powf(1.0 / 3.0));
    }

    #[test]
    fn what_was_measured_comes_as_often_as_it_was() {
        assert_eq!(Samples::new([]), None);
        let times = [1, 1, 1, 5].map(Duration::from_millis);
        let (mean, median) = mean_and_median(Law::Empirical(Samples::new(times).unwrap()));
        assert_near(mean, 2.0);
        assert_eq!(median, 1.0);
    }

    #[test]
    fn extremes_saturate() {
        let mut rng = fastrand::Rng::with_seed(2);
        assert_eq!(Law::Constant(Duration::ZERO).sample(1.0, &mut rng), 1_000);
        assert_eq!(Law::Constant(Duration::MAX).sample(2.0, &mut rng), u64::MAX);
    }
}
