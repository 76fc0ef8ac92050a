//! Certificates of clients: who is accepted, and what backends and logs learn of them.

#![cfg(test)]

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::{HandshakeKind, version};

use crate::support::tls::listener;
use crate::support::{Authority, Backend, Balancer, PATIENCE, TlsClient};

/// What a request gets, over a handshake with this client: its status, or that there is none.
async fn status(balancer: &Balancer, client: &TlsClient) -> Option<(u16, Option<HandshakeKind>)> {
    let mut stream = client.handshake(balancer.address(), "www.test").await.ok()?;
    let request =
        "GET / HTTP/1.1\r\nHost: www.test\r\nConnection: close\r\nX-Forwarded-Client-Cert: forged\r\n\r\n";
    // In TLS 1.3 a client learns only now that its certificate is not accepted.
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.ok()?;
    let text = String::from_utf8_lossy(&all);
    let status = text.split(' ').nth(1)?.parse().ok()?;
    Some((status, stream.get_ref().1.handshake_kind()))
}

/// Writes a file so that no one sees a part of it.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("a file");
    std::fs::rename(&new, path).expect("a file");
}

#[tokio::test]
async fn a_client_is_served_if_its_certificate_is_accepted() {
    let (own, clients) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (authority, clients_authority) = (Authority::new(own.path()), Authority::new(clients.path()));
    let pair = authority.pair("www", &["www.test"]);
    let (good, revoked) = (
        clients_authority.pair("good", &["good.test"]),
        clients_authority.pair("revoked", &["revoked.test"]),
    );
    let stranger = authority.pair("stranger", &["stranger.test"]);
    let (ca, crl) = (clients.path().join("ca.pem"), clients.path().join("crl.pem"));
    std::fs::write(&ca, clients_authority.pem()).expect("a file");
    std::fs::write(&crl, clients_authority.revoking(&revoked)).expect("a file");
    let backend = Backend::saying("ok").await;
    let yaml = |mode: &str| {
        let auth = format!("{{ mode: {mode}, ca: {}, crl: {} }}", ca.display(), crl.display());
        let upstream = format!("upstreams: {{ web: {{ backends: [\"{}\"] }} }}", backend.url());
        listener(&[&pair], &format!(", client_auth: {auth}")) + &upstream
    };
    let balancer = Balancer::start(&yaml("off")).await;
    for (mode, nothing, known, out, unknown) in [
        ("off", true, true, true, true),
        ("optional", true, true, false, false),
        ("required", false, true, false, false),
    ] {
        if mode != "off" {
            balancer.reload(&yaml(mode)).await.expect("a reload");
        }
        for (what, client, served) in [
            ("no certificate", authority.client(), nothing),
            ("a good certificate", authority.client_showing(&good), known),
            ("a revoked certificate", authority.client_showing(&revoked), out),
            ("a certificate of another authority", authority.client_showing(&stranger), unknown),
        ] {
            let status = status(&balancer, &client).await.map(|(status, _)| status);
            assert_eq!(status, served.then_some(200), "{mode}: {what}");
        }
    }
    let page = balancer.metrics().await;
    let count = page.lines().find(|line| line.contains("cause=\"client_certificate\"}")).expect("a metric");
    assert!(count.ends_with("} 5"), "{count}");
}

#[tokio::test]
async fn backends_and_logs_learn_who_the_client_is_and_tickets_do_not_outlive_the_trust() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::new(folder.path());
    let (pair, client) = (authority.pair("www", &["www.test"]), authority.pair("client", &["client.test"]));
    let (ca, crl) = (folder.path().join("ca.pem"), folder.path().join("crl.pem"));
    std::fs::write(&ca, authority.pem()).expect("a file");
    let backend = Backend::saying("ok").await;
    let auth = format!(", client_auth: {{ mode: optional, ca: {} }}", ca.display());
    let upstream = format!("upstreams: {{ web: {{ backends: [\"{}\"] }} }}", backend.url());
    let yaml = listener(&[&pair], &auth) + &upstream;
    let balancer = Balancer::start(&yaml).await;
    let showing = authority.client_showing(&client);
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        assert_eq!(status(&balancer, &showing).await, Some((200, Some(expected))));
        let seen = backend.last_request();
        let told = seen.header("x-forwarded-client-cert").expect("a field");
        assert!(
            told.starts_with("Hash=") && told.contains("client") && told.ends_with("DNS=\"client.test\""),
            "{told}"
        );
    }
    assert_eq!(status(&balancer, &authority.client()).await.map(|(status, _)| status), Some(200));
    assert_eq!(
        backend.last_request().header("x-forwarded-client-cert"),
        None,
        "what clients claim is dropped"
    );
    let records = balancer.log_lines(3).await;
    // Each worker writes its own records, so they come in any order.
    let (with, without): (Vec<_>, Vec<_>) =
        records.iter().partition(|record| record.get("tls_client_subject").is_some());
    assert_eq!((with.len(), without.len()), (2, 1));
    for record in with {
        assert_eq!(record["tls_client_subject"], "CN=client");
        assert_eq!(record["tls_client_fingerprint"].as_str().expect("text").len(), 64);
    }
    // Once it is revoked, its session is no longer resumed.
    std::fs::write(&crl, authority.revoking(&client)).expect("a file");
    let revoking = yaml.replace(&auth, &auth.replace(" }", &format!(", crl: {} }}", crl.display())));
    assert_eq!(
        balancer.reload(&revoking).await.expect("a reload"),
        ["listener 127.0.0.1:0 changed: tls.client_auth"]
    );
    assert_eq!(status(&balancer, &showing).await, None);
}

