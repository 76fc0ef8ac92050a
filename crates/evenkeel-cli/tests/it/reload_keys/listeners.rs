//! Keys of listeners.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::row::{Row, restart, row};
use super::world::{World, status, status_of};
use crate::support::http2::PREFACE;
use crate::support::{Client, PATIENCE, in_time};

const PART_OF_A_BODY: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nx";
const SPOOFED: &str = "GET / HTTP/1.1\r\nHost: test\r\nX_Forwarded_For: 6.6.6.6\r\n\r\n";
const LARGE: &str = "GET /size/33554432 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

pub(super) fn rows() -> Vec<Row> {
    let mut rows = limits();
    rows.push(name());
    rows.extend(times());
    rows.extend(proxy_protocol());
    let keys =
        ["listeners[].unix_socket.mode", "listeners[].unix_socket.user", "listeners[].unix_socket.group"];
    let sockets = keys.into_iter().zip(["0600", "root", "root"]);
    rows.extend(sockets.map(|(key, value)| {
        restart(key, Value::Null, value).with("listeners[].address", "unix:OWN-FOLDER/web.sock")
    }));
    rows
}

fn name() -> Row {
    row("listeners[].name", "one", "two", |world| Box::pin(async move { world.get("/").await.text() }))
        .with("routes[].upstream", Value::Null)
        .with("routes[].respond.body", "{listener}")
        .shows("one", "two")
}

fn limits() -> Vec<Row> {
    let large_head = format!("GET / HTTP/1.1\r\nHost: test\r\nx: {}\r\n\r\n", "x".repeat(2000));
    let many_fields = "GET / HTTP/1.1\r\nHost: test\r\na: 1\r\nb: 2\r\nc: 3\r\n\r\n";
    let large_body =
        format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2000\r\n\r\n{}", "x".repeat(2000));
    vec![
        row("listeners[].address", "127.0.0.1:0", "unix:OWN-FOLDER/web.sock", |world| {
            Box::pin(async move {
                let path = world.folder.path().join("web.sock");
                if !path.exists() {
                    return world.get("/").await.text();
                }
                format!("{} by the socket", Client::unix(path).await.get("/").await.text())
            })
        })
        .shows("one", "one by the socket"),
        row("listeners[].max_connections", Value::Null, 1, |world| Box::pin(second_connection(world)))
            .shows("served", "closed"),
        row("listeners[].max_connections_per_client", Value::Null, 1, |world| {
            Box::pin(second_connection(world))
        })
        .shows("served", "closed"),
        row("listeners[].max_connection_rate_per_client", Value::Null, "1/h", |world| {
            Box::pin(second_connection(world))
        })
        .shows("served", "closed"),
        row("listeners[].http.max_header_size", Value::Null, "1KiB", status_of(large_head))
            .shows("200", "431"),
        row("listeners[].http.max_header_fields", Value::Null, 3, status_of(many_fields)).shows("200", "431"),
        row("listeners[].http.max_body_size", Value::Null, "1KiB", status_of(large_body)).shows("200", "413"),
        row("listeners[].http.spoofed_headers", "drop", "reject", status_of(SPOOFED)).shows("200", "400"),
        row("listeners[].http.https_redirect", false, 8443, |world| {
            Box::pin(async move {
                let response = world.get("/a?b=c").await;
                format!("{} {}", response.status(), response.header("location").unwrap_or_default())
            })
        })
        .shows("200 ", "308 https://test:8443/a?b=c"),
        row("listeners[].http.path_matching", "normal", "as_sent", status("/%78"))
            .with("routes[].match.path", "/x")
            .shows("200", "404"),
        row("listeners[].http.forward_path", "as_sent", "normal", |world| {
            Box::pin(async move {
                world.get("/%78").await;
                world.seen().target().to_owned()
            })
        })
        .shows("/%78", "/x"),
        row("listeners[].http.h2c", false, true, |world| {
            Box::pin(async move {
                let mut client = world.balancer.client().await;
                client.send(PREFACE).await;
                let begin = client.bytes(9).await;
                let version = if begin.starts_with(b"HTTP/1.1") { "HTTP/1.1" } else { "HTTP/2" };
                version.to_owned()
            })
        })
        .shows("HTTP/1.1", "HTTP/2"),
    ]
}

