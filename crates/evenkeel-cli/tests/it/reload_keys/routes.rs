//! Keys of routes, except for `retry`.

use serde_json::{Value, json};

use crate::support::get;

use super::row::{Row, Seen, row};
use super::upstreams::{end_of_quiet_upgrade, is_complete};
use super::world::{World, received, sent, status, status_of};

const BODY: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 11\r\n\r\nhello world";

pub(super) fn rows() -> Vec<Row> {
    let mut rows = matching();
    rows.extend(filters());
    rows.extend(access());
    rows.extend(shared());
    rows.extend(limits());
    rows.extend(concurrency());
    rows.extend(bandwidth());
    rows.extend(adaptive());
    rows.extend(actions());
    rows
}

fn matching() -> Vec<Row> {
    let matches = |key, to: Value| row(key, Value::Null, to, status("/")).shows("200", "404");
    vec![
        matches("routes[].match.hosts", json!(["other.test"])),
        matches("routes[].match.path", json!("/other")),
        matches("routes[].match.path_prefix", json!("/other")),
        matches("routes[].match.path_regex", json!("^/other$")),
        matches("routes[].match.methods", json!(["POST"])),
        matches("routes[].match.headers", json!({ "x-other": "*" })),
        matches("routes[].match.query", json!({ "other": "1" })),
        matches("routes[].match.host_regex", json!("^other")),
        matches("routes[].match.headers.*.regex", json!("^other$")),
        matches("routes[].match.query.*.regex", json!("^other$")),
        matches("routes[].match.clients", json!(["10.0.0.0/8"])),
        matches("routes[].match.scheme", json!("https")),
        matches("routes[].match.sni", json!(["other.test"])),
        matches("routes[].match.not", json!([{ "path_prefix": "/" }])),
        matches("routes[].match.any_of", json!([{ "path": "/other" }, { "methods": ["POST"] }])),
        row("routes[].match.listeners", json!(["one"]), json!(["two"]), status("/"))
            .with("listeners", json!([{ "name": "one", "address": "127.0.0.1:0" }, { "name": "two", "address": "127.0.0.1:0" }]))
            .shows("200", "404"),
        row("routes[].name", "all", "every", |world| {
            Box::pin(async move {
                world.get("/").await;
                let metrics = world.balancer.metrics().await;
                let counts = metrics.lines().filter(|line| line.starts_with("evenkeel_requests_total"));
                let served = counts.filter(|line| line.contains("2xx") && !line.ends_with(" 0"));
                served.map(|line| line.split('"').nth(1).unwrap_or_default()).collect::<Vec<_>>().join(" ")
            })
        })
        .shows("all", "every"),
        row("routes[].explain", false, true, |world| {
            Box::pin(async move { world.record("/").await["explain"].is_string().to_string() })
        })
        .shows("false", "true"),
        row("routes[].timeout", "1h", "100ms", status("/silence")).shows_then("504"),
        row("routes[].timeouts.first_byte", "1h", "100ms", status("/silence")).shows_then("504"),
        row("routes[].timeouts.connect", "1h", "50ms", status("/"))
            .with("upstreams.*.backends", json!(["HOLE-URL"]))
            .shows_then("504"),
        row("routes[].timeouts.idle", "1h", "100ms", is_complete).shows_then("false"),
        row("routes[].timeouts.upgraded_idle", "1h", "100ms", end_of_quiet_upgrade).shows_then("closed"),
        row("routes[].max_body_size", Value::Null, 10, status_of(BODY)).shows("200", "413"),
    ]
}

fn filters() -> Vec<Row> {
    let request = |key, from: Value, to: Value| row(key, from, to, sent("x-sent"));
    let response = |key, from: Value, to: Value| row(key, from, to, received("/", "x-received"));
    vec![
        request("routes[].filters[].request_headers.set", json!({ "x-sent": "a" }), json!({ "x-sent": "b" }))
            .shows("a", "b"),
        request("routes[].filters[].request_headers.add", json!({ "x-sent": "a" }), json!({ "x-sent": "b" }))
            .shows("yes a", "yes b"),
        request(
            "routes[].filters[].request_headers.remove",
            json!(["x-other"]),
            json!(["x-sent", "x-other"]),
        )
        .with("routes[].filters[].request_headers.add", json!({ "x-sent": "a" }))
        .shows("yes a", "a"),
        response(
            "routes[].filters[].response_headers.set",
            json!({ "x-received": "a" }),
            json!({ "x-received": "b" }),
        )
        .shows("a", "b"),
        response(
            "routes[].filters[].response_headers.add",
            json!({ "x-received": "a" }),
            json!({ "x-received": "b" }),
        )
        .shows("a", "b"),
        row(
            "routes[].filters[].response_headers.remove",
            json!(["x-other"]),
            json!(["x-name"]),
            received("/", "x-name"),
        )
        .shows("one", "none"),
        row("routes[].filters[].rewrite_path.from", "^/old", "^/o", target)
            .with("routes[].filters[].rewrite_path.to", "/new")
            .shows("/new", "/newld"),
        row("routes[].filters[].rewrite_path.to", "/new", "/newer", target)
            .with("routes[].filters[].rewrite_path.from", "^/old")
            .shows("/new", "/newer"),
        row("routes[].filters[].strip_prefix", "/other", "/old", target).shows("/old", "/"),
    ]
}

