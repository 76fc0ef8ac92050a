//! A real server and its own benchmark, where they are installed.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

use super::backends::{Front, Way};
use crate::support::{PATIENCE, eventually};

/// A Redis server that ends with the test.
struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    /// `None` if it is not installed.
    async fn start() -> Option<Self> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        let arguments =
            ["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--daemonize", "no"];
        let child = Command::new("redis-server").args(arguments).stdout(Stdio::null()).spawn();
        let redis = Self { child: child.ok()?, port };
        eventually(PATIENCE, || std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()).await;
        Some(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_passes_its_benchmark_and_its_health_check() {
    let Some(redis) = Redis::start().await else {
        eprintln!("skipped: redis-server is not installed");
        return;
    };
    let check = ", health_check: { tcp: { protocol: redis }, interval: 100ms, start: down }";
    let front = Front::start(Way::Plain, &[format!("tcp://127.0.0.1:{}", redis.port)], "", check).await;
    let started = std::time::Instant::now();
    loop {
        let status = front.balancer.status().await;
        if status["upstreams"][0]["backends"][0]["last_probe"]["result"] == "passed" {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "never healthy: {status:#}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let port = front.balancer.address().port().to_string();
    let arguments =
        ["-h", "127.0.0.1", "-p", &port, "-n", "2000", "-c", "20", "-t", "set,get", "-P", "4", "--csv"]
            .map(str::to_owned);
    let ran = tokio::task::spawn_blocking(move || Command::new("redis-benchmark").args(arguments).output());
    match ran.await.expect("no panic") {
        Err(error) => eprintln!("skipped: redis-benchmark: {error}"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("\"GET\""), "{said}");
            let records = front.balancer.log_lines(20).await;
            // Each client of the benchmark says when it is done.
            assert!(records.iter().all(|record| record["end"] == "ok" || record["end"] == "client_left"));
        }
    }
}
