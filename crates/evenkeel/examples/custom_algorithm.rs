//! An algorithm of one's own: the first backend takes everything until it is busy, then the next.

use std::sync::Arc;

use evenkeel::algorithm::Snapshot;
use evenkeel::prelude::*;

/// Fills one backend after another: what keeps the last ones idle, so that they can be switched off.
#[derive(Debug)]
struct FillUp {
    /// How many requests a backend of weight one serves at a time.
    busy_at: u32,
}

impl Balancer for FillUp {
    fn pick(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Option<usize> {
        let members = candidates.members();
        let left = || (0..members.len()).filter(|&index| !request.tried.contains(index));
        let in_flight = |index: usize| {
            members.get(index).map(|m| m.backend.counters().in_flight() / m.weight.get()).unwrap_or(u32::MAX)
        };
        let idle = left().find(|&index| in_flight(index) < self.busy_at);
        idle.or_else(|| left().min_by_key(|&index| in_flight(index)))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = ConfigBuilder::new()
        .listen_address("127.0.0.1:8080")
        .upstream_servers(["http://127.0.0.1:8081", "http://127.0.0.1:8082"])
        .load_balancing_algorithm(LoadBalancingAlgorithm::Custom(Arc::new(FillUp { busy_at: 16 })))
        .build();
    Server::new(config).run().await?;
    Ok(())
}
