//! Backends that come and go while requests run: by files, over HTTP, from code, and from real systems.

#![cfg(test)]

mod load;
mod real;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use self::load::Load;
use crate::support::{Backend, Balancer, Lane, PATIENCE, Reply, Seen, eventually, in_time, lane};

/// Replaces a file as a whole.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("a file");
    std::fs::rename(&new, path).expect("it is replaced");
}

/// A list of these backends.
fn list(backends: &[&Backend]) -> String {
    let urls: Vec<String> = backends.iter().map(|backend| format!("\"{}\"", backend.url())).collect();
    format!("[{}]", urls.join(", "))
}

fn of_file(path: &Path, more: &str) -> String {
    format!("upstreams: {{ web: {{ discovery: {{ file: {{ path: {} }}, {more} }} }} }}", path.display())
}

/// What `/status` says of the first upstream.
async fn upstream(balancer: &Balancer) -> Value {
    balancer.status().await["upstreams"][0].clone()
}

/// Waits until `/status` has as many backends in the first upstream.
async fn until_backends(balancer: &Balancer, count: usize) {
    let found = async {
        while upstream(balancer).await["backends"].as_array().map(Vec::len) != Some(count) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time("that many backends", found).await;
}

/// Waits until a condition of the first upstream in `/status` holds.
async fn until_shown(balancer: &Balancer, condition: impl Fn(&Value) -> bool) -> Value {
    let found = async {
        loop {
            let shown = upstream(balancer).await;
            if condition(&shown) {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time("the condition in /status", found).await
}

#[tokio::test]
async fn a_file_adds_and_removes_backends_within_a_second_and_no_request_fails() {
    let (a, b) = (Backend::saying("a").await, Backend::saying("b").await);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.yaml");
    replace(&path, &list(&[&a]));
    let balancer = Balancer::start(&of_file(&path, "")).await;
    let load = Load::start(balancer.address(), 1_000);
    eventually(PATIENCE, || a.count() > 50).await;
    assert_eq!(b.count(), 0);
    let begun = Instant::now();
    replace(&path, &list(&[&a, &b]));
    eventually(Duration::from_secs(1), || b.count() > 0).await;
    println!("added: in use after {:?}", begun.elapsed());
    let begun = Instant::now();
    replace(&path, &list(&[&b]));
    until_backends(&balancer, 1).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "removed only after {:?}", begun.elapsed());
    println!("removed: no longer picked after {:?}", begun.elapsed());
    let last = a.count();
    let before = b.count();
    eventually(PATIENCE, || b.count() > before + 100).await;
    // One request can have been on its way.
    assert!(a.count() <= last + 1, "{} requests to a removed backend", a.count() - last);
    load.end().await;
}

#[tokio::test]
async fn a_source_that_fails_in_every_way_changes_nothing_and_is_shown() {
    let (a, b) = (Backend::saying("a").await, Backend::saying("b").await);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.yaml");
    replace(&path, &list(&[&a]));
    let balancer = Balancer::start(&of_file(&path, "")).await;
    let load = Load::start(balancer.address(), 500);
    for (text, expected) in [
        ("<html>502 Bad Gateway</html>", "is not a list"),
        ("[]", "no backends"),
        ("- http://10.0.0.1:80\n- ftp://x", "the scheme ftp"),
    ] {
        replace(&path, text);
        let shown = until_shown(&balancer, |shown| {
            shown["discovery"]["error"].as_str().is_some_and(|error| error.contains(expected))
        });
        let shown = shown.await;
        assert_eq!(
            (shown["discovery"]["backends"].as_u64(), shown["backends"][0]["name"].as_str()),
            (Some(1), Some(a.url().as_str()))
        );
    }
    std::fs::remove_file(&path).expect("it is removed");
    let gone = |shown: &Value| {
        let discovery = &shown["discovery"];
        discovery["error"] == "there is no such file" && discovery["age_seconds"].as_f64() > Some(1.0)
    };
    until_shown(&balancer, gone).await;
    let metrics = balancer.metrics().await;
    for series in ["invalid", "empty", "unreachable"] {
        let name = format!("evenkeel_discovery_failures_total{{upstream=\"web\",reason=\"{series}\"}} ");
        let line = metrics
            .lines()
            .find(|line| line.starts_with(&name))
            .unwrap_or_else(|| panic!("{name}\n{metrics}"));
        assert!(!line.ends_with(" 0"), "{line}");
    }
    let begun = Instant::now();
    replace(&path, &list(&[&b]));
    eventually(Duration::from_secs(2), || b.count() > 0).await;
    println!("after its return: in use after {:?}", begun.elapsed());
    until_shown(&balancer, |shown| shown["discovery"]["error"].is_null()).await;
    load.end().await;
}

#[tokio::test]
async fn with_allow_empty_an_upstream_can_have_no_backends_and_get_them_back() {
    let a = Backend::saying("a").await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.yaml");
    replace(&path, "[]");
    let balancer = Balancer::start(&of_file(&path, "allow_empty: true")).await;
    assert_eq!(balancer.get("/").await.status(), 503);
    replace(&path, &list(&[&a]));
    until_backends(&balancer, 1).await;
    assert_eq!(balancer.get("/").await.text(), "a");
    replace(&path, "[]");
    until_backends(&balancer, 0).await;
    assert_eq!(balancer.get("/").await.status(), 503);
}

#[tokio::test]
async fn backends_that_stay_keep_what_is_known_of_them_and_those_of_the_file_stay_too() {
    let (fixed, stays, other) =
        (Backend::saying("fixed").await, Backend::saying("stays").await, Backend::saying("other").await);
    let bad = Backend::start(|_| Reply::status(503, "bad")).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.yaml");
    replace(&path, &list(&[&stays, &bad]));
    let yaml = format!(
        "upstreams: {{ web: {{ backends: [\"{}\"], discovery: {{ file: {{ path: {} }} }},
         outlier_detection: {{ consecutive_failures: 3, ejection_time: 60s, max_ejected: 50% }} }} }}",
        fixed.url(),
        path.display()
    );
    let balancer = Balancer::start(&yaml).await;
    let mut client = balancer.client().await;
    let named = |shown: &Value, backend: &Backend| {
        let backends = shown["backends"].as_array().cloned().unwrap_or_default();
        backends.into_iter().find(|one| one["name"] == backend.url()).unwrap_or(Value::Null)
    };
    let ejected = in_time("ejected", async {
        while named(&upstream(&balancer).await, &bad)["state"] != "ejected" {
            client.get("/").await;
        }
    });
    ejected.await;
    let before = upstream(&balancer).await;
    let (connections, seen_by_bad) = (stays.connections(), bad.count());
    replace(&path, &list(&[&other, &bad, &stays]));
    until_backends(&balancer, 4).await;
    let after = upstream(&balancer).await;
    for backend in [&fixed, &stays, &bad] {
        assert_eq!(named(&after, backend)["attempts"], named(&before, backend)["attempts"]);
    }
    assert_eq!(named(&after, &bad)["state"], "ejected");
    assert_eq!(named(&after, &fixed)["from"], "configuration");
    assert_eq!(named(&after, &other)["from"], format!("file {}", path.display()));
    for _ in 0..30 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    assert_eq!(bad.count(), seen_by_bad, "an ejected backend got requests after the change");
    assert!(other.count() > 0 && fixed.count() > 0);
    assert_eq!(stays.connections(), connections, "its idle connection was not used again");
    // The file's own backends stay when the source names none of them.
    replace(&path, &list(&[&other]));
    until_backends(&balancer, 2).await;
}

