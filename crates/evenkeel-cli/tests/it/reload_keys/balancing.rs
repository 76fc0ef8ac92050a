//! Keys of algorithms and of backends.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::row::{Row, Seen, row};
use super::world::{World, names};
use crate::support::{PATIENCE, eventually};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = algorithms();
    rows.extend(prequal());
    rows.extend(backends());
    rows
}

fn both() -> Value {
    json!(["ONE-URL", "TWO-URL"])
}

fn algorithms() -> Vec<Row> {
    let key = |key| {
        row(key, "client_ip", "header x-user", users).with("upstreams.*.backends", both()).shows("1", "2")
    };
    vec![
        row("upstreams.*.algorithm", "source_ip_hash", "round_robin", |world| {
            Box::pin(async move { world.names("/", 12).await.split(' ').count().to_string() })
        })
        .with("upstreams.*.backends", both())
        .shows("1", "2"),
        row("upstreams.*.algorithm.custom", "first", "second", names("/"))
            .with("upstreams.*.backends", both())
            .shows("one", "two"),
        key("upstreams.*.algorithm.consistent_hash.key"),
        key("upstreams.*.algorithm.maglev.key"),
        key("upstreams.*.algorithm.rendezvous.key"),
        row("upstreams.*.algorithm.consistent_hash.bounded_load", Value::Null, 1.01, busy)
            .with("upstreams.*.backends", both())
            .with("upstreams.*.algorithm.consistent_hash.key", "client_ip")
            .shows("1", "2"),
        row("upstreams.*.algorithm.peak_ewma.decay", "1h", "1ms", |world| {
            Box::pin(async move {
                for path in ["/wait/300", "/", "/", "/"] {
                    world.get(path).await;
                }
                let explained = world.explained("/").await;
                let score = explained["upstreams"][0]["backends"][0]["score"].as_f64().expect("a number");
                if score < 150.0 { "fast".to_owned() } else { "slow".to_owned() }
            })
        })
        .shows("slow", "fast"),
        row("upstreams.*.algorithm.peak_ewma.retest", "1h", "20ms", |world| {
            Box::pin(async move {
                let slow = "/only/one/wait/100";
                while world.one.count() == 0 || world.two.count() == 0 {
                    world.get(slow).await;
                }
                let before = world.one.count();
                for _ in 0..200 {
                    world.get(slow).await;
                    if world.one.count() > before {
                        return "tested".to_owned();
                    }
                }
                "left alone".to_owned()
            })
        })
        .with("upstreams.*.backends", both())
        .shows("left alone", "tested"),
    ]
}

fn prequal() -> Vec<Row> {
    let with_probes = |row: Row, path: &'static str| {
        row.with("upstreams.*.backends", both())
            .with("upstreams.*.algorithm.prequal.probe_path", path)
            .with("upstreams.*.algorithm.prequal.probes_per_request", 8)
    };
    vec![
        row("upstreams.*.algorithm.prequal.probe_path", "/load", "/load/more", probed)
            .with("upstreams.*.backends", both())
            .shows("/load", "/load/more"),
        row("upstreams.*.algorithm.prequal.probes_per_request", 0.1, 8, |world| {
            Box::pin(async move {
                let before = probes(world).len();
                world.names("/", 100).await;

                // They are sent a moment later.
                let many = eventually(PATIENCE, || probes(world).len() >= before + 50);
                let are_many = tokio::time::timeout(Duration::from_millis(300), many).await.is_ok();
                if are_many { "many".to_owned() } else { "few".to_owned() }
            })
        })
        .with("upstreams.*.backends", both())
        .with("upstreams.*.algorithm.prequal.probe_path", "/load")
        .shows("few", "many"),
        with_probes(row("upstreams.*.algorithm.prequal.hot_quantile", "0%", "100%", mostly), "/load")
            .shows("two", "one"),
        with_probes(row("upstreams.*.algorithm.prequal.pool_size", 16, 1, mostly), "/calm")
            .shows("one", "two"),
        with_probes(row("upstreams.*.algorithm.prequal.max_age", "10s", "1ms", mostly), "/calm")
            .shows("one", "two"),
    ]
}

