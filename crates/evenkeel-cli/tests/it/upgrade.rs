//! Connections that leave HTTP behind: they pass, live as long as they are let, and end at once.

#![cfg(test)]

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Backend, Balancer, Client, Lane, Reply, Seen, assert_lasted, in_time, lane};

const WEBSOCKET: &str = "GET /chat HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Changes to the requested protocol, and speaks it by echoing.
fn agree(request: &Seen) -> Reply {
    match request.header("upgrade") {
        Some(protocol) => Reply::new().send(switching(protocol)).echo(),
        None => Reply::ok("plain"),
    }
}

fn switching(protocol: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: {protocol}\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
}

async fn balancer(backend: &Backend, timeouts: &str) -> Balancer {
    let yaml =
        format!("upstreams: {{ web: {{ backends: [\"{}\"], timeouts: {{ {timeouts} }} }} }}", backend.url());
    Balancer::start(&yaml).await
}

/// An upgraded connection.
async fn upgraded(balancer: &Balancer) -> Client {
    let mut client = balancer.client().await;
    assert_eq!(client.ask(WEBSOCKET).await.status(), 101);
    client
}

async fn echo(client: &mut Client, text: &str) -> Duration {
    let start = Instant::now();
    client.send(text).await;
    assert_eq!(client.bytes(text.len()).await, text.as_bytes());
    start.elapsed()
}