/// Which clients can send requests: this one is on 127.0.0.1.
fn access() -> Vec<Row> {
    let (near, far) = ("127.0.0.0/8", "10.0.0.0/8");
    vec![
        row("routes[].filters[].allow.networks", json!([near]), json!([far]), status("/"))
            .shows("200", "403"),
        row("routes[].filters[].deny.networks", json!([far]), json!([near]), status("/")).shows("200", "403"),
        row("routes[].filters[].allow.file", "OWN-FOLDER/near", "OWN-FOLDER/far", status("/"))
            .shows("200", "403"),
        row("routes[].filters[].deny.file", "OWN-FOLDER/far", "OWN-FOLDER/near", status("/"))
            .shows("200", "403"),
    ]
}

/// Whether a key belongs to a filter of a listener, or to one with a name: those are the filters of routes, and two keys stand
/// for all of them.
pub(super) fn is_another_filter(key: &str) -> bool {
    let shown = ["listeners[].filters[].deny.networks", "filters.*.deny.networks"];
    ["listeners[].filters[].", "filters.*."].iter().any(|place| key.starts_with(place))
        && !shown.contains(&key)
}

/// Filters that are not those of one route.
fn shared() -> Vec<Row> {
    let (near, far) = ("127.0.0.0/8", "10.0.0.0/8");
    vec![
        row("listeners[].filters[].deny.networks", json!([far]), json!([near]), status("/"))
            .shows("200", "403"),
        row("filters.*.deny.networks", json!([far]), json!([near]), status("/"))
            .with("routes[].filters[].use", "web")
            .shows("200", "403"),
        row("routes[].filters[].use", "far", "near", status("/"))
            .with("filters.far", json!({ "deny": [far] }))
            .with("filters.near", json!({ "deny": [near] }))
            .shows("200", "403"),
    ]
}

/// The status of the second of two requests.
fn second(world: &World) -> Seen<'_> {
    Box::pin(async move {
        world.get("/").await;
        world.get("/").await.status().to_string()
    })
}

fn limits() -> Vec<Row> {
    let limit = |key, from: Value, to: Value| {
        row(key, from, to, second).with("routes[].filters[].rate_limit.rate", "1/h")
    };
    vec![
        row("routes[].filters[].rate_limit.rate", "1000/s", "1/h", second).shows("200", "429"),
        limit("routes[].filters[].rate_limit.burst", json!(1000), json!(1)).shows("200", "429"),
        limit("routes[].filters[].rate_limit.on_exceed", json!("log"), json!("reject")).shows("200", "429"),
        row("routes[].filters[].rate_limit.max_delay", "100ms", "10s", |world| {
            Box::pin(async move {
                let (one, two, three) = tokio::join!(world.get("/"), world.get("/"), world.get("/"));
                [one, two, three].map(|response| response.status()).into_iter().max().unwrap_or(0).to_string()
            })
        })
        .with("routes[].filters[].rate_limit.rate", "10/s")
        .with("routes[].filters[].rate_limit.burst", 1)
        .with("routes[].filters[].rate_limit.on_exceed", "delay")
        .shows("429", "200"),
        limit("routes[].filters[].rate_limit.exempt", json!(["127.0.0.0/8"]), json!(["10.0.0.0/8"]))
            .shows("200", "429"),
        row("routes[].filters[].rate_limit.key", "client_ip", "path", |world| {
            Box::pin(async move {
                world.get("/a").await;
                world.get("/b").await.status().to_string()
            })
        })
        .with("routes[].filters[].rate_limit.rate", "1/h")
        .shows("429", "200"),
        row("routes[].filters[].rate_limit.name", "first", "second", received("/", "ratelimit-policy"))
            .with("routes[].filters[].rate_limit.rate", "1/h")
            .shows("\"first\";q=1;w=3600", "\"second\";q=1;w=3600"),
        row("routes[].filters[].rate_limit.headers", true, false, received("/", "ratelimit-policy"))
            .with("routes[].filters[].rate_limit.rate", "1/h")
            .shows("\"client_ip\";q=1;w=3600", "none"),
        row("routes[].filters[].rate_limit.max_keys", 1000, 2000, |world| {
            Box::pin(async move { world.balancer.status().await["rate_limits"][0]["max_keys"].to_string() })
        })
        .with("routes[].filters[].rate_limit.rate", "1/h")
        .shows("1000", "2000"),
        prefix("routes[].filters[].rate_limit.ipv4_prefix", 32, 24, "192.0.2.1", "192.0.2.2"),
        prefix("routes[].filters[].rate_limit.ipv6_prefix", 128, 64, "2001:db8::1", "2001:db8::2"),
    ]
}

