//! The backends of a running upstream are replaced by the program, under traffic.

#![cfg(test)]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evenkeel::config::{self, BackendUrl};
use evenkeel::status::UpstreamHandle;
use serde_json::Value;

use crate::support::{Backend, Balancer, Lane, Options, PATIENCE, Reply, Seen, eventually, in_time, lane};

/// A balancer with one upstream of these backends, and what replaces them.
async fn start(backends: &[&Backend], more: &str) -> (Balancer, UpstreamHandle) {
    let urls: Vec<String> = backends.iter().map(|backend| format!("\"{}\"", backend.url())).collect();
    let yaml = format!("upstreams: {{ web: {{ backends: [{}], {more} }} }}", urls.join(", "));
    let balancer = Balancer::start(&yaml).await;
    let handle = balancer.handle().upstream("web").await.expect("it is configured");
    (balancer, handle)
}

fn spec(url: impl AsRef<str>) -> config::Backend {
    config::Backend::new(BackendUrl::parse(url.as_ref()).expect("a URL"))
}

fn set(backends: &[&Backend]) -> Vec<config::Backend> {
    backends.iter().map(|backend| spec(backend.url())).collect()
}

/// What `/status` says of the backends, in their order.
async fn shown(balancer: &Balancer) -> Vec<Value> {
    let status = balancer.status().await;
    status["upstreams"][0]["backends"].as_array().expect("backends").clone()
}

#[tokio::test]
async fn a_removed_backend_ends_its_requests_and_loses_its_idle_connections() {
    let slow = |seen: &Seen| match seen.message.target() {
        "/slow" => Reply::new()
            .read_body()
            .wait(Duration::from_millis(300))
            .send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow"),
        _ => Reply::ok("quick"),
    };
    let (gone, stays) = (Backend::start(slow).await, Backend::saying("stays").await);
    let (balancer, web) = start(&[&gone], "").await;
    assert_eq!(balancer.get("/").await.text(), "quick");
    let (mut client, mut other) = (balancer.client().await, balancer.client().await);
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n").await;
    gone.until_requests(2).await;
    let change = web.replace(set(&[&stays])).await.unwrap();
    assert_eq!((change.added, change.removed, change.total), (1, 1, 1));
    assert_eq!(other.get("/").await.text(), "stays");
    assert_eq!(client.response().await.text(), "slow");
    // Pingora keeps its idle connections until `pool.idle_timeout`.
    if lane() == Lane::Lean {
        gone.until_all_closed().await;
    }
    assert_eq!(client.get("/").await.text(), "stays");
    let metrics = balancer.metrics().await;
    assert!(metrics.contains(&stays.url()) && !metrics.contains(&gone.url()), "{metrics}");
}

#[tokio::test]
async fn backends_that_stay_keep_counters_connections_and_ejections() {
    let (good, bad) = (Backend::saying("good").await, Backend::start(|_| Reply::status(503, "bad")).await);
    let more = "outlier_detection: { consecutive_failures: 3, ejection_time: 60s, max_ejected: 50% }";
    let (balancer, web) = start(&[&good, &bad], more).await;
    let mut client = balancer.client().await;
    let ejected = in_time("ejected", async {
        while shown(&balancer).await[1]["state"] != "ejected" {
            client.get("/").await;
        }
    });
    ejected.await;
    let (before, connections) = (shown(&balancer).await, good.connections());
    let third = Backend::saying("third").await;
    // They change places, too.
    web.replace(set(&[&third, &bad, &good])).await.unwrap();
    let after = shown(&balancer).await;
    assert_eq!(after[1]["state"], "ejected");
    assert_eq!(
        (&after[1]["attempts"], &after[2]["attempts"]),
        (&before[1]["attempts"], &before[0]["attempts"])
    );
    assert_eq!((after[0]["attempts"].as_u64(), after[0]["state"].as_str()), (Some(0), Some("up")));
    for _ in 0..10 {
        client.get("/").await;
    }
    assert_eq!(good.connections(), connections, "the idle connection was used");
    assert!(third.count() > 0);
}

#[tokio::test]
async fn another_weight_moves_requests_and_nothing_else() {
    let (a, b) = (Backend::saying("a").await, Backend::saying("b").await);
    let (balancer, web) = start(&[&a, &b], "").await;
    let mut client = balancer.client().await;
    client.get("/").await;
    client.get("/").await;
    let mut disabled = spec(b.url());
    disabled.weight = 0;
    let change = web.replace(vec![spec(a.url()), disabled]).await.unwrap();
    assert_eq!((change.added, change.removed, change.changed), (0, 0, 1));
    let before = b.count();
    for _ in 0..6 {
        assert_eq!(client.get("/").await.text(), "a");
    }
    assert_eq!(b.count(), before);
    assert_eq!(shown(&balancer).await[1]["state"], "out");
}

#[tokio::test]
async fn probes_begin_and_end_with_their_backends() {
    let is_probe = |seen: &Seen| seen.message.target() == "/probe";
    let answering = |_: &Seen| Reply::ok("ok");
    let (first, second) = (Backend::start(answering).await, Backend::start(answering).await);
    let probes = |backend: &Backend| backend.requests().iter().filter(|seen| is_probe(seen)).count();
    let more = "health_check: { http: { path: /probe }, interval: 100ms, timeout: 100ms }";
    let (balancer, web) = start(&[&first], more).await;
    eventually(PATIENCE, || probes(&first) > 1).await;
    web.replace(set(&[&second])).await.unwrap();
    let at_removal = probes(&first);
    eventually(PATIENCE, || probes(&second) > 3).await;
    assert!(probes(&first) <= at_removal + 1, "one may have been under way");
    assert_eq!(balancer.get("/").await.status(), 200);
    // And again as it comes back.
    web.replace(set(&[&second, &first])).await.unwrap();
    eventually(PATIENCE, || probes(&first) > at_removal + 2).await;
    assert!(shown(&balancer).await[1]["last_probe"]["at"].is_string());
}

