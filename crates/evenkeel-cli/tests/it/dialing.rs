//! How backends are connected to: names and their addresses, the balancer's own limits, no connection to itself.

#![cfg(test)]

use std::time::Duration;

use tokio::task::JoinSet;

use crate::program::{Program, evenkeel};
use crate::support::{Backend, Balancer, Client, Options, PATIENCE, Reply, eventually};

const POST: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody";

#[tokio::test]
async fn a_name_is_reached_by_whichever_of_its_addresses_accepts() {
    let options = Options { address: Some("[::1]:0".parse().unwrap()), ..Options::default() };
    if tokio::net::TcpListener::bind("[::1]:0").await.is_err() {
        return; // This machine has no IPv6.
    }
    let backend = Backend::with(options, |_| Reply::ok("six")).await;
    let url = format!("http://localhost:{}", backend.address().port());
    let check = "health_check: { tcp: {}, interval: 1s, timeout: 1s }, when_all_down: refuse";
    let text = format!("upstreams: {{ web: {{ {check}, backends: [\"{url}\"] }} }}");
    let balancer = Balancer::start(&text).await;
    for number in 0..10 {
        let mut client = balancer.client().await;
        assert_eq!(client.ask(POST).await.text(), "six", "request {number}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let shown = &balancer.status().await["upstreams"][0]["backends"][0];
    assert_eq!(
        (&shown["state"], &shown["last_probe"]["result"]),
        (&"up".into(), &"passed".into()),
        "{shown}"
    );
}

/// No host has such a name (RFC 6761, 6.4).
#[tokio::test]
async fn a_name_without_an_address_is_a_backend_that_is_down() {
    let alive = Backend::saying("alive").await;
    let urls = ["http://backend.invalid".to_owned(), alive.url()];
    let balancer = Balancer::start(&format!("upstreams: {{ web: {{ backends: {urls:?} }} }}")).await;
    for number in 0..10 {
        assert_eq!(balancer.client().await.ask(POST).await.text(), "alive", "request {number}");
    }
}

#[tokio::test]
async fn a_backend_that_is_an_own_listener_is_rejected() {
    let unix = "/run/evenkeel-own.sock";
    for (listener, backend, own) in [
        ("127.0.0.1:18080", "http://127.0.0.1:18080".to_owned(), true),
        ("0.0.0.0:18080", "http://127.0.0.7:18080".to_owned(), true),
        ("\"[::]:18080\"", "http://[::1]:18080".to_owned(), true),
        ("\"[::]:18080\"", "http://localhost:18080".to_owned(), true),
        ("127.0.0.1:18080", "http://0.0.0.0:18080".to_owned(), true),
        (&format!("unix:{unix}"), format!("http+unix:{unix}"), true),
        ("127.0.0.1:18080", "http://127.0.0.1:18081".to_owned(), false),
        ("127.0.0.1:18080", "http://127.0.0.2:18080".to_owned(), false),
        ("0.0.0.0:18080", "http://192.0.2.1:18080".to_owned(), false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "listeners: [{{ address: 127.0.0.1:18079 }}, {{ address: {listener} }}]\n\
             upstreams: {{ web: {{ backends: [\"{backend}\"] }} }}\n"
        );
        std::fs::write(folder.path().join("evenkeel.yaml"), text).unwrap();
        let said = evenkeel(folder.path(), &["check"]).await;
        assert_eq!(said.code, Some(i32::from(own)), "{listener} {backend}: {said:?}");
        assert_eq!(said.err.contains("is the balancer's own listener"), own, "{said:?}");
        if own {
            assert!(said.err.contains("evenkeel.yaml:2:"), "{said:?}");
            let said = evenkeel(folder.path(), &["run"]).await;
            assert!(said.err.contains("is the balancer's own listener"), "{said:?}");
        }
    }
}

/// The port of a listener on port 0 is known once it is bound.
#[tokio::test]
async fn a_backend_that_is_an_own_listener_on_a_free_port_is_rejected() {
    let backend = Backend::saying("hello").await;
    let yaml = |url: &str| format!("upstreams: {{ web: {{ backends: [\"{url}\"] }} }}");
    let balancer = Balancer::start(&yaml(&backend.url())).await;
    let own = format!("http://{}", balancer.address());
    let error = balancer.reload(&yaml(&own)).await.expect_err("a loop");
    assert!(error.contains("is the balancer's own listener"), "{error}");
    assert_eq!(balancer.get("/").await.text(), "hello");
}

/// 64 descriptors for 40 clients at once and their connections to backends.
#[tokio::test]
async fn running_out_of_descriptors_is_held_against_no_backend() {
    let ok = || Reply::new().read_body().wait(Duration::from_millis(100)).send(OK).close();
    let (one, two) = (Backend::start(move |_| ok()).await, Backend::start(move |_| ok()).await);
    let text = format!(
        "workers: 1\nupstreams: {{ web: {{ health_check: {{ tcp: {{}}, interval: 1s, timeout: 1s }}, backends: {:?} }} }}",
        [one.url(), two.url()]
    );
    let program = Program::run_with_files(&text, 64).await;
    let address = program.address();
    let mut clients = JoinSet::new();
    for _ in 0..40 {
        clients.spawn(async move {
            let mut statuses = Vec::new();
            for _ in 0..10 {
                let mut client = Client::connect(address).await;
                let request = "GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
                statuses.push(client.ask(request).await.status());
            }
            statuses
        });
    }
    let statuses: Vec<u16> = clients.join_all().await.into_iter().flatten().collect();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    assert!(statuses.contains(&200) && statuses.contains(&503), "{statuses:?}");
    let shown: serde_json::Value =
        serde_json::from_str(&crate::support::get(program.admin(), "/status").await.text()).unwrap();
    for backend in shown["upstreams"][0]["backends"].as_array().unwrap() {
        assert_eq!((&backend["failures"], &backend["state"]), (&0.into(), &"up".into()), "{backend}");
        assert_eq!(backend["unreachable"], serde_json::Value::Null);
    }
    let said = program.said();
    let count = |text: &str| said.iter().filter(|line| line.contains(text)).count();
    assert!((1..=2).contains(&count("cannot connect to backends")), "{said:#?}");
    assert_eq!(count("the limit on open files is 64"), 1, "{said:#?}");
    assert_eq!((count("is down"), count("is ejected")), (0, 0), "{said:#?}");
}

/// What a process has used so far.
fn processor_time(id: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("a process");
    // In hundredths of a second, after the name in brackets (proc_pid_stat(5)).
    let fields = text.rsplit_once(')').expect("a name").1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(10 * ticks)
}

/// Idle clients hold all descriptors, so the admin address accepts no connection until they leave.
#[tokio::test]
async fn the_admin_address_waits_for_descriptors_and_says_so_once() {
    let program =
        Program::run_with_files("workers: 1\nupstreams: { web: { backends: [\"http://127.0.0.1:1\"] } }", 64)
            .await;
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(Client::connect(program.address()).await);
    }
    let said = |text: &str| program.said().iter().filter(|line| line.contains(text)).count();
    eventually(PATIENCE, || said("cannot accept connections: ") > 0).await;
    let mut admin = Client::connect(program.admin()).await;
    eventually(PATIENCE, || said("cannot accept connections on the admin address") == 1).await;
    let before = processor_time(program.id());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = processor_time(program.id()) - before;
    assert!(used < Duration::from_millis(500), "it spins: {used:?} of processor time in a second");
    drop(idle);
    assert_eq!(admin.get("/livez").await.status(), 200);
    assert_eq!(said("cannot accept connections on the admin address"), 1, "{:#?}", program.said());
}

#[tokio::test]
async fn a_name_that_cannot_be_resolved_is_told_at_the_start() {
    let text = "upstreams: { web: { backends: [\"http://backend.invalid\"] } }";
    let program = Program::run(text).await;
    eventually(PATIENCE, || {
        program.said().iter().any(|line| line.contains("cannot resolve backend.invalid"))
    })
    .await;
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
