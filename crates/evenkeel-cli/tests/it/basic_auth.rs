//! `basic_auth`: users of the configuration and of a file, what backends see of them, and what a guesser learns.

#![cfg(test)]

use std::time::{Duration, Instant};

use evenkeel::filter::Registry;

use crate::program::evenkeel;
use crate::rate_limit::yaml;
use crate::support::{Backend, Balancer, PATIENCE};

/// Hashes of "secret".
const SHA512: &str = "$6$rounds=1000$evenkeel$XbKN5vFY/giA1ed63IoqJ6LNEOZfB0amqu8V4D1tPW0juKvbYqvGITvW8krHu0JeRDCxKvBnQpcQQuV9XTv8a1";
const SHA256: &str = "$5$rounds=1000$evenkeel$g2ovHQpqC3JxjW7IjvE./Uc0h4XwuBjTwFOH4GsPVc3";
const BCRYPT: &str = "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
/// "ann:secret", "bob:secret", "cid:secret", "ann:wrong", "eve:secret".
const ANN: &str = "YW5uOnNlY3JldA==";
const BOB: &str = "Ym9iOnNlY3JldA==";
const CID: &str = "Y2lkOnNlY3JldA==";
const WRONG: &str = "YW5uOndyb25n";
const EVE: &str = "ZXZlOnNlY3JldA==";

fn request(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
}

fn basic(credentials: &str) -> String {
    request(&format!("Authorization: Basic {credentials}\r\n"))
}

async fn status(balancer: &Balancer, credentials: &str) -> u16 {
    balancer.client().await.ask(basic(credentials)).await.status()
}

#[tokio::test]
async fn users_sign_in_with_their_password() {
    let backend = Backend::saying("hello").await;
    let filter = format!(
        "{{ basic_auth: {{ users: {{ ann: '{SHA512}', bob: '{BCRYPT}', cid: '{SHA256}' }}, realm: staff }} }}"
    );
    let balancer = Balancer::start(&yaml(&backend, &filter)).await;
    // Twice: the second time it is remembered.
    for _ in 0..2 {
        for (credentials, expected) in
            [(ANN, 200), (BOB, 200), (CID, 200), (WRONG, 401), (EVE, 401), ("", 401), ("YW5u", 401)]
        {
            assert_eq!(status(&balancer, credentials).await, expected, "{credentials}");
        }
    }
    let mut client = balancer.client().await;
    let challenged = client.get("/").await;
    let challenge = "Basic realm=\"staff\", charset=\"UTF-8\"";
    assert_eq!((challenged.status(), challenged.header("www-authenticate")), (401, Some(challenge)));
    let two = request(&format!("Authorization: Basic {ANN}\r\nAuthorization: Basic {BOB}\r\n"));
    assert_eq!(client.ask(two).await.status(), 401, "which of both would the backend take?");
    assert_eq!(client.ask(basic(ANN)).await.status(), 200, "the connection is kept");
    let refused =
        balancer.log_lines(17).await.into_iter().filter(|line| line["end"] == "refused=unauthorized");
    assert_eq!(refused.count(), 10);
}

#[tokio::test]
async fn backends_learn_the_name_and_not_from_the_client() {
    let backend = Backend::saying("hello").await;
    let filter = format!(
        "{{ basic_auth: {{ users: {{ ann: '{SHA512}' }}, user_header: x-auth-user, forward_credentials: false }} }}"
    );
    let balancer = Balancer::start(&yaml(&backend, &filter)).await;
    let mut client = balancer.client().await;
    let forged = format!(
        "Authorization: Basic {ANN}\r\nX-Auth-User: root\r\nx-auth-user: admin\r\nX_Auth_User: root\r\nX-Auth_User: root\r\n"
    );
    for _ in 0..2 {
        assert_eq!(client.ask(request(&forged)).await.status(), 200);
        let seen = backend.last_request();
        assert_eq!(seen.all("x-auth-user"), ["ann"]);
        for gone in ["x_auth_user", "x-auth_user", "authorization"] {
            assert_eq!(seen.header(gone), None, "{gone}");
        }
    }
}

