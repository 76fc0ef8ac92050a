//! What is wrong with the files of certificates, as `check`, `run` and a reload say it.

#![cfg(test)]

use std::path::Path;
use std::time::{Duration, Instant};

use crate::program::{Program, evenkeel};
use crate::support::tls::listener;
use crate::support::{Authority, Balancer, PATIENCE};

/// What `check` says of a listener with these files, in a folder of its own.
async fn checked(folder: &Path, cert: &str, key: &str) -> (Option<i32>, String) {
    let yaml = format!(
        "listeners:\n  - address: 127.0.0.1:8443\n    tls: {{ certificates: [{{ cert: {cert}, key: {key} }}] }}\n\
         upstreams: {{ web: {{ backends: [\"http://127.0.0.1:8081\"] }} }}\n"
    );
    std::fs::write(folder.join("evenkeel.yaml"), yaml).expect("a file");
    let said = evenkeel(folder, &["check", "evenkeel.yaml"]).await;
    (said.code, format!("{}{}", said.out, said.err))
}

#[tokio::test]
async fn each_mistake_is_told_with_its_place_and_what_was_expected() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    let authority = Authority::new(path);
    let (one, other) = (authority.pair("one", &["one.test"]), authority.rsa("other", &["other.test"]));
    let read = |path: &Path| std::fs::read_to_string(path).expect("a file");
    let write = |name: &str, text: &str| std::fs::write(path.join(name), text).expect("a file");
    write("chain.pem", &(read(&one.cert) + &authority.pem()));
    write("reversed.pem", &(authority.pem() + &read(&one.cert)));
    write("tangled.pem", &(read(&one.cert) + &read(&other.cert)));
    write(
        "encrypted.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    write("text.pem", "not a PEM file");
    write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for (cert, key, place, reason) in [
        ("none.pem", "one.key", "3:35: listeners[0].tls.certificates[0].cert", "there is no such file"),
        ("one.pem", "none.key", "3:49: listeners[0].tls.certificates[0].key", "there is no such file"),
        ("one.key", "one.key", "[0].cert", "has a private key and no certificate"),
        ("one.pem", "one.pem", "[0].key", "has a certificate and no private key"),
        ("one.pem", "other.key", "[0].key", "does not belong to the certificate one.pem"),
        ("reversed.pem", "one.key", "[0].cert", "has the certificates in the wrong order"),
        ("tangled.pem", "one.key", "[0].cert", "has the certificates in the wrong order"),
        ("one.pem", "encrypted.key", "[0].key", "is encrypted with a passphrase: expected a key without one"),
        ("text.pem", "one.key", "[0].cert", "has no certificate: expected a PEM file with BEGIN CERTIFICATE"),
        ("broken.pem", "one.key", "[0].cert", "certificate that"),
        ("one.pem", "text.pem", "[0].key", "has no private key: expected a PEM file with BEGIN PRIVATE KEY"),
    ] {
        let (code, said) = checked(path, cert, key).await;
        assert_eq!(code, Some(1), "{cert} {key}: {said}");
        assert!(said.contains(place) && said.contains(reason), "{cert} {key}: {said}");
    }
    for (cert, key) in [("one.pem", "one.key"), ("chain.pem", "one.key"), ("other.pem", "other.key")] {
        let (code, said) = checked(path, cert, key).await;
        assert_eq!(code, Some(0), "{said}");
    }
}

#[tokio::test]
async fn an_ocsp_response_must_be_a_successful_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::new(folder.path());
    authority.pair("one", &["one.test"]);
    let ocsp = folder.path().join("one.ocsp");
    let large = [&[0x30, 0x82, 1, 3, 0x0a, 1, 0][..], &[4; 256]].concat();
    for (bytes, reason) in [
        (vec![0x30, 3, 0x0a, 1, 0], None),
        (large, None),
        (vec![0x30, 3, 0x0a, 1, 6], Some("is an OCSP response with the error 6")),
        (b"-----BEGIN OCSP RESPONSE-----".to_vec(), Some("is not an OCSP response: expected DER")),
        (Vec::new(), Some("is not an OCSP response")),
    ] {
        std::fs::write(&ocsp, bytes).expect("a file");
        let (code, said) = checked(folder.path(), "one.pem", "one.key, ocsp: one.ocsp").await;
        assert_eq!(code, Some(i32::from(reason.is_some())), "{said}");
        assert!(said.contains(reason.unwrap_or_default()), "{said}");
        assert!(reason.is_none() || said.contains("listeners[0].tls.certificates[0].ocsp"), "{said}");
    }
}

