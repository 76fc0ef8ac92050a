//! Keys of upstreams: limits, times, connections, cookies, TLS, second attempts.

use serde_json::{Value, json};

use super::row::{Row, Seen, row};
use super::world::{World, names, status};
use crate::support::{PATIENCE, eventually};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = limits();
    rows.extend(times());
    rows.extend(connections());
    rows
}

fn limits() -> Vec<Row> {
    let both = || json!(["ONE-URL", "TWO-URL"]);
    vec![
        row("upstreams.*.max_connections", Value::Null, 1, next_to("/silence")).shows("200", "503"),
        row("upstreams.*.queue.max_pending", 10, 0, next_to("/wait/200"))
            .with("upstreams.*.max_connections", 1)
            .shows("200", "503"),
        row("upstreams.*.queue.timeout", "10s", "50ms", next_to("/wait/500"))
            .with("upstreams.*.max_connections", 1)
            .shows("200", "503"),
        row("upstreams.*.circuit_breaker.max_in_flight", Value::Null, 1, next_to("/silence"))
            .shows("200", "503"),
        row("upstreams.*.circuit_breaker.max_retries", 100, 1, |world| {
            Box::pin(async move {
                // One of the two begins at the backend that fails: its retry is in progress.
                drop(world.held("/").await);
                let (mut held, before) = (Vec::new(), world.two.count());
                for _ in 0..2 {
                    let mut client = world.balancer.client().await;
                    client.send("GET /fail-or-hang HTTP/1.1\r\nHost: test\r\n\r\n").await;
                    held.push(client);
                }
                world.two.until_requests(before + 2).await;
                let before = world.count();
                world.get("/status/503").await;
                (world.count() - before).to_string()
            })
        })
        .with("upstreams.*.backends", both())
        .with("upstreams.*.retry.on", json!(["503"]))
        .with("upstreams.*.outlier_detection", "off")
        .shows("2", "1"),
        row("upstreams.*.deadline_header", "x-a", "x-b", |world| {
            Box::pin(async move {
                world.get("/").await;
                let there = ["x-a", "x-b"].into_iter().filter(|name| world.seen().header(name).is_some());
                there.collect::<Vec<_>>().join(" ")
            })
        })
        .with("routes[].timeout", "5s")
        .shows("x-a", "x-b"),
        row("upstreams.*.hedge.after", "1h", "20ms", names("/only/one/silence"))
            .with("upstreams.*.backends", both())
            .with("upstreams.*.hedge.budget", "100%")
            .with("upstreams.*.outlier_detection", "off")
            .lean()
            .shows_then("two"),
        row("upstreams.*.hedge.budget", "0.01%", "100%", names("/only/one/silence"))
            .with("upstreams.*.backends", both())
            .with("upstreams.*.hedge.after", "20ms")
            .with("upstreams.*.outlier_detection", "off")
            .lean()
            .shows_then("two"),
    ]
}

fn times() -> Vec<Row> {
    vec![
        row("upstreams.*.timeouts.connect", "1h", "100ms", status("/"))
            .with("upstreams.*.backends", json!(["HOLE-URL"]))
            .shows_then("504"),
        row("upstreams.*.timeouts.first_byte", "1h", "100ms", status("/silence")).shows_then("504"),
        row("upstreams.*.timeouts.idle", "1h", "100ms", is_complete).shows_then("false"),
        row("upstreams.*.timeouts.upgraded_idle", "1h", "100ms", end_of_quiet_upgrade).shows_then("closed"),
    ]
}

/// Whether a response is complete whose backend stops in the middle.
pub(super) fn is_complete(world: &World) -> Seen<'_> {
    Box::pin(async move { world.get("/half").await.complete.to_string() })
}

/// Waits for the end of an upgraded connection on which nothing is sent.
pub(super) fn end_of_quiet_upgrade(world: &World) -> Seen<'_> {
    Box::pin(async move {
        let mut client = world.balancer.client().await;
        let request = "GET /upgrade HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        assert_eq!(client.ask(request).await.status(), 101);
        client.closed().await;
        "closed".to_owned()
    })
}

