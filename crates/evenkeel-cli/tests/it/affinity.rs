//! Requests that belong together: by a hash of what they share, by a cookie.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Backend, Balancer, Client, Message};

async fn named() -> Vec<Backend> {
    let mut backends = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        backends.push(Backend::saying(name).await);
    }
    backends
}

async fn balancer(backends: &[Backend], rest: &str) -> Balancer {
    let urls: Vec<String> = backends.iter().map(Backend::url).collect();
    Balancer::start(&format!("upstreams: {{ web: {{ backends: {urls:?}, {rest} }} }}")).await
}

async fn ask(client: &mut Client, target: &str, fields: &str) -> Message {
    client.ask(format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n")).await
}

#[tokio::test]
async fn requests_of_one_key_go_to_one_backend() {
    let backends = named().await;
    for algorithm in ["consistent_hash", "maglev", "rendezvous"] {
        for (key, request) in [
            ("header x-user", ["/", "X-User: KEY\r\n"]),
            ("cookie user", ["/", "Cookie: other=1; user=KEY; last=2\r\n"]),
            ("query user", ["/?other=1&user=KEY&last=2", ""]),
            ("path", ["/KEY?changes=1", ""]),
        ] {
            let rest = format!("algorithm: {{ {algorithm}: {{ key: {key} }} }}");
            let balancer = balancer(&backends, &rest).await;
            let mut client = balancer.client().await;
            let mut where_to = BTreeMap::<String, BTreeSet<String>>::new();
            for number in 0..120 {
                let user = format!("user{}", number % 40);
                let [target, fields] = request.map(|part| part.replace("KEY", &user));
                let answer = ask(&mut client, &target, &fields).await;
                where_to.entry(user).or_default().insert(answer.text());
            }
            assert!(where_to.values().all(|places| places.len() == 1), "{algorithm}, {key}: {where_to:?}");
            let all: BTreeSet<&String> = where_to.values().flatten().collect();
            assert!(all.len() >= 4, "{algorithm}, {key}: only {all:?}");
        }
    }
}

/// What is encoded differently and means the same belongs together.
#[tokio::test]
async fn a_query_is_hashed_decoded() {
    let backends = named().await;
    let balancer = balancer(&backends, "algorithm: { consistent_hash: { key: query q } }").await;
    let mut client = balancer.client().await;
    for text in ["a b", "x/y", "ü"] {
        let hex: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let plain = text.replace(' ', "+").replace('ü', "%c3%bc");
        let first = ask(&mut client, &format!("/?q={hex}"), "").await.text();
        assert_eq!(ask(&mut client, &format!("/?q={plain}"), "").await.text(), first, "{text}");
    }
}

#[tokio::test]
async fn the_key_is_the_clients_address_behind_trusted_proxies() {
    let backends = named().await;
    let urls: Vec<String> = backends.iter().map(Backend::url).collect();
    let text = format!(
        "trusted_proxies: [127.0.0.1]\nupstreams: {{ web: {{ backends: {urls:?}, algorithm: source_ip_hash }} }}"
    );
    let balancer = Balancer::start(&text).await;
    let mut client = balancer.client().await;
    let mut places = BTreeSet::new();
    for number in 0..30 {
        let field = format!("X-Forwarded-For: 192.0.2.{number}\r\n");
        let first = ask(&mut client, "/", &field).await.text();
        for _ in 0..3 {
            assert_eq!(ask(&mut client, "/", &field).await.text(), first);
        }
        places.insert(first);
    }
    assert!(places.len() >= 4, "{places:?}");
    // An IPv6 client is its /64.
    let first = ask(&mut client, "/", "X-Forwarded-For: 2001:db8:1:2::1\r\n").await.text();
    for host in ["2", "ffff:1", "a:b:c:d"] {
        let field =
            format!("X-Forwarded-For: 2001:db8:1:2:{}{host}\r\n", if host.len() > 6 { "" } else { ":" });
        assert_eq!(ask(&mut client, "/", &field).await.text(), first, "{field}");
    }
}

#[tokio::test]
async fn a_cookie_keeps_a_client_with_its_backend() {
    let backends = named().await;
    let balancer = balancer(&backends, "sticky: { cookie: keel, ttl: 1h }").await;
    let mut client = balancer.client().await;
    let first = client.get("/").await;
    let set = first.header("set-cookie").expect("a cookie").to_owned();
    let (pair, attributes) = set.split_once("; ").expect("attributes");
    assert!(pair.starts_with("keel="), "{set}");
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax; Max-Age=3600");
    for backend in &backends {
        let address = backend.address();
        let hides = |part: String| !pair.contains(&part);
        assert!(hides(address.ip().to_string()) && hides(address.port().to_string()), "{pair}");
    }
    for _ in 0..10 {
        let answer = ask(&mut client, "/", &format!("Cookie: {pair}\r\n")).await;
        assert_eq!(answer.text(), first.text());
        assert_eq!(answer.header("set-cookie"), None, "the client has it already");
    }
    // One that names no backend is replaced.
    let answer = ask(&mut client, "/", "Cookie: keel=0123456789abcdef\r\n").await;
    assert!(answer.header("set-cookie").is_some_and(|set| set.starts_with("keel=")));
}

#[tokio::test]
async fn a_gone_backend_is_replaced_at_once() {
    let mut backends = named().await;
    let balancer = balancer(&backends, "sticky: { cookie: keel }").await;
    let first = balancer.get("/").await;
    let cookie =
        first.header("set-cookie").expect("a cookie").split(';').next().unwrap_or_default().to_owned();
    let served = backends.iter().position(|backend| backend.count() > 0).expect("one that responded");
    drop(backends.remove(served));
    let answer = ask(&mut balancer.client().await, "/", &format!("Cookie: {cookie}\r\n")).await;
    assert_eq!(answer.status(), 200);
    assert_ne!(answer.text(), first.text());
    let replaced = answer.header("set-cookie").expect("another cookie");
    assert!(!replaced.starts_with(&cookie), "{replaced}");
}

#[tokio::test]
async fn a_secret_changes_what_backends_are_called() {
    let backends = named().await;
    let mut values = BTreeSet::new();
    for secret in ["", ", secret: 0123456789abcdef", ", secret: fedcba9876543210"] {
        let balancer = balancer(&backends[..1], &format!("sticky: {{ cookie: keel{secret} }}")).await;
        values.insert(balancer.get("/").await.header("set-cookie").expect("a cookie").to_owned());
    }
    assert_eq!(values.len(), 3, "{values:?}");
}
