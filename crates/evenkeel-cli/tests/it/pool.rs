//! Connections to backends that wait for their next request, as the lean lane keeps them. (Pingora's lane has a pool of its
//! own, which knows no `max_idle` and no newest.)

#![cfg(test)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::support::{
    Backend, Balancer, Client, Message, Options, PATIENCE, Reply, Seen, assert_lasted, eventually,
};

const POST: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody";

/// One worker, since each keeps connections of its own; the lean lane, whatever this run has.
async fn balancer(backend: &Backend, pool: &str) -> Balancer {
    let yaml = format!(
        "lanes: auto\nworkers: 1\nupstreams: {{ web: {{ backends: [\"{}\"], pool: {{ {pool} }} }} }}",
        backend.url()
    );
    Balancer::start(&yaml).await
}

/// Responds to `/burst/N` once N such requests have arrived, and to all others at once.
async fn gathering() -> Backend {
    Backend::start(|request| match request.target().strip_prefix("/burst/") {
        // Long enough for all of them to have come, each on a connection of its own.
        Some(_) => Reply::new().read_body().wait(Duration::from_millis(400)).send(FINE),
        None => Reply::bytes(FINE),
    })
    .await
}

const FINE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";

/// So many requests at the same time.
async fn burst(balancer: &Balancer, backend: &Backend, count: usize) {
    let before = backend.connections();
    let mut clients = JoinSet::new();
    for _ in 0..count {
        let mut client = balancer.client().await;
        clients.spawn(async move { client.get(&format!("/burst/{count}")).await.status() });
    }
    while let Some(status) = clients.join_next().await {
        assert_eq!(status.expect("no panic"), 200);
    }
    assert!(backend.connections() >= before.max(count), "they were not all under way at the same time");
}

#[tokio::test]
async fn no_more_idle_connections_are_kept_than_allowed() {
    for most in [0, 1, 3] {
        let backend = gathering().await;
        let balancer = balancer(&backend, &format!("max_idle: {most}")).await;
        for _ in 0..2 {
            burst(&balancer, &backend, 6).await;
            eventually(PATIENCE, || backend.open() <= most).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(backend.open(), most, "of 6, {most} are kept");
        }
        let before = backend.connections();
        let mut client = balancer.client().await;
        for _ in 0..10 {
            assert_eq!(client.get("/").await.status(), 200);
        }
        let made = if most == 0 { 10 } else { 0 };
        assert_eq!(backend.connections() - before, made, "max_idle {most}");
    }
}

#[tokio::test]
async fn as_many_as_were_needed_are_kept_by_default() {
    let backend = gathering().await;
    let balancer = balancer(&backend, "").await;
    for _ in 0..3 {
        burst(&balancer, &backend, 40).await;
    }
    assert_eq!((backend.connections(), backend.open()), (40, 40));
}

