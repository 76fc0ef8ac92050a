//! Filters that wait: what happens to their own request, and that nothing happens to others.

#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use evenkeel::filter::{Answer, Filter, Registry, Rejection, Request, Response, Verdict, Wait};
use tokio::sync::{Barrier, Semaphore};

use crate::support::http2::{Http2, Whole, request};
use crate::support::{Backend, Balancer, PATIENCE, eventually};

/// How many requests meet at the barrier.
const AT_ONCE: usize = 10;

/// What the filters of a test share.
#[derive(Debug)]
struct Shared {
    /// Requests that wait now.
    waiting: AtomicUsize,
    /// A request goes on for each permit.
    permits: Semaphore,
    barrier: Barrier,
}

/// Waits in the way that the configuration says.
#[derive(Debug)]
struct Hold {
    how: String,
    shared: Arc<Shared>,
}

/// Counts a request that waits, however that ends.
struct Waiter(Arc<Shared>);

// === impl Hold ===

impl Filter for Hold {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        assert!(!request.state.get::<String>().is_some_and(String::is_empty), "it is called once");
        request.state.set(String::new());
        let waiter = Waiter::new(&self.shared);
        let (shared, path) = (self.shared.clone(), request.path().to_owned());
        Verdict::Wait(match self.how.as_str() {
            "permit" => Wait::then(
                async move {
                    let permit = waiter.0.permits.acquire().await.expect("it stays open");
                    permit.forget();
                    format!("waited for {path}")
                },
                |text, request| {
                    let value = text.parse().expect("a value");
                    request.edits.set("x-waited".parse().expect("a name"), value).expect("it may be edited");
                    request.state.set(text);
                    Verdict::Continue
                },
            ),
            "barrier" => Wait::new(async move {
                waiter.0.barrier.wait().await;
                Verdict::Continue
            }),
            "nap" => Wait::new(async move {
                tokio::time::sleep(Duration::from_millis(400)).await;
                drop(waiter);
                Verdict::Continue
            }),
            "twice" => Wait::then(tokio::task::yield_now(), move |(), _| {
                Verdict::Wait(Wait::then(tokio::task::yield_now(), move |(), request| {
                    drop(waiter);
                    request.state.set("waited twice".to_owned());
                    Verdict::Continue
                }))
            }),
            "refuse" => Wait::new(async move {
                drop((shared, waiter));
                Verdict::Refuse(Rejection::forbidden("not today").into())
            }),
            "respond" => Wait::new(async move {
                drop((shared, waiter));
                Verdict::Answer(Answer::new(203).body("from the filter"))
            }),
            "panic" => Wait::new(async move {
                drop((shared, waiter));
                tokio::task::yield_now().await;
                panic!("a filter that panics while it waits, as a test wants it")
            }),
            "panic_then" => Wait::then(async move { drop((shared, waiter)) }, |(), _| {
                panic!("a filter that panics when it has waited, as a test wants it")
            }),
            _ => Wait::new(async move {
                let _waiter = waiter;
                std::future::pending().await
            }),
        })
    }

    fn on_response(&self, response: &mut Response<'_>) {
        if let Some(text) = response.state.get::<String>().filter(|text| !text.is_empty()) {
            let value = text.parse().expect("a value");
            response.edits.set("x-waited".parse().expect("a name"), value).expect("it may be edited");
        }
    }
}

impl Shared {
    fn new() -> Arc<Self> {
        let (waiting, permits, barrier) = (AtomicUsize::new(0), Semaphore::new(0), Barrier::new(AT_ONCE));
        Arc::new(Self { waiting, permits, barrier })
    }

    async fn until_waiting(&self, count: usize) {
        eventually(PATIENCE, || self.waiting.load(SeqCst) == count).await;
    }
}