#[tokio::test]
async fn a_slow_response_of_a_removed_backend_arrives_whole_and_its_idle_connections_close() {
    let slow = |seen: &Seen| match seen.message.target() {
        "/slow" => Reply::new()
            .read_body()
            .send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
            .send("slow")
            .wait(Duration::from_secs(2))
            .send("slow"),
        _ => Reply::ok("quick"),
    };
    let (gone, stays) = (Backend::start(slow).await, Backend::saying("stays").await);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.yaml");
    replace(&path, &list(&[&gone]));
    let balancer = Balancer::start(&of_file(&path, "")).await;
    assert_eq!(balancer.get("/").await.text(), "quick");
    let mut client = balancer.client().await;
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n").await;
    gone.until_requests(2).await;
    replace(&path, &list(&[&stays]));
    eventually(PATIENCE, || stays.count() == 0).await;
    until_shown(&balancer, |shown| shown["backends"][0]["name"] == stays.url()).await;
    assert_eq!(client.response().await.text(), "slowslow");
    if lane() == Lane::Lean {
        gone.until_all_closed().await;
    }
    assert_eq!(client.get("/").await.text(), "stays");
}

#[tokio::test]
async fn weights_zones_and_metadata_of_a_source_apply() {
    let (a, b) = (Backend::saying("a").await, Backend::saying("b").await);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.json");
    let group = |backend: &Backend, labels: &str| {
        format!("{{\"targets\": [\"{}\"], \"labels\": {{{labels}}}}}", backend.address())
    };
    let text =
        format!("[{}, {}]", group(&a, "\"weight\": \"3\", \"rack\": \"r1\""), group(&b, "\"zone\": \"z\""));
    replace(&path, &text);
    let balancer = Balancer::start(&of_file(&path, "")).await;
    for _ in 0..8 {
        balancer.get("/").await;
    }
    assert_eq!((a.count(), b.count()), (6, 2));
    let shown = upstream(&balancer).await;
    assert_eq!(shown["backends"][0]["metadata"]["rack"], "r1");
    replace(&path, &format!("[{}]", group(&a, "\"weight\": \"1\"")));
    until_shown(&balancer, |shown| shown["backends"][0]["weight"] == 1).await;
}

