//! Asks backends for their load, on the occasion of requests and without holding any up: what `prequal` chooses by.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_core::backend::Reported;
use tokio::task::JoinSet;

use crate::probe::LoadProbe;
use crate::upstream::{Members, Upstream, moment_of};

/// Probes for the load of one upstream's backends, in their order.
#[derive(Debug)]
pub(super) struct Prober {
    pub(super) upstream: Arc<Upstream>,
    pub(super) probes: Vec<Arc<LoadProbe>>,
}

/// How often to check for new requests: often enough that the results serve the next requests.
const BUSY: Duration = Duration::from_millis(10);
/// The same while there are none.
const IDLE: Duration = Duration::from_millis(100);
/// Most probes under way; requests beyond that ask for none.
const MOST: usize = 64;

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
            tokio::time::sleep(if now > before { BUSY } else { IDLE }).await;
            while asked.try_join_next().is_some() {}
            before = now;
        }
    }

    fn ask(&self, members: &Arc<Members>, rng: &mut fastrand::Rng, asked: &mut JoinSet<()>) {
        let Some(algorithm) = members.balancer.probing() else { return };
        for index in algorithm.to_probe(&members.snapshot, rng) {
            let Some(probe) = self.probe_of(members, index) else { continue };
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

    fn probe_of(&self, members: &Members, index: usize) -> Option<Arc<LoadProbe>> {
        let chosen = members.endpoints.get(index)?;
        let place = self.upstream.all.iter().position(|endpoint| Arc::ptr_eq(endpoint, chosen))?;
        self.probes.get(place).cloned()
    }
}
