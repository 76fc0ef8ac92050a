//! Whose probes take longer than those of its peers: a slow backend, seen without a request that has to suffer for it.
//!
//! What a probe asks is not what requests ask, so the time that it takes says nothing by itself; that it takes much longer
//! than the same probe elsewhere does.

use std::time::Duration;

use crate::backend::{BackendId, BackendMap};

/// How many times the median is slow.
const SLOW: u32 = 2;
/// Less than this above it is chance.
const CHANCE: Duration = Duration::from_millis(1);
/// Fewest backends whose median says what is normal.
const LEAST: usize = 4;

/// How long the last probe of each of an upstream's backends took.
///
/// Recording costs O(log n) on average: the normal time is computed again after all backends could have been recorded.
#[derive(Clone, Debug, Default)]
pub struct ProbeTimes {
    last: BackendMap<Option<Duration>>,
    told: usize,
    /// More than this is slow, if so many are known that anything is.
    limit: Option<Duration>,
}

// === impl ProbeTimes ===

impl ProbeTimes {
    /// A backend is probed from now on.
    pub fn add(&mut self, backend: BackendId) {
        self.last.insert(backend, None);
    }

    /// A backend is probed no longer.
    pub fn remove(&mut self, backend: BackendId) {
        self.last.remove(backend);
    }

    /// Records the time of a successful probe. Returns whether that is slow compared with the others.
    pub fn took(&mut self, backend: BackendId, time: Duration) -> bool {
        if let Some(last) = self.last.get_mut(backend) {
            *last = Some(time);
            self.told += 1;
        }
        if self.told >= self.last.len() {
            self.told = 0;
            self.measure();
        }
        self.limit.is_some_and(|limit| time > limit)
    }

    fn measure(&mut self) {
        let mut known: Vec<Duration> = self.last.values().copied().flatten().collect();
        let middle = known.len() / 2;
        self.limit = (known.len() >= LEAST).then(|| *known.select_nth_unstable(middle).1 * SLOW + CHANCE);
    }
}

#[cfg(test)]
mod tests {
    use slotmap::KeyData;

    use super::*;

    fn id(index: usize) -> BackendId {
        KeyData::from_ffi(1 << 32 | (index as u64 + 1)).into()
    }

    fn times_of(backends: usize) -> ProbeTimes {
        let mut times = ProbeTimes::default();
        (0..backends).for_each(|index| times.add(id(index)));
        times
    }

    fn told(times: &mut ProbeTimes, millis: &[u64]) -> Vec<bool> {
        let each = millis.iter().enumerate();
        each.map(|(index, &time)| times.took(id(index), Duration::from_millis(time))).collect()
    }

    #[test]
    fn slow_is_what_takes_much_longer_than_most() {
        let mut times = times_of(5);
        told(&mut times, &[10, 10, 100, 10, 12]);
        assert_eq!(told(&mut times, &[10, 20, 100, 22, 10]), [false, false, true, true, false]);
        // What is normal follows: now it is 20 ms.
        assert_eq!(told(&mut times, &[40, 41, 42, 10, 10]), [false, false, true, false, false]);
        assert_eq!(told(&mut times, &[40; 5]), [false; 5], "all alike");
    }

    #[test]
    fn few_backends_and_short_times_say_nothing() {
        let mut few = times_of(3);
        told(&mut few, &[1, 1, 100]);
        assert_eq!(told(&mut few, &[1, 1, 100]), [false; 3]);
        let mut short = times_of(4);
        for micros in [100, 100, 100, 1_100, 1_300] {
            let slow = (0..4).map(|index| {
                short.took(id(index), Duration::from_micros(if index == 3 { micros } else { 100 }))
            });
            assert_eq!(slow.last(), Some(micros > 1_200));
        }
        assert!(!short.took(id(9), Duration::from_micros(1)), "there is no such backend");
    }

    #[test]
    fn who_is_not_told_of_keeps_the_last_time() {
        let mut times = times_of(4);
        told(&mut times, &[10, 10, 10]);
        for _ in 0..8 {
            assert!(!times.took(id(0), Duration::from_millis(15)));
        }
        assert!(times.limit.is_none(), "three are too few");
        told(&mut times, &[10, 10, 10, 10]);
        assert!(times.took(id(0), Duration::from_millis(22)));
    }
}