fn connections() -> Vec<Row> {
    let cookie = |key, from: Value, to: Value| row(key, from, to, set_cookie);
    vec![
        // The backend speaks HTTP/1 only.
        row("upstreams.*.http2", "never", "always", status("/")).shows("200", "502"),
        row("upstreams.*.proxy_protocol", "off", "v1", |world| {
            Box::pin(async move {
                world.tapped.lock().expect("no panic").clear();
                let mut client = world.balancer.client().await;
                client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
                let mut word = None;
                eventually(PATIENCE, || {
                    let text = String::from_utf8_lossy(&world.tapped.lock().expect("no panic")).into_owned();
                    word = text.split_once(' ').map(|(word, _)| word.to_owned());
                    word.is_some()
                })
                .await;
                word.expect("just found")
            })
        })
        .with("upstreams.*.backends", json!(["TAP-URL"]))
        .shows("GET", "PROXY"),
        row("upstreams.*.pool.idle_timeout", "1h", "100ms", |world| Box::pin(kept(world)))
            .shows_then("none kept"),
        row("upstreams.*.pool.max_idle", 10, 0, |world| Box::pin(kept(world))).lean().shows_then("none kept"),
        cookie("upstreams.*.sticky.cookie", json!("a"), json!("b"))
            .shows("a=ID; Path=/; HttpOnly; SameSite=Lax", "b=ID; Path=/; HttpOnly; SameSite=Lax"),
        cookie("upstreams.*.sticky.ttl", json!("1m"), json!("2m"))
            .with("upstreams.*.sticky.cookie", "a")
            .shows(
                "a=ID; Path=/; HttpOnly; SameSite=Lax; Max-Age=60",
                "a=ID; Path=/; HttpOnly; SameSite=Lax; Max-Age=120",
            ),
        row("upstreams.*.sticky.secret", "0123456789abcdef-first", "0123456789abcdef-second", |world| {
            Box::pin(async move {
                // A cookie of the first secret names a backend, until there is another secret.
                let first = world.folder.path().join("cookie");
                if !first.exists() {
                    let cookie = world.get("/").await.header("set-cookie").expect("a cookie").to_owned();
                    let cookie = cookie.split(';').next().expect("its value").to_owned();
                    std::fs::write(&first, cookie).expect("a file");
                }
                let cookie = std::fs::read_to_string(&first).expect("the cookie");
                let request = format!("GET / HTTP/1.1\r\nHost: test\r\nCookie: {cookie}\r\n\r\n");
                let is_set_again = world.send(&request).await.header("set-cookie").is_some();
                if is_set_again { "unknown".to_owned() } else { "known".to_owned() }
            })
        })
        .with("upstreams.*.sticky.cookie", "a")
        .shows("known", "unknown"),
        secure("upstreams.*.tls.ca", json!("AUTHORITY-FILE"))
            .with("upstreams.*.tls.server_name", "api.internal"),
        secure("upstreams.*.tls.server_name", json!("api.internal"))
            .with("upstreams.*.tls.ca", "AUTHORITY-FILE"),
        secure("upstreams.*.tls.danger_accept_invalid_certificates", json!(true)),
    ]
}

/// A key that makes an `https` backend be trusted.
fn secure(key: &'static str, to: Value) -> Row {
    row(key, Value::Null, to, status("/"))
        .with("upstreams.*.backends", json!(["SECURE-URL"]))
        .with("upstreams.*.outlier_detection", "off")
        .shows("502", "200")
}

/// Looks at the status of a request while another one is with the backend.
fn next_to(path: &'static str) -> impl for<'a> Fn(&'a World) -> Seen<'a> + Send + Sync {
    move |world| {
        Box::pin(async move {
            let _held = world.held(path).await;
            world.get("/").await.status().to_string()
        })
    }
}

/// Waits until no connection to the backend is left.
async fn kept(world: &World) -> String {
    world.get("/").await;
    eventually(PATIENCE, || world.one.open() == 0).await;
    "none kept".to_owned()
}

/// Looks at the cookie that is set, without what it says.
fn set_cookie(world: &World) -> Seen<'_> {
    Box::pin(async move {
        let response = world.get("/").await;
        let cookie = response.header("set-cookie").expect("a cookie");
        let (name, rest) = cookie.split_once('=').expect("a value");
        let (_, attributes) = rest.split_once(';').expect("attributes");
        format!("{name}=ID;{attributes}")
    })
}