#[tokio::test]
async fn a_websocket_is_set_up_and_carries_bytes_both_ways() {
    let backend = Backend::start(agree).await;
    let balancer = balancer(&backend, "").await;
    let mut client = balancer.client().await;
    let response = client.ask(WEBSOCKET).await;
    assert_eq!(response.status(), 101);
    assert_eq!(response.header("upgrade"), Some("websocket"));
    assert!(response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
    assert_eq!(response.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(response.all("transfer-encoding").len() + response.all("content-length").len(), 0);
    let seen = backend.only_request();
    assert_eq!(seen.header("upgrade"), Some("websocket"));
    assert!(seen.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
    assert_eq!(seen.header("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    echo(&mut client, "hello").await;
    echo(&mut client, &"0123456789".repeat(30_000)).await;
    drop(client);
    let record = balancer.log_line().await;
    assert_eq!((&record["status"], &record["end"]), (&101.into(), &"ok".into()));
    assert_eq!(record["lane"], lane().name());
    assert_eq!(record["bytes_in"], 300_005);
    assert_eq!(record["bytes_out"], 300_005);
}

#[tokio::test]
async fn an_echo_takes_no_time_worth_speaking_of() {
    let backend = Backend::start(agree).await;
    let balancer = balancer(&backend, "").await;
    let mut client = upgraded(&balancer).await;
    let mut times = Vec::new();
    for _ in 0..101 {
        times.push(echo(&mut client, "ping").await);
    }
    times.sort();
    // Waiting for more to send, or for an acknowledgement, would cost 40 ms each time.
    assert!(times[50] < Duration::from_millis(10), "median {:?}", times[50]);
}

#[tokio::test]
async fn bytes_that_come_with_the_request_are_for_the_new_protocol() {
    let backend = Backend::start(agree).await;
    let balancer = balancer(&backend, "").await;
    let mut client = balancer.client().await;
    client.send(format!("{WEBSOCKET}early")).await;
    assert_eq!(client.head().await.unwrap().status(), 101);
    assert_eq!(client.bytes(5).await, b"early");
    echo(&mut client, "late").await;
}

#[tokio::test]
async fn bytes_that_come_with_the_answer_are_not_lost() {
    let backend = Backend::start(|_| Reply::new().send(switching("websocket") + "welcome").echo()).await;
    let balancer = balancer(&backend, "").await;
    let mut client = balancer.client().await;
    client.send(WEBSOCKET).await;
    assert_eq!(client.head().await.unwrap().status(), 101);
    assert_eq!(client.bytes(7).await, b"welcome");
    echo(&mut client, "thanks").await;
}

#[tokio::test]
async fn whoever_closes_the_other_end_learns_of_it_at_once() {
    let backend = Backend::start(agree).await;
    let before = balancer(&backend, "").await;
    let client = upgraded(&before).await;
    let start = Instant::now();
    drop(client);
    backend.until_all_closed().await;
    assert!(start.elapsed() < Duration::from_secs(1), "the backend learned after {:?}", start.elapsed());
    let bye = switching("websocket");
    let backend = Backend::start(move |_| Reply::new().send(&bye).read_some(3).send("bye").close()).await;
    let before = balancer(&backend, "").await;
    let mut client = upgraded(&before).await;
    let start = Instant::now();
    client.send("end").await;
    assert_eq!(client.closed().await, b"bye");
    assert!(start.elapsed() < Duration::from_secs(1), "the client learned after {:?}", start.elapsed());
    drop(client);
    assert_eq!(before.log_line().await["end"], "ok");
}

#[tokio::test]
async fn an_upgrade_that_the_backend_declines_is_an_answer_like_any_other() {
    let backend = Backend::saying("no").await;
    let balancer = balancer(&backend, "").await;
    let mut client = balancer.client().await;
    // The second request must be seen as one of its own, not as bytes of the protocol that was declined.
    client.send(format!("{WEBSOCKET}GET /second HTTP/1.1\r\nHost: test\r\n\r\n")).await;
    assert_eq!(client.response().await.text(), "no");
    assert_eq!(client.response().await.text(), "no");
    let targets: Vec<_> = backend.requests().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(targets, ["/chat", "/second"]);
    let records = balancer.log_lines(2).await;
    let lanes: Vec<_> = records.iter().map(|record| record["lane"].as_str()).collect();
    assert_eq!(lanes, [Some(lane().name()); 2]);
}

#[tokio::test]
async fn other_protocols_pass_too() {
    let backend = Backend::start(agree).await;
    let balancer = balancer(&backend, "").await;
    let mut client = balancer.client().await;
    let response = client.ask(WEBSOCKET.replace("websocket\r\n", "foo/2\r\n")).await;
    assert_eq!((response.status(), response.header("upgrade")), (101, Some("foo/2")));
    echo(&mut client, "foo?").await;
}

#[tokio::test]
async fn http_2_is_not_something_to_upgrade_to() {
    let backend = Backend::start(agree).await;
    let balancer = balancer(&backend, "").await;
    let mut client = balancer.client().await;
    for protocol in ["h2c", "H2C", "h2", "websocket, h2c", "websocket\r\nUpgrade: h2c"] {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: test\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\
             Connection: Upgrade, HTTP2-Settings\r\n\r\n"
        );
        assert_eq!(client.ask(request).await.text(), "plain");
        let seen = backend.last_request();
        assert_eq!((seen.header("upgrade"), seen.header("http2-settings")), (None, None));
    }
    assert!(balancer.log_lines(5).await.iter().all(|record| record["lane"] == lane().name()));
}

#[tokio::test]
async fn an_upgraded_connection_that_is_idle_is_cut() {
    let backend = Backend::start(agree).await;
    let balancer = balancer(&backend, "upgraded_idle: 1s").await;
    let mut client = upgraded(&balancer).await;
    for _ in 0..8 {
        assert!(client.is_quiet_for(Duration::from_millis(150)).await);
        echo(&mut client, "still here").await;
    }
    let start = Instant::now();
    assert_eq!(client.closed().await, b"");
    assert_lasted("upgraded_idle", start.elapsed(), Duration::from_secs(1));
    assert_eq!(balancer.log_line().await["end"], "timeout=upgraded_idle");
    backend.until_all_closed().await;
}

/// Takes one connection.
async fn accepted(listener: &TcpListener) -> TcpStream {
    in_time("a connection", listener.accept()).await.expect("a connection").0
}

/// Reads a head, and what came with it.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.windows(4).any(|window| window == b"\r\n\r\n") {
        assert!(in_time("head", stream.read_buf(&mut text)).await.expect("a head") > 0, "the end in a head");
    }
    String::from_utf8(text).expect("text")
}

/// Reads to the end.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    in_time("end", stream.read_to_string(&mut text)).await.expect("text");
    text
}

async fn listener() -> (TcpListener, Balancer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    (listener, Balancer::before(&url).await)
}

/// As `docker run -i` does. Pingora ends both directions with the first one.
#[tokio::test]
async fn a_client_that_has_said_all_still_hears_the_rest() {
    if lane() == Lane::Pingora {
        return;
    }
    let (listener, balancer) = listener().await;
    let backend = tokio::spawn(async move {
        let mut stream = accepted(&listener).await;
        read_head(&mut stream).await;
        stream.write_all(switching("tcp").as_bytes()).await.expect("taken");
        let input = rest(&mut stream).await;
        // The client's half is closed long since.
        stream.write_all(b"output").await.expect("taken");
        input
    });
    let mut client = balancer.client().await;
    client.ask(WEBSOCKET.replace("websocket", "tcp")).await;
    client.send("input").await;
    client.finish().await;
    assert_eq!(client.closed().await, b"output");
    assert_eq!(backend.await.expect("no panic"), "input");
    let record = balancer.log_line().await;
    assert_eq!((&record["status"], &record["end"]), (&101.into(), &"ok".into()));
    assert_eq!((&record["bytes_in"], &record["bytes_out"]), (&5.into(), &6.into()));
}

#[tokio::test]
async fn a_backend_that_has_said_all_still_hears_the_rest() {
    if lane() == Lane::Pingora {
        return;
    }
    let (listener, balancer) = listener().await;
    let backend = tokio::spawn(async move {
        let mut stream = accepted(&listener).await;
        read_head(&mut stream).await;
        stream.write_all((switching("tcp") + "output").as_bytes()).await.expect("taken");
        stream.shutdown().await.expect("half a close");
        rest(&mut stream).await
    });
    let mut client = balancer.client().await;
    client.send(WEBSOCKET).await;
    assert_eq!(client.head().await.expect("a head").status(), 101);
    assert_eq!(client.closed().await, b"output");
    client.send("in").await;
    client.send("put").await;
    drop(client);
    assert_eq!(backend.await.expect("no panic"), "input");
    assert_eq!(balancer.log_line().await["end"], "ok");
}

/// Many clients are gone by then without a word.
#[tokio::test]
async fn a_client_that_says_nothing_after_the_backends_end_is_not_waited_for_long() {
    if lane() == Lane::Pingora {
        return;
    }
    let backend = Backend::start(|_| Reply::new().send(switching("websocket")).close()).await;
    let yaml = format!(
        "listeners: [{{ address: 127.0.0.1:0, http: {{ body_timeout: 300ms }} }}]\n\
         upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        backend.url()
    );
    let balancer = Balancer::start(&yaml).await;
    let mut client = upgraded(&balancer).await;
    assert_eq!(client.closed().await, b"");
    let start = Instant::now();
    assert_eq!(balancer.log_line().await["end"], "timeout=upgraded_idle");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_backend_that_resets_an_upgraded_connection_ends_it_and_nothing_is_added() {
    for pause in [0, 3] {
        let backend =
            Backend::start(move |_| Reply::new().send(switching("websocket")).read_some(pause).reset()).await;
        let balancer = balancer(&backend, "").await;
        let mut client = balancer.client().await;
        client.send(WEBSOCKET).await;
        let response = client.head().await;
        if pause > 0 {
            client.send("end").await;
        }
        let after = String::from_utf8(client.closed().await).expect("text");
        assert_eq!(after, "", "after the head");
        let record = balancer.log_line().await;
        // A reset at once may overtake the 101.
        if pause > 0 || response.is_ok_and(|response| response.status() == 101) {
            assert_eq!((&record["status"], &record["end"]), (&101.into(), &"backend_left".into()));
        }
    }
}

/// Pingora takes the end of the request for that of the new protocol when it sees the 101 first, by chance.
#[tokio::test]
async fn a_101_may_come_before_the_request_is_read() {
    if lane() == Lane::Pingora {
        return;
    }
    let (listener, balancer) = listener().await;
    let backend = tokio::spawn(async move {
        let mut requests = Vec::new();
        for _ in 0..50 {
            let mut stream = accepted(&listener).await;
            stream.write_all(switching("tcp").as_bytes()).await.expect("taken");
            let head = read_head(&mut stream).await;
            stream.write_all(b"welcome").await.expect("taken");
            requests.push(head + &rest(&mut stream).await);
        }
        requests
    });
    let body = "POST /x HTTP/1.1\r\nHost: test\r\nUpgrade: tcp\r\nConnection: Upgrade\r\nContent-Length: 5\r\n\r\nhe";
    for nth in 0..50 {
        let mut client = balancer.client().await;
        client.send(if nth % 2 == 0 { WEBSOCKET } else { body }).await;
        assert_eq!(client.head().await.expect("a head").status(), 101);
        // The rest of the request comes before what is said in the new protocol.
        client.send(if nth % 2 == 0 { "hi" } else { "llohi" }).await;
        assert_eq!(client.bytes(7).await, b"welcome");
    }
    for (nth, request) in backend.await.expect("no panic").iter().enumerate() {
        let end = if nth % 2 == 0 { "\r\n\r\nhi" } else { "\r\n\r\nhellohi" };
        assert!(request.ends_with(end), "{nth}: {request:?}");
    }
    assert!(balancer.log_lines(50).await.iter().all(|record| record["status"] == 101));
}
