//! The founding example: two backends, requests spread evenly.

use evenkeel::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let upstream_servers = vec!["http://127.0.0.1:8081", "http://127.0.0.1:8082"];
    let config = ConfigBuilder::new()
        .listen_address("127.0.0.1:8080")
        .upstream_servers(upstream_servers)
        .load_balancing_algorithm(LoadBalancingAlgorithm::RoundRobin)
        .build();
    let mut server = Server::new(config);
    server.run().await?;
    Ok(())
}
