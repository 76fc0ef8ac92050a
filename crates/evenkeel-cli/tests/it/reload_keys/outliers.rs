//! Keys of outlier detection.

use serde_json::{Value, json};

use super::row::{Row, Seen, row};
use super::world::World;
use crate::support::PATIENCE;

/// Fails at the first backend alone.
const FAILING: &str = "/only/one/status/503";

pub(super) fn rows() -> Vec<Row> {
    let backends = json!(["ONE-URL", "TWO-URL", "THREE-URL", "http://localhost:TWO-PORT"]);
    let rows = reasons().into_iter().chain(terms());
    rows.map(|row| row.with("upstreams.*.backends", backends.clone())).collect()
}

fn reasons() -> Vec<Row> {
    let by_rate = |row: Row| {
        row.with("upstreams.*.outlier_detection.consecutive_failures", 0)
            .with("upstreams.*.outlier_detection.failure_rate", "10%")
    };
    let quick = |row: Row| row.with("upstreams.*.outlier_detection.interval", "50ms");
    let few = |row: Row| row.with("upstreams.*.outlier_detection.min_requests", 5);
    vec![
        row("upstreams.*.outlier_detection.consecutive_failures", 1000, 3, ejected).shows_then("ejected"),
        quick(few(row("upstreams.*.outlier_detection.failure_rate", Value::Null, "10%", ejected)))
            .with("upstreams.*.outlier_detection.consecutive_failures", 1000)
            .shows_then("ejected"),
        quick(by_rate(row("upstreams.*.outlier_detection.min_requests", 1_000_000, 5, ejected)))
            .shows_then("ejected"),
        few(by_rate(row("upstreams.*.outlier_detection.interval", "1h", "50ms", ejected)))
            .shows_then("ejected"),
        // It takes three others to say what is normal.
        few(row("upstreams.*.outlier_detection.latency_factor", Value::Null, 3, |world| {
            Box::pin(async move { eject(world, "/only/one/wait/20").await.1 })
        }))
        .with("upstreams.*.outlier_detection.interval", "500ms")
        .shows_then("ejected"),
    ]
}

fn terms() -> Vec<Row> {
    let in_a_row = |row: Row| row.with("upstreams.*.outlier_detection.consecutive_failures", 1);
    vec![
        in_a_row(row("upstreams.*.outlier_detection.ejection_time", "50ms", "1h", |world| {
            Box::pin(async move {
                let seconds = eject(world, FAILING).await.0;
                if seconds > 60.0 { "long".to_owned() } else { "short".to_owned() }
            })
        }))
        .with("upstreams.*.outlier_detection.max_ejection_time", "2h")
        .shows("short", "long"),
        in_a_row(row("upstreams.*.outlier_detection.max_ejection_time", "1h", "50ms", |world| {
            Box::pin(async move {
                // Each ejection is longer than the one before, up to the limit.
                for _ in 0..5 {
                    if eject(world, FAILING).await.0 > 0.06 {
                        return "longer".to_owned();
                    }
                }
                "no longer".to_owned()
            })
        }))
        .with("upstreams.*.outlier_detection.ejection_time", "50ms")
        .shows("longer", "no longer"),
        in_a_row(row("upstreams.*.outlier_detection.max_ejected", "30%", "50%", |world| {
            Box::pin(async move {
                for _ in 0..12 {
                    world.get("/status/503").await;
                }
                let count = |upstream: &Value| {
                    let backends = upstream["backends"].as_array().expect("backends").iter();
                    backends.filter(|backend| backend["state"] == "ejected").count()
                };
                // More may be ejected in a moment.
                let upstream = world.until(|upstream| count(upstream) > 0).await;
                if count(&upstream) > 1 {
                    return "two".to_owned();
                }
                for _ in 0..12 {
                    world.get("/status/503").await;
                }
                if count(&world.upstream().await) > 1 { "two".to_owned() } else { "one".to_owned() }
            })
        }))
        .with("upstreams.*.outlier_detection.ejection_time", "1h")
        .shows("one", "two"),
    ]
}

/// Sends requests until the first backend is ejected.
fn ejected(world: &World) -> Seen<'_> {
    Box::pin(async move { eject(world, FAILING).await.1 })
}

/// Sends requests until the first backend is ejected, which it was not before. Gives for how many seconds more.
async fn eject(world: &World, path: &str) -> (f64, String) {
    world.until(|upstream| upstream["backends"][0]["state"] != "ejected").await;
    let limit = std::time::Instant::now() + PATIENCE;
    loop {
        for _ in 0..3 {
            world.get(path).await;
        }
        let backend = world.upstream().await["backends"][0].clone();
        if let Some(seconds) = backend["ejected_for_seconds"].as_f64() {
            return (seconds, backend["state"].as_str().expect("text").to_owned());
        }
        assert!(std::time::Instant::now() < limit, "never ejected: {backend}");
    }
}
