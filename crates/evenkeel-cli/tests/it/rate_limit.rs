//! `rate_limit`, over real sockets: what passes, by which key, what the client and the operator see, and what a reload keeps.

#![cfg(test)]

use std::time::Duration;

use crate::support::{Backend, Balancer, Message, get};

/// A balancer whose one route has this filter, and whose peer is a trusted proxy.
async fn limited(backend: &Backend, filters: &str) -> Balancer {
    Balancer::start(&yaml(backend, filters)).await
}

/// One route with these filters, behind a trusted proxy: the peer.
pub(crate) fn yaml(backend: &Backend, filters: &str) -> String {
    format!(
        "trusted_proxies: [127.0.0.1]\n\
         routes: [{{ name: all, filters: [{filters}], upstream: web }}]\n\
         upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        backend.url()
    )
}

/// What becomes of a request with these fields.
async fn ask(balancer: &Balancer, fields: &str) -> Message {
    let request = format!("GET /p?token=t HTTP/1.1\r\nHost: Test.example\r\n{fields}\r\n");
    balancer.client().await.ask(&request).await
}

async fn statuses(balancer: &Balancer, fields: &[&str]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for fields in fields {
        statuses.push(ask(balancer, fields).await.status());
    }
    statuses
}

#[tokio::test]
async fn a_client_over_its_limit_gets_429_and_keeps_its_connection() {
    let backend = Backend::saying("hello").await;
    let balancer = limited(&backend, "{ rate_limit: { rate: 2/h } }").await;
    let mut client = balancer.client().await;
    let request = "GET / HTTP/1.1\r\nHost: test\r\nAccept: application/json\r\n\r\n";
    let policy = Some("\"client_ip\";q=2;w=3600");
    for (status, left) in [(200, "\"client_ip\";r=1;t=1800"), (200, "\"client_ip\";r=0;t=1800")] {
        let response = client.ask(request).await;
        assert_eq!((response.status(), response.header("ratelimit")), (status, Some(left)));
        assert_eq!((response.header("ratelimit-policy"), response.header("retry-after")), (policy, None));
    }
    for _ in 0..100 {
        let response = client.ask(request).await;
        assert_eq!((response.status(), response.header("ratelimit-policy")), (429, policy));
        let wait: u64 = response.header("retry-after").expect("Retry-After").parse().expect("seconds");
        assert!((1_700..=1_800).contains(&wait), "{wait} s");
        assert_eq!(response.header("ratelimit"), Some(format!("\"client_ip\";r=0;t={wait}").as_str()));
        assert!(response.text().contains("rate_limited"), "{}", response.text());
    }
    assert_eq!(backend.requests().len(), 2);
    let last = balancer.log_lines(102).await.pop().expect("a record");
    assert_eq!((&last["status"], &last["end"]), (&429.into(), &"refused=rate_limited".into()));
}

#[tokio::test]
async fn the_key_is_the_clients_address_as_the_log_has_it() {
    let backend = Backend::saying("hello").await;
    let balancer = limited(&backend, "{ rate_limit: { rate: 1/h } }").await;
    let from = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    let one = [
        // A client behind the trusted proxy, and what it makes up in front of it.
        (from("203.0.113.7"), 200),
        (from("198.51.100.1, 203.0.113.7"), 429),
        (from("203.0.113.7") + "X-Real-IP: 198.51.100.1\r\nForwarded: for=198.51.100.1\r\n", 429),
        (from("::ffff:203.0.113.7"), 429),
        (from("203.0.113.8"), 200),
        // One /64 is one client.
        (from("2001:db8:1:2::1"), 200),
        (from("2001:db8:1:2:ffff::9"), 429),
        (from("2001:db8:1:3::1"), 200),
    ];
    for (fields, status) in one {
        assert_eq!(ask(&balancer, &fields).await.status(), status, "{fields}");
    }
    let lines = balancer.log_lines(8).await;
    let clients: Vec<_> = lines.iter().map(|line| line["client"].as_str().unwrap_or_default()).collect();
    assert_eq!(clients.iter().filter(|client| **client == "203.0.113.7").count(), 4, "{clients:?}");
}

#[tokio::test]
async fn an_untrusted_client_cannot_change_its_address() {
    let backend = Backend::saying("hello").await;
    let yaml = yaml(&backend, "{ rate_limit: { rate: 1/h } }").replace("trusted_proxies: [127.0.0.1]\n", "");
    let balancer = Balancer::start(&yaml).await;
    let spoofed =
        ["", "X-Forwarded-For: 203.0.113.7\r\n", "Forwarded: for=203.0.113.8\r\n", "X-Real-IP: 1.2.3.4\r\n"];
    assert_eq!(statuses(&balancer, &spoofed).await, [200, 429, 429, 429]);
}

