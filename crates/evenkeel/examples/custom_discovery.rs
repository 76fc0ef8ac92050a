//! A source of backends of one's own: one process for each worker, on ports that follow each other; how many there are is in a
//! file that the program that starts them writes.

use std::pin::Pin;
use std::time::Duration;

use evenkeel::config::{Backend, BackendUrl};
use evenkeel::prelude::*;

/// As many backends as the file says, on ports from 9000 on.
#[derive(Debug)]
struct Workers {
    path: &'static str,
    /// Whether the file was read before: the first look is at once.
    read: bool,
}

impl Discovery for Workers {
    fn name(&self) -> String {
        format!("workers in {}", self.path)
    }

    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<BackendSet, DiscoveryError>> + Send + '_>> {
        Box::pin(async {
            if self.read {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            // After an error, the next look is at once as well: the balancer waits longer each time.
            self.read = false;
            let text = tokio::task::spawn_blocking({
                let path = self.path;
                move || std::fs::read_to_string(path)
            });
            let text = text.await.map_err(|_| DiscoveryError::Panicked)?;
            let text = text.map_err(|error| DiscoveryError::Unreachable(error.to_string()))?;
            let count =
                text.trim().parse::<u16>().map_err(|_| DiscoveryError::Invalid("no number".to_owned()))?;
            self.read = true;
            let backends = (0..count).map(|n| {
                let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9000 + n));
                Backend::new(BackendUrl::of(address, false))
            });
            Ok(BackendSet::new(backends))
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let upstream = UpstreamBuilder::new("web").discovery(DiscoveryBuilder::custom("workers"));
    let config = ConfigBuilder::new().listen_address("127.0.0.1:8080").upstream(upstream).build();
    let workers = || Workers { path: "/run/workers", read: false };
    Server::new(config).discovery("workers", workers).run().await?;
    Ok(())
}
