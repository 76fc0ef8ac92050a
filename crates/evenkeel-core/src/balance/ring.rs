//! A circle of points that belong to backends: a key belongs to the first point at or after its own.

use super::hash::{mix, names, nth};
use crate::backend::Snapshot;

/// Points of a backend of mean weight, at least. Their number decides how close a backend's part of the circle is to
/// its share, here within 4.4 % (one standard deviation).
const POINTS: u64 = 512;
/// Points of all backends together, about.
const MAX_POINTS: u64 = 1 << 20;

/// The points in order, 6 to 12 KiB for a backend of mean weight, 12 MiB at most.
///
/// A point depends on its backend's name and on its number only. How many points a weight has depends on the set, but only
/// by the power of two that the mean weight reaches, so that one backend more or less rarely moves another one's points.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// Each a hash in the upper half, and the index of its owner.
    points: Box<[u64]>,
    /// The circle cut into as many arcs as there are points, about, and where each begins: makes a search O(1).
    arcs: Box<[u32]>,
    members: usize,
}

// === impl Ring ===

impl Ring {
    /// O(points log points).
    pub(super) fn new(candidates: &Snapshot) -> Self {
        let names = names(candidates);
        if u32::try_from(names.len()).is_err() {
            return Self::default();
        }
        // Where two points fall together, the backends' order by name decides, which a set's order does not change.
        let mut by_rank: Vec<u32> = (0..names.len() as u32).collect();
        by_rank.sort_by_key(|&index| names.get(index as usize));
        let unit = unit(candidates);
        let mut points = Vec::new();
        for (rank, &index) in (0_u64..).zip(&by_rank) {
            let (Some(member), Some(&name)) =
                (candidates.members().get(index as usize), names.get(index as usize))
            else {
                continue;
            };
            let count = points_of(u64::from(member.weight.get()), unit).max(1);
            points.extend((0..count).map(|number| (nth(name, number) >> 32 << 32) | rank));
        }
        points.sort_unstable();
        // Ranks have done their work.
        for point in &mut points {
            let owner = by_rank.get(*point as u32 as usize).copied().unwrap_or_default();
            *point = *point >> 32 << 32 | u64::from(owner);
        }
        Self { arcs: arcs(&points), points: points.into(), members: names.len() }
    }

    /// Whether this was made of a set of so many backends.
    #[inline]
    pub(super) fn serves(&self, candidates: &Snapshot) -> bool {
        self.members == candidates.len() && !self.points.is_empty()
    }

    /// Whose point comes at a key, and whose at each point after it, once around. A backend comes as often as it has points.
    #[inline]
    pub(super) fn owners_from(&self, key: u64) -> impl Iterator<Item = usize> {
        let first = self.search((mix(key) >> 32) as u32);
        let (before, from) = self.points.split_at_checked(first).unwrap_or_default();
        from.iter().chain(before).map(|&point| point as u32 as usize)
    }

    /// The first point at or after this place; as many as there are points when there is none.
    #[inline]
    fn search(&self, place: u32) -> usize {
        let arc = (u64::from(place) >> shift(self.arcs.len())) as usize;
        let first = self.arcs.get(arc).map_or(0, |&first| first as usize);
        let after = self.points.get(first..).unwrap_or_default();
        first + after.iter().take_while(|&&point| hash(point) < place).count()
    }
}

/// What weight has [`POINTS`] points: a power of two, at most the mean weight unless there would be too many points.
fn unit(candidates: &Snapshot) -> u64 {
    let weights = || candidates.members().iter().map(|member| u64::from(member.weight.get()));
    let mean = weights().sum::<u64>() / (candidates.len() as u64).max(1);
    let mut unit = 1 << mean.max(1).ilog2();
    while weights().map(|weight| points_of(weight, unit)).sum::<u64>() > MAX_POINTS {
        unit *= 2;
    }
    unit
}

fn points_of(weight: u64, unit: u64) -> u64 {
    (weight * POINTS + unit / 2) / unit
}

#[inline]
fn hash(point: u64) -> u32 {
    (point >> 32) as u32
}

fn arcs(points: &[u64]) -> Box<[u32]> {
    let count = points.len().next_power_of_two();
    let shift = shift(count);
    let mut first = 0;
    let begin = |arc: usize| {
        let reached = |&&point: &&u64| (u64::from(hash(point)) >> shift) < arc as u64;
        first += points.get(first..).unwrap_or_default().iter().take_while(reached).count();
        first as u32
    };
    (0..count).map(begin).collect()
}

/// How far a place is shifted to become the number of its arc, for so many arcs, a power of two.
#[inline]
fn shift(arcs: usize) -> u32 {
    u32::BITS - arcs.max(1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::snapshot;

    #[test]
    fn a_search_finds_what_a_walk_would() {
        let mut rng = fastrand::Rng::with_seed(1);
        for count in [1, 2, 10, 100] {
            let ring = Ring::new(&snapshot(&vec![1; count]));
            assert_eq!(ring.points.len(), 512 * count);
            assert!(ring.points.is_sorted_by_key(|&point| hash(point)));
            for place in (0..1_000)
                .map(|_| rng.u32(..))
                .chain([0, u32::MAX])
                .chain(ring.points.iter().map(|&point| hash(point)))
            {
                let walked = ring.points.partition_point(|&point| hash(point) < place);
                assert_eq!(ring.search(place), walked, "{count} backends, {place}");
            }
        }
    }

    #[test]
    fn weights_have_points_in_proportion_within_bounds() {
        let points = |weights: &[u32]| Ring::new(&snapshot(weights)).points.len();
        assert_eq!(points(&[3, 1]), 1_024, "by a mean of two");
        assert_eq!(points(&[1_000_000, 1, 1]), 1_953 + 2, "at least one each");
        assert_eq!(points(&[u32::MAX; 3]), 3 * 1_024);
        let most = points(&[7; 20_000]);
        assert!((1 << 19..=1 << 20).contains(&most), "{most}");
        assert_eq!(points(&[]), 0);
    }

    /// The work of a search does not grow with the backends.
    #[test]
    fn a_search_takes_as_few_steps_among_many_as_among_few() {
        let mut rng = fastrand::Rng::with_seed(2);
        for count in [10, 10_000] {
            let ring = Ring::new(&snapshot(&vec![1; count]));
            let steps = |place: u32| {
                let arc = u64::from(place) >> shift(ring.arcs.len());
                1 + ring.search(place) - ring.arcs[arc as usize] as usize
            };
            let mean = (0..100_000).map(|_| steps(rng.u32(..))).sum::<usize>() as f64 / 1e5;
            assert!(mean < 2.0, "{count} backends: {mean} steps");
        }
    }
}