fn backends() -> Vec<Row> {
    let all = || json!([{ "url": "ONE-URL" }, { "url": "TWO-URL" }]);
    vec![
        row("upstreams.*.backends[].url", "ONE-URL", "TWO-URL", names("/")).shows("one", "two"),
        row("upstreams.*.backends[].weight", 1, 0, names("/"))
            .with("upstreams.*.backends", all())
            .shows("one two", "two"),
        row("upstreams.*.backends[].backup", false, true, names("/"))
            .with("upstreams.*.backends", all())
            .shows("one two", "two"),
        row("upstreams.*.backends[].priority", 0, 1, names("/"))
            .with("upstreams.*.backends", all())
            .shows("one two", "two"),
        row("upstreams.*.backends[].zone", "here", "there", names("/"))
            .with("upstreams.*.backends", json!([{ "url": "ONE-URL" }, { "url": "TWO-URL", "zone": "here" }]))
            .with("zone", "here")
            .shows("one two", "two"),
    ]
}

/// How many backends have requests in flight, of several with the same key.
fn busy(world: &World) -> Seen<'_> {
    Box::pin(async move {
        let mut held = Vec::new();
        for _ in 0..4 {
            let mut client = world.balancer.client().await;
            let before = world.count();
            client.send("GET /silence HTTP/1.1\r\nHost: test\r\n\r\n").await;
            eventually(PATIENCE, || world.count() > before).await;
            held.push(client);
        }
        let upstream = world.upstream().await;
        let backends = upstream["backends"].as_array().expect("backends").iter();
        let busy = backends.filter(|backend| backend["in_flight"] != 0).count().to_string();
        drop(held);
        // The next look begins with none in flight.
        drop(world.held("/").await);
        busy
    })
}

/// To how many backends requests with different `x-user` go.
fn users(world: &World) -> Seen<'_> {
    Box::pin(async move {
        let mut names = BTreeSet::new();
        for user in 0..24 {
            let request = format!("GET / HTTP/1.1\r\nHost: test\r\nx-user: {user}\r\n\r\n");
            names.insert(world.send(&request).await.text());
        }
        names.len().to_string()
    })
}

/// The paths of the probes so far.
fn probes(world: &World) -> Vec<String> {
    let seen = [world.one.requests(), world.two.requests()].concat();
    let targets = seen.iter().map(|seen| seen.target().to_owned());
    targets.filter(|target| is_probe(target)).collect()
}

fn is_probe(target: &str) -> bool {
    target.starts_with("/load") || target.starts_with("/calm")
}

/// Looks at the path of new probes.
fn probed(world: &World) -> Seen<'_> {
    Box::pin(async move {
        let before = probes(world).len();
        while probes(world).len() < before + 4 {
            world.get("/").await;
        }
        // The first ones may have been under way already.
        probes(world).pop().expect("a probe")
    })
}

/// Looks at which backend most requests go to, each sent once there are new reports, if there are any. By its reports the
/// first one is the faster one; by what requests measure it is the slower one.
fn mostly(world: &World) -> Seen<'_> {
    const REQUESTS: usize = 30;
    Box::pin(async move {
        let mut by_one = 0;
        for number in 0..2 * REQUESTS {
            let before = probes(world).len();
            let name = world.get("/uneven").await.text();
            // The first half is for it to learn.
            by_one += usize::from(number >= REQUESTS && name == "one");
            let both = eventually(PATIENCE, || probes(world).len() >= before + 2);
            let _ = tokio::time::timeout(Duration::from_millis(30), both).await;
        }
        if by_one > REQUESTS / 3 { "one".to_owned() } else { "two".to_owned() }
    })
}