/// The status of a request of the second client, after one of the first: they are one client by the second prefix.
fn prefix(key: &'static str, from: u8, to: u8, first: &'static str, second: &'static str) -> Row {
    row(key, from, to, move |world| {
        Box::pin(async move {
            let request =
                |client| format!("GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: {client}\r\n\r\n");
            world.send(&request(first)).await;
            world.send(&request(second)).await.status().to_string()
        })
    })
    .with("trusted_proxies", json!(["127.0.0.1"]))
    .with("routes[].filters[].rate_limit.rate", "1/h")
    .shows("200", "429")
}

/// What `/explain` says of the first filter, for a client with an address of IPv6.
fn note(world: &World) -> Seen<'_> {
    Box::pin(async move {
        let client = "2001:db8:1:2::1";
        let page = get(
            world.balancer.admin(),
            &format!("/explain?url=http://test/&from={client}&header=x-sent:%20yes"),
        )
        .await;
        let explained: Value = serde_json::from_str(&page.text()).expect("JSON");
        explained["filters"][0]["notes"][0].as_str().unwrap_or_default().to_owned()
    })
}

fn concurrency() -> Vec<Row> {
    let limit = |key, from: Value, to: Value| {
        row(key, from, to, note).with("routes[].filters[].concurrency_limit.max_requests", 1)
    };
    let says =
        "limit client_ip: key 2001:db8:1:2::/64: 0 of 1 requests in progress, 0 of 0 waiting for at most 1s";
    vec![
        row("routes[].filters[].concurrency_limit.max_requests", 1, 2, note)
            .shows(says, "limit client_ip: key 2001:db8:1:2::/64: 0 of 2 requests in progress, 0 of 0 waiting for at most 1s"),
        limit("routes[].filters[].concurrency_limit.name", Value::Null, json!("own"))
            .shows(says, "limit own: key 2001:db8:1:2::/64: 0 of 1 requests in progress, 0 of 0 waiting for at most 1s"),
        limit("routes[].filters[].concurrency_limit.key", Value::Null, json!("route"))
            .shows(says, "limit route: key all: 0 of 1 requests in progress, 0 of 0 waiting for at most 1s"),
        limit("routes[].filters[].concurrency_limit.ipv4_prefix", json!(32), json!(8)).shows(says, says),
        limit("routes[].filters[].concurrency_limit.ipv6_prefix", json!(64), json!(32))
            .shows(says, "limit client_ip: key 2001:db8::/32: 0 of 1 requests in progress, 0 of 0 waiting for at most 1s"),
        limit("routes[].filters[].concurrency_limit.queue.size", json!(0), json!(5))
            .shows(says, "limit client_ip: key 2001:db8:1:2::/64: 0 of 1 requests in progress, 0 of 5 waiting for at most 1s"),
        limit("routes[].filters[].concurrency_limit.queue.timeout", json!("1s"), json!("2s"))
            .with("routes[].filters[].concurrency_limit.queue.size", 1)
            .shows_then("limit client_ip: key 2001:db8:1:2::/64: 0 of 1 requests in progress, 0 of 1 waiting for at most 2s"),
    ]
}

