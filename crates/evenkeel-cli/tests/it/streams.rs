//! Bodies that are long, or come in pieces, or early, or incomplete; and what comes before the final response.

#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Backend, Balancer, Client, Lane, PATIENCE, Reply, in_time, lane};

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
const FINE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";

/// A body in chunks of these sizes, by turns, and what it is without them.
fn chunks(sizes: &[usize], count: usize) -> (String, String) {
    let (mut coded, mut plain) = (String::new(), String::new());
    for (number, size) in sizes.iter().cycle().take(count).enumerate() {
        let data: String = (0..*size).map(|at| char::from(b'a' + ((at + number) % 26) as u8)).collect();
        coded += &format!("{size:x}\r\n{data}\r\n");
        plain += &data;
    }
    (coded + "0\r\n\r\n", plain)
}

/// Fails unless the backend has no request under way, as `/status` tells.
async fn until_none_in_flight(balancer: &Balancer) {
    let start = std::time::Instant::now();
    while balancer.status().await["upstreams"][0]["backends"][0]["in_flight"] != 0 {
        assert!(start.elapsed() < PATIENCE, "a lease was not given back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_body_in_many_small_chunks_stays_whole_both_ways() {
    let (coded, plain) = chunks(&[1, 7, 2, 30, 16, 1, 255, 3], 3000);
    let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{coded}");
    let backend = Backend::start(move |_| Reply::bytes(&answer)).await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    // At once, and in pieces that end anywhere: within a size, a line end, data.
    for piece in [usize::MAX, 997, 61] {
        client.send(CHUNKED).await;
        for (number, part) in coded.as_bytes().chunks(piece.min(coded.len())).enumerate() {
            client.send(part).await;
            if number % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
        let response = client.response_to("POST").await;
        assert!(response.complete && response.text() == plain, "pieces of {piece}");
        let seen = backend.requests().pop().expect("a request");
        assert!(seen.whole && seen.text() == plain, "pieces of {piece}");
    }
    assert_eq!(backend.connections(), 1);
    for record in balancer.log_lines(3).await {
        let length = serde_json::Value::from(plain.len());
        assert_eq!((&record["bytes_in"], &record["bytes_out"]), (&length, &length));
    }
}

#[tokio::test]
async fn a_chunked_body_that_comes_byte_by_byte_stays_whole_both_ways() {
    let (coded, plain) = chunks(&[3, 12, 1], 12);
    let mut reply = Reply::bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for byte in coded.bytes() {
        reply = reply.send([byte]).wait(Duration::from_millis(1));
    }
    let backend = Backend::start(move |_| reply.clone()).await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    for _ in 0..2 {
        client.send(CHUNKED).await;
        for byte in coded.bytes() {
            client.send([byte]).await;
            tokio::task::yield_now().await;
        }
        let response = client.response_to("POST").await;
        assert_eq!((response.text(), response.complete), (plain.clone(), true));
        assert_eq!(backend.last_request().text(), plain);
    }
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_large_chunked_body_passes_both_ways() {
    const CHUNK: usize = 100_000;
    const COUNT: usize = 200;
    let chunk = format!("{CHUNK:x}\r\n{}\r\n", "x".repeat(CHUNK));
    let mut reply = Reply::bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..COUNT {
        reply = reply.send(&chunk);
    }
    let reply = reply.send("0\r\n\r\n");
    let backend = Backend::start(move |_| reply.clone()).await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    client.send(CHUNKED).await;
    for _ in 0..COUNT {
        client.send(&chunk).await;
    }
    client.send("0\r\n\r\n").await;
    // It is in no hurry, so that the balancer has to wait for it.
    let head = client.head().await.expect("a response");
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let response = rest(&mut client).await;
    assert_eq!(response, (CHUNK * COUNT) as u64);
    let seen = &backend.requests()[0];
    assert_eq!((seen.body_length, seen.whole), ((CHUNK * COUNT) as u64, true));
    let record = balancer.log_line().await;
    assert_eq!(
        (&record["bytes_in"], &record["bytes_out"]),
        (&(CHUNK * COUNT).into(), &(CHUNK * COUNT).into())
    );
    assert!(client.is_reusable().await);
}

/// Reads a chunked body to its end; how long it is.
async fn rest(client: &mut Client) -> u64 {
    let mut length = 0;
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(client.bytes(1).await);
        }
        let size = String::from_utf8_lossy(&line);
        let size = usize::from_str_radix(size.trim_end(), 16).expect("a size");
        assert_eq!(client.bytes(size + 2).await.split_off(size), b"\r\n");
        if size == 0 {
            return length;
        }
        length += size as u64;
    }
}

/// Both ends speak at the same time.
#[tokio::test]
async fn an_answer_may_begin_before_the_request_has_ended() {
    for (first, second) in [("2\r\nab\r\n", "2\r\ncd\r\n0\r\n\r\n"), ("1\r\na\r\n", "3\r\nbcd\r\n0\r\n\r\n")]
    {
        let backend = Backend::start(|_| {
            Reply::new()
                .read_some(1)
                .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
                .read_body()
                .send("3\r\ntwo\r\n0\r\n\r\n")
        })
        .await;
        let balancer = Balancer::before(&backend.url()).await;
        let mut client = balancer.client().await;
        client.send(format!("{CHUNKED}{first}")).await;
        assert_eq!(client.head().await.expect("a response").status(), 200);
        assert_eq!(client.bytes(8).await, b"3\r\none\r\n");
        client.send(second).await;
        assert_eq!(client.bytes(13).await, b"3\r\ntwo\r\n0\r\n\r\n");
        assert!(backend.requests()[0].whole && backend.requests()[0].text() == "abcd");
        let record = balancer.log_line().await;
        assert_eq!(
            (&record["status"], &record["end"], &record["bytes_in"]),
            (&200.into(), &"ok".into(), &4.into())
        );
    }
}

/// A backend that accepts one chunked request, sends this response, and returns the raw body.
async fn raw(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n0\r\n\r\n") {
            bytes.push(stream.read_u8().await.expect("a request"));
        }
        stream.write_all(answer.as_bytes()).await.expect("the response is read");
        // Nothing more may come.
        let _ = stream.read_to_end(&mut bytes).await;
        let text = String::from_utf8(bytes).expect("text");
        text.split_once("\r\n\r\n").expect("a head").1.to_owned()
    });
    (url, task)
}

