//! HTTP/1.1.

use std::sync::Mutex;

use tokio_rustls::rustls::HandshakeKind;

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";

async fn asked(address: SocketAddr, edit: impl FnOnce(&mut HttpCheck)) -> Result<(), String> {
    let probe = probe(http(edit), target(address), PATIENT);
    probe.run().await.map_err(|failed| failed.to_string())
}

async fn said(answer: &str, edit: impl FnOnce(&mut HttpCheck)) -> Result<(), String> {
    asked(answering(answer).await, edit).await
}

fn failed(reason: &str) -> Result<(), String> {
    Err(reason.to_owned())
}

/// The request that a check sends.
async fn sent(edit: impl FnOnce(&mut HttpCheck)) -> String {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = heads.clone();
    let address = peer(move |mut socket| {
        let seen = seen.clone();
        async move {
            let head = read_head(&mut socket).await;
            seen.lock().expect("a lock").push(head);
            let _ = socket.write_all(OK.as_bytes()).await;
        }
    })
    .await;
    let probe = probe(http(edit), Target { host: "web.test:81".to_owned(), ..target(address) }, PATIENT);
    assert_eq!(probe.run().await, Ok(()));
    let head = heads.lock().expect("a lock").remove(0);
    let mut lines: Vec<String> = head.trim_end().lines().map(str::to_lowercase).collect();
    lines[1..].sort();
    lines.join("\n")
}

#[tokio::test]
async fn the_request_is_as_configured() {
    assert_eq!(
        sent(|_| {}).await,
        "get / http/1.1\nconnection: close\nhost: web.test:81\nuser-agent: evenkeel-health"
    );
    let other = sent(|check| {
        check.path = "/healthz?deep=1".to_owned();
        check.method = "HEAD".to_owned();
        check.host = Some("other.test".to_owned());
        check.headers =
            vec![("x-token".to_owned(), "secret".to_owned()), ("user-agent".to_owned(), "mine".to_owned())];
    });
    assert_eq!(
        other.await,
        "head /healthz?deep=1 http/1.1\nconnection: close\nhost: other.test\nuser-agent: mine\nx-token: secret"
    );
}

#[tokio::test]
async fn each_probe_has_a_connection_of_its_own() {
    let connections = Arc::new(Mutex::new(0));
    let seen = connections.clone();
    let address = peer(move |mut socket| {
        *seen.lock().expect("a lock") += 1;
        async move {
            loop {
                if read_head(&mut socket).await.is_empty() {
                    return;
                }
                let _ = socket.write_all(OK.as_bytes()).await;
            }
        }
    })
    .await;
    let probe = probe(http(|_| {}), target(address), PATIENT);
    for _ in 0..3 {
        assert_eq!(probe.run().await, Ok(()));
    }
    assert_eq!(*connections.lock().expect("a lock"), 3);
}

#[tokio::test]
async fn statuses_are_expected() {
    assert_eq!(said(OK, |_| {}).await, Ok(()));
    let busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(said(busy, |_| {}).await, failed("status 503"));
    assert_eq!(said("HTTP/1.1 304 Not Modified\r\n\r\n", |_| {}).await, failed("status 304"));
    let list = |check: &mut HttpCheck| check.expect_status = vec![(200, 204), (500, 599)];
    assert_eq!(said(busy, list).await, Ok(()));
    assert_eq!(said("HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n", list).await, failed("status 205"));
    // An interim response is not the final response.
    let early = format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{OK}");
    assert_eq!(said(&early, |_| {}).await, Ok(()));
    assert_eq!(said("HTTP/1.0 200 OK\r\n\r\nok", |_| {}).await, Ok(()));
}

#[tokio::test]
async fn bodies_are_expected() {
    let ok = |check: &mut HttpCheck| check.expect_body = Some("ok".to_owned());
    assert_eq!(said(OK, ok).await, Ok(()));
    let down = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndown";
    assert_eq!(said(down, ok).await, failed("the body does not contain `ok`"));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n";
    assert_eq!(said(chunked, ok).await, Ok(()));
    let to_the_end = "HTTP/1.1 200 OK\r\n\r\nall is ok";
    assert_eq!(said(to_the_end, ok).await, Ok(()));
}