impl Waiter {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.waiting.fetch_add(1, SeqCst);
        Self(shared.clone())
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

/// A balancer with one worker, whose route `/held` has these filters, and whose other route has none.
async fn held(shared: &Arc<Shared>, backend: &Backend, filters: &str, more: &str) -> Balancer {
    let shared = shared.clone();
    let registry = Registry::builtin()
        .with_factory("hold", move |how: String, _| Ok(Hold { how, shared: shared.clone() }));
    let yaml = format!(
        "workers: 1\n\
         listeners: [{{ address: 127.0.0.1:0, http: {{ h2c: true }} }}]\n\
         routes:\n\
         - {{ name: held, match: {{ path_prefix: /held }}, filters: [{filters}], upstream: web, {more} }}\n\
         - {{ name: free, upstream: web }}\n\
         upstreams: {{ web: {{ backends: [\"{}\"] }} }}\n\
         shutdown: {{ drain_timeout: 300ms }}",
        backend.url()
    );
    Balancer::with(&yaml, registry).await
}

const HELD: &str = "GET /held/x HTTP/1.1\r\nHost: test\r\n\r\n";

#[tokio::test]
async fn a_request_that_waits_delays_no_other_of_its_worker() {
    let (shared, backend) = (Shared::new(), Backend::saying("hello").await);
    let balancer = held(&shared, &backend, "{ hold: permit }", "").await;
    let (mut waits, mut other) = (balancer.client().await, balancer.client().await);
    waits.send(HELD).await;
    shared.until_waiting(1).await;
    for _ in 0..100 {
        assert_eq!(other.get("/free").await.status(), 200);
    }
    assert_eq!((shared.waiting.load(SeqCst), backend.count()), (1, 100), "the one still waits");
    shared.permits.add_permits(1);
    let response = waits.response().await;
    assert_eq!((response.status(), response.header("x-waited")), (200, Some("waited for /held/x")));
    assert_eq!(waits.get("/free").await.status(), 200, "its connection goes on");
}

#[tokio::test]
async fn requests_wait_side_by_side() {
    let (shared, backend) = (Shared::new(), Backend::saying("hello").await);
    let balancer = held(&shared, &backend, "{ hold: barrier }", "").await;
    let mut clients = Vec::new();
    for _ in 0..AT_ONCE {
        let mut client = balancer.client().await;
        client.send(HELD).await;
        clients.push(client);
    }
    // They meet: one worker waits for all of them at the same time.
    for client in &mut clients {
        assert_eq!(client.response().await.status(), 200);
    }
}

#[tokio::test]
async fn the_filters_around_it_and_the_body_are_as_without_it() {
    let (shared, backend) = (Shared::new(), Backend::saying("hello").await);
    let filters = "{ request_headers: { set: { x-before: '1' } } }, { hold: permit }, { strip_prefix: /held }, \
                   { hold: twice }, { request_headers: { set: { x-after: '2' } } }";
    let balancer = held(&shared, &backend, filters, "").await;
    let mut client = balancer.client().await;
    let body = "x".repeat(100_000);
    let post = format!(
        "POST /held/y?q=1 HTTP/1.1\r\nHost: test\r\nX-Own: 3\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.send(post).await;
    shared.until_waiting(1).await;
    shared.permits.add_permits(1);
    let response = client.response().await;
    assert_eq!((response.status(), response.header("x-waited")), (200, Some("waited for /held/y")));
    let seen = backend.only_request();
    assert_eq!((seen.target(), seen.text().len()), ("/y?q=1", body.len()));
    for (name, value) in
        [("x-before", "1"), ("x-after", "2"), ("x-own", "3"), ("x-waited", "waited for /held/y")]
    {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    assert_eq!(seen.all("x-forwarded-for").len(), 1);
}

#[tokio::test]
async fn the_next_request_on_the_connection_waits_its_turn() {
    let (shared, backend) = (Shared::new(), Backend::saying("hello").await);
    let balancer = held(&shared, &backend, "{ hold: permit }", "").await;
    let mut client = balancer.client().await;
    client.send([HELD, "GET /free HTTP/1.1\r\nHost: test\r\n\r\n", HELD].concat()).await;
    shared.until_waiting(1).await;
    shared.permits.add_permits(2);
    for waited in [true, false, true] {
        let response = client.response().await;
        assert_eq!((response.status(), response.header("x-waited").is_some()), (200, waited));
    }
}

#[tokio::test]
async fn its_verdict_is_the_verdict_of_the_request() {
    let (shared, backend) = (Shared::new(), Backend::saying("hello").await);
    for (how, status, end) in [
        ("refuse", 403, "refused=forbidden"),
        ("respond", 203, "ok"),
        ("panic", 500, "panic"),
        ("panic_then", 500, "panic"),
    ] {
        let balancer = held(&shared, &backend, &format!("{{ hold: {how} }}"), "").await;
        let mut client = balancer.client().await;
        assert_eq!(client.ask(HELD).await.status(), status, "{how}");
        assert_eq!(client.get("/free").await.status(), 200, "{how}: the connection goes on");
        let record = balancer.log_line_of("/held/x").await;
        assert_eq!((&record["status"], &record["end"]), (&status.into(), &end.into()), "{how}");
        shared.until_waiting(0).await;
    }
    assert_eq!(backend.count(), 4, "only the others reached it");
}

#[tokio::test]
async fn one_that_never_ends_ends_with_the_timeout_of_its_route() {
    let (shared, backend) = (Shared::new(), Backend::saying("hello").await);
    let balancer = held(&shared, &backend, "{ hold: never }", "timeout: 200ms").await;
    let mut client = balancer.client().await;
    assert_eq!(client.ask(HELD).await.status(), 504);
    shared.until_waiting(0).await;
    assert_eq!(client.get("/free").await.status(), 200, "the connection goes on");
    let record = balancer.log_line_of("/held/x").await;
    assert_eq!((&record["end"], &record["attempts"]), (&"timeout=total".into(), &serde_json::Value::Null));
}

#[tokio::test]
async fn the_time_that_a_filter_waits_is_part_of_the_timeout() {
    let shared = Shared::new();
    let backend = Backend::start(|_| crate::support::Reply::silence()).await;
    let balancer = held(&shared, &backend, "{ hold: nap }", "timeout: 600ms").await;
    assert_eq!(balancer.client().await.ask(HELD).await.status(), 504);
    let record = balancer.log_line_of("/held/x").await;
    assert_eq!(record["end"], "timeout=total");
    let took = record["duration_ms"].as_f64().expect("a number");
    assert!((600.0..950.0).contains(&took), "{took} ms: with the time of both it would be a second");
}

#[tokio::test]
async fn a_client_that_disconnects_ends_the_wait() {
    let (shared, backend) = (Shared::new(), Backend::saying("hello").await);
    let balancer = held(&shared, &backend, "{ hold: never }", "").await;
    let mut client = balancer.client().await;
    client.send(HELD).await;
    shared.until_waiting(1).await;
    drop(client);
    shared.until_waiting(0).await;
    let record = balancer.log_line_of("/held/x").await;
    assert_eq!((&record["status"], &record["end"]), (&499.into(), &"client_left".into()));
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn a_drain_ends_the_wait() {
    let (shared, backend) = (Shared::new(), Backend::saying("hello").await);
    let balancer = held(&shared, &backend, "{ hold: never }", "").await;
    let mut client = balancer.client().await;
    client.send(HELD).await;
    shared.until_waiting(1).await;
    tokio::task::spawn_blocking(|| balancer.stop()).await.expect("it stops");
    assert_eq!(client.response().await.status(), 503);
    shared.until_waiting(0).await;
}

#[tokio::test]
async fn a_drain_whose_time_runs_out_ends_the_wait() {
    let (shared, backend) = (Shared::new(), Backend::saying("hello").await);
    let balancer = held(&shared, &backend, "{ hold: never }", "").await;
    let mut client = balancer.client().await;
    client.send(HELD).await;
    shared.until_waiting(1).await;
    balancer.handle().drain();
    let response = client.response().await;
    assert_eq!((response.status(), response.closes()), (503, true));
    shared.until_waiting(0).await;
    let record = balancer.log_line_of("/held/x").await;
    assert_eq!(record["end"], "refused=shutting_down");
    let took = record["duration_ms"].as_f64().expect("a number");
    assert!(took >= 300.0, "{took} ms: it has the whole drain_timeout");
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn an_explanation_does_not_wait() {
    let (shared, backend) = (Shared::new(), Backend::saying("hello").await);
    let balancer = held(&shared, &backend, "{ hold: never }, { strip_prefix: /held }", "").await;
    let page = crate::support::get(balancer.admin(), "/explain?url=http://test/held/x").await.text();
    let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
    assert_eq!((&page["filters"][0]["verdict"], &page["target"]), (&"wait".into(), &"/x".into()));
    assert_eq!(shared.waiting.load(SeqCst), 0);
}

#[tokio::test]
async fn a_stream_of_http_2_waits_alone() {
    let (shared, backend) = (Shared::new(), Backend::saying("hello").await);
    let balancer = held(&shared, &backend, "{ hold: permit }, { strip_prefix: /held }", "timeout: 20s").await;
    let mut client = Http2::connect(balancer.address()).await;
    let (waits, _) = client.begin(request("GET", "/held/x"), true).await;
    let (given_up, stream) = client.begin(request("GET", "/held/given-up"), true).await;
    shared.until_waiting(2).await;
    assert_eq!(client.get("/free").await.status(), 200);
    drop((given_up, stream));
    shared.until_waiting(1).await;
    assert_eq!(balancer.log_line_of("/held/given-up").await["end"], "client_left");
    shared.permits.add_permits(1);
    let response = Whole::read(waits).await.expect("a response");
    assert_eq!((response.status(), response.header("x-waited")), (200, Some("waited for /held/x")));
    assert_eq!(backend.last_request().target(), "/x");
}

#[tokio::test]
async fn a_stream_of_http_2_ends_with_the_timeout_of_its_route() {
    let (shared, backend) = (Shared::new(), Backend::saying("hello").await);
    let balancer = held(&shared, &backend, "{ hold: never }", "timeout: 200ms").await;
    let mut client = Http2::connect(balancer.address()).await;
    assert_eq!(client.get("/held/x").await.status(), 504);
    shared.until_waiting(0).await;
    assert_eq!(client.get("/free").await.status(), 200);
}