#[tokio::test]
async fn a_request_that_waits_gets_a_backend_that_joins() {
    let (busy, free) = (Backend::start(|_| Reply::silence()).await, Backend::saying("free").await);
    let more = "max_connections: 1, queue: { max_pending: 10, timeout: 10s }";
    let (balancer, web) = start(&[&busy], more).await;
    let (mut first, mut second) = (balancer.client().await, balancer.client().await);
    first.send("GET /first HTTP/1.1\r\nHost: test\r\n\r\n").await;
    busy.until_requests(1).await;
    second.send("GET /second HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let waiting =
        in_time("waiting", async { while balancer.status().await["upstreams"][0]["pending"] != 1 {} });
    waiting.await;
    web.replace(set(&[&free])).await.unwrap();
    assert_eq!(second.response().await.text(), "free");
}

#[tokio::test]
async fn a_set_outlives_a_reload_that_does_not_change_the_configured_backends() {
    let [configured, found, other] =
        [Backend::saying("configured").await, Backend::saying("found").await, Backend::saying("other").await];
    let yaml = |backend: &Backend, more: &str| {
        format!("upstreams: {{ web: {{ backends: [\"{}\"], {more} }} }}", backend.url())
    };
    let (balancer, web) = start(&[&configured], "").await;
    let mut client = balancer.client().await;
    web.replace(set(&[&found])).await.unwrap();
    assert_eq!(client.get("/").await.text(), "found");
    let attempts = shown(&balancer).await[0]["attempts"].clone();
    let changes = balancer.reload(&yaml(&configured, "algorithm: maglev, slow_start: 1s")).await.unwrap();
    assert!(!changes.is_empty());
    assert_eq!(shown(&balancer).await[0]["attempts"], attempts);
    assert_eq!(client.get("/").await.text(), "found");
    // The same handle goes on.
    web.replace(set(&[&found, &other])).await.unwrap();
    assert_eq!(shown(&balancer).await.len(), 2);
    balancer.reload(&yaml(&other, "")).await.unwrap();
    assert_eq!(client.get("/").await.text(), "other");
    assert_eq!(shown(&balancer).await.len(), 1);
    balancer.reload("routes: [{ name: none, respond: { status: 204 } }]").await.unwrap();
    assert!(web.replace(set(&[&found])).await.is_err(), "it is no longer configured");
}

#[tokio::test]
async fn an_empty_set_rejects_and_a_listener_of_its_own_is_left_out() {
    let backend = Backend::saying("ok").await;
    let (balancer, web) = start(&[&backend], "").await;
    web.replace(Vec::new()).await.unwrap();
    let mut client = balancer.client().await;
    assert_eq!(client.get("/").await.status(), 503);
    let own = spec(format!("http://{}", balancer.address()));
    let twice = [own, spec(backend.url()), spec(backend.url())];
    let change = web.replace(twice.to_vec()).await.unwrap();
    assert_eq!((change.added, change.total), (1, 1), "{change:?}");
    assert_eq!(client.get("/").await.text(), "ok");
}

/// One server, at as many addresses as there are in 127.0.0.0/8.
fn address(index: usize, port: u16) -> String {
    let [_, b, c, d] = u32::try_from(index + 256).expect("few").to_be_bytes();
    format!("http://{}:{port}", Ipv4Addr::new(127, b, c, d))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_backends_are_replaced_and_no_request_fails() {
    const BACKENDS: usize = 2_000;
    let options = Options { address: Some("0.0.0.0:0".parse().expect("an address")), ..Options::default() };
    let server = Backend::with(options, |_| Reply::ok("ok")).await;
    let port = server.address().port();
    let specs: Arc<[_]> = (0..2 * BACKENDS).map(|index| spec(address(index, port))).collect();
    let (balancer, web) = start(&[&server], "algorithm: least_connections").await;
    web.replace(specs[..BACKENDS].to_vec()).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (stop, to) = (stop.clone(), balancer.address());
            tokio::spawn(async move {
                let mut client = crate::support::Client::connect(to).await;
                let mut served = 0;
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(client.get("/").await.status(), 200);
                    served += 1;
                }
                served
            })
        })
        .collect();
    for round in 1..=40 {
        // A few change, and all in the last round.
        let from = if round == 40 { BACKENDS } else { round * BACKENDS / 40 };
        let mut set = specs[from..from + BACKENDS].to_vec();
        set.rotate_left(7 * round);
        let change = web.replace(set).await.unwrap();
        assert_eq!(change.total, BACKENDS);
    }
    stop.store(true, Ordering::SeqCst);
    let mut served = 0;
    for client in clients {
        served += client.await.expect("no request failed");
    }
    assert!(served > 100, "{served}");
    let status = balancer.status().await;
    assert_eq!(status["upstreams"][0]["backends"].as_array().expect("backends").len(), BACKENDS);
}
