//! Keys of `retry`, which a route and an upstream can have.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::row::{Row, rejected, row};
use super::world::World;

/// Both places, each with its keys.
const PLACES: [[&str; 6]; 2] = [
    [
        "routes[].retry.attempts",
        "routes[].retry.on",
        "routes[].retry.per_try_timeout",
        "routes[].retry.backoff",
        "routes[].retry.max_body",
        "routes[].retry.wait_for_backend",
    ],
    [
        "upstreams.*.retry.attempts",
        "upstreams.*.retry.on",
        "upstreams.*.retry.per_try_timeout",
        "upstreams.*.retry.backoff",
        "upstreams.*.retry.max_body",
        "upstreams.*.retry.wait_for_backend",
    ],
];

pub(super) fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = PLACES.into_iter().flat_map(rows_of).collect();
    rows.extend(budgets());
    rows
}

fn budgets() -> Vec<Row> {
    let (ratio, minimum) = ("upstreams.*.retry.budget.ratio", "upstreams.*.retry.budget.min_per_second");
    let again = |row: Row| failing(row).with("upstreams.*.retry.on", json!(["503"]));
    vec![
        again(row(ratio, "0%", "100%", |world| Box::pin(more_than_once(world))))
            .with(minimum, 0)
            .shows("once", "again"),
        again(row(minimum, 0, 100, |world| Box::pin(more_than_once(world))))
            .with(ratio, "0%")
            .shows("once", "again"),
        rejected("routes[].retry.budget.ratio", Value::Null, "10%", "the budget is the upstream's"),
        rejected("routes[].retry.budget.min_per_second", Value::Null, 1, "the budget is the upstream's"),
    ]
}

/// With two backends, neither of which is ejected.
fn failing(row: Row) -> Row {
    row.with("upstreams.*.backends", json!(["ONE-URL", "TWO-URL"]))
        .with("upstreams.*.outlier_detection", "off")
}

fn rows_of([attempts, on, per_try, backoff, max_body, wait]: [&'static str; 6]) -> Vec<Row> {
    let again = |row: Row| failing(row).with(on, json!(["503"]));
    vec![
        again(row(attempts, 1, 2, |world| Box::pin(attempts_of(world, GET, 1)))).shows("1", "2"),
        failing(row(on, json!(["reset"]), json!(["503"]), |world| Box::pin(attempts_of(world, GET, 1))))
            .shows("1", "2"),
        failing(row(per_try, Value::Null, "100ms", |world| {
            // One of two requests begins at the silent backend.
            Box::pin(world.names("/only/one/silence", 2))
        }))
        .with(on, json!(["timeout"]))
        .lean()
        .shows_then("two"),
        failing(row(backoff, Value::Null, "1s", |world| {
            Box::pin(async move {
                let start = Instant::now();
                attempts_of(world, GET, 1).await;
                // At least a half of it.
                (start.elapsed() >= Duration::from_millis(490)).to_string()
            })
        }))
        .with(on, json!(["503"]))
        .shows_then("true"),
        again(row(max_body, "1KiB", 0, |world| Box::pin(attempts_of(world, PUT, 1)))).shows("2", "1"),
        row(wait, Value::Null, "1s", |world| {
            Box::pin(async move {
                let start = Instant::now();
                let status = world.get("/").await.status();
                format!("{status}, waited: {}", start.elapsed() >= Duration::from_millis(990))
            })
        })
        .with("upstreams.*.backends", json!(["http://127.0.0.1:1"]))
        .shows_then("502, waited: true"),
    ]
}

const GET: &str = "GET /status/503 HTTP/1.1\r\nHost: test\r\n\r\n";
const PUT: &str = "PUT /status/503 HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody";

/// How many attempts so many requests take.
async fn attempts_of(world: &World, request: &str, requests: usize) -> String {
    let before = world.count();
    for _ in 0..requests {
        assert_eq!(world.send(request).await.status(), 503);
    }
    (world.count() - before).to_string()
}

/// Whether requests that fail are sent again.
async fn more_than_once(world: &World) -> String {
    let attempts = attempts_of(world, GET, 10).await;
    if attempts == "10" { "once".to_owned() } else { "again".to_owned() }
}
