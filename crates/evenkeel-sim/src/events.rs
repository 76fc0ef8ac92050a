//! What happens next: a queue ordered by virtual time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Nanoseconds since the world began.
pub(super) type Time = u64;

/// Things to come. Of several at one time, the one that was planned first comes first.
#[derive(Debug)]
pub(super) struct Events<E> {
    heap: BinaryHeap<Reverse<Planned<E>>>,
    planned: u64,
}

#[derive(Debug)]
struct Planned<E> {
    time: Time,
    order: u64,
    event: E,
}

// === impl Events ===

impl<E> Events<E> {
    pub(super) fn new() -> Self {
        Self { heap: BinaryHeap::new(), planned: 0 }
    }

    pub(super) fn plan(&mut self, time: Time, event: E) {
        self.heap.push(Reverse(Planned { time, order: self.planned, event }));
        self.planned += 1;
    }

    pub(super) fn next(&mut self) -> Option<(Time, E)> {
        self.heap.pop().map(|Reverse(planned)| (planned.time, planned.event))
    }
}

// === impl Planned ===

impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.time, self.order).cmp(&(other.time, other.order))
    }
}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Planned<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_then_in_the_order_planned() {
        let mut events = Events::new();
        for (time, name) in [(5, "c"), (1, "a"), (5, "d"), (3, "b")] {
            events.plan(time, name);
        }
        let order: Vec<_> = std::iter::from_fn(|| events.next()).collect();
        assert_eq!(order, [(1, "a"), (3, "b"), (5, "c"), (5, "d")]);
    }
}