#[tokio::test]
async fn a_body_is_searched_as_far_as_is_said() {
    let ok = |check: &mut HttpCheck| check.expect_body = Some("ok".to_owned());
    let at = |place: usize| {
        let body = format!("{}ok{}", "x".repeat(place), "x".repeat(100_000));
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    assert_eq!(said(&at((64 << 10) - 2), ok).await, Ok(()));
    assert_eq!(said(&at((64 << 10) - 1), ok).await, failed("the body does not contain `ok`"));
}

#[tokio::test]
async fn an_answer_to_head_has_no_body() {
    let head = |check: &mut HttpCheck| check.method = "HEAD".to_owned();
    assert_eq!(said("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", head).await, Ok(()));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_well() {
    let closed = "connection closed before the response ended";
    for answer in [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
    ] {
        assert_eq!(said(answer, |_| {}).await, failed(closed), "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_no_http_is_told() {
    for answer in ["SSH-2.0-OpenSSH_9.6\r\n", "\x15\x03\x01\x00\x02\x02\x16", "HTTP/1.1 9999 OK\r\n\r\n"] {
        let told = said(answer, |_| {}).await.expect_err("a failure");
        assert!(told.starts_with("not HTTP/1.1: "), "{answer:?}: {told}");
    }
}

/// What the data path rejects in a response is no sign of health.
#[tokio::test]
async fn what_requests_would_reject_is_rejected() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "response has a line that does not end with CR LF"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            "response has two Content-Length headers",
        ),
        (
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
            "response has a malformed header name",
        ),
        ("HTTP/1.1 101 Go\r\nUpgrade: x\r\n\r\n", "response has status 101 without a request to upgrade"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n",
            "body has a malformed chunk",
        ),
    ] {
        assert_eq!(said(answer, |_| {}).await, failed(&format!("not HTTP/1.1: {expected}")), "{answer:?}");
    }
}

#[tokio::test]
async fn slow_peers_are_not_waited_for() {
    let silent = peer(linger).await;
    assert_eq!(reason(&probe(http(|_| {}), target(silent), SHORT)).await, "no response within 200ms");
    // Each byte arrives in time, the response does not.
    let dripping = peer(|mut socket| async move {
        for byte in OK.bytes().cycle() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if socket.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    })
    .await;
    assert_eq!(reason(&probe(http(|_| {}), target(dripping), SHORT)).await, "no response within 200ms");
    let endless = peer(|mut socket| async move {
        read_head(&mut socket).await;
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok").await;
        linger(socket).await;
    })
    .await;
    assert_eq!(
        reason(&probe(http(|_| {}), target(endless), SHORT)).await,
        "response not complete within 200ms"
    );
}

#[tokio::test]
async fn a_dropped_probe_closes_its_connection() {
    let (closed, is_closed) = tokio::sync::oneshot::channel();
    let closed = Arc::new(Mutex::new(Some(closed)));
    let address = peer(move |mut socket| {
        let closed = closed.lock().expect("a lock").take();
        async move {
            read_head(&mut socket).await;
            linger(socket).await;
            let _ = closed.expect("one connection").send(());
        }
    })
    .await;
    let probe = probe(http(|_| {}), target(address), PATIENT);
    assert!(tokio::time::timeout(SHORT, probe.run()).await.is_err());
    tokio::time::timeout(PATIENT, is_closed).await.expect("closed in time").expect("closed");
}

#[tokio::test]
async fn https_is_asked_over_tls() {
    let pair = certified("web.test", |_| {});
    let address = secure(pair.config, |mut stream| async move {
        let head = read_head(&mut stream).await;
        let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        // A certificate is shown each time, not remembered.
        let whole = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Full);
        let well = head.to_lowercase().contains("host: web.test\r\n") && protocol.is_none() && whole;
        let answer = if well { OK } else { "HTTP/1.1 400 Bad Request\r\n\r\n" };
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    })
    .await;
    let target = over_tls(address, "web.test", Some(pair.authority));
    let probe = probe(http(|_| {}), target, PATIENT);
    for _ in 0..3 {
        assert_eq!(probe.run().await, Ok(()));
    }
}
