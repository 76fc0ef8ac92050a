//! Bodies: however they are framed, they arrive whole or are seen to be broken; and what happens when an end leaves.

#![cfg(test)]

use std::time::Duration;

use crate::support::{Backend, Balancer, Lane, Reply, in_time, lane};

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn a_chunked_request_stays_whole() {
    let backend = Backend::saying("hello").await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    for body in
        ["0\r\n\r\n", "5;ext=\"a\"\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "00005\r\nhello\r\n000\r\n\r\n"]
    {
        assert_eq!(client.ask(format!("{CHUNKED}{body}")).await.status(), 200);
        let seen = backend.last_request();
        let expected = if body.contains("world") {
            "hello world"
        } else if body.len() > 10 {
            "hello"
        } else {
            ""
        };
        assert_eq!((seen.text().as_str(), seen.complete), (expected, true), "{body:?}");
    }
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_chunked_answer_stays_whole_and_comes_as_it_is_sent() {
    let backend = Backend::start(|_| {
        Reply::bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            .wait(Duration::from_millis(200))
            .send("6\r\nsecond\r\n0\r\n\r\n")
    })
    .await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
        let head = client.head().await.unwrap();
        assert_eq!(head.header("transfer-encoding"), Some("chunked"));
        // Not held back until there is more.
        assert_eq!(client.bytes(10).await, b"5\r\nfirst\r\n");
        assert_eq!(client.bytes(16).await, b"6\r\nsecond\r\n0\r\n\r\n");
    }
    assert_eq!(backend.connections(), 1);
}

/// HTTP/1.1 lets a proxy drop trailers (RFC 9110, 6.5.1), and Pingora drops them. What must not happen is that they break
/// the framing, or are taken for fields of the head; so those that belong there never pass.
#[tokio::test]
async fn trailers_harm_nothing() {
    let passed = |fields: &[(&str, &str)]| match lane() {
        Lane::Lean => fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        Lane::Pingora => vec![],
    };
    let backend = Backend::start(|_| {
        Reply::bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
            .send("5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 3\r\nSet-Cookie: a=1\r\n\r\n")
    })
    .await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    for count in 1..=3 {
        let body = "5\r\nhello\r\n0\r\nX-Sum: 2\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
                    X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nAuthorization: Basic eDp5\r\nHost: other\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
        let response = client.ask(format!("{CHUNKED}{body}")).await;
        assert_eq!((response.text().as_str(), response.complete), ("hello", true));
        assert_eq!(response.trailers, passed(&[("x-sum", "1")]));
        let seen = backend.last_request();
        assert_eq!((seen.text().as_str(), seen.complete), ("hello", true));
        assert_eq!(seen.trailers, passed(&[("x-sum", "2")]));
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(backend.count(), count);
    }
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let backend = Backend::start(|_| Reply::bytes("HTTP/1.1 200 OK\r\n\r\nuntil the end").close()).await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    let response = client.get("/").await;
    assert_eq!((response.text().as_str(), response.complete), ("until the end", true));
    // The client's connection does not have to end for that.
    assert_eq!((response.header("transfer-encoding"), response.closes()), (Some("chunked"), false));
    assert_eq!(balancer.log_line().await["end"], "ok");
    assert!(client.is_reusable().await);
    let old = "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold";
    let backend = Backend::start(move |_| Reply::bytes(old).close()).await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    for _ in 0..3 {
        let response = client.get("/").await;
        assert_eq!(response.text(), "old");
        // What the backend speaks is no news for the client (RFC 9110, 2.5); Pingora tells it all the same.
        let version = if lane() == Lane::Lean { "HTTP/1.1" } else { "HTTP/1.0" };
        assert_eq!(response.first_line, format!("{version} 200 OK"));
    }
}

#[tokio::test]
async fn a_large_body_passes_both_ways() {
    const SIZE: u64 = 40 << 20;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
    let backend = Backend::start(move |_| Reply::bytes(&head).fill(SIZE)).await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {SIZE}\r\n\r\n")).await;
    let part = vec![b'y'; 1 << 20];
    for _ in 0..40 {
        client.send(&part).await;
    }
    let response = client.response_to("POST").await;
    assert_eq!((response.body_length, response.complete), (SIZE, true));
    let seen = &backend.requests()[0];
    assert_eq!((seen.body_length, seen.whole), (SIZE, true));
    let record = balancer.log_line().await;
    assert_eq!((&record["bytes_in"], &record["bytes_out"]), (&SIZE.into(), &SIZE.into()));
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_continue() {
    let go = "HTTP/1.1 100 Continue\r\n\r\n";
    let backend = Backend::start(move |_| {
        Reply::new().send(go).read_body().send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    })
    .await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    for _ in 0..2 {
        client.send(asking(4)).await;
        assert_eq!(client.any_response_to("POST").await.status(), 100);
        let response = client.ask("body").await;
        assert_eq!((response.status(), response.text().as_str()), (200, "ok"));
        assert_eq!(backend.last_request().text(), "body");
    }
}

#[tokio::test]
async fn a_client_that_asks_first_may_be_told_no() {
    let no = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno";
    let backend = Backend::start(move |_| Reply::new().send(no).hang()).await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    client.send(asking(4)).await;
    let response = client.any_response_to("POST").await;
    assert_eq!((response.status(), response.text().as_str()), (417, "no"));
    assert_eq!(backend.only_request().text(), "");
    drop(client);
    assert_eq!(balancer.log_line().await["status"], 417);
    backend.until_all_closed().await;
}

fn asking(length: usize) -> String {
    format!("POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
}

#[tokio::test]
async fn an_answer_that_comes_while_the_body_is_sent_reaches_the_client() {
    let early = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    let backend = Backend::start(move |_| Reply::new().read_some(1000).send(early).hang()).await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n").await;
    client.send("x".repeat(2000)).await;
    let response = client.response_to("POST").await;
    assert_eq!((response.status(), response.text().as_str()), (403, "no"));
    // What is left of the body is still taken.
    client.send("x".repeat(98_000)).await;
    let record = balancer.log_line().await;
    assert_eq!((&record["status"], &record["end"]), (&403.into(), &"ok".into()));
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_with_it() {
    let backend = Backend::start(|_| Reply::silence()).await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    backend.until_requests(1).await;
    drop(client);
    let record = balancer.log_line().await;
    assert_eq!((&record["status"], &record["end"]), (&499.into(), &"client_left".into()));
    backend.until_all_closed().await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_body_leaves_a_broken_request() {
    for framing in ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let backend = Backend::saying("hello").await;
        let balancer = Balancer::before(&backend.url()).await;
        let mut client = balancer.client().await;
        client.send(format!("POST / HTTP/1.1\r\nHost: test\r\n{framing}")).await;
        backend.until_requests(1).await;
        drop(client);
        let record = balancer.log_line().await;
        assert_eq!((&record["status"], &record["end"]), (&499.into(), &"client_left".into()), "{framing:?}");
        backend.until_all_closed().await;
        assert!(!backend.requests()[0].whole, "the backend took a part for the whole: {framing:?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_answer_is_recorded() {
    let part = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234";
    let backend = Backend::start(move |_| Reply::bytes(part).hang()).await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    client.head().await.unwrap();
    drop(client);
    let record = balancer.log_line().await;
    assert_eq!((&record["status"], &record["end"]), (&200.into(), &"client_left".into()));
    backend.until_all_closed().await;
}

#[tokio::test]
async fn a_backend_that_breaks_off_is_seen_to_have_done_so() {
    for (answer, reset) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n01234", false),
    ] {
        let backend = Backend::start(move |_| {
            let reply = Reply::bytes(answer);
            if reset { reply.wait(Duration::from_millis(100)).reset() } else { reply.close() }
        })
        .await;
        let balancer = Balancer::before(&backend.url()).await;
        let mut client = balancer.client().await;
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
        let response = in_time("answer", client.try_response_to("GET")).await.expect("a head");
        assert_eq!((response.status(), response.text().as_str()), (200, "01234"), "{answer:?}");
        assert!(!response.complete, "the client took a part for the whole: {answer:?}");
        let record = balancer.log_line().await;
        assert_eq!((&record["status"], &record["end"]), (&200.into(), &"backend_left".into()), "{answer:?}");
    }
}

/// It takes what ends with its connection for whole, unless that ends otherwise than in peace (RFC 9112, 8).
#[tokio::test]
async fn a_client_of_http_10_can_tell_a_part_from_the_whole() {
    let part = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n";
    let open = "HTTP/1.1 200 OK\r\n\r\n01234";
    let pause = Duration::from_millis(100);
    for (what, reply, end) in [
        ("chunks without their end", Reply::bytes(part).close(), "backend_left"),
        ("half a chunk", Reply::bytes(format!("{part}a\r\n")).close(), "backend_left"),
        ("chunks that are none", Reply::bytes(format!("{part}none\r\n")).hang(), "backend_left"),
        ("a reset", Reply::bytes(open).wait(pause).reset(), "backend_left"),
        (
            "a length",
            Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n01234").close(),
            "backend_left",
        ),
        ("chunks that cease", Reply::bytes(part).hang(), "timeout=idle"),
        ("chunks", Reply::bytes(format!("{part}0\r\n\r\n")), "ok"),
        ("the end of the connection", Reply::bytes(open).close(), "ok"),
    ] {
        let backend = Backend::start(move |_| reply.clone()).await;
        let web = format!("{{ backends: [\"{}\"], timeouts: {{ idle: 300ms }} }}", backend.url());
        let balancer = Balancer::start(&format!("upstreams: {{ web: {web} }}")).await;
        let response = balancer.client().await.ask("GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!((response.status(), response.text().as_str()), (200, "01234"), "{what}");
        assert_eq!(response.complete, end == "ok", "{what}");
        assert_eq!(balancer.log_line().await["end"], end, "{what}");
    }
}

/// What it has not taken in time is lost, and it learns that there was more.
#[tokio::test]
async fn a_client_of_http_10_that_is_too_slow_can_tell_a_part_from_the_whole() {
    const SIZE: u64 = 40 << 20;
    let backend = Backend::start(|_| Reply::bytes("HTTP/1.1 200 OK\r\n\r\n").fill(SIZE).close()).await;
    let yaml = format!(
        "listeners: [{{ address: 127.0.0.1:0, http: {{ send_timeout: 300ms }} }}]\n\
         upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        backend.url()
    );
    let balancer = Balancer::start(&yaml).await;
    let mut client = balancer.client().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(balancer.log_line().await["end"], "timeout=send");
    let response = client.response().await;
    assert!(!response.complete && response.body_length < SIZE, "{} bytes", response.body_length);
}

/// Whether a client that closes its half is gone cannot be told; it is taken for gone, as nginx does. But one that has said
/// that this is its last request has nothing more to say: that is no news.
#[tokio::test]
async fn a_client_that_closes_its_half_has_left_unless_it_had_said_so() {
    for (request, last) in [
        ("GET / HTTP/1.1\r\nHost: test\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n", false),
        ("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi", false),
        ("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", true),
        ("GET / HTTP/1.0\r\nHost: test\r\n\r\n", true),
        ("POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", true),
    ] {
        let backend = Backend::start(|_| {
            Reply::new()
                .read_body()
                .wait(Duration::from_millis(200))
                .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        })
        .await;
        let balancer = Balancer::before(&backend.url()).await;
        let mut client = balancer.client().await;
        client.send(request).await;
        backend.until_requests(1).await;
        client.finish().await;
        let (status, end) = if last && lane() == Lane::Lean {
            assert_eq!(client.response().await.text(), "hello", "{request:?}");
            (200, "ok")
        } else {
            (499, "client_left")
        };
        assert_eq!(client.closed().await, b"", "{request:?}");
        let record = balancer.log_line().await;
        assert_eq!((&record["status"], &record["end"]), (&status.into(), &end.into()), "{request:?}");
        if status == 499 {
            backend.until_all_closed().await;
        }
    }
}

/// As `printf … | nc` does.
#[tokio::test]
async fn pipelined_requests_are_answered_though_the_client_says_nothing_more() {
    let backend = Backend::start(|request| Reply::ok(request.target())).await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    let last = "GET /3 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    client
        .send(format!("GET /1 HTTP/1.1\r\nHost: test\r\n\r\nGET /2 HTTP/1.1\r\nHost: test\r\n\r\n{last}"))
        .await;
    client.finish().await;
    if lane() == Lane::Lean {
        for target in ["/1", "/2", "/3"] {
            assert_eq!(client.response().await.text(), target);
        }
        assert_eq!(client.closed().await, b"");
    }
}
