//! Keys at the top of the configuration.

use serde_json::{Value, json};

use super::row::{Row, Seen, restart, row};
use super::world::{World, names, sent};
use crate::support::{PATIENCE, eventually, send};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = clients_and_backends();
    rows.extend(admin_and_log());
    rows.extend(ending());
    rows
}

fn clients_and_backends() -> Vec<Row> {
    vec![
        row("trusted_proxies", json!(["192.0.2.1"]), json!(["127.0.0.1"]), |world| {
            Box::pin(async move {
                let before = world.balancer.records().len();
                world.send("GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n").await;
                let record = world.balancer.log_lines(before + 1).await.pop().expect("a record");
                record["client"].as_str().expect("text").to_owned()
            })
        })
        .shows("127.0.0.1", "192.0.2.7"),
        row("forwarding.forwarded", false, true, |world| {
            Box::pin(async move {
                world.get("/").await;
                world.seen().header("forwarded").is_some().to_string()
            })
        })
        .shows("false", "true"),
        row("forwarding.via", "first", "second", sent("via")).shows("1.1 first", "1.1 second"),
        row("include", Value::Null, "more.yaml", sent("via")).shows("", "1.1 included"),
        restart("workers", 1, 2),
        row("lanes", "auto", "pingora", |world| {
            Box::pin(async move { world.record("/").await["lane"].as_str().expect("text").to_owned() })
        })
        .shows("lean", "pingora"),
        row("zone", "there", "here", names("/"))
            .with(
                "upstreams.*.backends",
                json!([{ "url": "ONE-URL", "zone": "here" }, { "url": "TWO-URL", "zone": "there" }]),
            )
            .shows("two", "one"),
    ]
}

fn admin_and_log() -> Vec<Row> {
    vec![
        row("admin.address", "127.0.0.1:0", "[::1]:0", |world| {
            Box::pin(async move {
                let admin = world.balancer.admin();
                let probe = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
                format!("{} {}", admin.ip(), send(admin, probe).await.status())
            })
        })
        .shows("127.0.0.1 200", "::1 200"),
        row(
            "admin.token",
            Value::Null,
            "0123456789abcdef-token",
            admin("GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        )
        .with("admin.address", "127.0.0.1:0")
        .shows("200", "401"),
        row(
            "admin.token_file",
            Value::Null,
            "OWN-FOLDER/token",
            admin("GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        )
        .with("admin.address", "127.0.0.1:0")
        .shows("200", "401"),
        row("admin.read_only_token", Value::Null, "0123456789abcdef-token", admin(RELOAD))
            .with("admin.address", "127.0.0.1:0")
            .shows("422", "403"),
        row("admin.read_only_token_file", Value::Null, "OWN-FOLDER/token", admin(RELOAD))
            .with("admin.address", "127.0.0.1:0")
            .shows("422", "401"),
        row(
            "admin.hosts",
            json!(["a.test"]),
            json!(["b.test"]),
            admin("GET /status HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        )
        .with("admin.address", "127.0.0.1:0")
        .shows("200", "421"),
        row("access_log.to", "OWN-FOLDER/first.log", "OWN-FOLDER/second.log", |world| {
            Box::pin(async move {
                let is_there = |name: &str| {
                    let text = std::fs::read_to_string(world.folder.path().join(name)).unwrap_or_default();
                    text.lines().filter(|line| !line.is_empty()).count()
                };
                let before = (is_there("first.log"), is_there("second.log"));
                world.get("/").await;
                let mut after = before;
                eventually(PATIENCE, || {
                    after = (is_there("first.log"), is_there("second.log"));
                    after != before
                })
                .await;
                if after.0 > before.0 { "first".to_owned() } else { "second".to_owned() }
            })
        })
        .with("access_log.format", "json")
        .shows("first", "second"),
        row("access_log.format", "first {status}", "second {status}", |world| {
            Box::pin(async move {
                let text = || std::fs::read_to_string(world.folder.path().join("a.log")).unwrap_or_default();
                let before = text();
                world.get("/").await;
                eventually(PATIENCE, || text().len() > before.len() && text().ends_with('\n')).await;
                text()[before.len()..].trim().to_owned()
            })
        })
        .with("access_log.to", "OWN-FOLDER/a.log")
        .shows("first 200", "second 200"),
    ]
}

fn ending() -> Vec<Row> {
    vec![
        row("shutdown.drain_timeout", "1h", "100ms", |world| {
            Box::pin(async move {
                let mut client = world.held("/silence").await;
                // Its listener is removed: it drains.
                let other = "unix:OWN-FOLDER/other.sock";
                world.change("listeners[].address", other.into()).await.expect("it is right");
                client.response().await.status().to_string()
            })
        })
        .shows_then("503"),
        row("shutdown.pre_stop", "1h", "0s", |world| {
            Box::pin(async move {
                let _held = world.held("/wait/300").await;
                let (balancer, address) = (&world.balancer, world.balancer.address());
                balancer.handle().drain();
                eventually(PATIENCE, || std::net::TcpStream::connect(address).is_err()).await;
                "no more connections".to_owned()
            })
        })
        .shows_then("no more connections"),
    ]
}

/// A command: without a file to read again, one that is let through gets a 422.
const RELOAD: &str = "POST /reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer 0123456789abcdef-token\r\n\
                      Content-Length: 0\r\n\r\n";

/// Looks at the status of the response of the admin address.
fn admin(request: &'static str) -> impl for<'a> Fn(&'a World) -> Seen<'a> + Send + Sync {
    move |world| Box::pin(async move { send(world.balancer.admin(), request).await.status().to_string() })
}
