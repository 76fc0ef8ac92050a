//! The translations of docs/migration.md: each loads, and sends requests where the original does.

#![cfg(test)]

use std::path::Path;

use serde_json::Value;

use crate::architecture::source::root;
use crate::program::{Said, evenkeel_given};
use crate::support::Authority;

/// A name and password, which explaining a request does not check.
const USER: &str = "authorization: Basic YWRtaW46c2VjcmV0";

/// A file, a request (method, URL, further arguments), and what becomes of it: the route and the status, or where it goes.
const REQUESTS: &[(&str, &str, &str, &[&str], &str)] = &[
    (
        "nginx",
        "GET",
        "http://www.shop.example.com/a?b=1",
        &[],
        "to-https 301 https://www.shop.example.com/a?b=1",
    ),
    ("nginx", "GET", "https://shop.example.com/a", &[], "to-www 301 https://www.shop.example.com/a"),
    ("nginx", "GET", "https://www.shop.example.com/", &["-H", "user-agent: SemrushBot"], "bots 403"),
    ("nginx", "GET", "https://www.shop.example.com/healthz", &[], "healthz 200"),
    ("nginx", "POST", "https://www.shop.example.com/login", &[], "login shop /login"),
    ("nginx", "GET", "https://www.shop.example.com/ws/chat", &[], "ws ws /ws/chat"),
    ("nginx", "GET", "https://www.shop.example.com/old/a/b", &[], "old 301 /new/a/b"),
    ("nginx", "GET", "https://www.shop.example.com/old//evil.example", &[], "old 301 /new/evil.example"),
    ("nginx", "GET", "https://www.shop.example.com/cart?x=1", &[], "shop shop /cart?x=1"),
    ("nginx", "POST", "https://www.shop.example.com/upload/a", &[], "upload shop /upload/a"),
    (
        "nginx",
        "OPTIONS",
        "https://api.shop.example.com/v1/a",
        &["-H", "origin: https://a.test", "-H", "access-control-request-method: PUT"],
        "api 204",
    ),
    ("nginx", "GET", "https://api.shop.example.com/v1/a?b", &[], "api api /a?b"),
    ("nginx", "GET", "https://admin.shop.example.com/", &["--from", "192.0.2.7"], "admin 401"),
    ("nginx", "GET", "https://admin.shop.example.com/", &["--from", "192.0.2.8"], "admin 403"),
    ("nginx", "GET", "https://other.example.com/", &[], " 404"),
    ("haproxy", "GET", "http://app.example.com/x?y", &[], "to-https 302 https://app.example.com/x?y"),
    ("haproxy", "GET", "https://app.example.com/admin/x", &["--from", "192.0.2.7"], "admin-from-outside 403"),
    ("haproxy", "GET", "https://app.example.com/admin/x", &["--from", "127.0.0.1"], "admin 401"),
    ("haproxy", "GET", "https://api.example.com/v1/users", &[], "api api /users"),
    ("haproxy", "GET", "https://api.example.com/v2/users", &[], "api api /v2/users"),
    ("haproxy", "GET", "https://app.example.com/a/b.css", &[], "static static /a/b.css"),
    ("haproxy", "GET", "https://cdn.img.example.com/a", &[], "static static /a"),
    ("haproxy", "GET", "https://app.example.com/chat", &["-H", "upgrade: WebSocket"], "ws ws /chat"),
    ("haproxy", "GET", "https://app.example.com/", &[], "app app /"),
    ("haproxy", "GET", "https://app.example.com/", &["--from", "192.0.2.9"], "app 403"),
    (
        "traefik",
        "GET",
        "https://shop.example.com/api/a",
        &["--from", "192.0.2.7", "-H", USER],
        "shop shop /v1/a",
    ),
    ("traefik", "GET", "https://shop.example.com/b", &["--from", "192.0.2.7", "-H", USER], "shop shop /v1/b"),
    ("traefik", "GET", "https://shop.example.com/b", &["--from", "192.0.2.7"], "shop 401"),
    ("traefik", "GET", "https://shop.example.com/b", &["--from", "127.0.0.1"], " 404"),
    (
        "traefik",
        "GET",
        "https://shop.example.com/old/a/b",
        &[],
        "redirectregex 302 https://shop.example.com/new/a/b",
    ),
    ("traefik", "GET", "https://shop.example.com/b", &["--from", "198.51.100.1", "-H", USER], "shop 403"),
    (
        "ingress",
        "GET",
        "https://shop.example.com/api/users/1?x",
        &["-H", USER],
        "shop shop shop-canary /users/1?x",
    ),
    ("ingress", "GET", "https://shop.example.com/api", &["-H", USER], "shop shop shop-canary /"),
    ("ingress", "GET", "https://shop.example.com/apix", &[], " 404"),
    ("ingress", "GET", "https://shop.example.com/api/a", &["--from", "192.0.2.7"], "shop 403"),
];

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let certificates = folder.path().join("certs");
    std::fs::create_dir(&certificates).expect("a folder");
    Authority::new(&certificates).pair("shop", &["shop.example.com", "*.shop.example.com"]);
    std::fs::write(folder.path().join("blocked.lst"), "192.0.2.9\n").expect("a file");
    for page in ["404.html", "50x.html"] {
        std::fs::write(folder.path().join(page), "<p>an error</p>").expect("a file");
    }
    let hash = "$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
    std::fs::write(folder.path().join("htpasswd"), format!("admin:{hash}\n")).expect("a file");
    folder
}

fn translation(name: &str) -> String {
    root().join(format!("docs/migration/{name}.yaml")).display().to_string()
}

async fn run(folder: &Path, arguments: &[&str]) -> Said {
    evenkeel_given(folder, arguments, "", &[("STICKY_SECRET", "0123456789abcdef")]).await
}

#[tokio::test]
async fn every_translation_loads() {
    let folder = folder();
    for name in ["nginx", "haproxy", "traefik", "ingress"] {
        let said = run(folder.path(), &["check", &translation(name)]).await;
        assert_eq!(said.code, Some(0), "{name}: {}", said.err);
    }
}

#[tokio::test]
async fn requests_go_where_the_original_sends_them() {
    let folder = folder();
    for (file, method, url, more, expected) in REQUESTS {
        let path = translation(file);
        let mut arguments = vec!["explain", "--json", "--config", &path];
        arguments.extend_from_slice(more);
        arguments.extend([*method, *url]);
        let printed = run(folder.path(), &arguments).await;
        let said: Value =
            serde_json::from_str(&printed.out).unwrap_or_else(|_| panic!("{url}: {}", printed.err));
        assert_eq!(shown(&said), *expected, "{file} {method} {url} {more:?}: {said:#}");
    }
}

/// The route, and what becomes of the request.
fn shown(said: &Value) -> String {
    let route = said["route"].as_str().unwrap_or_default();
    let outcome = &said["outcome"];
    let status = outcome["status"].as_u64();
    let rest: Vec<&str> = match status {
        Some(_) => outcome["location"].as_str().into_iter().collect(),
        None => {
            let upstreams = said["upstreams"].as_array().into_iter().flatten();
            upstreams.filter_map(|one| one["name"].as_str()).chain(said["target"].as_str()).collect()
        }
    };
    let status = status.map(|status| status.to_string());
    [route].into_iter().chain(status.as_deref()).chain(rest).collect::<Vec<_>>().join(" ")
}
