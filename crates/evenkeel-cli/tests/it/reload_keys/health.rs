//! Keys of health checks, and of what they cause.

use std::sync::atomic::Ordering::SeqCst;

use serde_json::{Value, json};

use super::row::{Row, Seen, row};
use super::world::{World, status};
use crate::support::{Backend, Message, PATIENCE, eventually};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = kinds();
    rows.extend(requests());
    rows.extend(pace());
    rows.extend(effects());
    rows
}

fn kinds() -> Vec<Row> {
    let kind = |key, to: Value| row(key, Value::Null, to, result);
    vec![
        said(
            "upstreams.*.health_check.tcp.protocol",
            ["redis", "postgres"],
            [b"PING", b"\0\0\0\x08\x04\xd2"],
        ),
        said("upstreams.*.health_check.tcp.send", ["first", "second"], [b"first", b"second"]),
        row("upstreams.*.health_check.tcp.expect", "one", "other", result)
            .with("upstreams.*.health_check.tcp.send", "GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            .with("upstreams.*.health_check.interval", "500ms")
            .shows("passed", "failed"),
        kind("upstreams.*.health_check.tls", json!({}))
            .with("upstreams.*.backends", json!(["SECURE-URL"]))
            .with("upstreams.*.tls.ca", "AUTHORITY-FILE")
            .with("upstreams.*.tls.server_name", "api.internal")
            .shows("no probe", "passed"),
        row("upstreams.*.health_check.custom", "passing", "failing", result).shows("passed", "failed"),
        row("upstreams.*.health_check.grpc.service", "first.Service", "second.Service", |world| {
            Box::pin(async move {
                world.tapped.lock().expect("no panic").clear();
                let mut found = None;
                eventually(PATIENCE, || {
                    let text = String::from_utf8_lossy(&world.tapped.lock().expect("no panic")).into_owned();
                    found = ["first.Service", "second.Service"].into_iter().find(|name| text.contains(name));
                    found.is_some()
                })
                .await;
                found.expect("just found").to_owned()
            })
        })
        .with("upstreams.*.backends", json!(["TAP-URL"]))
        .with("upstreams.*.health_check.interval", "100ms")
        .shows("first.Service", "second.Service"),
    ]
}

/// A key of which a backend sees what its probes say.
fn said(key: &'static str, values: [&'static str; 2], texts: [&'static [u8]; 2]) -> Row {
    let look = row(key, values[0], values[1], move |world| {
        Box::pin(async move {
            world.tapped.lock().expect("no panic").clear();
            let mut found = None;
            eventually(PATIENCE, || {
                let tapped = world.tapped.lock().expect("no panic");
                let has = |text: &&[u8]| tapped.windows(text.len()).any(|window| window == *text);
                found = values.into_iter().zip(texts).find(|(_, text)| has(text));
                found.is_some()
            })
            .await;
            found.expect("just found").0.to_owned()
        })
    });
    look.with("upstreams.*.backends", json!(["TAP-URL"]))
        .with("upstreams.*.health_check.interval", "100ms")
        .shows(values[0], values[1])
}

fn requests() -> Vec<Row> {
    let seen = |key, from: Value, to: Value, look: fn(&Message) -> String| {
        row(key, from, to, move |world| Box::pin(async move { look(&next_probe(&world.one).await) }))
            .with("upstreams.*.health_check.interval", "100ms")
    };
    let checked = |key, from: Value, to: Value| {
        row(key, from, to, result).with("upstreams.*.health_check.interval", "100ms")
    };
    vec![
        seen("upstreams.*.health_check.http.path", json!("/a"), json!("/b"), |probe| {
            probe.target().to_owned()
        })
        .shows("/a", "/b"),
        seen("upstreams.*.health_check.http.method", json!("GET"), json!("HEAD"), |probe| {
            probe.method().to_owned()
        })
        .shows("GET", "HEAD"),
        seen("upstreams.*.health_check.http.host", json!("a.test"), json!("b.test"), |probe| {
            probe.header("host").unwrap_or_default().to_owned()
        })
        .shows("a.test", "b.test"),
        seen(
            "upstreams.*.health_check.http.headers",
            json!({ "x-a": "1" }),
            json!({ "x-a": "2" }),
            |probe| probe.header("x-a").unwrap_or_default().to_owned(),
        )
        .shows("1", "2"),
        checked("upstreams.*.health_check.http.expect_status", json!(["200-299"]), json!(["400-499"]))
            .shows("passed", "failed"),
        checked("upstreams.*.health_check.http.expect_body", json!("one"), json!("other"))
            .shows("passed", "failed"),
        row("upstreams.*.health_check.port", Value::Null, "TWO-PORT", |world| {
            Box::pin(async move {
                let before = (world.one.count(), world.two.count());
                let mut after = before;
                eventually(PATIENCE, || {
                    after = (world.one.count(), world.two.count());
                    after.0 > before.0 + 2 || after.1 > before.1 + 2
                })
                .await;
                if after.0 > before.0 + 2 { "one".to_owned() } else { "two".to_owned() }
            })
        })
        .with("upstreams.*.health_check.http.path", "/health")
        .with("upstreams.*.health_check.interval", "100ms")
        .shows("one", "two"),
    ]
}

fn pace() -> Vec<Row> {
    let watched = |row: Row| {
        row.with("upstreams.*.health_check.http.path", "/health")
            .with("upstreams.*.health_check.interval", "100ms")
    };
    vec![
        row("upstreams.*.health_check.interval", "1h", "20ms", |world| {
            Box::pin(async move {
                let before = world.one.count();
                eventually(PATIENCE, || world.one.count() > before + 5).await;
                "often".to_owned()
            })
        })
        .with("upstreams.*.health_check.http.path", "/health")
        .shows_then("often"),
        row("upstreams.*.health_check.timeout", "1s", "50ms", result)
            .with("upstreams.*.health_check.http.path", "/wait/200")
            .with("upstreams.*.health_check.interval", "1s")
            .shows("passed", "failed"),
        watched(row("upstreams.*.health_check.fall", 1, 1000, |world| {
            Box::pin(async move {
                let state = after_probes(world, false).await;
                after_probes(world, true).await;
                state
            })
        }))
        .shows("down", "up"),
        watched(row("upstreams.*.health_check.rise", 1, 1000, |world| {
            Box::pin(async move {
                after_probes(world, false).await;
                after_probes(world, true).await
            })
        }))
        .with("upstreams.*.health_check.fall", 1)
        .shows("up", "down"),
        row("upstreams.*.health_check.start", "up", "down", |world| Box::pin(added(world)))
            .with("upstreams.*.health_check.http.path", "/only/two/status/500")
            .with("upstreams.*.health_check.fall", 1000)
            .shows("up", "down"),
    ]
}

fn effects() -> Vec<Row> {
    let unhealthy = |row: Row, path: &'static str| {
        row.with("upstreams.*.backends", json!(["ONE-URL", "TWO-URL"]))
            .with("upstreams.*.health_check.http.path", path)
            .with("upstreams.*.health_check.interval", "100ms")
            .with("upstreams.*.outlier_detection", "off")
    };
    vec![
        row("upstreams.*.slow_start", Value::Null, "1h", |world| Box::pin(added(world)))
            .shows("up", "starting"),
        unhealthy(
            row("upstreams.*.when_all_down", "fail_open", "refuse", |world| {
                Box::pin(async move {
                    let all_down = |upstream: &Value| {
                        let backends = upstream["backends"].as_array().expect("backends");
                        backends.iter().all(|backend| backend["state"] == "down")
                    };
                    world.until(all_down).await;
                    status("/")(world).await
                })
            }),
            "/status/500",
        )
        .shows("200", "503"),
        unhealthy(
            row("upstreams.*.panic_threshold", "0%", "60%", |world| {
                Box::pin(async move {
                    let upstream = world.until(|upstream| upstream["backends"][0]["state"] == "down").await;
                    upstream["mode"].as_str().expect("text").to_owned()
                })
            }),
            "/only/one/status/500",
        )
        .shows("normal", "panic"),
    ]
}

