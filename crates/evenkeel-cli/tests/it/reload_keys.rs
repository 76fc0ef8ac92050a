//! Every key of the configuration: a reload that changes it has an effect that can be seen, or says that a restart is needed.
//!
//! To add a key, add a [`Row`] to the file of its part of the configuration: the key as the schema has it, its value before
//! and after, how to look for the effect, and what is seen before and after. Nothing else differs between the two
//! configurations. A key of the schema without a row fails `every_key_has_a_row`.

#![cfg(test)]

mod auth;
mod balancing;
mod discovery;
mod filters;
mod general;
mod health;
mod listeners;
mod outliers;
mod responses;
mod retries;
mod routes;
mod row;
mod tcp;
mod tls;
mod upstreams;
mod world;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use row::Row;

/// Beginnings of keys that have no row yet: nothing here shows that a reload changes them. To be emptied, not to be added to.
const WITHOUT_A_ROW: &[&str] = &[];

/// How many rows are tried at the same time.
const AT_ONCE: usize = 12;

/// All rows, by the part of the configuration that they are about.
fn all() -> Vec<Row> {
    let parts = [
        auth::rows(),
        balancing::rows(),
        discovery::rows(),
        filters::rows(),
        general::rows(),
        health::rows(),
        listeners::rows(),
        outliers::rows(),
        responses::rows(),
        retries::rows(),
        routes::rows(),
        tcp::rows(),
        tls::rows(),
        upstreams::rows(),
    ];
    parts.into_iter().flatten().collect()
}

/// The keys of the schema that have no keys below them: `listeners[].http.max_body_size`, `upstreams.*.zone`.
fn documented() -> BTreeSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/evenkeel.schema.json");
    let text = std::fs::read_to_string(path).expect("the schema is there");
    let schema: Value = serde_json::from_str(&text).expect("the schema is JSON");
    let mut keys = BTreeSet::new();
    walk(&schema, &schema, "", &mut Vec::new(), &mut keys);
    let has_below = |key: &String| {
        keys.iter().any(|other| {
            let rest = other.strip_prefix(key.as_str());
            rest.is_some_and(|rest| rest.starts_with(['.', '[']))
        })
    };
    let is_elsewhere = |key: &&String| discovery::is_another_source(key) || routes::is_another_filter(key);
    keys.iter().filter(|key| !has_below(key) && !is_elsewhere(key)).cloned().collect()
}

/// Collects the keys below a node of the schema. `within` are the definitions that it is part of.
fn walk(schema: &Value, node: &Value, path: &str, within: &mut Vec<String>, keys: &mut BTreeSet<String>) {
    if let Some(name) = node["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/"))
        && !within.iter().any(|known| known == name)
    {
        within.push(name.to_owned());
        walk(schema, &schema["$defs"][name], path, within, keys);
        within.pop();
    }
    for list in ["anyOf", "oneOf", "allOf"] {
        for one in node[list].as_array().into_iter().flatten() {
            walk(schema, one, path, within, keys);
        }
    }
    for (key, below) in node["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        walk(schema, below, &path, within, keys);
        keys.insert(path);
    }
    for (list, mark) in [("items", "[]"), ("additionalProperties", ".*")] {
        if node[list].is_object() {
            walk(schema, &node[list], &format!("{path}{mark}"), within, keys);
        }
    }
}

#[test]
fn every_key_has_a_row() {
    let documented = documented();
    assert!(documented.len() > 100, "the schema was not understood: {documented:#?}");
    let rows: BTreeSet<String> = all().iter().map(|row| row.key().to_owned()).collect();
    let all: Vec<_> = documented.difference(&rows).collect();
    let excused = |key: &&&String| WITHOUT_A_ROW.iter().any(|beginning| key.starts_with(beginning));
    let missing: Vec<_> = all.iter().filter(|key| !excused(key)).collect();
    assert!(
        missing.is_empty(),
        "these keys have no row in tests/it/reload_keys, which shows what a reload does: {missing:#?}"
    );
    let is_used = |beginning: &&&str| all.iter().any(|key| key.starts_with(**beginning));
    let stale: Vec<_> = WITHOUT_A_ROW.iter().filter(|beginning| !is_used(beginning)).collect();
    assert!(stale.is_empty(), "these have rows now: take them off WITHOUT_A_ROW: {stale:?}");
    let is_key = |row: &&String| documented.iter().any(|key| key.starts_with(row.as_str()));
    let unknown: Vec<_> = rows.iter().filter(|row| !is_key(row)).collect();
    assert!(unknown.is_empty(), "these rows are about keys that the schema does not have: {unknown:#?}");
}

/// Tries rows, some at a time, and fails with all that do not hold.
async fn hold(rows: Vec<Row>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let (mut running, mut failed) = (JoinSet::new(), Vec::new());
    for row in rows {
        let (key, place) = (row.key(), places.clone());
        let tried = tokio::spawn(async move {
            let _place = place.acquire_owned().await.expect("it stays open");
            row.hold().await
        });
        running.spawn(async move { (key, tried.await) });
    }
    while let Some(ended) = running.join_next().await {
        match ended.expect("no panic") {
            (_, Ok(Ok(()))) => {}
            (key, Ok(Err(error))) => failed.push(format!("{key}: {error}")),
            (key, Err(error)) => failed.push(format!("{key}: {error}")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test]
async fn keys_of_listeners() {
    hold(listeners::rows()).await;
}

#[tokio::test]
async fn keys_of_tls() {
    hold(tls::rows()).await;
}

#[tokio::test]
async fn keys_of_routes() {
    hold(routes::rows()).await;
}

#[tokio::test]
async fn keys_of_filters_that_authenticate() {
    hold(auth::rows()).await;
}

#[tokio::test]
async fn keys_of_filters_of_responses() {
    hold(responses::rows()).await;
}

#[tokio::test]
async fn keys_of_filters() {
    hold(filters::rows()).await;
}

#[tokio::test]
async fn keys_of_retries() {
    hold(retries::rows()).await;
}

#[tokio::test]
async fn keys_of_upstreams() {
    hold(upstreams::rows()).await;
}

#[tokio::test]
async fn keys_of_algorithms_and_backends() {
    hold(balancing::rows()).await;
}

#[tokio::test]
async fn keys_of_discovery() {
    hold(discovery::rows()).await;
}

#[tokio::test]
async fn keys_of_health_checks() {
    hold(health::rows()).await;
}

#[tokio::test]
async fn keys_of_outlier_detection() {
    hold(outliers::rows()).await;
}

#[tokio::test]
async fn keys_at_the_top() {
    hold(general::rows()).await;
}