#[tokio::test]
async fn a_changed_list_is_in_use_soon_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::new(folder.path());
    let (pair, one, two) = (
        authority.pair("www", &["www.test"]),
        authority.pair("one", &["one.test"]),
        authority.pair("two", &["two.test"]),
    );
    let (ca, crl) = (folder.path().join("ca.pem"), folder.path().join("crl.pem"));
    std::fs::write(&ca, authority.pem()).expect("a file");
    replace(&crl, &authority.revoking(&two));
    let backend = Backend::saying("ok").await;
    let auth = format!(", client_auth: {{ ca: {}, crl: {} }}", ca.display(), crl.display());
    let yaml =
        listener(&[&pair], &auth) + &format!("upstreams: {{ web: {{ backends: [\"{}\"] }} }}", backend.url());
    let balancer = Balancer::start(&yaml).await;
    let (first, second) = (authority.client_showing(&one), authority.client_showing(&two));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        assert_eq!(status(&balancer, &first).await, Some((200, Some(kind))));
    }
    assert_eq!(status(&balancer, &second).await, None);
    replace(&crl, "broken");
    let start = Instant::now();
    while !balancer.metrics().await.lines().any(|line| line.ends_with("result=\"rejected\"} 1")) {
        assert!(start.elapsed() < PATIENCE, "the broken list was not seen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(status(&balancer, &second).await, None, "the old list stays in use");
    replace(&crl, &authority.revoking(&one));
    let start = Instant::now();
    while status(&balancer, &first).await.is_some() {
        assert!(start.elapsed() < PATIENCE, "the new list is not in use");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(status(&balancer, &second).await.map(|(status, _)| status), Some(200));
}

#[tokio::test]
async fn machines_with_the_same_keys_resume_each_other_s_sessions() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::new(folder.path());
    let pair = authority.pair("www", &["www.test"]);
    let (ca, keys) = (folder.path().join("ca.pem"), folder.path().join("tickets.txt"));
    std::fs::write(&ca, authority.pem()).expect("a file");
    let (old, new) = ("01".repeat(32), "02".repeat(32));
    replace(&keys, &old);
    let backend = Backend::saying("ok").await;
    let start = async |more: &str| {
        let tls = format!(", ticket_keys: {}{more}", keys.display());
        let upstream = format!("upstreams: {{ web: {{ backends: [\"{}\"] }} }}", backend.url());
        Balancer::start(&(listener(&[&pair], &tls) + &upstream)).await
    };
    for versions in [[&version::TLS12], [&version::TLS13]] {
        replace(&keys, &old);
        let (one, two) = (start("").await, start("").await);
        let client = authority.client_of(&versions);
        assert_eq!(status(&one, &client).await, Some((200, Some(HandshakeKind::Full))));
        assert_eq!(status(&two, &client).await, Some((200, Some(HandshakeKind::Resumed))));
        one.stop();
        let after_a_restart = start("").await;
        assert_eq!(status(&after_a_restart, &client).await, Some((200, Some(HandshakeKind::Resumed))));
        // Another trust in clients, even where they show nothing.
        let other = start(&format!(", client_auth: {{ mode: optional, ca: {} }}", ca.display())).await;
        assert_eq!(status(&other, &client).await, Some((200, Some(HandshakeKind::Full))));
        // A new key comes before the old one, and then the old one goes.
        let client = authority.client_of(&versions);
        assert_eq!(status(&two, &client).await, Some((200, Some(HandshakeKind::Full))));
        replace(&keys, &format!("{new}\n{old}\n"));
        let rotated = start("").await;
        assert_eq!(status(&rotated, &client).await, Some((200, Some(HandshakeKind::Resumed))));
        replace(&keys, &new);
        let waiting = Instant::now();
        let fresh = authority.client_of(&versions);
        assert_eq!(status(&rotated, &fresh).await, Some((200, Some(HandshakeKind::Full))));
        let without = start("").await;
        assert_eq!(status(&without, &fresh).await, Some((200, Some(HandshakeKind::Resumed))));
        // It began with the old key, and sees that the file has changed.
        while status(&two, &fresh).await.expect("served").1 != Some(HandshakeKind::Resumed) {
            assert!(waiting.elapsed() < PATIENCE, "the new keys are not in use");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