/// They are not used, and two parsers may disagree on where they end.
#[tokio::test]
async fn extensions_of_chunks_are_dropped_and_sizes_written_anew() {
    let coded = "0005;a=b\r\nhello\r\nA;x=\"\\\"y\"\r\n0123456789\r\n000;last\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
                  0005;a=b\r\nhello\r\nA;x=\"\\\"y\"\r\n0123456789\r\n000;last\r\n\r\n";
    let (url, seen) = raw(answer).await;
    let balancer = Balancer::before(&url).await;
    let mut client = balancer.client().await;
    client.send(CHUNKED.replace("Host: test", "Host: test\r\nConnection: close") + coded).await;
    assert_eq!(client.head().await.expect("a response").status(), 200);
    let anew = "5\r\nhello\r\na\r\n0123456789\r\n0\r\n\r\n";
    // Pingora makes one chunk of what came together.
    let given = if lane() == Lane::Lean { anew } else { "f\r\nhello0123456789\r\n0\r\n\r\n" };
    assert_eq!(String::from_utf8_lossy(&client.closed().await).to_lowercase(), given);
    balancer.stop();
    assert_eq!(in_time("its end", seen).await.expect("no panic").to_lowercase(), anew);
}

#[tokio::test]
async fn after_an_early_answer_the_rest_of_a_small_body_is_dropped_and_the_connection_kept() {
    for chunked in [false, true] {
        let backend = Backend::start(|request| match request.target() {
            "/early" => Reply::new().read_some(10).send(FINE).hang(),
            target => Reply::ok(target),
        })
        .await;
        let balancer = Balancer::before(&backend.url()).await;
        let mut client = balancer.client().await;
        let (framing, first, second) = match chunked {
            true => ("Transfer-Encoding: chunked", "a\r\n0123456789\r\n", "5\r\nhello\r\n0\r\n\r\n"),
            false => ("Content-Length: 15", "0123456789", "hello"),
        };
        client.send(format!("POST /early HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n{first}")).await;
        let response = client.response_to("POST").await;
        assert_eq!(response.text(), "fine");
        if lane() == Lane::Pingora {
            // It closes, and says so.
            assert!(response.closes());
            continue;
        }
        assert!(!response.closes(), "chunked: {chunked}");
        // The backend's has a part of a request on it.
        backend.until_all_closed().await;
        client.send(second).await;
        assert_eq!(client.get("/next").await.text(), "/next", "chunked: {chunked}");
        // Also where the next request comes with the rest.
        client.send(format!("POST /early HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n{first}")).await;
        assert_eq!(client.response_to("POST").await.text(), "fine");
        client.send(format!("{second}GET /with HTTP/1.1\r\nHost: test\r\n\r\n")).await;
        assert_eq!(client.response().await.text(), "/with", "chunked: {chunked}");
        let ends: Vec<_> =
            balancer.log_lines(4).await.into_iter().map(|record| record["end"].clone()).collect();
        assert_eq!(ends, ["ok"; 4]);
    }
}

