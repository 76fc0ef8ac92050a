//! The gRPC health check against a real gRPC server, with the health service that comes with gRPC.

#![cfg(test)]

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::support::{Balancer, PATIENCE};

/// Python's gRPC server. Its health service reports the status that the test sets.
struct Server {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    port: u16,
}

// === impl Server ===

impl Server {
    /// `None` where there is no such thing: `EVENKEEL_GRPC_HEALTH` names the folder that it was installed to.
    fn start(without_health: bool) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/grpc_health.py");
        let mut command = Command::new("python3");
        command.arg(script).arg("127.0.0.1:0").stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(folder) = std::env::var_os("EVENKEEL_GRPC_HEALTH") {
            command.env("PYTHONPATH", folder);
        }
        if without_health {
            command.env("EVENKEEL_NO_HEALTH", "1");
        }
        let mut child = command.stderr(Stdio::null()).spawn().ok()?;
        let input = child.stdin.take().expect("it is piped");
        let mut output = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let Some(Ok(line)) = output.next() else {
            eprintln!("skipped: no python3 with grpc_health; EVENKEEL_GRPC_HEALTH may name the folder");
            child.wait().expect("it ends");
            return None;
        };
        Some(Self { child, input, output, port: line.parse().expect("a port") })
    }

    fn say(&mut self, status: &str) {
        writeln!(self.input, "{status}").expect("it listens");
        assert_eq!(self.output.next().expect("a response").expect("text"), "ok");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn balancer(server: &Server, service: &str) -> Balancer {
    let check =
        format!("{{ grpc: {{ service: '{service}' }}, interval: 300ms, timeout: 300ms, fall: 2, rise: 1 }}");
    let backend = format!("http://127.0.0.1:{}", server.port);
    Balancer::start(&format!("upstreams: {{ rpc: {{ backends: ['{backend}'], health_check: {check} }} }}"))
        .await
}

async fn until(balancer: &Balancer, state: &str) -> Value {
    let limit = Instant::now() + PATIENCE;
    loop {
        let backend = balancer.status().await["upstreams"][0]["backends"][0].clone();
        if backend["state"] == state && backend["last_probe"] != Value::Null {
            return backend["last_probe"].clone();
        }
        assert!(Instant::now() < limit, "never {state}: {backend}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_server_is_as_well_as_its_health_service_says() {
    let Some(mut server) = Server::start(false) else { return };
    server.say("- SERVING");
    let balancer = balancer(&server, "").await;
    assert_eq!(until(&balancer, "up").await["result"], "passed");
    server.say("- NOT_SERVING");
    assert_eq!(until(&balancer, "down").await["reason"], "gRPC: NOT_SERVING");
    server.say("- SERVING");
    assert_eq!(until(&balancer, "up").await["result"], "passed");
}

#[tokio::test]
async fn a_service_is_asked_for_by_name() {
    let Some(mut server) = Server::start(false) else { return };
    server.say("- SERVING");
    server.say("orders NOT_SERVING");
    let balancer = balancer(&server, "orders").await;
    assert_eq!(until(&balancer, "down").await["reason"], "gRPC: NOT_SERVING");
    server.say("orders SERVING");
    until(&balancer, "up").await;
}

#[tokio::test]
async fn a_server_without_a_health_service_says_so() {
    let Some(server) = Server::start(true) else { return };
    let balancer = balancer(&server, "").await;
    let reason = until(&balancer, "down").await["reason"].clone();
    assert!(reason.as_str().is_some_and(|reason| reason.contains("UNIMPLEMENTED")), "{reason}");
}
