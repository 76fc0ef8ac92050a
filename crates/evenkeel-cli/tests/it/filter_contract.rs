//! What a filter can rely on: its state of a request, its state over reloads, values from code, and a dry run without
//! effects.

#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use evenkeel::config::ListenAddress;
use evenkeel::filter::{
    BuildContext, Filter, FilterError, Registry, Rejection, Request, Response, RouteFilters, Task, Verdict,
};
use evenkeel::prelude::{ConfigBuilder, RouteBuilder, Server, UpstreamBuilder};
use serde_json::Value;

use crate::support::{Backend, Balancer, PATIENCE, Reply, eventually};

/// What all filters of a test share, as a program's own filters share a pool.
#[derive(Debug, Default)]
struct Shared {
    /// Requests that hold a permit.
    in_flight: AtomicUsize,
    /// Background tasks that run.
    tasks: AtomicUsize,
}

/// Lets so many requests through, ever. A request holds a permit until it ends.
#[derive(Debug)]
struct Quota {
    limit: usize,
    used: Arc<AtomicUsize>,
    workers: usize,
    shared: Arc<Shared>,
    _task: Task,
}

/// A permit, and the number of its request.
#[derive(Debug)]
struct Permit(Arc<Shared>, usize);

/// Counts itself as long as it is there.
struct Running(Arc<Shared>);

// === impl Quota ===

impl Quota {
    fn new(limit: usize, shared: &Arc<Shared>, context: &BuildContext<'_>) -> Result<Self, FilterError> {
        if limit == 0 {
            return Err(FilterError::new("", "at least 1"));
        }
        let used = context.previous::<Self>().map(|previous| previous.used.clone()).unwrap_or_default();
        let shared = shared.clone();
        let of_task = shared.clone();
        let task = context.spawn(async move {
            of_task.tasks.fetch_add(1, SeqCst);
            let _running = Running(of_task);
            std::future::pending().await
        });
        Ok(Self { limit, used, workers: context.workers, shared, _task: task })
    }
}

impl Filter for Quota {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        assert!(request.worker < self.workers);
        let used = self.used.load(SeqCst);
        let (route, left) = (request.route, self.limit.saturating_sub(used));
        request.explain(|| format!("{left} of {} left in {route}", self.limit));
        if left == 0 {
            let policy = ("ratelimit-policy".parse().expect("a name"), "\"q\";q=1".parse().expect("a value"));
            let rejection =
                Rejection::rate_limited(Duration::from_secs(7), "no more").header(policy.0, policy.1);
            return Verdict::Refuse(rejection.into());
        }
        if !request.is_dry_run() {
            self.used.fetch_add(1, SeqCst);
            self.shared.in_flight.fetch_add(1, SeqCst);
            request.state.set(Permit(self.shared.clone(), used + 1));
        }
        Verdict::Continue
    }

    fn on_response(&self, response: &mut Response<'_>) {
        if let Some(Permit(_, number)) = response.state.get() {
            let value = number.to_string().parse().expect("a value");
            response.edits.add("x-number".parse().expect("a name"), value).expect("it may be edited");
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, SeqCst);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.tasks.fetch_sub(1, SeqCst);
    }
}

fn registry(shared: &Arc<Shared>) -> Registry {
    let shared = shared.clone();
    Registry::builtin()
        .with_factory("quota", move |limit: usize, context| Quota::new(limit, &shared, context))
}

/// A route with these filters.
fn route(backend: &Backend, filters: &str) -> String {
    format!(
        "routes: [{{ name: all, filters: [{filters}], upstream: web }}]\n\
         upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        backend.url()
    )
}

/// What `/explain` says of the filters of a request, and of its end.
async fn explained(balancer: &Balancer) -> (Value, Value) {
    let page = crate::support::get(balancer.admin(), "/explain?url=http://test/").await.text();
    let page: Value = serde_json::from_str(&page).unwrap_or_else(|error| panic!("{error}: {page}"));
    (page["filters"].clone(), page["outcome"].clone())
}