#[tokio::test]
async fn each_kind_of_key_counts_apart() {
    let (a, b) = ("X-Forwarded-For: 203.0.113.7\r\n", "X-Forwarded-For: 203.0.113.8\r\n");
    let with = |client: &str, more: &str| format!("{client}{more}");
    for (key, fields, expected) in [
        (
            "header x-user",
            [with(a, "X-User: u\r\n"), with(b, "X-User: u\r\n"), with(a, "X-User: v\r\n")],
            [200, 429, 200],
        ),
        // Without the header, by address.
        ("header x-user", [a.to_owned(), a.to_owned(), b.to_owned()], [200, 429, 200]),
        (
            "cookie id",
            [with(a, "Cookie: x=1; id=u\r\n"), with(b, "Cookie: id=u\r\n"), with(a, "Cookie: id=v\r\n")],
            [200, 429, 200],
        ),
        ("query token", [a.to_owned(), b.to_owned(), a.to_owned()], [200, 429, 429]),
        ("path", [a.to_owned(), b.to_owned(), a.to_owned()], [200, 429, 429]),
        ("host", [a.to_owned(), b.to_owned(), a.to_owned()], [200, 429, 429]),
        ("method", [a.to_owned(), b.to_owned(), a.to_owned()], [200, 429, 429]),
        ("route", [a.to_owned(), b.to_owned(), a.to_owned()], [200, 429, 429]),
        (
            "[client_ip, header x-user]",
            [with(a, "X-User: u\r\n"), with(b, "X-User: u\r\n"), with(a, "X-User: u\r\n")],
            [200, 200, 429],
        ),
    ] {
        let backend = Backend::saying("hello").await;
        let balancer = limited(&backend, &format!("{{ rate_limit: {{ key: {key}, rate: 1/h }} }}")).await;
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        assert_eq!(statuses(&balancer, &fields).await, expected, "{key}");
    }
}

#[tokio::test]
async fn prefixes_exemptions_and_a_limit_that_only_logs() {
    let from = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    for (params, addresses, expected) in [
        ("ipv4_prefix: 24", ["203.0.113.7", "203.0.113.8", "203.0.114.7"], [200, 429, 200]),
        ("ipv6_prefix: 48", ["2001:db8:1:2::1", "2001:db8:1:3::1", "2001:db8:2::1"], [200, 429, 200]),
        (
            "exempt: [203.0.113.0/24, '2001:db8::1']",
            ["203.0.113.7", "203.0.113.7", "2001:db8::1"],
            [200, 200, 200],
        ),
        ("on_exceed: log", ["203.0.113.7", "203.0.113.7", "203.0.113.7"], [200, 200, 200]),
    ] {
        let backend = Backend::saying("hello").await;
        let balancer = limited(&backend, &format!("{{ rate_limit: {{ rate: 1/h, {params} }} }}")).await;
        let fields: Vec<String> = addresses.map(from).into();
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        assert_eq!(statuses(&balancer, &fields).await, expected, "{params}");
        let metrics = balancer.metrics().await;
        let count = |result| {
            let series = format!(
                "evenkeel_rate_limit_requests_total{{route=\"all\",limit=\"client_ip\",result=\"{result}\"}} "
            );
            let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
            line.expect("a series").parse::<u32>().expect("a number")
        };
        let rejected = expected.iter().filter(|status| **status == 429).count() as u32;
        assert_eq!(count("rejected"), rejected, "{params}");
        let expected = match params {
            "on_exceed: log" => (1, 2, 0),
            _ if params.starts_with("exempt") => (0, 0, 3),
            _ => (2, 0, 0),
        };
        assert_eq!((count("allowed"), count("logged"), count("exempt")), expected, "{params}");
    }
}

#[tokio::test]
async fn several_limits_each_with_its_fields() {
    let backend = Backend::saying("hello").await;
    let filters = "{ rate_limit: { name: short, rate: 2/m } }, { rate_limit: { name: long, rate: 3/h } }, \
                   { rate_limit: { name: secret, rate: 100/h, headers: false } }";
    let balancer = limited(&backend, filters).await;
    let first = ask(&balancer, "").await;
    let mut fields = first.all("ratelimit");
    fields.sort_unstable();
    assert_eq!(fields, ["\"long\";r=2;t=1200", "\"short\";r=1;t=30"]);
    assert_eq!(first.all("ratelimit-policy").len(), 2);
    assert_eq!(statuses(&balancer, &["", ""]).await, [200, 429]);
    let rejected = ask(&balancer, "").await;
    assert_eq!(rejected.all("ratelimit").len(), 1, "the limit that rejected it: the others did not see it");
}

