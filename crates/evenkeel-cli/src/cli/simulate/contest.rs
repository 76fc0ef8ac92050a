//! The same world once for each algorithm, on as many threads as there are cores.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use evenkeel::core::balance::LoadBalancingAlgorithm;
use evenkeel_sim::{Fault, FaultReport, InvalidWorld, Recovery, Report, Window, World};

/// The results of a world.
pub(super) struct Contest {
    pub(super) duration: Duration,
    /// In the order asked for.
    pub(super) runs: Vec<Run>,
}

/// The result of one algorithm.
pub(super) struct Run {
    pub(super) name: &'static str,
    pub(super) report: Report,
}

// === impl Contest ===

impl Contest {
    /// Runs every algorithm in the same world.
    pub(super) fn run(
        world: &(World, Duration),
        algorithms: Vec<LoadBalancingAlgorithm>,
    ) -> Result<Self, InvalidWorld> {
        let (world, duration) = world;
        let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || {
            while let Some((index, algorithm)) = {
                let index = next.fetch_add(1, Ordering::Relaxed);
                algorithms.get(index).map(|algorithm| (index, algorithm))
            } {
                let report = world.run(algorithm);
                let run = report.map(|report| Run { name: algorithm.name(), report });
                done.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((index, run));
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        std::thread::scope(|scope| (0..threads.min(algorithms.len())).for_each(|_| drop(scope.spawn(work))));
        let mut done = done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        done.sort_by_key(|(index, _)| *index);
        let runs: Result<Vec<Run>, InvalidWorld> = done.into_iter().map(|(_, run)| run).collect();
        Ok(Self { duration: *duration, runs: runs? })
    }

    /// The faults that start or end within the world's duration. They are the same for all algorithms. A permanent
    /// fault is a property of its backend.
    pub(super) fn faults(&self) -> impl Iterator<Item = &FaultReport> {
        let faults = self.runs.first().map_or(&[][..], |run| &run.report.faults);
        faults.iter().filter(|report| {
            let span = report.fault.span();
            !span.start.is_zero() || span.end < self.duration
        })
    }

    /// The backends with such faults, each once.
    pub(super) fn faulty(&self) -> Vec<usize> {
        let mut faulty: Vec<usize> = self.faults().map(|report| report.backend).collect();
        faulty.dedup();
        faulty
    }

    /// The moments within the world's duration at which a fault begins or ends, each once.
    pub(super) fn turns(&self) -> Vec<Duration> {
        let turns = |fault: &Fault| [fault.span().start, fault.span().end];
        let mut turns: Vec<Duration> = self.faults().flat_map(|report| turns(&report.fault)).collect();
        turns.retain(|turn| !turn.is_zero() && *turn < self.duration);
        turns.sort_unstable();
        turns.dedup();
        turns
    }
}

// === impl Run ===

impl Run {
    /// The slowest recovery from any fault; `None` if there was no fault.
    pub(super) fn recovered(&self) -> Option<Recovery> {
        self.report.faults.iter().filter_map(|fault| fault.recovered).max()
    }

    /// The slowest return of any backend that had a fault; `None` if there was no fault.
    pub(super) fn returned(&self) -> Option<Recovery> {
        self.report.faults.iter().filter_map(|fault| fault.returned).max()
    }

    /// The share of the attempts that these backends had in each window; `None` for a window without attempts.
    pub(super) fn shares(&self, backends: &[usize]) -> Vec<Option<f64>> {
        let sum = |attempts: &mut dyn Iterator<Item = &u32>| attempts.copied().map(u64::from).sum::<u64>();
        let share = |window: &Window| {
            let all = sum(&mut window.attempts.iter());
            let theirs = sum(&mut backends.iter().filter_map(|&backend| window.attempts.get(backend)));
            (all > 0).then(|| theirs as f64 / all as f64)
        };
        self.report.windows.iter().map(share).collect()
    }

    /// The p99 of each window, in milliseconds; `None` for a window without responses.
    pub(super) fn p99s(&self) -> Vec<Option<f64>> {
        self.report.windows.iter().map(|window| Some(window.p99?.as_secs_f64() * 1_000.0)).collect()
    }
}
