//! Load, as backends tell it.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::{Load, LoadProbe, orca};
use super::*;

fn load(in_flight: u32, microseconds: u64) -> Load {
    Load { in_flight, latency: Duration::from_micros(microseconds) }
}

#[test]
fn every_form_is_read() {
    for report in [
        "TEXT named_metrics.rif=3,named_metrics.latency_ms=12.5",
        "TEXT cpu_utilization=0.3, named_metrics.latency_ms = 12.5 ,rps_fractional=10,named_metrics.rif=3.0",
        "TEXT rif=3,latency_ms=12.5",
        r#"JSON {"cpu_utilization": 0.3, "named_metrics": {"rif": 3, "latency_ms": 12.5}}"#,
        r#"JSON {"namedMetrics": {"rif": 3.0, "latency_ms": 12.5}}"#,
        r#"{"rif": 3, "latency_ms": 12.5}"#,
        "\n {\"latency_ms\": 12.5, \"rif\": 3}\n",
    ] {
        assert_eq!(orca::read(report.as_bytes()), Ok(load(3, 12_500)), "{report}");
    }
    assert_eq!(orca::read(b"TEXT rif=0,latency_ms=0"), Ok(load(0, 0)));
}

#[test]
fn what_is_no_load_is_told() {
    for (report, expected) in [
        ("", "neither TEXT nor JSON"),
        ("BIN CgA=", "neither TEXT nor JSON"),
        ("[1, 2]", "neither TEXT nor JSON"),
        ("TEXT cpu_utilization=0.3", "no `rif`"),
        ("TEXT rif=,latency_ms=1", "no `rif`"),
        ("TEXT rif=1", "no `latency_ms`"),
        (r#"{"rif": "3", "latency_ms": 1}"#, "no `rif`"),
        ("TEXT rif=-1,latency_ms=1", "`rif` is not a number of requests"),
        ("TEXT rif=NaN,latency_ms=1", "`rif` is not a number of requests"),
        ("TEXT rif=1e300,latency_ms=1", "`rif` is not a number of requests"),
        ("TEXT rif=1,latency_ms=inf", "`latency_ms` is not a latency"),
        ("TEXT rif=1,latency_ms=-1", "`latency_ms` is not a latency"),
    ] {
        assert_eq!(orca::read(report.as_bytes()), Err(expected), "{report}");
    }
    assert_eq!(orca::read(&[0xff]), Err("not text"));
    assert_eq!(orca::read("[".repeat(60_000).as_bytes()), Err("neither TEXT nor JSON"));
}

fn asks(address: SocketAddr) -> LoadProbe {
    LoadProbe::new(&target(address), "/load", PATIENT).expect("a probe")
}

/// A peer that responds to the given number of requests on a connection, and counts connections.
async fn keeping(answer: &'static str, requests: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let seen = connections.clone();
    let address = peer(move |mut socket| {
        seen.fetch_add(1, Ordering::Relaxed);
        async move {
            for _ in 0..requests {
                let head = read_head(&mut socket).await;
                if head.is_empty() {
                    return;
                }
                assert!(head.starts_with("GET /load HTTP/1.1\r\n"), "{head}");
                assert!(!head.to_lowercase().contains("connection: close"), "{head}");
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        }
    })
    .await;
    (address, connections)
}

const BODY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 29\r\n\r\n{\"rif\": 7, \"latency_ms\": 1.5}";
const HEADER: &str = "HTTP/1.1 204 No Content\r\nendpoint-load-metrics: TEXT rif=2,latency_ms=4\r\n\r\n";

#[tokio::test]
async fn connections_are_kept() {
    let (address, connections) = keeping(BODY, usize::MAX).await;
    let probe = asks(address);
    for _ in 0..10 {
        assert_eq!(probe.ask().await, Ok(load(7, 1500)));
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    let all = (0..10).map(|_| probe.ask()).map(|ask| async { assert_eq!(ask.await, Ok(load(7, 1500))) });
    let mut all: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        all.retain_mut(|ask| ask.as_mut().poll(context).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    assert_eq!(probe.idle(), LoadProbe::KEPT);
}

#[tokio::test]
async fn a_kept_connection_that_is_gone_is_replaced() {
    for answer in [BODY, HEADER] {
        let (address, connections) = keeping(answer, 2).await;
        let probe = asks(address);
        for _ in 0..10 {
            probe.ask().await.expect("a load");
        }
        assert_eq!(connections.load(Ordering::Relaxed), 5);
    }
}

#[tokio::test]
async fn a_connection_that_closes_is_not_kept_and_not_waited_for() {
    let closing = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 29\r\n\r\n\
                   {\"rif\": 7, \"latency_ms\": 1.5}";
    let (address, connections) = keeping(closing, usize::MAX).await;
    let probe = asks(address);
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(probe.ask().await, Ok(load(7, 1500)));
    }
    assert!(began.elapsed() < PATIENT / 2);
    assert_eq!(connections.load(Ordering::Relaxed), 3);
    assert_eq!(probe.idle(), 0);
}

#[tokio::test]
async fn a_header_goes_before_the_body() {
    let both = "HTTP/1.1 200 OK\r\nEndpoint-Load-Metrics: JSON {\"named_metrics\":{\"rif\":1,\"latency_ms\":2}}\r\n\
                Content-Length: 29\r\n\r\n{\"rif\": 7, \"latency_ms\": 1.5}";
    assert_eq!(asks(answering(both).await).ask().await, Ok(load(1, 2000)));
}

#[tokio::test]
async fn failures_are_told() {
    let told =
        async |answer: &str| asks(answering(answer).await).ask().await.expect_err("a failure").to_string();
    assert_eq!(told("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").await, "status 503");
    assert_eq!(told("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await, "load: no `rif`");
    assert_eq!(told("").await, "connection closed before the response ended");
    let mut probe = asks(nobody().await);
    assert_eq!(probe.ask().await, Err(ProbeFailure::Refused));
    probe = LoadProbe::new(&target(peer(linger).await), "/load", SHORT).expect("a probe");
    assert_eq!(probe.ask().await, Err(ProbeFailure::NoAnswer(SHORT)));
}