#[tokio::test]
async fn a_reload_keeps_what_was_used() {
    let backend = Backend::saying("hello").await;
    let (a, b) = ("X-Forwarded-For: 203.0.113.7\r\n", "X-Forwarded-For: 203.0.113.8\r\n");
    let limit = |params: &str| yaml(&backend, &format!("{{ rate_limit: {{ name: n, {params} }} }}"));
    let balancer = Balancer::start(&limit("rate: 5/h")).await;
    assert_eq!(statuses(&balancer, &[a, a, a, b]).await, [200; 4]);
    for (params, of_a, of_b) in [
        // Each request uses up one more.
        ("rate: 8/h", 4, 6),
        ("rate: 8/h, max_keys: 10", 3, 5),
        ("rate: 8/h, exempt: [192.0.2.0/24]", 2, 4),
        ("rate: 4/d, burst: 8", 1, 3),
        ("rate: 8/h, burst: 6", 0, 0),
    ] {
        balancer.reload(&limit(params)).await.expect("it is valid");
        let left = async |fields| {
            let response = ask(&balancer, fields).await;
            let left =
                response.header("ratelimit").and_then(|field| field.split(";r=").nth(1)).unwrap_or_default();
            left.split(';').next().and_then(|left| left.parse::<u32>().ok()).expect("r")
        };
        assert_eq!((left(a).await, left(b).await), (of_a, of_b), "{params}");
    }
    let status = balancer.status().await;
    let limit = &status["rate_limits"][0];
    assert_eq!((&limit["allowed"], &limit["rejected"]), (&13.into(), &1.into()), "{limit:#}");

    balancer.reload(&yaml(&backend, "{ rate_limit: { key: route, rate: 1/h } }")).await.expect("it is valid");
    assert_eq!(statuses(&balancer, &[a, a]).await, [200, 429], "another key has nothing in common with it");
}

#[tokio::test]
async fn what_operators_see() {
    let backend = Backend::saying("hello").await;
    let balancer =
        limited(&backend, "{ rate_limit: { key: [client_ip, header x-key], rate: 2/h, burst: 1 } }").await;
    let fields = |client: u8, key: &str| format!("X-Forwarded-For: 203.0.113.{client}\r\nX-Key: {key}\r\n");
    for client in 1..=12 {
        for _ in 0..=client {
            ask(&balancer, &fields(client, "short")).await;
        }
    }
    ask(&balancer, &fields(13, "a-long-and-secret-value")).await;
    ask(&balancer, &fields(13, "a-long-and-secret-value")).await;
    let status = balancer.status().await;
    let limit = &status["rate_limits"][0];
    assert_eq!((&limit["route"], &limit["name"]), (&"all".into(), &"client_ip, header x-key".into()));
    assert_eq!((&limit["rate"], &limit["burst"]), (&"2/h".into(), &1.into()));
    assert_eq!((&limit["keys"], &limit["allowed"], &limit["rejected"]), (&13.into(), &13.into(), &79.into()));
    let top = limit["top"].as_array().expect("a list");
    assert_eq!(top.len(), 10);
    let first = serde_json::json!({ "key": "203.0.113.12, header x-key short", "rejected": 12 });
    assert_eq!(top[0], first);
    assert!(!status.to_string().contains("secret-value"), "a value may be a secret");

    let page = get(balancer.admin(), "/explain?url=http://test/&header=x-key:%20short").await.text();
    let explained: serde_json::Value = serde_json::from_str(&page).expect("JSON");
    let notes = explained["filters"][0]["notes"].to_string();
    assert!(
        notes.contains("2/h, burst 1; key 127.0.0.1, header x-key short: 1 of 1 requests left"),
        "{notes}"
    );
    assert_eq!(balancer.status().await["rate_limits"][0]["keys"], 13, "it used up nothing");
}

#[tokio::test]
async fn a_limit_holds_over_all_workers_and_comes_back() {
    let backend = Backend::saying("hello").await;
    let yaml = yaml(&backend, "{ rate_limit: { rate: 100/s, burst: 10 } }");
    let balancer = Balancer::start(&format!("workers: 4\n{yaml}")).await;
    let start = std::time::Instant::now();
    let one = async || {
        let (mut client, mut passed) = (balancer.client().await, 0);
        while start.elapsed() < Duration::from_secs(1) {
            passed += u32::from(client.ask("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await.status() == 200);
        }
        passed
    };
    let clients = tokio::join!(one(), one(), one(), one());
    let passed = clients.0 + clients.1 + clients.2 + clients.3;
    let most = 10 + (start.elapsed().as_secs_f64() * 100.0) as u32;
    assert!((90..=most).contains(&passed), "{passed} passed, at most {most} may");
}
