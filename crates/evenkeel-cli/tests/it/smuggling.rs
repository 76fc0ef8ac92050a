//! Requests that two parsers could read in two ways: refused, and no backend sees a byte of them.

#![cfg(test)]

use crate::support::{Backend, Balancer, Reply};

/// What is sent, and the status of the refusal.
const HOSTILE: &[(&str, u16)] = &[
    // Two framings.
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", 400),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGET /x HTTP/1.1\r\n",
        400,
    ),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n", 400),
    // Codings that one of two might not know.
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", 0),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\u{b}chunked\r\n\r\n0\r\n\r\n", 0),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    // Line ends.
    ("GET / HTTP/1.1\nHost: a\n\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 5\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
    // Hosts and targets.
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", 400),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 0),
    ("GET foo HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("G\"ET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
    // Versions.
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    ("GET /\r\n\r\n", 400),
];

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused() {
    let backend = Backend::saying("hello").await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut count = 0;
    for (request, status) in HOSTILE {
        let mut client = balancer.client().await;
        client.send(request).await;
        let response = client.response().await;
        match status {
            // Any refusal will do.
            0 => assert!((400..=505).contains(&response.status()), "{request:?}: {}", response.status()),
            status => assert_eq!(response.status(), *status, "{request:?}"),
        }
        assert!(response.closes(), "{request:?}");
        assert_eq!(client.closed().await, b"", "{request:?}: one refusal, and nothing else");
        assert_eq!(backend.connections(), 0, "{request:?}");
        count += 1;
        let records = balancer.log_lines(count).await;
        assert_eq!(records.len(), count, "{request:?}: one record each");
        assert_eq!(records[count - 1]["status"], response.status(), "{request:?}");
    }
}

#[tokio::test]
async fn a_sound_request_before_a_hostile_one_is_answered() {
    let backend = Backend::saying("hello").await;
    let balancer = Balancer::before(&backend.url()).await;
    for (request, _) in HOSTILE {
        let mut client = balancer.client().await;
        client.send(format!("GET /sound HTTP/1.1\r\nHost: test\r\n\r\n{request}")).await;
        assert_eq!(client.response().await.text(), "hello", "{request:?}");
        assert!(client.response().await.status() >= 400, "{request:?}");
        client.closed().await;
    }
    assert!(backend.requests().iter().all(|seen| seen.target() == "/sound"));
    assert_eq!(backend.count(), HOSTILE.len());
}

/// Each of these is a body that ends in its own way, and then a request that must not be taken for a part of it, nor it for
/// a part of the request.
#[tokio::test]
async fn a_body_ends_where_it_ends() {
    let backend = Backend::start(|seen| Reply::ok(seen.target())).await;
    let balancer = Balancer::before(&backend.url()).await;
    let next = "GET /next HTTP/1.1\r\nHost: test\r\n\r\n";
    for (head, body) in [
        ("Content-Length: 36\r\n", "GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "24\r\nGET /hidden HTTP/1.1\r\nHost: test\r\n\r\n\r\n0\r\n\r\n"),
        ("Transfer-Encoding: Chunked\r\n", "1\r\nx\r\n0\r\nX-Trailer: 1\r\n\r\n"),
        ("Content-Length: 0\r\n", ""),
    ] {
        let mut client = balancer.client().await;
        client.send(format!("POST /first HTTP/1.1\r\nHost: test\r\n{head}\r\n{body}{next}")).await;
        assert_eq!(client.response().await.text(), "/first", "{head:?}");
        assert_eq!(client.response().await.text(), "/next", "{head:?}");
    }
    assert!(backend.requests().iter().all(|seen| seen.target() != "/hidden"));
}

#[tokio::test]
async fn a_broken_chunk_never_becomes_a_whole_request() {
    for body in [
        "x\r\nabc\r\n0\r\n\r\n",
        "-1\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    ] {
        let backend = Backend::saying("hello").await;
        let balancer = Balancer::before(&backend.url()).await;
        let mut client = balancer.client().await;
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")).await;
        client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answer = String::from_utf8_lossy(&client.closed().await).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{body:?}: {answer}");
        backend.until_all_closed().await;
        assert!(backend.requests().iter().all(|seen| !seen.whole), "{body:?}");
        assert_eq!(balancer.log_lines(1).await.len(), 1, "{body:?}");
    }
}

/// What a backend says can be hostile as well.
#[tokio::test]
async fn an_answer_that_is_longer_than_it_says_harms_nobody() {
    let backend = Backend::start(|seen| {
        let more = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden";
        Reply::bytes(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}{more}",
            seen.target().len(),
            seen.target()
        ))
    })
    .await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    for number in 0..10 {
        let target = format!("/{number}");
        assert_eq!(client.get(&target).await.text(), target);
    }
}
