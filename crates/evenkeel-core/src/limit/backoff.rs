//! How long to wait before a retry.
//!
//! # The problem
//! Requests that failed together and wait equally long come back together, and fail together.
//!
//! # The idea
//! Each pause is twice the last, and a random one of its upper half is taken: spread over time, and yet never so short
//! that nothing has changed.
//!
//! Source: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015 ("equal jitter").
//!
//! # Cost
//! One random number. What the pause costs is the request's time.
//!
//! # When not to use it
//! When the retry goes to another backend, which most do: that one is not known to be busy.

use std::time::Duration;

/// The longest pause, before a random one is taken.
const LONGEST: Duration = Duration::from_secs(10);

/// The pause before the `retry`-th retry, counted from 1: between the half and the whole of `base`, of twice `base`
/// before the second one, and so on; of 10 s at most. None if `base` is zero.
pub fn backoff(base: Duration, retry: u32, rng: &mut fastrand::Rng) -> Duration {
    let doubled = 1_u32.checked_shl(retry.saturating_sub(1)).unwrap_or(u32::MAX);
    let whole = base.saturating_mul(doubled).min(LONGEST);
    let half = whole / 2;
    half + (whole - half).mul_f64(rng.f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_between_half_and_whole_of_the_doubled_base() {
        let mut rng = fastrand::Rng::with_seed(1);
        for base in [0, 1, 3, 25, 1_000, 7_000, 60_000, u64::MAX / 1_000].map(Duration::from_millis) {
            for retry in (0..40).chain([u32::MAX - 1, u32::MAX]) {
                let doublings = 2_f64.powi(retry.saturating_sub(1).min(100) as i32);
                let whole = (base.as_secs_f64() * doublings).min(10.0);
                for _ in 0..50 {
                    let pause = backoff(base, retry, &mut rng).as_secs_f64();
                    assert!(pause >= whole / 2.0 - 1e-8, "{pause} before retry {retry} of {base:?}");
                    assert!(pause <= whole + 1e-8, "{pause} before retry {retry} of {base:?}");
                }
            }
        }
    }

    #[test]
    fn the_upper_half_is_drawn_from_evenly() {
        let mut rng = fastrand::Rng::with_seed(2);
        let pauses: Vec<f64> =
            (0..10_000).map(|_| backoff(Duration::from_secs(1), 1, &mut rng).as_secs_f64()).collect();
        let quarter = |q: usize| {
            let from = 0.5 + q as f64 * 0.125;
            pauses.iter().filter(|&&p| p >= from && p < from + 0.125).count()
        };
        for q in 0..4 {
            assert!((2_300..2_700).contains(&quarter(q)), "quarter {q}: {}", quarter(q));
        }
    }
}