/// Looks at the result of the next probe of the first backend.
fn result(world: &World) -> Seen<'_> {
    Box::pin(async move {
        let last = |upstream: &Value| upstream["backends"][0]["last_probe"].clone();
        let before = world.upstream().await;
        let is_checked = world.is_set("upstreams.*.health_check");
        if !is_checked {
            return "no probe".to_owned();
        }
        let after = world.until(|upstream| last(upstream)["at"] != last(&before)["at"]).await;
        let result = &last(&after)["result"];
        result.as_str().expect("text").to_owned()
    })
}

/// The next probe but one: the next may have begun before the reload.
async fn next_probe(backend: &Backend) -> Message {
    let before = backend.count();
    backend.until_requests(before + 2).await;
    backend.last_request()
}

/// The state of the first backend after some probes that have found it healthy, or not.
async fn after_probes(world: &World, healthy: bool) -> String {
    world.healthy.store(healthy, SeqCst);
    let before = world.one.count();
    world.one.until_requests(before + 4).await;
    world.upstream().await["backends"][0]["state"].as_str().expect("text").to_owned()
}

/// The state of a backend that is added.
async fn added(world: &World) -> String {
    world.change("upstreams.*.backends", json!(["ONE-URL", "TWO-URL"])).await.expect("it is right");
    let state = world.upstream().await["backends"][1]["state"].as_str().expect("text").to_owned();
    world.change("upstreams.*.backends", json!(["ONE-URL"])).await.expect("it is right");
    state
}
