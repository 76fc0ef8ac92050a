//! Keys of filters that change responses, and of `maintenance`.

use serde_json::{Value, json};

use super::row::{Row, Seen, rejected, row};
use super::world::{World, received};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = error_pages();
    rows.extend(maintenance());
    rows.extend(cookie());
    rows.extend(rewrite_location());
    rows.extend(compress());
    rows
}

/// Looks at the body and its type.
fn page(path: &'static str) -> impl for<'a> Fn(&'a World) -> Seen<'a> + Send + Sync {
    move |world| {
        Box::pin(async move {
            let response = world.get(path).await;
            format!("{} {}", response.header("content-type").unwrap_or("none"), response.text())
        })
    }
}

fn error_pages() -> Vec<Row> {
    let page = |key, from: Value, to: Value| {
        row(key, from, to, page("/")).with("upstreams.*.backends[].url", "http://127.0.0.1:1")
    };
    vec![
        page("routes[].filters[].error_pages.pages[].status", json!(["4xx"]), json!(["5xx"]))
            .with("routes[].filters[].error_pages.pages[].body", "page")
            .shows(
                "text/plain; charset=utf-8 502 no backend could be reached\n",
                "text/html; charset=utf-8 page",
            ),
        page("routes[].filters[].error_pages.pages[].causes", json!(["no_route"]), json!(["unreachable"]))
            .with("routes[].filters[].error_pages.pages[].body", "page")
            .shows(
                "text/plain; charset=utf-8 502 no backend could be reached\n",
                "text/html; charset=utf-8 page",
            ),
        page("routes[].filters[].error_pages.pages[].content_type", json!("a/b"), json!("c/d"))
            .with("routes[].filters[].error_pages.pages[].body", "page")
            .shows("a/b page", "c/d page"),
        page("routes[].filters[].error_pages.pages[].body", json!("a"), json!("b"))
            .shows("text/html; charset=utf-8 a", "text/html; charset=utf-8 b"),
        page(
            "routes[].filters[].error_pages.pages[].file",
            json!("OWN-FOLDER/near"),
            json!("OWN-FOLDER/far"),
        )
        .shows("text/html; charset=utf-8 127.0.0.0/8", "text/html; charset=utf-8 10.0.0.0/8"),
        row("routes[].filters[].error_pages.backends", false, true, |world| {
            Box::pin(async move { world.get("/status/404").await.text() })
        })
        .with("routes[].filters[].error_pages.pages[].body", "page")
        .shows("one", "page"),
    ]
}

fn maintenance() -> Vec<Row> {
    let on = |row: Row| row.with("routes[].filters[].maintenance.file", "OWN-FOLDER/near");
    vec![
        row(
            "routes[].filters[].maintenance.file",
            "OWN-FOLDER/nothing",
            "OWN-FOLDER/near",
            super::world::status("/"),
        )
        .shows("200", "503"),
        on(row("routes[].filters[].maintenance.retry_after", "1s", "2m", received("/", "retry-after")))
            .shows("1", "120"),
        on(row("routes[].filters[].maintenance.message", "a", "b", page("/")))
            .shows("text/plain; charset=utf-8 503 a\n", "text/plain; charset=utf-8 503 b\n"),
        on(row(
            "routes[].filters[].maintenance.exempt",
            json!(["10.0.0.0/8"]),
            json!(["127.0.0.0/8"]),
            super::world::status("/"),
        ))
        .shows("503", "200"),
    ]
}

fn cookie() -> Vec<Row> {
    let set = |key, from: Value, to: Value| row(key, from, to, received("/cookie", "set-cookie"));
    let with_path = |row: Row| row.with("routes[].filters[].cookie.path", "/p");
    vec![
        set("routes[].filters[].cookie.names", json!(["a"]), json!(["b"]))
            .with("routes[].filters[].cookie.path", "/p")
            .shows("a=1; Secure; HttpOnly; Path=/p", "a=1; Secure; HttpOnly"),
        with_path(set("routes[].filters[].cookie.secure", json!(true), json!(false)))
            .shows("a=1; HttpOnly; Secure; Path=/p", "a=1; HttpOnly; Path=/p"),
        with_path(set("routes[].filters[].cookie.http_only", json!(true), json!(false)))
            .shows("a=1; Secure; HttpOnly; Path=/p", "a=1; Secure; Path=/p"),
        set("routes[].filters[].cookie.same_site", json!("Lax"), json!("Strict"))
            .shows("a=1; Secure; HttpOnly; SameSite=Lax", "a=1; Secure; HttpOnly; SameSite=Strict"),
        set("routes[].filters[].cookie.path", json!("/x"), json!("/y"))
            .shows("a=1; Secure; HttpOnly; Path=/x", "a=1; Secure; HttpOnly; Path=/y"),
        set("routes[].filters[].cookie.domain", json!("off"), json!("a.test"))
            .shows("a=1; Secure; HttpOnly", "a=1; Secure; HttpOnly; Domain=a.test"),
    ]
}

fn rewrite_location() -> Vec<Row> {
    let moved = |key, from, to| row(key, json!(from), json!(to), received("/moved", "location"));
    vec![
        moved("routes[].filters[].rewrite_location[].from", "http://other/", "http://inner/")
            .with("routes[].filters[].rewrite_location[].to", "/")
            .shows("http://inner/x", "/x"),
        moved("routes[].filters[].rewrite_location[].to", "/a/", "/b/")
            .with("routes[].filters[].rewrite_location[].from", "http://inner/")
            .shows("/a/x", "/b/x"),
    ]
}

/// Looks at the coding of a text.
fn coding(world: &World) -> Seen<'_> {
    Box::pin(async move {
        let request = "GET /text HTTP/1.1\r\nHost: test\r\nAccept-Encoding: zstd, br, gzip\r\n\r\n";
        world.send(request).await.header("content-encoding").unwrap_or("none").to_owned()
    })
}

fn compress() -> Vec<Row> {
    vec![
        row("routes[].filters[].compress.algorithms", json!(["gzip"]), json!(["br"]), coding)
            .shows("gzip", "br"),
        row("routes[].filters[].compress.types", json!(["image/png"]), json!(["text/*"]), coding)
            .shows("none", "zstd"),
        row("routes[].filters[].compress.min_size", json!(100_000), json!(10), coding).shows("none", "zstd"),
        rejected("routes[].filters[].compress.gzip_level", 5, 10, "a number from 1 to 9"),
        rejected("routes[].filters[].compress.br_level", 5, 12, "a number from 1 to 11"),
        rejected("routes[].filters[].compress.zstd_level", 5, 20, "a number from 1 to 19"),
    ]
}
