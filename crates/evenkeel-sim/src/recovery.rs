//! How long it takes until a fault is no longer felt, and until a backend that has recovered is used again.
//!
//! Both are measured in windows, and count only from two windows in a row: one may be luck.

use std::time::Duration;

use super::events::Time;
use super::fault::Fault;
use super::histogram::Histogram;
use super::nanos;
use super::report::{FaultReport, Recovery};
use super::tally::{Part, Windows};
use super::world::World;

/// A backend has its share back with this much of it.
const MOST_OF_IT: f64 = 0.8;

/// How every fault of the world was overcome that began within its duration.
pub(super) fn reports(world: &World, windows: &Windows) -> Vec<FaultReport> {
    let course = Course { world, windows };
    let faults = world.backends.iter().enumerate().flat_map(|(backend, model)| {
        model
            .faults
            .iter()
            .filter(|fault| fault.begins_before(world.duration))
            .map(move |&fault| (backend, fault))
    });
    let report = |(backend, fault): (usize, Fault)| FaultReport {
        backend,
        fault,
        recovered: course.recovered(&fault),
        returned: course.returned(backend, &fault),
    };
    faults.map(report).collect()
}

/// What happened when.
struct Course<'a> {
    world: &'a World,
    windows: &'a Windows,
}

// === impl Course ===

impl Course<'_> {
    /// The time until 99 % of the requests were about as fast as before it.
    fn recovered(&self, fault: &Fault) -> Option<Recovery> {
        let mut before = Histogram::new();
        let mut errors = 0;
        for part in self.undisturbed(nanos(fault.span().start)) {
            before.add(&part.latency);
            errors += part.errors;
        }
        let usual = (before.count() > 0).then(|| before.per_mille_with(990, errors))?;
        let bound = usual.saturating_add((usual / 4).max(1_000_000));
        let is_well = |part: &Part| {
            (part.requests() > 0).then(|| part.latency.per_mille_with(990, part.errors) <= bound)
        };
        Some(self.first_after(nanos(fault.span().start), is_well))
    }

    /// After how long its backend had its share again.
    fn returned(&self, backend: usize, fault: &Fault) -> Option<Recovery> {
        let end = nanos(fault.span().end);
        if end >= nanos(self.world.duration) {
            return None;
        }
        let shares = self.undisturbed(nanos(fault.span().start)).filter_map(|part| part.share(backend));
        let (sum, count) = shares.fold((0.0, 0.0), |(sum, count), share| (sum + share, count + 1.0));
        let usual = if sum > 0.0 { sum / count } else { self.world.fair_share(backend) };
        Some(self.first_after(end, |part| part.share(backend).map(|share| share >= MOST_OF_IT * usual)))
    }

    /// The windows before a time in which nothing was wrong with any backend.
    fn undisturbed(&self, before: Time) -> impl Iterator<Item = &Part> {
        let faults = || self.world.backends.iter().flat_map(|model| &model.faults);
        self.windows.iter().filter_map(move |(from, part)| {
            let to = from + self.windows.width();
            let disturbs = |fault: &Fault| nanos(fault.span().start) < to && from < nanos(fault.span().end);
            (to <= before && !faults().any(disturbs)).then_some(part)
        })
    }

    /// How long after a time the first two windows in a row begin of which something holds. Those of which nothing can be
    /// said are passed over.
    fn first_after(&self, time: Time, holds: impl Fn(&Part) -> Option<bool>) -> Recovery {
        let mut first = None;
        for (from, part) in self.windows.iter().skip_while(|(from, _)| *from < time) {
            match (holds(part), first) {
                (Some(true), Some(first)) => return Recovery::After(Duration::from_nanos(first - time)),
                (Some(true), None) => first = Some(from),
                (Some(false), _) => first = None,
                (None, _) => {}
            }
        }
        Recovery::Never
    }
}