#[tokio::test]
async fn a_filter_keeps_its_own_state_of_a_request_until_that_ends() {
    let shared = Arc::new(Shared::default());
    let backend = Backend::start(|_| {
        Reply::new().read_body().send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha").stall()
    })
    .await;
    let balancer = Balancer::with(&route(&backend, "{ quota: 10 }, { quota: 20 }"), registry(&shared)).await;
    let mut first = balancer.client().await;
    first.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let head = first.head().await.expect("a head");
    assert_eq!(head.all("x-number"), ["1", "1"], "each filter sees its own value");
    assert_eq!(shared.in_flight.load(SeqCst), 2, "the response has not ended");
    let mut second = balancer.client().await;
    second.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(second.head().await.expect("a head").all("x-number"), ["2", "2"]);
    assert_eq!(shared.in_flight.load(SeqCst), 4);
    drop(first);
    eventually(PATIENCE, || shared.in_flight.load(SeqCst) == 2).await;
    drop(second);
    eventually(PATIENCE, || shared.in_flight.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn a_rejection_has_its_headers_and_keeps_the_connection() {
    let shared = Arc::new(Shared::default());
    let backend = Backend::saying("hello").await;
    let balancer = Balancer::with(&route(&backend, "{ quota: 1 }"), registry(&shared)).await;
    let mut client = balancer.client().await;
    assert_eq!(client.get("/").await.header("x-number"), Some("1"));
    for _ in 0..100 {
        let limited = client.get("/").await;
        assert_eq!((limited.status(), limited.header("retry-after")), (429, Some("7")));
        assert_eq!(limited.header("ratelimit-policy"), Some("\"q\";q=1"));
        assert_eq!(limited.header("x-number"), None, "a rejected request keeps nothing");
    }
    let grpc = "POST / HTTP/1.1\r\nHost: test\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(client.ask(grpc).await.header("grpc-status"), Some("8"));
    let record = balancer.log_lines(102).await.pop().expect("just counted");
    assert_eq!((&record["status"], &record["end"]), (&429.into(), &"refused=rate_limited".into()));
    assert!(balancer.metrics().await.contains("evenkeel_refusals_total{reason=\"rate_limited\"} 101"));
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn an_explanation_consumes_nothing() {
    let shared = Arc::new(Shared::default());
    let backend = Backend::saying("hello").await;
    let balancer = Balancer::with(&route(&backend, "{ quota: 1 }"), registry(&shared)).await;
    for _ in 0..5 {
        let (filters, outcome) = explained(&balancer).await;
        assert_eq!(filters[0]["notes"], serde_json::json!(["1 of 1 left in all"]), "{filters}");
        assert_eq!((&filters[0]["verdict"], &outcome["kind"]), (&"continue".into(), &"upstream".into()));
    }
    assert_eq!(balancer.get("/").await.status(), 200);
    let (filters, outcome) = explained(&balancer).await;
    assert_eq!(filters[0]["notes"], serde_json::json!(["0 of 1 left in all"]));
    assert_eq!((&outcome["status"], &outcome["reason"]), (&429.into(), &"rate_limited".into()));
}

#[tokio::test]
async fn a_reload_hands_the_state_of_a_filter_on() {
    let shared = Arc::new(Shared::default());
    let backend = Backend::saying("hello").await;
    let text = |filters: &str| route(&backend, filters);
    let balancer = Balancer::with(&text("{ quota: 2 }, { quota: 2 }"), registry(&shared)).await;
    let mut client = balancer.client().await;
    assert_eq!(client.get("/").await.all("x-number"), ["1", "1"]);
    // Alike, and still two.
    balancer.reload(&text("{ quota: 2 }, { quota: 2 }, { strip_prefix: /v1 }")).await.expect("a reload");
    assert_eq!(client.get("/").await.all("x-number"), ["2", "2"]);
    assert_eq!(client.get("/").await.status(), 429);
    // One is kept. The other has another limit, and what was used.
    balancer.reload(&text("{ quota: 3 }, { quota: 2 }")).await.expect("a reload");
    assert_eq!(client.get("/").await.status(), 429);
    balancer.reload(&text("{ quota: 3 }, { quota: 3 }")).await.expect("a reload");
    assert_eq!(client.get("/").await.status(), 429, "the first quota was used up, and counts on");
    balancer.plan(&text("{ quota: 9 }, { quota: 9 }")).await.expect("a plan");
    assert_eq!(client.get("/").await.status(), 429, "a plan changes nothing");
    balancer.reload(&text("{ quota: 9 }, { quota: 0 }")).await.expect_err("it is invalid");
    assert_eq!(client.get("/").await.status(), 429, "a rejected reload changes nothing");
    balancer.reload(&text("{ quota: 5 }, { quota: 6 }")).await.expect("a reload");
    assert_eq!(client.get("/").await.all("x-number"), ["3", "4"]);
    // A route that is new begins with nothing.
    balancer.reload(&text("{ quota: 5 }").replace("name: all", "name: other")).await.expect("a reload");
    assert_eq!(client.get("/").await.all("x-number"), ["1"]);
}

#[tokio::test]
async fn a_background_task_ends_with_its_filter() {
    let shared = Arc::new(Shared::default());
    let backend = Backend::saying("hello").await;
    let balancer = Balancer::with(&route(&backend, "{ quota: 2 }, { quota: 2 }"), registry(&shared)).await;
    eventually(PATIENCE, || shared.tasks.load(SeqCst) == 2).await;
    balancer.reload(&route(&backend, "{ quota: 2 }")).await.expect("a reload");
    // A worker looks at the new configuration when it carries the next request.
    assert_eq!(balancer.get("/").await.status(), 200);
    eventually(PATIENCE, || shared.tasks.load(SeqCst) == 1).await;
    balancer.stop();
    eventually(PATIENCE, || shared.tasks.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn a_filter_can_be_passed_as_a_value() {
    let (shared, backend) = (Arc::new(Shared::default()), Backend::saying("hello").await);
    let quota = || Quota::new(2, &shared, &BuildContext::new("all", usize::MAX)).expect("a quota");
    let route = || RouteBuilder::new("all").filter_value("quota", quota()).upstream("web");
    let config = |route: RouteBuilder| {
        let upstream = UpstreamBuilder::new("web").backend(backend.url());
        ConfigBuilder::new().listen_address("127.0.0.1:0").upstream(upstream).route(route).build()
    };
    let first = route();
    let mut server = Server::new(config(first.clone()));
    server.start().await.expect("it starts");
    let ListenAddress::Tcp(address) = server.addresses()[0] else { panic!("no TCP") };
    let mut client = crate::support::Client::connect(address).await;
    assert_eq!(client.get("/").await.header("x-number"), Some("1"));
    let handle = server.handle().expect("it is started");
    let changes = handle.reload(&config(first)).await.expect("a reload");
    assert_eq!(changes.iter().count(), 0, "a clone has the same filter");
    assert_eq!(client.get("/").await.header("x-number"), Some("2"));
    assert_eq!(client.get("/").await.status(), 429);
    let changes = handle.reload(&config(route())).await.expect("a reload");
    assert_eq!(changes.iter().count(), 1, "another value is another filter");
    assert_eq!(client.get("/").await.header("x-number"), Some("1"));
}