fn adaptive() -> Vec<Row> {
    let says = "limit adaptive: priority normal: 0 of 20 requests in progress";
    let high = "limit adaptive: priority high: 0 of 20 requests in progress";
    let rule = |key, from: Value, to: Value| {
        row(key, from, to, note).with("routes[].filters[].adaptive_concurrency.priorities[].priority", "high")
    };
    vec![
        row("routes[].filters[].adaptive_concurrency.name", Value::Null, "own", note)
            .with("routes[].filters[].adaptive_concurrency.max_limit", 1000)
            .shows(says, "limit own: priority normal: 0 of 20 requests in progress"),
        row("routes[].filters[].adaptive_concurrency.min_limit", 4, 30, note)
            .shows(says, "limit adaptive: priority normal: 0 of 30 requests in progress"),
        row("routes[].filters[].adaptive_concurrency.max_limit", 1000, 10, note)
            .shows(says, "limit adaptive: priority normal: 0 of 10 requests in progress"),
        row("routes[].filters[].adaptive_concurrency.priorities[].priority", "normal", "high", note)
            .shows(says, high),
        rule(
            "routes[].filters[].adaptive_concurrency.priorities[].header",
            json!("x-other"),
            json!("x-sent"),
        )
        .shows(says, high),
        rule("routes[].filters[].adaptive_concurrency.priorities[].value", json!("no"), json!("yes"))
            .with("routes[].filters[].adaptive_concurrency.priorities[].header", "x-sent")
            .shows(says, high),
        rule("routes[].filters[].adaptive_concurrency.priorities[].route", json!("other"), json!("all"))
            .shows(says, high),
        rule(
            "routes[].filters[].adaptive_concurrency.priorities[].clients",
            json!(["10.0.0.0/8"]),
            json!(["2001:db8::/32"]),
        )
        .shows(says, high),
    ]
}

fn bandwidth() -> Vec<Row> {
    let limit = |key, from: Value, to: Value| {
        row(key, from, to, note).with("routes[].filters[].bandwidth_limit.download", "1MB/s")
    };
    let says = "limit client_ip: key 2001:db8:1:2::/64: download 1MB/s, upload off";
    vec![
        limit("routes[].filters[].bandwidth_limit.download", json!("1MB/s"), json!("2MB/s"))
            .shows(says, "limit client_ip: key 2001:db8:1:2::/64: download 2MB/s, upload off"),
        limit("routes[].filters[].bandwidth_limit.upload", json!("off"), json!("2MB/s"))
            .shows(says, "limit client_ip: key 2001:db8:1:2::/64: download 1MB/s, upload 2MB/s"),
        limit("routes[].filters[].bandwidth_limit.name", Value::Null, json!("own"))
            .shows(says, "limit own: key 2001:db8:1:2::/64: download 1MB/s, upload off"),
        limit("routes[].filters[].bandwidth_limit.key", Value::Null, json!("request"))
            .shows(says, "limit request: key this request: download 1MB/s, upload off"),
        limit("routes[].filters[].bandwidth_limit.ipv4_prefix", json!(32), json!(8)).shows(says, says),
        limit("routes[].filters[].bandwidth_limit.ipv6_prefix", json!(64), json!(32))
            .shows(says, "limit client_ip: key 2001:db8::/32: download 1MB/s, upload off"),
    ]
}

fn actions() -> Vec<Row> {
    let other = || json!({ "backends": ["TWO-URL"] });
    let instead = |row: Row, key, value: Value| row.with("routes[].upstream", Value::Null).with(key, value);
    vec![
        row("routes[].upstream", "web", "other", body).with("upstreams.other", other()).shows("one", "two"),
        row("routes[].split", json!({ "web": 1, "other": 0 }), json!({ "web": 0, "other": 1 }), body)
            .with("routes[].upstream", Value::Null)
            .with("upstreams.other", other())
            .shows("one", "two"),
        instead(
            row("routes[].redirect.to", "/a", "/b", received("/", "location")),
            "routes[].redirect.status",
            json!(302),
        )
        .shows("/a", "/b"),
        instead(row("routes[].redirect.status", 302, 308, status("/")), "routes[].redirect.to", json!("/a"))
            .shows("302", "308"),
        instead(row("routes[].respond.status", 200, 410, status("/")), "routes[].respond.body", json!("a"))
            .shows("200", "410"),
        instead(row("routes[].respond.body", "a", "b", body), "routes[].respond.status", json!(200))
            .shows("a", "b"),
        instead(
            row(
                "routes[].respond.headers",
                json!({ "x-received": "a" }),
                json!({ "x-received": "b" }),
                received("/", "x-received"),
            ),
            "routes[].respond.status",
            json!(200),
        )
        .shows("a", "b"),
    ]
}

/// Looks at the body of a response.
fn body(world: &World) -> Seen<'_> {
    Box::pin(async move { world.get("/").await.text() })
}

/// Looks at the path that the backend gets of `/old`.
fn target(world: &World) -> Seen<'_> {
    Box::pin(async move {
        world.get("/old").await;
        world.seen().target().to_owned()
    })
}
