//! Keys of listeners that carry connections as they are.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::row::{Row, Seen, row};
use super::world::World;
use crate::support::{in_time, tls::hello};

pub(super) fn rows() -> Vec<Row> {
    let routes = |alpn: &str| json!([{ "server_names": ["one.test"], "alpn": [alpn], "upstream": "tap" }]);
    let rows = vec![
        row("listeners[].tcp.upstream", "one", "two", |world| {
            Box::pin(async move { world.get("/").await.text() })
        })
        .shows("one", "two"),
        row("listeners[].tcp.idle_timeout", "1h", "100ms", |world| Box::pin(said_to(world, b"")))
            .with("listeners[].tcp.upstream", "tap")
            .shows_then("closed"),
        row("listeners[].tcp.client_hello_timeout", "1h", "100ms", |world| Box::pin(said_to(world, b"")))
            .with("listeners[].tcp.routes", routes("h2"))
            .shows_then("closed"),
        row(
            "listeners[].tcp.routes[].server_names",
            json!(["one.test"]),
            json!(["two.test"]),
            hello_of_one(),
        )
        .with("listeners[].tcp.routes[].upstream", "tap")
        .shows("carried", "alert"),
        row("listeners[].tcp.routes[].alpn", json!(["h2"]), json!(["mqtt"]), hello_of_one())
            .with("listeners[].tcp.routes[].upstream", "tap")
            .shows("carried", "alert"),
        row("listeners[].tcp.routes[].upstream", "tap", "closed", hello_of_one()).shows("carried", "closed"),
    ];
    let upstreams = json!({
        "one": { "backends": ["ONE-TCP"] },
        "two": { "backends": ["TWO-TCP"] },
        "tap": { "backends": ["TAP-TCP"] },
        "closed": { "backends": ["tcp://127.0.0.1:1"] },
    });
    let given = |row: Row| {
        let row = row.with("routes", Value::Null).with("upstreams", upstreams.clone());
        row.with("listeners[].protocol", "tcp")
    };
    let mut rows: Vec<_> = rows.into_iter().map(given).collect();
    let second = json!([{ "address": "127.0.0.1:0" }, { "address": "unix:OWN-FOLDER/second.sock" }]);
    let protocol = row("listeners[].protocol", "http", "tcp", |world| {
        Box::pin(async move {
            world.get("/").await;
            let forwarded = world.seen().all("x-forwarded-for").join(" ");
            if forwarded.is_empty() { "as it is".to_owned() } else { "as HTTP".to_owned() }
        })
    });
    let protocol = protocol.with("listeners", second).with("upstreams.db.backends", json!(["ONE-TCP"]));
    rows.push(protocol.shows("as HTTP", "as it is"));
    rows
}

/// What becomes of the hello of a client that asks for `one.test` and offers `h2`.
fn hello_of_one() -> impl for<'a> Fn(&'a World) -> Seen<'a> + Send + Sync + 'static {
    |world| Box::pin(async move { said_to(world, &hello("one.test", "h2")).await })
}

/// What becomes of a connection on which a client says this first.
async fn said_to(world: &World, first: &[u8]) -> String {
    world.tapped.lock().expect("no panic").clear();
    let mut stream = TcpStream::connect(world.balancer.address()).await.expect("a connection");
    stream.write_all(first).await.expect("taken");
    let end = async {
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply).await;
        reply
    };
    let carried = async {
        while first.is_empty() || world.tapped.lock().expect("no panic").len() < first.len() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let seen = async {
        tokio::select! {
            reply = end => if reply.starts_with(&[21, 3]) { "alert" } else { "closed" },
            () = carried => "carried",
        }
    };
    in_time("an effect", seen).await.to_owned()
}