#[tokio::test]
async fn a_file_of_users_is_read_again_and_what_was_remembered_is_forgotten() {
    let backend = Backend::saying("hello").await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("users");
    let write = |text: String| {
        let next = folder.path().join("next");
        std::fs::write(&next, text).expect("a file");
        std::fs::rename(next, &file).expect("a rename");
    };
    write(format!("# staff\n\nann:{SHA512}\nbob:{BCRYPT}:a comment\n"));
    let filter = format!("{{ basic_auth: {{ file: {} }} }}", file.display());
    let balancer = Balancer::start(&yaml(&backend, &filter)).await;
    let becomes = async |credentials: &str, expected: u16| {
        let start = Instant::now();
        while status(&balancer, credentials).await != expected {
            assert!(start.elapsed() < PATIENCE, "{credentials} is never {expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    for credentials in [ANN, BOB] {
        assert_eq!(status(&balancer, credentials).await, 200);
    }
    write(format!("bob:{BCRYPT}\n"));
    becomes(ANN, 401).await;
    assert_eq!(status(&balancer, BOB).await, 200);
    write(format!("ann:{SHA512}\nbob:secret\n"));
    let rejected = Balancer::try_with(&yaml(&backend, &filter), Registry::builtin()).await;
    let error = rejected.err().expect("the file is wrong").to_string();
    assert!(
        error.contains("users:2: user bob: expected a hash of bcrypt") && !error.contains("secret"),
        "{error}"
    );
    assert_eq!(
        (status(&balancer, ANN).await, status(&balancer, BOB).await),
        (401, 200),
        "what was valid stays"
    );
    write(format!("ann:{SHA512}\n"));
    becomes(ANN, 200).await;
    becomes(BOB, 401).await;
}

#[tokio::test]
async fn a_user_that_does_not_exist_takes_as_long_as_a_wrong_password() {
    let backend = Backend::saying("hello").await;
    // The hash is none of "secret": only its cost matters here.
    let slow = SHA512.replace("rounds=1000$", "rounds=60000$");
    let filter = format!("{{ basic_auth: {{ users: {{ ann: '{slow}' }} }} }}");
    let balancer = Balancer::start(&yaml(&backend, &filter)).await;
    let mut client = balancer.client().await;
    let mut quickest = async |credentials: &str| {
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let start = Instant::now();
            assert_eq!(client.ask(basic(credentials)).await.status(), 401);
            best = best.min(start.elapsed());
        }
        best
    };
    let (wrong, unknown) = (quickest(WRONG).await, quickest(EVE).await);
    assert!(
        wrong > Duration::from_millis(2),
        "{wrong:?}: the check itself took no time, so this shows nothing"
    );
    let (less, more) = (wrong.min(unknown), wrong.max(unknown));
    assert!(more < less * 3, "wrong password: {wrong:?}, no such user: {unknown:?}");
}

#[tokio::test]
async fn other_requests_of_the_worker_do_not_wait_for_a_check() {
    let backend = Backend::saying("hello").await;
    let slow = SHA512.replace("rounds=1000$", "rounds=60000$");
    let balancer = Balancer::start(&format!(
        "workers: 1\nroutes:\n- {{ name: staff, match: {{ path: /staff }}, filters: [{{ basic_auth: {{ users: {{ ann: '{slow}' }} }} }}], upstream: web }}\n\
         - {{ name: all, upstream: web }}\nupstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        backend.url()
    ))
    .await;
    let mut staff = balancer.client().await;
    staff.send(format!("GET /staff HTTP/1.1\r\nHost: test\r\nAuthorization: Basic {WRONG}\r\n\r\n")).await;
    let start = Instant::now();
    assert_eq!(balancer.get("/").await.status(), 200);
    let free = start.elapsed();
    assert_eq!(staff.response().await.status(), 401);
    assert!(free < start.elapsed(), "the other request was first: {free:?}");
}

#[tokio::test]
async fn an_explanation_checks_no_password() {
    let backend = Backend::saying("hello").await;
    let filter = format!("{{ basic_auth: {{ users: {{ ann: '{SHA512}' }} }} }}");
    let balancer = Balancer::start(&yaml(&backend, &filter)).await;
    let page = crate::support::get(balancer.admin(), "/explain?url=http://test/").await.text();
    let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
    assert_eq!(page["filters"][0]["verdict"], "refuse", "{page}");
    assert_eq!(page["filters"][0]["notes"][0], "no name and password: rejected", "{page}");
}

#[tokio::test]
async fn later_filters_see_the_name_that_was_verified_and_not_the_one_that_was_sent() {
    let backend = Backend::saying("hello").await;
    let filter = format!(
        "{{ basic_auth: {{ users: {{ ann: '{BCRYPT}' }}, user_header: x-user }} }}, \
         {{ request_headers: {{ set: {{ x-seen: \"{{header.x-user}}\", x-ip: \"{{header.x-real-ip}}\" }} }} }}, \
         {{ rate_limit: {{ key: header x-user, rate: 2/h, burst: 2 }} }}"
    );
    let untrusted = yaml(&backend, &filter).replace("trusted_proxies: [127.0.0.1]\n", "");
    let balancer = Balancer::start(&untrusted).await;
    let mut statuses = Vec::new();
    for number in 0..3 {
        let fields = format!("Authorization: Basic {ANN}\r\nX-User: r{number}\r\nX-Real-IP: 10.0.0.1\r\n");
        statuses.push(balancer.client().await.ask(request(&fields)).await.status());
    }
    assert_eq!(statuses, [200, 200, 429]);
    let seen = backend.last_request();
    assert_eq!((seen.header("x-user"), seen.header("x-seen")), (Some("ann"), Some("ann")));
    assert_eq!(seen.header("x-ip"), None, "an untrusted client does not say who it is");
}

#[tokio::test]
async fn trailers_bring_nothing_back_that_filters_took_out() {
    let backend = Backend::saying("hello").await;
    let filter = format!("{{ basic_auth: {{ users: {{ ann: '{BCRYPT}' }}, user_header: x-user }} }}");
    let balancer = Balancer::start(&yaml(&backend, &filter)).await;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: test\r\nAuthorization: Basic {ANN}\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\nX-User: admin\r\nX_User: root\r\n\r\n"
    );
    assert_eq!(balancer.client().await.ask(request).await.status(), 200);
    let seen = backend.last_request();
    assert_eq!((seen.all("x-user"), seen.text().as_str()), (vec!["ann"], "hello"));
    assert!(seen.trailers.is_empty(), "{:?}", seen.trailers);
}

#[tokio::test]
async fn a_message_shows_no_password() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (users, expected) in [
        ("ann: secret-word", "filters[0].basic_auth.users.ann: is not valid: expected "),
        ("'a:b': secret-word", "filters[0].basic_auth.users"),
    ] {
        let yaml = format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\n\
             upstreams: {{ web: {{ backends: [\"http://127.0.0.1:1\"] }} }}\n\
             routes: [{{ name: all, filters: [{{ basic_auth: {{ users: {{ {users} }} }} }}], upstream: web }}]\n"
        );
        std::fs::write(folder.path().join("evenkeel.yaml"), yaml).expect("a file");
        let said = evenkeel(folder.path(), &["check"]).await;
        assert_eq!(said.code, Some(1));
        assert!(said.err.contains(expected) && !said.err.contains("secret-word"), "{}", said.err);
    }
}