#[tokio::test]
async fn a_source_that_is_not_there_at_the_start_costs_its_timeout_and_the_other_upstreams_serve() {
    let a = Backend::saying("a").await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.yaml");
    let yaml = format!(
        "upstreams: {{ web: {{ discovery: {{ file: {{ path: {} }}, start_timeout: 300ms }} }}, other: {{ backends: [\"{}\"] }} }}\n\
         routes: [{{ name: w, match: {{ path_prefix: /web }}, upstream: web }}, {{ name: o, upstream: other }}]",
        path.display(),
        a.url()
    );
    let begun = Instant::now();
    let balancer = Balancer::start(&yaml).await;
    let lasted = begun.elapsed();
    assert!(lasted >= Duration::from_millis(290) && lasted < Duration::from_secs(3), "{lasted:?}");
    assert_eq!(balancer.get("/").await.text(), "a");
    assert_eq!(balancer.get("/web").await.status(), 503);
    replace(&path, &list(&[&a]));
    until_backends(&balancer, 1).await;
    assert_eq!(balancer.get("/web").await.text(), "a");
}

#[tokio::test]
async fn a_reload_keeps_the_backends_of_a_source_that_is_the_same() {
    let (a, b) = (Backend::saying("a").await, Backend::saying("b").await);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.yaml");
    replace(&path, &list(&[&a]));
    let yaml = of_file(&path, "");
    let balancer = Balancer::start(&yaml).await;
    balancer.get("/").await;
    // The source fails now: only what is known counts.
    std::fs::remove_file(&path).expect("it is removed");
    until_shown(&balancer, |shown| !shown["discovery"]["error"].is_null()).await;
    let with_slow_start = yaml.replace("web: {", "web: { slow_start: 1s, ");
    assert_eq!(balancer.reload(&with_slow_start).await.unwrap(), ["upstream web changed: slow_start"]);
    assert_eq!(balancer.get("/").await.text(), "a");
    let shown = upstream(&balancer).await;
    assert_eq!(shown["backends"][0]["attempts"], 2);
    let other = folder.path().join("other.yaml");
    replace(&other, &list(&[&b]));
    let changes = balancer.reload(&of_file(&other, "")).await.unwrap();
    assert_eq!(changes, ["upstream web changed: discovery, slow_start"]);
    assert_eq!(balancer.get("/").await.text(), "b");
}

