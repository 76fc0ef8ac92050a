//! A quantile of the last numbers that were seen, by whichever core.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// So many numbers are remembered.
const WINDOW: usize = 64;
/// The quantile is computed again after this many samples.
const EVERY: u32 = 16;

/// A quantile of the last 64 numbers. Reading it is one load; learning a number is two stores, and each 16th time a search
/// among them.
#[derive(Debug)]
pub(super) struct Quantile {
    /// From 0 to 1.
    rank: f64,
    /// Floats, as are all numbers here.
    value: AtomicU32,
    next: AtomicU32,
    window: [AtomicU32; WINDOW],
}

// === impl Quantile ===

impl Quantile {
    /// Infinite, until enough was learned.
    pub(super) fn new(rank: f64) -> Self {
        let window = std::array::from_fn(|_| AtomicU32::new(0));
        Self { rank, value: AtomicU32::new(f32::INFINITY.to_bits()), next: AtomicU32::new(0), window }
    }

    #[inline]
    pub(super) fn get(&self) -> f32 {
        f32::from_bits(self.value.load(Relaxed))
    }

    pub(super) fn learn(&self, number: f32) {
        let turn = self.next.fetch_add(1, Relaxed);
        if let Some(slot) = self.window.get(turn as usize % WINDOW) {
            slot.store(number.to_bits(), Relaxed);
        }
        if turn % EVERY == EVERY - 1 {
            // Turns wrap to fewer than the window's size, which costs one moment of fewer numbers in 2^32.
            self.find((turn as usize + 1).min(WINDOW));
        }
    }

    fn find(&self, count: usize) {
        let mut numbers = [0.0_f32; WINDOW];
        for (number, slot) in numbers.iter_mut().zip(&self.window) {
            *number = f32::from_bits(slot.load(Relaxed));
        }
        let Some(known) = numbers.get_mut(..count) else { return };
        let rank = ((count as f64 * self.rank).ceil() as usize).clamp(1, count) - 1;
        let (_, value, _) = known.select_nth_unstable_by(rank, f32::total_cmp);
        self.value.store(value.to_bits(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_the_last_ones() {
        let quantile = Quantile::new(0.84);
        assert_eq!(quantile.get(), f32::INFINITY);
        (1..=16).for_each(|number| quantile.learn(number as f32));
        assert_eq!(quantile.get(), 14.0);
        (1..=64).rev().for_each(|number| quantile.learn(number as f32));
        assert_eq!(quantile.get(), 54.0);
        (0..64).for_each(|_| quantile.learn(3.0));
        assert_eq!(quantile.get(), 3.0);
    }

    #[test]
    fn its_ends_are_the_least_and_the_most() {
        for (rank, expected) in [(0.0, 0.0), (1.0, 15.0)] {
            let quantile = Quantile::new(rank);
            (0..16).for_each(|number| quantile.learn(number as f32));
            assert_eq!(quantile.get(), expected);
        }
    }
}
