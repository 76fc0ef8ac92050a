//! Asks backends for their load, on the occasion of requests and without holding any up: what `prequal` picks by.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_core::backend::{BackendId, BackendMap, Reported};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::probe::LoadProbe;
use crate::upstream::{Members, Upstream, moment_of};

/// Probes for the load of one upstream's backends. Cloning gives another hold of the same.
#[derive(Clone, Debug, Default)]
pub(super) struct LoadProbes(Arc<Mutex<BackendMap<Arc<LoadProbe>>>>);

/// Probes for load.
#[derive(Debug)]
pub(super) struct Prober {
    pub(super) upstream: Arc<Upstream>,
    pub(super) probes: LoadProbes,
}

/// How often to check for new requests: often enough that the results serve the next requests.
const BUSY: Duration = Duration::from_millis(10);
/// The same while there are none.
const IDLE: Duration = Duration::from_millis(100);
/// Most probes under way; requests beyond that ask for none.
const MOST: usize = 64;

// === impl LoadProbes ===

impl LoadProbes {
    /// A backend has joined.
    pub(super) fn add(&self, id: BackendId, probe: Arc<LoadProbe>) {
        self.0.lock().insert(id, probe);
    }

    /// A backend has left.
    pub(super) fn remove(&self, id: BackendId) {
        self.0.lock().remove(id);
    }

    fn get(&self, id: BackendId) -> Option<Arc<LoadProbe>> {
        self.0.lock().get(id).cloned()
    }
}

// === impl Prober ===

impl Prober {
    /// Probes forever. Probes in progress end with this future.
    pub(super) async fn run(self) {
        let mut asked = JoinSet::new();
        let mut rng = fastrand::Rng::new();
        let mut before = self.upstream.requests();
        loop {
            let now = self.upstream.requests();
            let members = self.upstream.members.load_full();
            for _ in before..now {
                if asked.len() >= MOST {
                    break;
                }
                self.ask(&members, &mut rng, &mut asked);
            }
            drop(members);
            tokio::time::sleep(if now > before { BUSY } else { IDLE }).await;
            while asked.try_join_next().is_some() {}
            before = now;
        }
    }

    fn ask(&self, members: &Arc<Members>, rng: &mut fastrand::Rng, asked: &mut JoinSet<()>) {
        let Some(algorithm) = members.balancer.probing() else { return };
        for index in algorithm.to_probe(&members.snapshot, rng) {
            let id = members.endpoints.get(index).map(|endpoint| endpoint.id);
            let Some(probe) = id.and_then(|id| self.probes.get(id)) else { continue };
            let members = members.clone();
            asked.spawn(async move {
                // A backend that does not say is one of which nothing is known: the algorithm has its own measurements.
                let Ok(load) = probe.ask().await else { return };
                let report = Reported::new(load.in_flight, Some(load.latency), moment_of(Instant::now()));
                if let Some(algorithm) = members.balancer.probing() {
                    algorithm.report(&members.snapshot, index, report);
                }
            });
        }
    }
}
