//! A log that is not read: requests do not wait for it, records are lost and counted, and the balancer still ends.

use std::fs::OpenOptions;
use std::process::Command;
use std::time::{Duration, Instant};

use super::super::support::samples::Samples;
use super::super::support::{Balancer, PATIENCE};

#[tokio::test]
async fn a_pipe_that_nobody_drains_blocks_no_request() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    // Another process holds its other end, and never reads.
    let held = OpenOptions::new().read(true).write(true).open(&pipe).expect("a pipe");
    let yaml = format!(
        "workers: 1\nroutes: [{{ name: all, respond: {{ body: fine }} }}]\naccess_log: {{ to: {}, format: json }}",
        pipe.display()
    );
    let balancer = Balancer::start(&yaml).await;
    let mut client = balancer.client().await;
    // A record of some 16 KiB: the pipe holds 64 KiB, the writer and the worker a mebibyte each.
    let long = "x".repeat(4000);
    let request =
        format!("GET /{long} HTTP/1.1\r\nHost: test\r\nUser-Agent: {long}\r\nReferer: {long}\r\n\r\n");
    let (mut slowest, start) = (Duration::ZERO, Instant::now());
    let mut dropped = 0.0;
    let mut sent = 0;
    while dropped < 100.0 {
        for _ in 0..50 {
            let asked = Instant::now();
            assert_eq!(client.ask(&request).await.status(), 200);
            slowest = slowest.max(asked.elapsed());
            sent += 1;
        }
        dropped = Samples::parse(&balancer.metrics().await).sum("evenkeel_access_log_dropped_total", &[]);
        assert!(start.elapsed() < PATIENCE, "no record was dropped after {sent} requests");
    }
    assert!(slowest < Duration::from_secs(1), "a request took {slowest:?}");
    assert_eq!(Samples::parse(&balancer.metrics().await).requests(), sent);

    // A reader that hangs must not hold up the end either.
    let asked = Instant::now();
    tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(|| balancer.stop()))
        .await
        .expect("it ends although its log is stuck")
        .expect("without a panic");
    assert!(asked.elapsed() < Duration::from_secs(5), "it ended only after {:?}", asked.elapsed());
    drop(held);
}
