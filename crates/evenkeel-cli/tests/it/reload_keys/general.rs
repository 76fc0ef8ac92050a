//! Keys at the top of the configuration.

use serde_json::{Value, json};

use super::row::{Row, Seen, restart, row};
use super::world::{World, names, sent};
use crate::support::{PATIENCE, eventually, send};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = clients_and_backends();
    rows.extend(admin_rows());
    rows.extend(log());
    rows.extend(maps());
    rows.extend(ending());
    rows.extend(overload());
    rows
}

fn overload() -> Vec<Row> {
    vec![
        row("overload_protection.max_memory", "1000GiB", "1MiB", overload_level).shows("normal", "reject"),
        row("overload_protection.max_descriptors", Value::Null, "0.0001%", overload_level)
            .shows("normal", "reject"),
    ]
}

/// What is done about a shortage: it is looked for a few times a second.
fn overload_level(world: &World) -> Seen<'_> {
    Box::pin(async move {
        let start = std::time::Instant::now();
        loop {
            let level = world.balancer.status().await["overload"].as_str().expect("a level").to_owned();
            if level != "normal" || start.elapsed() > std::time::Duration::from_secs(2) {
                return level;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
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

fn admin_rows() -> Vec<Row> {
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
    ]
}

fn log() -> Vec<Row> {
    vec![
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
        logged("access_log.request_headers", json!([]), json!(["x-sent"])).shows("nothing", "yes"),
        logged("access_log.response_headers", json!([]), json!(["x-name"])).shows("nothing", "one"),
        row("access_log.sample", "0%", "100%", |world| {
            Box::pin(async move {
                let before = records(world).len();
                // A request that fails is always recorded, and on the same connection after what comes before it.
                let mut client = world.balancer.client().await;
                client.get("/").await;
                client.get("/hang-up").await;
                let failed = |record: &Value| record["status"] == 502;
                eventually(PATIENCE, || records(world).iter().skip(before).any(failed)).await;
                match records(world).iter().skip(before).any(|record| record["status"] == 200) {
                    true => "recorded".to_owned(),
                    false => "left out".to_owned(),
                }
            })
        })
        .with("access_log.to", "OWN-FOLDER/a.log")
        .shows("left out", "recorded"),
        syslog("access_log.syslog.facility", "local0", "daemon").shows("<134>1 evenkeel", "<30>1 evenkeel"),
        syslog("access_log.syslog.tag", "evenkeel", "edge").shows("<134>1 evenkeel", "<134>1 edge"),
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

/// A key of the log that goes to a server of syslog: shows the priority and the tag of the next record.
fn syslog(key: &'static str, from: &'static str, to: &'static str) -> Row {
    let server = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    server.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let address = server.local_addr().expect("an address");
    let server = std::sync::Arc::new(server);
    row(key, from, to, move |world| {
        let server = server.clone();
        Box::pin(async move {
            world.get("/").await;
            let received = tokio::task::spawn_blocking(move || {
                let mut buffer = [0; 4096];
                let length = server.recv(&mut buffer).expect("a record");
                String::from_utf8_lossy(&buffer[..length]).into_owned()
            });
            let record = received.await.expect("no panic");
            let fields: Vec<&str> = record.split(' ').collect();
            format!("{} {}", fields[0], fields[3])
        })
    })
    .with("access_log.to", format!("syslog+udp://{address}"))
}

/// A list of headers in the log: shows the value of the one that the next record has.
fn logged(key: &'static str, from: Value, to: Value) -> Row {
    row(key, from, to, |world| {
        Box::pin(async move {
            let before = records(world).len();
            world.send("GET / HTTP/1.1\r\nHost: test\r\nX-Sent: yes\r\n\r\n").await;
            eventually(PATIENCE, || records(world).len() > before).await;
            let record = records(world).pop().expect("a record");
            let lists = [&record["request_headers"], &record["response_headers"]];
            let mut values = lists.into_iter().filter_map(Value::as_object).flat_map(|list| list.values());
            values.next().and_then(Value::as_str).unwrap_or("nothing").to_owned()
        })
    })
    .with("access_log.to", "OWN-FOLDER/a.log")
}

/// The records of a log in the world's own folder.
fn records(world: &World) -> Vec<Value> {
    let text = std::fs::read_to_string(world.folder.path().join("a.log")).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).expect("a record is JSON")).collect()
}

/// Tables from one value to another: the body of a response shows the value.
fn maps() -> Vec<Row> {
    let shown = |key, from: Value, to: Value| {
        let row = row(key, from, to, |world| Box::pin(async move { world.get("/A").await.text() }));
        row.with("routes[].upstream", Value::Null).with("routes[].respond.body", "{map.web}")
    };
    let path = |row: Row| row.with("maps.*.key", "{path}");
    vec![
        shown("maps.*.key", json!("{path}"), json!("{method}"))
            .with("maps.*.values", json!({ "/A": "by path", "GET": "by method" }))
            .shows("by path", "by method"),
        path(shown("maps.*.values", json!({ "/A": "one" }), json!({ "/A": "two" }))).shows("one", "two"),
        path(shown("maps.*.default", json!("one"), json!("two")).with("maps.*.values", json!({ "/b": "" })))
            .shows("one", "two"),
        path(shown("maps.*.ignore_case", json!(false), json!(true)))
            .with("maps.*.values", json!({ "/a": "found" }))
            .with("maps.*.default", "not found")
            .shows("not found", "found"),
        path(shown("maps.*.file", json!("OWN-FOLDER/map-one"), json!("OWN-FOLDER/map-two")))
            .shows("one", "two"),
    ]
}