#[tokio::test]
async fn after_an_early_answer_to_a_large_body_the_connection_ends_in_peace() {
    let backend = Backend::start(|_| Reply::new().read_some(10).send(FINE).hang()).await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10000000\r\n\r\n0123456789").await;
    let response = client.response_to("POST").await;
    assert_eq!(response.text(), "fine");
    // It continues to send for a while, as clients do, and reads no second response made of what was a body.
    for _ in 0..20 {
        if client.try_send("GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n".repeat(200)).await.is_err() {
            break;
        }
    }
    if lane() == Lane::Lean {
        assert_eq!(client.closed().await, b"");
    } else {
        // It takes the body to its end, however long that is, and has said that it closes then.
        assert!(response.closes());
        drop(client);
    }
    until_none_in_flight(&balancer).await;
    assert_eq!(backend.count(), 1);
}

/// The client may never send the body that it asked leave for, and then the next request could not be told from it.
#[tokio::test]
async fn a_body_that_was_not_asked_for_ends_the_connection() {
    let backend = Backend::start(|_| Reply::new().send(FINE).hang()).await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n").await;
    let response = client.any_response_to("POST").await;
    assert_eq!((response.status(), response.closes()), (200, true));
    client.send("GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(client.closed().await, b"");
    assert_eq!(backend.count(), 1);
}

/// A connection that is reset rather than closed when it is dropped.
async fn resetting(balancer: &Balancer) -> Client {
    let stream = TcpStream::connect(balancer.address()).await.expect("the balancer accepts");
    stream.set_zero_linger().expect("a TCP option");
    Client::on(stream, balancer.address()).await
}

/// Where a client is when it breaks off: as text, its request, and whether it resets its connection rather than closes
/// it.
type Leaving = (&'static str, &'static str, bool);

async fn breaks_off((what, request, reset): Leaving) {
    let backend = Backend::start(move |request| match request.target() {
        "/up" => Reply::ok("never"),
        "/much" => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").fill(100_000_000),
        "/pieces" => {
            Reply::bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").hang()
        }
        _ => Reply::silence(),
    })
    .await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = if reset { resetting(&balancer).await } else { balancer.client().await };
    client.send(request).await;
    backend.until_requests(1).await;
    if request.starts_with("GET") && !request.contains("/wait") {
        assert_eq!(client.head().await.expect("a response").status(), 200);
    }
    let status = balancer.status().await;
    assert_eq!(status["upstreams"][0]["backends"][0]["in_flight"], 1, "{what}: {status:#}");
    drop(client);
    in_time(&format!("{what}, reset: {reset}"), backend.until_all_closed()).await;
    let record = balancer.log_line().await;
    assert_eq!(record["end"], "client_left", "{what}, reset: {reset}");
    until_none_in_flight(&balancer).await;
}

#[tokio::test]
async fn a_client_that_breaks_off_frees_what_it_had() {
    for leaving in [
        ("in a body", "POST /up HTTP/1.1\r\nHost: test\r\nContent-Length: 10000000\r\n\r\npart", false),
        ("in a body", "POST /up HTTP/1.1\r\nHost: test\r\nContent-Length: 10000000\r\n\r\npart", true),
        (
            "in chunks",
            "POST /up HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
            true,
        ),
        (
            "in a chunk",
            "POST /up HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n8\r\npart",
            false,
        ),
        ("while it waits", "GET /wait HTTP/1.1\r\nHost: test\r\n\r\n", false),
        ("while it waits", "GET /wait HTTP/1.1\r\nHost: test\r\n\r\n", true),
        ("in a response", "GET /much HTTP/1.1\r\nHost: test\r\n\r\n", false),
        ("in a response", "GET /much HTTP/1.1\r\nHost: test\r\n\r\n", true),
        ("in a silence", "GET /pieces HTTP/1.1\r\nHost: test\r\n\r\n", false),
        ("in a silence", "GET /pieces HTTP/1.1\r\nHost: test\r\n\r\n", true),
        ("in its last body", "POST /up HTTP/1.0\r\nContent-Length: 10000000\r\n\r\npart", false),
        ("in its last response", "GET /much HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", false),
        ("in its last response", "GET /much HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", true),
    ] {
        breaks_off(leaving).await;
    }
}

/// That it says nothing more is no news then, but a reset says that it does not listen either.
#[tokio::test]
async fn a_client_that_resets_its_connection_has_left_also_after_its_last_request() {
    for leaving in [
        ("while it waits", "GET /wait HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", true),
        ("while it waits", "GET /wait HTTP/1.0\r\n\r\n", true),
        ("in a silence", "GET /pieces HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", true),
    ] {
        breaks_off(leaving).await;
    }
}

#[tokio::test]
async fn answers_before_the_final_one_are_for_those_who_know_them() {
    let backend = Backend::start(|_| {
        Reply::new()
            .send("HTTP/1.1 100 Continue\r\n\r\n")
            .read_body()
            .send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
            .wait(Duration::from_millis(20))
            .send(FINE)
    })
    .await;
    let balancer = Balancer::before(&backend.url()).await;
    let post = |version: &str| {
        format!(
            "POST / HTTP/{version}\r\nHost: test\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi"
        )
    };
    let mut client = balancer.client().await;
    let all = vec![100, 103, 102, 200];
    // HTTP/1.0 knows none (RFC 9110, 15.2); Pingora passes them on all the same.
    let old = if lane() == Lane::Lean { vec![200] } else { all.clone() };
    for (version, expected) in [("1.1", all.clone()), ("1.0", old), ("1.1", all)] {
        client.send(post(version)).await;
        for status in expected {
            assert_eq!(client.any_response_to("POST").await.status(), status, "HTTP/{version}");
        }
        assert_eq!(backend.last_request().text(), "hi");
    }
    for record in balancer.log_lines(3).await {
        assert_eq!((&record["status"], &record["end"]), (&200.into(), &"ok".into()));
    }
}

/// They are no reason to hold for a client what it does not take.
#[tokio::test]
async fn a_backend_that_sends_them_without_end_is_held_back() {
    const ALL: u64 = 128 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let (sent, counted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let counter = sent.clone();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let hints = format!("HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n", "x".repeat(1000)).repeat(64);
        while counter.load(SeqCst) < ALL && stream.write_all(hints.as_bytes()).await.is_ok() {
            counter.fetch_add(hints.len() as u64, SeqCst);
        }
    });
    let balancer = Balancer::before(&url).await;
    let mut client = balancer.client().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    // Until it stops: what the sockets hold is on its way.
    while counted.swap(sent.load(SeqCst), SeqCst) != sent.load(SeqCst) || sent.load(SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let sent = sent.load(SeqCst);
    assert!(sent < ALL / 2, "the backend could send {sent} bytes to a client that takes none");
    assert_eq!(client.head().await.expect("a response").status(), 103);
}

#[tokio::test]
async fn too_many_or_too_large_interim_responses_are_a_502() {
    const HINT: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    let backend = Backend::start(|request| {
        let interim = match request.target() {
            "/few" => HINT.repeat(32),
            "/many" => HINT.repeat(33),
            _ => format!("HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n", "x".repeat(5000)).repeat(14),
        };
        Reply::bytes(interim + FINE)
    })
    .await;
    let balancer = Balancer::before(&backend.url()).await;
    for (path, expected) in [("/few", 200), ("/many", 502), ("/large", 502), ("/few", 200)] {
        assert_eq!(balancer.get(path).await.status(), expected, "{path}");
    }
    for path in ["/many", "/large"] {
        let record = balancer.log_line_of(path).await;
        assert_eq!(record["error"], "interim (1xx) responses are too many or too large", "{record}");
    }
}

#[tokio::test]
async fn a_change_of_protocol_that_nobody_asked_for_is_a_502() {
    let backend = Backend::start(|request| match request.target() {
        "/sound" => Reply::ok("sound"),
        _ => Reply::bytes(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        )
        .hang(),
    })
    .await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    for request in [
        "GET / HTTP/1.1\r\nHost: test\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi",
    ] {
        assert_eq!(client.get("/sound").await.text(), "sound");
        client.send(request).await;
        let head = client.head().await.expect("a response");
        assert_eq!(head.status(), 502, "{request:?}");
        // That connection is of no use any more.
        backend.until_all_closed().await;
        client = balancer.client().await;
    }
    let records = balancer.log_lines(4).await;
    for record in records.iter().filter(|record| record["target"] == "/") {
        assert_eq!((&record["status"], &record["end"]), (&502.into(), &"refused=bad_answer".into()));
    }
}
