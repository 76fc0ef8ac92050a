//! The program's own algorithms, health checks and sources of backends: as values, and by name.

#![cfg(test)]

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use evenkeel::algorithm::Snapshot;
use evenkeel::config::{Backend as Spec, BackendUrl, ListenAddress};
use evenkeel::prelude::{
    BackendSet, Balancer, Check, CheckValue, Config, ConfigBuilder, Discovery, DiscoveryBuilder,
    DiscoveryError, DiscoveryValue, HealthCheckBuilder, LoadBalancingAlgorithm, Pick, Server, Start, Target,
    UpstreamBuilder,
};

use crate::support::{Backend, PATIENCE, eventually, get};

/// Picks the second backend.
#[derive(Debug)]
struct Second;

impl Balancer for Second {
    fn pick(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Option<usize> {
        (candidates.members().len() > 1 && !request.tried.contains(1)).then_some(1)
    }
}

/// Passes, and counts.
#[derive(Debug)]
struct Counting(Arc<AtomicUsize>);

impl Check for Counting {
    fn check<'a>(&'a self, _: &'a Target) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        self.0.fetch_add(1, SeqCst);
        Box::pin(async { Ok(()) })
    }
}

/// Finds one backend, and then no other.
#[derive(Debug)]
struct Finds {
    url: String,
    found: bool,
}

impl Discovery for Finds {
    fn name(&self) -> String {
        "the test".to_owned()
    }

    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<BackendSet, DiscoveryError>> + Send + '_>> {
        Box::pin(async {
            if std::mem::replace(&mut self.found, true) {
                std::future::pending::<()>().await;
            }
            let url = BackendUrl::parse(&self.url).map_err(DiscoveryError::Invalid)?;
            Ok(BackendSet::new([Spec::new(url)]))
        })
    }
}

fn listening(upstream: UpstreamBuilder) -> Config {
    let config = ConfigBuilder::new().listen_address("127.0.0.1:0").upstream(upstream);
    config.try_build().expect("a configuration")
}

async fn started(mut server: Server) -> (Server, SocketAddr) {
    server.start().await.expect("it starts");
    let ListenAddress::Tcp(address) = server.addresses()[0].clone() else { panic!("not TCP") };
    (server, address)
}

#[tokio::test]
async fn an_algorithm_is_a_value_or_a_name() {
    let (one, two) = (Backend::saying("one").await, Backend::saying("two").await);
    let upstream = |algorithm| {
        listening(UpstreamBuilder::new("web").backends([one.url(), two.url()]).algorithm(algorithm))
    };
    let value = Server::new(upstream(LoadBalancingAlgorithm::Custom(Arc::new(Second))));
    let named = Server::new(upstream(LoadBalancingAlgorithm::Named("second".into())));
    for server in [value, named.algorithm("second", || Second)] {
        let (_server, address) = started(server).await;
        for _ in 0..3 {
            assert_eq!(get(address, "/").await.text(), "two");
        }
    }
    assert_eq!(one.count(), 0);
}

#[tokio::test]
async fn a_health_check_is_a_value_or_a_name() {
    let backend = Backend::saying("hello").await;
    let (by_value, by_name) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let upstream = |check: HealthCheckBuilder| {
        listening(UpstreamBuilder::new("web").backend(backend.url()).health_check(check.start(Start::Down)))
    };
    let value = Server::new(upstream(HealthCheckBuilder::value(Counting(by_value.clone()))));
    let counts = by_name.clone();
    let named = Server::new(upstream(HealthCheckBuilder::custom("counting")))
        .health_check("counting", move || Counting(counts.clone()));
    for (server, count) in [(value, by_value), (named, by_name)] {
        let (_server, address) = started(server).await;
        eventually(PATIENCE, || count.load(SeqCst) > 0).await;
        let limit = std::time::Instant::now() + PATIENCE;
        // It is down before its first check has passed.
        while get(address, "/").await.status() != 200 {
            assert!(std::time::Instant::now() < limit, "it never came up");
        }
    }
}

#[tokio::test]
async fn a_source_of_backends_is_a_value_or_a_name() {
    let backend = Backend::saying("found").await;
    let url = backend.url();
    let make = move || Finds { url: url.clone(), found: false };
    let upstream = |discovery| listening(UpstreamBuilder::new("web").discovery(discovery));
    let value = Server::new(upstream(DiscoveryBuilder::value(make.clone())));
    let named = Server::new(upstream(DiscoveryBuilder::custom("finds"))).discovery("finds", make);
    for server in [value, named] {
        let (_server, address) = started(server).await;
        assert_eq!(get(address, "/").await.text(), "found");
    }
}

#[tokio::test]
async fn a_reload_with_the_same_value_keeps_its_source() {
    let (backend, made) = (Backend::saying("found").await, Arc::new(AtomicUsize::new(0)));
    let (url, count) = (backend.url(), made.clone());
    let discovery = DiscoveryBuilder::value(move || {
        count.fetch_add(1, SeqCst);
        Finds { url: url.clone(), found: false }
    });
    let config = || listening(UpstreamBuilder::new("web").discovery(discovery.clone()));
    let (server, address) = started(Server::new(config())).await;
    let handle = server.handle().expect("it is started");
    let changes = handle.reload(&config()).await.expect("it is valid");
    assert!(changes.is_empty(), "{changes}");
    assert_eq!((get(address, "/").await.text().as_str(), made.load(SeqCst)), ("found", 1));
}

#[test]
fn names_that_the_program_does_not_register_are_found_without_a_start() {
    let upstream = UpstreamBuilder::new("web").backend("http://127.0.0.1:1");
    let upstream = upstream.algorithm(LoadBalancingAlgorithm::Named("mine".into()));
    let upstream = upstream.health_check(HealthCheckBuilder::custom("mine"));
    let server = Server::new(listening(upstream.discovery(DiscoveryBuilder::custom("mine"))));
    let problems: Vec<_> = server.check().iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert_eq!(problems[0], "upstream web: no algorithm named `mine` is registered");
    assert!(problems[1].ends_with("no check named `mine` is registered"), "{problems:?}");
    assert!(problems[2].contains("mine"), "{problems:?}");
}