#[tokio::test]
async fn a_list_over_http_is_followed_through_every_failure_of_its_server() {
    let (a, b) = (Backend::saying("a").await, Backend::saying("b").await);
    let urls = list(&[&a]);
    let both = list(&[&a, &b]);
    let source = Backend::start(move |seen| match seen.connection {
        0 => Reply::ok(&urls),
        1 => Reply::status(500, "oops"),
        2 => Reply::ok("garbage"),
        3 => Reply::hang_up(),
        _ => Reply::ok(&both),
    })
    .await;
    let yaml = format!(
        "upstreams: {{ web: {{ discovery: {{ http: {{ url: \"{}/sd\", interval: 20ms }} }} }} }}",
        source.url()
    );
    let balancer = Balancer::start(&yaml).await;
    let load = Load::start(balancer.address(), 500);
    until_backends(&balancer, 2).await;
    eventually(PATIENCE, || b.count() > 0).await;
    load.end().await;
    let metrics = balancer.metrics().await;
    assert!(
        metrics.contains("evenkeel_discovery_failures_total{upstream=\"web\",reason=\"unreachable\"} 2"),
        "{metrics}"
    );
    assert!(
        metrics.contains("evenkeel_discovery_failures_total{upstream=\"web\",reason=\"invalid\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn readyz_names_what_a_start_waits_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/sd", listener.local_addr().expect("its address"));
    let a = Backend::saying("a").await;
    let body = list(&[&a]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let yaml = format!(
        "admin: {{ address: \"{free}\", hosts: [test] }}\nupstreams: {{ web: {{ discovery: {{ http: {{ url: \"{url}\" }}, start_timeout: 60s }} }} }}"
    );
    let start = tokio::spawn(async move { Balancer::start(&yaml).await });
    let (mut socket, _) =
        in_time("the request of the source", listener.accept()).await.expect("a connection");
    let mut head = [0; 4096];
    assert!(socket.read(&mut head).await.expect("a request") > 0);
    let ready = in_time("readyz", async {
        loop {
            if tokio::net::TcpStream::connect(free).await.is_ok() {
                return crate::support::get(free, "/readyz").await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let ready = ready.await;
    assert_eq!(ready.status(), 503);
    assert_eq!(ready.text(), format!("waiting for upstream web: http {url}\n"));
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    socket.write_all(response.as_bytes()).await.expect("it is sent");
    let balancer = in_time("the start", start).await.expect("it starts");
    assert_eq!(crate::support::get(free, "/readyz").await.status(), 200);
    assert_eq!(balancer.get("/").await.text(), "a");
}

/// Many upstreams and changes do not need a pause of the requests.
#[tokio::test]
async fn fifty_changes_a_second_fail_no_request() {
    let backends: Vec<Arc<Backend>> = {
        let mut all = Vec::new();
        for _ in 0..4 {
            all.push(Arc::new(Backend::saying("x").await));
        }
        all
    };
    let lists: Vec<String> = (0..4)
        .map(|left_out| {
            let some: Vec<&Backend> = backends
                .iter()
                .enumerate()
                .filter(|(index, _)| *index != left_out)
                .map(|(_, one)| &**one)
                .collect();
            list(&some)
        })
        .collect();
    let source = Backend::start(move |seen| Reply::ok(&lists[seen.connection % lists.len()])).await;
    let yaml = format!(
        "upstreams: {{ web: {{ discovery: {{ http: {{ url: \"{}/sd\", interval: 5ms }}, debounce: 20ms }} }} }}",
        source.url()
    );
    let balancer = Balancer::start(&yaml).await;
    let load = Load::start(balancer.address(), 1_000);
    eventually(PATIENCE, || source.count() > 200).await;
    load.end().await;
    let metrics = balancer.metrics().await;
    let updates = metrics
        .lines()
        .find_map(|line| line.strip_prefix("evenkeel_discovery_updates_total{upstream=\"web\"} "));
    assert!(updates.and_then(|count| count.parse::<u64>().ok()) > Some(20), "{updates:?}");
}