#[tokio::test]
async fn a_certificate_that_clients_may_not_accept_is_noted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::new(folder.path());
    authority.expired("old", &["old.test"]);
    let (code, said) = checked(folder.path(), "old.pem", "old.key").await;
    assert_eq!(code, Some(0), "{said}");
    let place =
        "note: evenkeel.yaml:3:35: listeners[0].tls.certificates[0].cert: \"old.pem\" expired on 2001-01-01";
    assert!(said.contains(place), "{said}");
}

#[tokio::test]
async fn files_that_change_are_in_use_soon_and_broken_ones_are_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::new(folder.path());
    let pair = authority.pair("one", &["one.test"]);
    let yaml = listener(&[&pair], "") + "upstreams: { web: { backends: [\"http://127.0.0.1:1\"] } }";
    let balancer = Balancer::start(&yaml).await;
    let client = authority.client();
    let shown = async || {
        let stream = client.handshake(balancer.address(), "one.test").await.expect("a handshake");
        stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec()
    };
    let serial = async || balancer.status().await["listeners"][0]["certificates"][0]["serial"].clone();
    let mut kept = client.connect(balancer.address(), "one.test").await;
    let (first, first_serial) = (shown().await, serial().await);
    authority.pair("one", &["one.test"]);
    let start = Instant::now();
    while shown().await == first {
        assert!(start.elapsed() < PATIENCE, "the new certificate is not in use");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_ne!(serial().await, first_serial);
    let second = shown().await;
    std::fs::write(&pair.key, "broken").expect("a file");
    let rejected = "evenkeel_tls_certificate_reloads_total{listener=\"";
    let deadline = Instant::now() + PATIENCE;
    loop {
        let page = balancer.metrics().await;
        let is_rejected = |line: &str| line.starts_with(rejected) && line.ends_with("result=\"rejected\"} 1");
        if page.lines().any(is_rejected) {
            let expiry = page.lines().find(|line| line.starts_with("evenkeel_tls_certificate_expiry"));
            // The year 4096.
            assert!(expiry.expect("a metric").ends_with("} 67090118400"), "{expiry:?}");
            break;
        }
        assert!(Instant::now() < deadline, "{page}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(shown().await == second, "the old one stays in use");
    assert_eq!(kept.get("/").await.status(), 502);
}

#[tokio::test]
async fn a_listener_with_tls_starts_from_the_command_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::new(folder.path());
    let pair = authority.pair("one", &["one.test"]);
    for (arguments, reason) in [
        (&["--listen", "https://127.0.0.1:0"][..], "needs a certificate: add --cert FILE --key FILE"),
        (&["--listen", "127.0.0.1:0", "--cert", "one.pem", "--key", "one.key"], "--cert has no effect"),
        (
            &["--listen", "https://127.0.0.1:0", "--cert", "a", "--cert", "b", "--key", "c"],
            "expected one --key for each --cert",
        ),
    ] {
        let arguments = [&["run", "--to", "http://127.0.0.1:1"], arguments].concat();
        let said = evenkeel(folder.path(), &arguments).await;
        assert_eq!(said.code, Some(2), "{}", said.err);
        assert!(said.err.contains(reason), "{}", said.err);
    }
    let missing =
        ["run", "--to", "http://127.0.0.1:1", "--listen", "https://127.0.0.1:0", "--cert", "x", "--key", "y"];
    let said = evenkeel(folder.path(), &missing).await;
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(
        said.err.contains("listener 127.0.0.1:0: tls.certificates[0]: x: cannot be read"),
        "{}",
        said.err
    );
    let files = [pair.cert.display().to_string(), pair.key.display().to_string()];
    let [cert, key] = files.each_ref().map(String::as_str);
    let arguments = [
        "run",
        "--to",
        "http://127.0.0.1:1",
        "--listen",
        "https://127.0.0.1:0",
        "--cert",
        cert,
        "--key",
        key,
    ];
    let beginning = "listening on https://";
    let program = Program::until(tempfile::tempdir().expect("a folder"), &arguments, beginning).await;
    let line = program.said().into_iter().find_map(|line| Some(line.strip_prefix(beginning)?.to_owned()));
    let address = line.expect("a line").parse().expect("an address");
    let mut client = authority.client().connect(address, "one.test").await;
    assert_eq!(client.get("/").await.status(), 502);
}