fn proxy_protocol() -> Vec<Row> {
    let (mode, trusted) = ("listeners[].proxy_protocol.mode", "listeners[].proxy_protocol.trusted");
    vec![
        row(mode, "off", "required", |world| Box::pin(with_header(world)))
            .with(trusted, json!(["127.0.0.1"]))
            .shows("400", "200"),
        row(trusted, json!(["10.0.0.0/8"]), json!(["127.0.0.1"]), |world| Box::pin(with_header(world)))
            .with(mode, "required")
            .shows("closed", "200"),
        row("listeners[].proxy_protocol.timeout", "1h", "100ms", |world| {
            Box::pin(async move {
                assert_eq!(world.balancer.client().await.closed().await, b"");
                "closed".to_owned()
            })
        })
        .with(mode, "required")
        .with(trusted, json!(["127.0.0.1"]))
        .shows_then("closed"),
    ]
}

/// What becomes of a connection that begins with a PROXY header.
async fn with_header(world: &World) -> String {
    let mut client = world.balancer.client().await;
    let request = "PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n";
    if client.try_send(request).await.is_err() {
        return "closed".to_owned();
    }
    match client.try_response_to("GET").await {
        Ok(response) => response.status().to_string(),
        Err(_) => "closed".to_owned(),
    }
}

fn times() -> Vec<Row> {
    vec![
        row("listeners[].http.header_timeout", "1h", "100ms", status_of("GET / HTTP/1.1\r\n"))
            .shows_then("408"),
        row("listeners[].http.idle_timeout", "1h", "100ms", |world| {
            Box::pin(async move {
                let mut client = world.balancer.client().await;
                client.get("/").await;
                assert_eq!(client.closed().await, b"");
                "closed".to_owned()
            })
        })
        .shows_then("closed"),
        row("listeners[].http.body_timeout", "1h", "100ms", status_of(PART_OF_A_BODY)).shows_then("408"),
        row("listeners[].http.min_body_rate", "off", "1MiB/s", |world| {
            Box::pin(async move {
                let mut client = world.balancer.client().await;
                client.send(PART_OF_A_BODY).await;
                // Slow, and never silent for as long as `body_timeout`.
                while client.is_quiet_for(Duration::from_millis(50)).await {
                    let _ = client.try_send("x").await;
                }
                client.response_to("POST").await.status().to_string()
            })
        })
        .with("listeners[].http.body_timeout", "1s")
        .shows_then("408"),
        row("listeners[].http.send_timeout", "1h", "100ms", |world| {
            Box::pin(async move {
                let mut client = world.balancer.client().await;
                client.send(LARGE).await;
                world.balancer.log_line().await["end"].as_str().expect("text").to_owned()
            })
        })
        .shows_then("timeout=send"),
        row("listeners[].http.min_send_rate", "off", "10GiB/s", |world| Box::pin(slow_reader(world)))
            .with("listeners[].http.send_timeout", "500ms")
            .shows_then("timeout=send"),
    ]
}

/// What becomes of a second connection while the first one is open.
async fn second_connection(world: &World) -> String {
    let mut first = world.balancer.client().await;
    // One that an earlier look has left may be open for a moment.
    while first.try_send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.is_err()
        || first.try_response_to("GET").await.is_err()
    {
        first = world.balancer.client().await;
    }
    let served = world.balancer.client().await.is_reusable().await;
    assert!(first.is_reusable().await, "the first one is left alone");
    if served { "served".to_owned() } else { "closed".to_owned() }
}

/// How a request ends whose client reads steadily, and slowly.
async fn slow_reader(world: &World) -> String {
    let mut stream = TcpStream::connect(world.balancer.address()).await.expect("a connection");
    stream.write_all(LARGE.as_bytes()).await.expect("taken");
    let mut piece = vec![0; 50_000];
    let reading = async {
        while stream.read(&mut piece).await.is_ok_and(|count| count > 0) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let record = async { world.balancer.log_line().await["end"].as_str().expect("text").to_owned() };
    let ended = async { tokio::join!(tokio::time::timeout(PATIENCE, reading), record).1 };
    in_time("the record", ended).await
}
