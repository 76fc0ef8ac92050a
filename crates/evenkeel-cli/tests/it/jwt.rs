//! `jwt` over real sockets: what clients and backends see, keys that change, and keys that cannot be read.

#![cfg(test)]

use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jsonwebtoken::get_current_timestamp;
use serde_json::json;

use crate::rate_limit::yaml;
use crate::support::tokens::Issuer;
use crate::support::{Backend, Balancer, ClosedPort, Message, PATIENCE, Reply};

/// A service with a key set that can change.
struct KeyServer {
    backend: Backend,
    text: Arc<Mutex<String>>,
    status: Arc<AtomicU16>,
}

impl KeyServer {
    async fn start(text: String) -> Self {
        let (text, status) = (Arc::new(Mutex::new(text)), Arc::new(AtomicU16::new(200)));
        let (shown, said) = (text.clone(), status.clone());
        let backend =
            Backend::start(move |_| Reply::status(said.load(SeqCst), &shown.lock().expect("no panic"))).await;
        Self { backend, text, status }
    }

    fn set(&self, text: String) {
        *self.text.lock().expect("no panic") = text;
    }

    fn url(&self) -> String {
        format!("{}/jwks.json", self.backend.url())
    }
}

async fn ask(balancer: &Balancer, fields: &str) -> Message {
    balancer.client().await.ask(format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n")).await
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[tokio::test]
async fn backends_learn_claims_and_not_from_the_client() {
    let backend = Backend::saying("hello").await;
    let issuer = Issuer::new("one");
    let filter = format!(
        "{{ jwt: {{ keys: {{ inline: '{}' }}, headers: {{ x-user: sub, x-roles: realm.roles, x-none: none }}, forward_token: false }} }}",
        issuer.keys()
    );
    let balancer = Balancer::start(&yaml(&backend, &filter)).await;
    let token = issuer.token(&json!({ "realm": { "roles": ["a", "b"] } }));
    let forged = "X-User: root\r\nX_User: root\r\nX-Roles: admin\r\nX-None: 1\r\nx-none: 2\r\n";
    let response = ask(&balancer, &format!("{forged}{}", bearer(&token))).await;
    assert_eq!(response.status(), 200);
    let seen = backend.only_request();
    assert_eq!((seen.all("x-user"), seen.all("x-roles")), (vec!["ann"], vec!["a,b"]));
    for gone in ["x_user", "x-none", "authorization"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn a_rejected_request_has_a_challenge() {
    let backend = Backend::saying("hello").await;
    let (issuer, evil) = (Issuer::new("one"), Issuer::new("one"));
    let keys = issuer.keys();
    let filter =
        format!("{{ jwt: {{ keys: {{ inline: '{keys}' }}, realm: api, require: {{ scope: [read] }} }} }}");
    let balancer = Balancer::start(&yaml(&backend, &filter)).await;
    let good = issuer.token(&json!({ "scope": "write read" }));
    let expired = issuer.token(&json!({ "exp": get_current_timestamp() - 100, "scope": "read" }));
    let none = "Bearer realm=\"api\"";
    let invalid =
        |text: &str| format!("Bearer realm=\"api\", error=\"invalid_token\", error_description=\"{text}\"");
    for (fields, status, challenge) in [
        (bearer(&good), 200, None),
        (format!("authorization: bearer   {good}\r\n"), 200, None),
        (String::new(), 401, Some(none.to_owned())),
        ("Authorization: Basic YTpi\r\n".to_owned(), 401, Some(none.to_owned())),
        (bearer(&expired), 401, Some(invalid("the token has expired"))),
        (
            bearer(&evil.token(&json!({ "scope": "read" }))),
            401,
            Some(invalid("the signature of the token is wrong")),
        ),
        (bearer("a.b.c"), 401, Some(invalid("the token is malformed"))),
        (bearer(""), 401, Some(none.to_owned())),
        (format!("{0}{0}", bearer(&good)), 401, Some(invalid("the token is malformed"))),
        (
            bearer(&issuer.token(&json!({}))),
            403,
            Some("Bearer realm=\"api\", error=\"insufficient_scope\"".to_owned()),
        ),
        (
            bearer(&issuer.token(&json!({ "scope": "reader" }))),
            403,
            Some("Bearer realm=\"api\", error=\"insufficient_scope\"".to_owned()),
        ),
    ] {
        let response = ask(&balancer, &fields).await;
        assert_eq!(
            (response.status(), response.header("www-authenticate")),
            (status, challenge.as_deref()),
            "{fields}"
        );
    }
    assert_eq!(backend.count(), 2);
}

#[tokio::test]
async fn a_token_can_be_in_a_cookie_and_can_be_missing() {
    let backend = Backend::saying("hello").await;
    let issuer = Issuer::new("one");
    let filter = format!(
        "{{ jwt: {{ keys: {{ inline: '{}' }}, from: [cookie session, header x-token], headers: {{ x-user: sub }}, allow_missing: true }} }}",
        issuer.keys()
    );
    let balancer = Balancer::start(&yaml(&backend, &filter)).await;
    let token = issuer.token(&json!({}));
    for (fields, status, user) in [
        (format!("Cookie: a=b; session={token}\r\n"), 200, Some("ann")),
        (format!("X-Token: {token}\r\n"), 200, Some("ann")),
        ("X-User: root\r\n".to_owned(), 200, None),
        (format!("Cookie: session=x\r\nX-Token: {token}\r\n"), 401, None),
        ("Cookie: session=\r\n".to_owned(), 401, None),
    ] {
        let before = backend.count();
        assert_eq!(ask(&balancer, &fields).await.status(), status, "{fields}");
        assert_eq!(backend.count() - before, usize::from(status == 200), "{fields}");
        if status == 200 {
            assert_eq!(backend.last_request().header("x-user"), user, "{fields}");
        }
    }
}

#[tokio::test]
async fn a_new_key_of_the_issuer_is_found_at_once() {
    let backend = Backend::saying("hello").await;
    let (old, new, evil) = (Issuer::new("old"), Issuer::new("new"), Issuer::new("evil"));
    let server = KeyServer::start(old.keys()).await;
    let filter = format!("{{ jwt: {{ keys: {{ url: '{}', refresh: 1h }} }} }}", server.url());
    let balancer = Balancer::start(&yaml(&backend, &filter)).await;
    // The first request waits for the keys.
    assert_eq!(ask(&balancer, &bearer(&old.token(&json!({})))).await.status(), 200);
    server.set(new.keys());
    assert_eq!(
        ask(&balancer, &bearer(&new.token(&json!({})))).await.status(),
        200,
        "the key set is read again"
    );
    assert_eq!(ask(&balancer, &bearer(&old.token(&json!({})))).await.status(), 401, "a key that is gone");
    // Tokens with unknown keys do not make the balancer ask all the time.
    let (start, before) = (Instant::now(), server.backend.count());
    for _ in 0..3 {
        assert_eq!(ask(&balancer, &bearer(&evil.token(&json!({})))).await.status(), 401);
    }
    let reads = server.backend.count() - before;
    let most = start.elapsed().as_secs() / 2 + 1;
    assert!(reads as u64 <= most, "{reads} reads in {:?}", start.elapsed());
    // It fails: the last keys stay.
    server.status.store(500, SeqCst);
    assert_eq!(ask(&balancer, &bearer(&old.token(&json!({})))).await.status(), 401);
    assert_eq!(ask(&balancer, &bearer(&new.token(&json!({})))).await.status(), 200);
}

#[tokio::test]
async fn without_keys_a_token_is_rejected_for_now() {
    let backend = Backend::saying("hello").await;
    let (issuer, closed) = (Issuer::new("one"), ClosedPort::new());
    for (url, allow_missing, missing) in [(closed.url(), false, 401), (closed.url(), true, 200)] {
        let filter = format!(
            "{{ jwt: {{ keys: {{ url: '{url}/jwks.json', timeout: 1s }}, allow_missing: {allow_missing} }} }}"
        );
        let balancer = Balancer::start(&yaml(&backend, &filter)).await;
        let response = ask(&balancer, &bearer(&issuer.token(&json!({})))).await;
        assert_eq!((response.status(), response.header("retry-after")), (503, Some("1")));
        assert_eq!(ask(&balancer, "").await.status(), missing);
    }
}

#[tokio::test]
async fn a_file_of_keys_is_read_again() {
    let backend = Backend::saying("hello").await;
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, old.keys()).expect("a file");
    let filter = format!("{{ jwt: {{ keys: {{ file: '{}' }} }} }}", file.display());
    let balancer = Balancer::start(&yaml(&backend, &filter)).await;
    assert_eq!(ask(&balancer, &bearer(&old.token(&json!({})))).await.status(), 200);
    assert_eq!(ask(&balancer, &bearer(&new.token(&json!({})))).await.status(), 401);
    std::fs::write(&file, new.keys()).expect("a file");
    let start = Instant::now();
    while ask(&balancer, &bearer(&new.token(&json!({})))).await.status() != 200 {
        assert!(start.elapsed() < PATIENCE, "the new key is never used");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(ask(&balancer, &bearer(&old.token(&json!({})))).await.status(), 401);
}
