//! How busy a backend is for its weight, compared exactly.

use std::cmp::Ordering;

use crate::backend::Member;

/// Attempts in flight per weight, as a fraction that is never divided out: `a/b < c/d` when `a*d < c*b`, and both
/// products of two 32-bit numbers fit into 64 bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    in_flight: u32,
    weight: u32,
}

// === impl Load ===

impl Load {
    /// The load at this moment; other cores change it at any time.
    #[inline]
    pub(super) fn of(member: &Member) -> Self {
        Self { in_flight: member.backend.counters().in_flight(), weight: member.weight.get() }
    }

    /// The fraction divided out, for people to read.
    pub(super) fn quotient(self) -> f64 {
        f64::from(self.in_flight) / f64::from(self.weight)
    }

    #[inline]
    pub(super) fn compare(self, other: Self) -> Ordering {
        let left = u64::from(self.in_flight) * u64::from(other.weight);
        let right = u64::from(other.in_flight) * u64::from(self.weight);
        left.cmp(&right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_exactly_where_floats_would_not() {
        let load = |in_flight, weight| Load { in_flight, weight };
        assert_eq!(load(1, 2).compare(load(2, 4)), Ordering::Equal);
        assert_eq!(load(0, 1).compare(load(0, u32::MAX)), Ordering::Equal);
        assert_eq!(load(u32::MAX, u32::MAX - 1).compare(load(u32::MAX - 1, u32::MAX - 2)), Ordering::Less);
        assert_eq!(load(u32::MAX, 1).compare(load(1, u32::MAX)), Ordering::Greater);
    }
}
