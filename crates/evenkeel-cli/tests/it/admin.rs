//! The admin address against clients that mean harm: its probes always get a response, and no web page reads it.

#![cfg(test)]

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::program::Program;
use super::support::{Client, send};

const FINE: &str = "routes: [{ name: all, respond: { body: fine } }]";
const READY: &str = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Sends a probe, and fails unless its response is soon there: long before a deadline closes another connection.
async fn assert_ready(program: &Program, among: &str) {
    let start = Instant::now();
    let response = send(program.admin(), READY).await;
    assert_eq!((response.status(), response.text().as_str()), (200, "ready\n"), "{among}");
    assert!(start.elapsed() < Duration::from_secs(3), "{among}: after {:?}", start.elapsed());
}

/// A connection that sends requests for `/metrics` one after the other, and reads no response. The task ends when the other
/// end closes the connection.
async fn flood(program: &Program, tasks: &mut JoinSet<()>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a socket option");
    let mut stream: TcpStream = socket.connect(program.admin()).await.expect("a connection");
    let requests = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    stream.write_all(requests.as_bytes()).await.expect("the first requests are taken");
    tasks.spawn(async move { while stream.write_all(requests.as_bytes()).await.is_ok() {} });
}

#[tokio::test]
async fn probes_get_a_response_next_to_clients_that_never_read() {
    let program = Program::run(FINE).await;
    let mut tasks = JoinSet::new();
    for _ in 0..66 {
        flood(&program, &mut tasks).await;
    }
    for _ in 0..3 {
        assert_ready(&program, "66 that never read").await;
    }
}

#[tokio::test]
async fn probes_get_a_response_next_to_idle_connections() {
    let program = Program::run(FINE).await;
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(Client::connect(program.admin()).await);
    }
    assert_ready(&program, "64 that send nothing").await;
    for _ in 0..64 {
        let mut client = Client::connect(program.admin()).await;
        assert_eq!(client.ask(READY).await.status(), 200);
        idle.push(client);
    }
    assert_ready(&program, "64 between two requests").await;
    for _ in 0..64 {
        let mut client = Client::connect(program.admin()).await;
        client.send("GET /rea").await;
        idle.push(client);
    }
    assert_ready(&program, "64 in the middle of a head").await;
    // The oldest were closed for them.
    assert!(idle.remove(0).closed().await.is_empty());
}

#[tokio::test]
async fn an_admin_client_that_never_reads_is_closed() {
    let program = Program::run(FINE).await;
    let mut tasks = JoinSet::new();
    flood(&program, &mut tasks).await;
    let start = Instant::now();
    let closed = tokio::time::timeout(Duration::from_secs(30), tasks.join_next()).await;
    assert!(closed.is_ok(), "still open after {:?}", start.elapsed());
    assert!(start.elapsed() > Duration::from_secs(4), "only after the deadline: {:?}", start.elapsed());
}

#[tokio::test]
async fn the_host_of_an_admin_request_must_be_known() {
    let admin = "admin: { address: 127.0.0.1:0, hosts: [lb1.internal, \"*.monitoring.svc\"] }";
    let program = Program::run(&format!("{FINE}\n{admin}")).await;
    let port = program.admin().port();
    let known =
        ["127.0.0.1", "192.0.2.1", "[::1]", "localhost", "LocalHost", "lb1.internal", "LB1.internal."];
    for host in known.into_iter().chain(["lb.monitoring.svc"]) {
        for host in [host.to_owned(), format!("{host}:{port}")] {
            let response = send(program.admin(), format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            assert_eq!(response.status(), 200, "{host}");
        }
    }
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "monitoring.svc",
        "[::1].evil",
        "",
    ] {
        for path in ["/", "/metrics", "/status", "/readyz"] {
            let host = if host.is_empty() { String::new() } else { format!("{host}:{port}") };
            let response =
                send(program.admin(), format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            assert_eq!(response.status(), 421, "{host} {path}");
            assert!(response.text().contains("admin.hosts"), "{}", response.text());
        }
    }
    for (request, status) in [
        ("GET / HTTP/1.0\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        ("GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 421),
        ("GET http://localhost/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
    ] {
        assert_eq!(send(program.admin(), request).await.status(), status, "{request}");
    }
}

#[tokio::test]
async fn admin_responses_are_not_sniffed() {
    let program = Program::run(FINE).await;
    for (request, host) in [
        ("GET /", "localhost"),
        ("GET /metrics", "localhost"),
        ("GET /status", "localhost"),
        ("GET /explain?url=%3Cscript%3E", "localhost"),
        ("GET /readyz", "localhost"),
        ("GET /nothing", "localhost"),
        ("PUT /", "localhost"),
        ("GET /", "evil.example"),
    ] {
        let response = send(program.admin(), format!("{request} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{request} {host}");
    }
}

#[tokio::test]
async fn an_admin_request_with_transfer_encoding_is_rejected() {
    let program = Program::run(FINE).await;
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n",
    ] {
        let mut client = Client::connect(program.admin()).await;
        let smuggled = "0\r\n\r\nGET /status HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let response =
            client.ask(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n{smuggled}")).await;
        assert_eq!(response.status(), 400, "{fields}");
        assert!(client.closed().await.is_empty(), "{fields}: only one response");
    }
}
