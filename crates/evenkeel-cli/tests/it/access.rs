//! `allow` and `deny`: which clients can send requests, by networks of the configuration and of a file.

#![cfg(test)]

use crate::rate_limit::yaml;
use crate::support::{Backend, Balancer, PATIENCE};

async fn status(balancer: &Balancer, client: &str) -> u16 {
    let request = format!("GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: {client}\r\n\r\n");
    balancer.client().await.ask(&request).await.status()
}

#[tokio::test]
async fn clients_are_let_in_by_network() {
    let backend = Backend::saying("hello").await;
    for (filters, expected) in [
        ("{ allow: [10.0.0.0/8, 192.0.2.7, '2001:db8::/32'] }", [200, 200, 403, 200, 403]),
        ("{ deny: [10.0.0.0/8, 192.0.2.7, '2001:db8::/32'] }", [403, 403, 200, 403, 200]),
        (
            "{ allow: { networks: [10.0.0.0/8] } }, { deny: { networks: [10.1.0.0/16] } }",
            [403, 403, 403, 403, 403],
        ),
        ("{ allow: [] }", [403; 5]),
        ("{ deny: [] }", [200; 5]),
    ] {
        let balancer = Balancer::start(&yaml(&backend, filters)).await;
        let clients = ["10.1.2.3", "192.0.2.7", "192.0.2.8", "2001:db8::1", "2001:db9::1"];
        for (client, expected) in clients.into_iter().zip(expected) {
            assert_eq!(status(&balancer, client).await, expected, "{filters} {client}");
        }
        let line = balancer.log_lines(5).await.pop().expect("a record");
        assert!(line["status"] == 200 || line["end"] == "refused=forbidden", "{line}");
    }
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes_and_kept_when_it_is_wrong() {
    let backend = Backend::saying("hello").await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("deny.txt");
    let write = |text: &str| {
        // As an editor or a tool does it: another file in its place.
        let next = folder.path().join("next");
        std::fs::write(&next, text).expect("a file");
        std::fs::rename(next, &file).expect("a rename");
    };
    write("# clients that were abusive\n192.0.2.7 # one\n\n203.0.113.0/24\n");
    let filter = format!("{{ deny: {{ networks: [10.0.0.0/8], file: {} }} }}", file.display());
    let balancer = Balancer::start(&yaml(&backend, &filter)).await;
    let all = async || {
        let clients = ["192.0.2.7", "203.0.113.9", "10.1.2.3", "198.51.100.1"];
        let mut all = Vec::new();
        for client in clients {
            all.push(status(&balancer, client).await);
        }
        all
    };
    assert_eq!(all().await, [403, 403, 403, 200]);
    let becomes = async |expected: [u16; 4]| {
        let start = std::time::Instant::now();
        while all().await != expected {
            assert!(start.elapsed() < PATIENCE, "{:?}", all().await);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    write("198.51.100.1\n");
    becomes([200, 200, 403, 403]).await;
    write("198.51.100.1\nnonsense\n");
    write("198.51.100.0/33\n");
    let rejected = Balancer::try_with(&yaml(&backend, &filter), evenkeel::filter::Registry::builtin()).await;
    let error = rejected.err().expect("the file is wrong").to_string();
    assert!(error.contains("deny.txt:1: \"198.51.100.0/33\": expected a network"), "{error}");
    assert_eq!(all().await, [200, 200, 403, 403], "what was valid stays");
    write("192.0.2.7\n198.51.100.0/24\n");
    becomes([403, 200, 403, 403]).await;
}