#[tokio::test]
async fn the_newest_is_used_and_the_others_grow_old_and_go() {
    let backend = gathering().await;
    let balancer = balancer(&backend, "idle_timeout: 1s").await;
    burst(&balancer, &backend, 8).await;
    let start = Instant::now();
    assert_eq!(backend.open(), 8);
    let mut client = balancer.client().await;
    let mut ended = None;
    while start.elapsed() < Duration::from_secs(3) {
        assert_eq!(client.get("/").await.status(), 200);
        if backend.open() == 1 {
            ended.get_or_insert(start.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_lasted("the others", ended.expect("they go"), Duration::from_secs(1));
    let later = backend.requests().split_off(8);
    let used: BTreeSet<_> = later.iter().map(|seen| seen.connection).collect();
    assert_eq!(used.len(), 1, "one is enough for one request after the other: {used:?}");
    assert_eq!(backend.connections(), 8, "and that one is kept for as long as it is used");
}

#[tokio::test]
async fn connections_that_the_backend_has_closed_are_not_used() {
    let options = Options { close_idle: Some(Duration::from_millis(100)), ..Options::default() };
    let wait = |request: &Seen| match request.target() {
        "/burst/4" => Reply::new().read_body().wait(Duration::from_millis(400)).send(FINE),
        _ => Reply::bytes(FINE),
    };
    let backend = Backend::with(options, wait).await;
    let balancer = balancer(&backend, "").await;
    let mut client = balancer.client().await;
    for request in ["GET / HTTP/1.1\r\nHost: test\r\n\r\n", POST] {
        burst(&balancer, &backend, 4).await;
        backend.until_all_closed().await;
        let before = backend.connections();
        assert_eq!(client.ask(request).await.status(), 200, "{request:?}");
        assert_eq!(backend.connections(), before + 1, "{request:?}: a fresh one");
        backend.until_all_closed().await;
    }
    for record in balancer.log_lines(10).await {
        assert_eq!((&record["attempts"], &record["end"]), (&1.into(), &"ok".into()), "{record}");
    }
}

/// No request can have caused what arrives on an idle connection, so no client must receive it.
#[tokio::test]
async fn connections_on_which_the_backend_spoke_unasked_are_not_used() {
    let unasked = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 6\r\n\r\nhidden";
    let backend = Backend::start(move |request| {
        let reply = Reply::bytes(FINE);
        if request.nth == 0 { reply.wait(Duration::from_millis(50)).send(unasked).hang() } else { reply }
    })
    .await;
    let balancer = balancer(&backend, "").await;
    let mut client = balancer.client().await;
    for number in 1..=5 {
        let response: Message = client.ask(POST).await;
        assert_eq!((response.status(), response.text().as_str()), (200, "fine"));
        assert_eq!(backend.connections(), number);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A connection that may still have a part of a request or of a response on it is useless for another request.
#[tokio::test]
async fn connections_are_kept_only_after_whole_requests_and_whole_answers() {
    let backend = Backend::start(|request| match request.target() {
        "/early" => Reply::new().send(FINE).hang(),
        "/half" => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").hang(),
        "/close" => Reply::bytes("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine"),
        "/old" => Reply::bytes("HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nfine"),
        _ => Reply::bytes(FINE),
    })
    .await;
    let balancer = balancer(&backend, "").await;
    let post =
        |target: &str| format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: 10000\r\n\r\npart");
    for (request, whole) in [
        (post("/early"), false),
        ("GET /half HTTP/1.1\r\nHost: test\r\n\r\n".to_owned(), false),
        ("GET /close HTTP/1.1\r\nHost: test\r\n\r\n".to_owned(), true),
        ("GET /old HTTP/1.1\r\nHost: test\r\n\r\n".to_owned(), true),
    ] {
        let mut client: Client = balancer.client().await;
        client.send(&request).await;
        assert_eq!(client.head().await.expect("a response").status(), 200, "{request:?}");
        if whole {
            assert!(client.bytes(4).await == b"fine" && client.is_reusable().await, "{request:?}");
        }
        drop(client);
        let before = backend.connections();
        assert_eq!(balancer.get("/").await.text(), "fine");
        let last = backend.requests().pop().expect("a request");
        // After the whole ones, the probe on the client's connection has already opened another.
        let expected = if whole { before - 1 } else { before };
        assert_eq!((last.connection, last.nth), (expected, usize::from(whole)), "{request:?}");
        // It must not be there for the next round.
        assert_eq!(balancer.get("/close").await.text(), "fine");
        backend.until_all_closed().await;
    }
}

/// As the documentation says: that setting is the lean lane's.
#[tokio::test]
async fn pingoras_lane_keeps_its_connections_by_itself() {
    let backend = gathering().await;
    let yaml = format!(
        "lanes: pingora\nworkers: 1\nupstreams: {{ web: {{ backends: [\"{}\"], pool: {{ max_idle: 0 }} }} }}",
        backend.url()
    );
    let balancer = Balancer::start(&yaml).await;
    for _ in 0..3 {
        assert_eq!(balancer.get("/").await.text(), "fine");
    }
    assert_eq!((backend.connections(), backend.open()), (1, 1));
}
