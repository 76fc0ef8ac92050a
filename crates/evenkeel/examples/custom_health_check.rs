//! A health check of one's own: a backend is healthy while its reported lag is below a second.

use std::pin::Pin;

use evenkeel::algorithm::Address;
use evenkeel::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Reads the lag of a replica, in a protocol of its own: it sends `LAG\n` and receives milliseconds.
#[derive(Debug)]
struct Lag;

impl Check for Lag {
    fn check<'a>(
        &'a self,
        target: &'a Target,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        Box::pin(async move {
            let Address::Tcp(address) = &target.address else { return Err("not over TCP".to_owned()) };
            let explain = |error: std::io::Error| error.to_string();
            let mut socket = TcpStream::connect(address).await.map_err(explain)?;
            socket.write_all(b"LAG\n").await.map_err(explain)?;
            let mut answer = String::new();
            socket.take(16).read_to_string(&mut answer).await.map_err(explain)?;
            match answer.trim().parse::<u64>() {
                Ok(..1_000) => Ok(()),
                Ok(lag) => Err(format!("{lag} ms behind")),
                Err(_) => Err("no number".to_owned()),
            }
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = ConfigBuilder::new()
        .listen_address("127.0.0.1:8080")
        .upstream_servers(["http://127.0.0.1:8081", "http://127.0.0.1:8082"])
        .health_check(HealthCheckBuilder::custom("lag").port(9000))
        .build();
    Server::new(config).health_check("lag", || Lag).run().await?;
    Ok(())
}
