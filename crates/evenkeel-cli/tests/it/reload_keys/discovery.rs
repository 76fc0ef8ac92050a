//! Keys of sources of backends. The settings of a source are compared as a whole, and whatever differs makes another source: two
//! keys stand for all of them. `discovery.rs` next to this folder tests what the keys of each source do.

use serde_json::{Value, json};

use super::row::{Row, Seen, row};
use super::world::World;

/// Keys that need no row of their own.
pub(super) fn is_another_source(key: &str) -> bool {
    let shown = ["upstreams.*.discovery.file.path", "upstreams.*.discovery.allow_empty"];
    key.starts_with("upstreams.*.discovery.") && !shown.contains(&key)
}

pub(super) fn rows() -> Vec<Row> {
    let files = |row: Row| {
        row.with("upstreams.*.backends", json!([])).with("upstreams.*.discovery.start_timeout", "50ms")
    };
    let path = row("upstreams.*.discovery.file.path", "OWN-FOLDER/one", "OWN-FOLDER/two", |world| {
        Box::pin(async move {
            write(world);
            until(world, |upstream| upstream["backends"][0].is_object()).await;
            world.get("/").await.text()
        })
    });
    let empty = row("upstreams.*.discovery.allow_empty", false, true, accepted)
        .with("upstreams.*.discovery.file.path", "OWN-FOLDER/none");
    vec![files(path).shows("one", "two"), files(empty).shows("rejected", "accepted")]
}

fn accepted(world: &World) -> Seen<'_> {
    Box::pin(async move {
        write(world);
        let settled = |upstream: &Value| {
            let discovery = &upstream["discovery"];
            let error = discovery["error"].as_str().unwrap_or_default();
            discovery["backends"] == 0 || error.contains("no backends")
        };
        let upstream = until(world, settled).await;
        if upstream["discovery"]["backends"] == 0 { "accepted" } else { "rejected" }.to_owned()
    })
}

/// Writes the lists that the configurations name.
fn write(world: &World) {
    let of = |url: String| format!("[\"{url}\"]");
    for (name, text) in
        [("one", of(world.one.url())), ("two", of(world.two.url())), ("none", "[]".to_owned())]
    {
        let path = world.folder.path().join(name);
        if !path.exists() {
            std::fs::write(path, text).expect("a list");
        }
    }
}

/// The upstream in `/status`, as soon as this holds.
async fn until(world: &World, condition: impl Fn(&Value) -> bool) -> Value {
    loop {
        let upstream = world.balancer.status().await["upstreams"][0].clone();
        if condition(&upstream) {
            return upstream;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
