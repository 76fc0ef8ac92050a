//! Backends are changed at run time, by the admin API, by the commands and by the library.

#![cfg(test)]

use std::time::Duration;

use serde_json::{Value, json};

use crate::program::{Program, evenkeel};
use crate::support::{Backend, Balancer, Message, PATIENCE, Reply, Seen, eventually, send};

/// A request to the admin address with a body of JSON.
async fn call(balancer: &Balancer, method: &str, path: &str, body: &Value) -> Message {
    request(balancer, method, path, "Content-Type: application/json\r\n", &body.to_string()).await
}

async fn request(balancer: &Balancer, method: &str, path: &str, fields: &str, body: &str) -> Message {
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {length}\r\n\r\n");
    send(balancer.admin(), head + body).await
}

fn json_of(message: &Message) -> Value {
    serde_json::from_str(&message.text()).unwrap_or_else(|error| panic!("{error}: {}", message.text()))
}

/// The path of a backend of `web`, percent-encoded.
fn path(url: &str) -> String {
    format!("/v1/upstreams/web/backends/{}", evenkeel::core::route::percent_encoded(url.as_bytes()))
}

fn web(backends: &[&Backend], more: &str) -> String {
    let urls: Vec<String> = backends.iter().map(|backend| format!("\"{}\"", backend.url())).collect();
    format!("upstreams: {{ web: {{ backends: [{}], {more} }} }}", urls.join(", "))
}

/// Which backends respond to so many requests, without repetitions, sorted.
async fn responding(balancer: &Balancer, requests: usize) -> String {
    let mut client = balancer.client().await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..requests {
        let response = client.get("/").await;
        seen.insert(if response.status() == 200 { response.text() } else { response.status().to_string() });
    }
    seen.into_iter().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_drained_backend_completes_its_requests_and_gets_no_new_ones() {
    let slow = |seen: &Seen| match seen.message.target() {
        "/slow" => Reply::new()
            .read_body()
            .wait(Duration::from_millis(300))
            .send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow"),
        _ => Reply::ok("a"),
    };
    let a = Backend::start(slow).await;
    let balancer = Balancer::start(&web(&[&a], "sticky: { cookie: lb }")).await;
    let mut client = balancer.client().await;
    let first = client.get("/").await;
    let cookie = first.header("set-cookie").expect("a cookie").split(';').next().expect("a value").to_owned();
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n").await;
    a.until_requests(2).await;

    let b = Backend::saying("b").await;
    let added = call(&balancer, "POST", "/v1/upstreams/web/backends", &json!({ "url": b.url() })).await;
    assert_eq!(added.status(), 201, "{}", added.text());
    assert_eq!(added.header("location"), Some(path(&b.url()).as_str()));
    let drained = call(&balancer, "PATCH", &path(&a.url()), &json!({ "drained": true })).await;
    assert_eq!(drained.status(), 200, "{}", drained.text());
    let said = json_of(&drained);
    assert_eq!((&said["changed"], &said["usable_backends"]), (&json!(true), &json!(1)));
    assert_eq!((&said["survives_reload"], &said["survives_restart"]), (&json!(true), &json!(false)));
    assert_eq!((&said["backend"]["state"], &said["backend"]["in_flight"]), (&json!("out"), &json!(1)));

    assert_eq!(responding(&balancer, 4).await, "b");
    let mut other = balancer.client().await;
    other.send(format!("GET / HTTP/1.1\r\nHost: test\r\nCookie: {cookie}\r\n\r\n")).await;
    assert_eq!(other.response().await.text(), "b", "a session of a drained backend moves");
    assert_eq!(client.response().await.text(), "slow", "a request in flight completes");

    let again = json_of(&call(&balancer, "PATCH", &path(&a.url()), &json!({ "drained": true })).await);
    assert_eq!(again["changed"], false);
    call(&balancer, "PATCH", &path(&a.url()), &json!({ "drained": false })).await;
    assert_eq!(responding(&balancer, 4).await, "a b");
    let removed = call(&balancer, "DELETE", &path(&b.url()), &json!({})).await;
    assert_eq!((removed.status(), &json_of(&removed)["backend"]), (200, &Value::Null));
    assert_eq!(responding(&balancer, 4).await, "a");
    assert!(balancer.status().await["upstreams"][0].get("changes").is_none());
}

#[tokio::test]
async fn changes_survive_a_reload_and_every_set_and_are_shown() {
    let (a, b, c) = (Backend::saying("a").await, Backend::saying("b").await, Backend::saying("c").await);
    let balancer = Balancer::start(&web(&[&a, &b], "")).await;
    let web_handle = balancer.handle().upstream("web").await.expect("it is configured");
    web_handle.drain(&a.url()).await.expect("it is there");
    call(&balancer, "POST", "/v1/upstreams/web/backends", &json!({ "url": c.url(), "weight": 2 })).await;
    assert_eq!(responding(&balancer, 6).await, "b c");
    for more in ["timeouts: { connect: 1s }", "algorithm: random", ""] {
        balancer.reload(&web(&[&a, &b], more)).await.expect("a reload");
        assert_eq!(responding(&balancer, 20).await, "b c", "{more}");
    }
    // Another list of backends in the file, and another set by the program.
    balancer.reload(&web(&[&b, &a], "")).await.expect("a reload");
    assert_eq!(responding(&balancer, 6).await, "b c");
    let set = [&a, &b].map(|one| config_backend(&one.url()));
    web_handle.replace(set.into()).await.expect("it is configured");
    assert_eq!(responding(&balancer, 6).await, "b c");

    let status = balancer.status().await;
    let changes = status["upstreams"][0]["changes"].as_array().expect("changes").clone();
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert_eq!((&changes[0]["backend"], &changes[0]["drained"]), (&json!(a.url()), &json!(true)));
    assert_eq!((&changes[0]["by"], &changes[0]["given_weight"]), (&json!("the program"), &json!(1)));
    assert_eq!((&changes[1]["added"], &changes[1]["in_effect"]), (&json!(true), &json!(true)));
    let by = changes[1]["by"].as_str().expect("text");
    assert!(by.starts_with("127.0.0.1:"), "{by}");

    // One that the file no longer has is drained again when it returns.
    balancer.reload(&web(&[&b], "")).await.expect("a reload");
    assert_eq!(balancer.status().await["upstreams"][0]["changes"][0]["in_effect"], false);
    balancer.reload(&web(&[&a, &b], "")).await.expect("a reload");
    assert_eq!(responding(&balancer, 6).await, "b c");

    let reset = call(&balancer, "DELETE", "/v1/upstreams/web/changes", &json!({})).await;
    assert_eq!(reset.status(), 200, "{}", reset.text());
    assert_eq!(responding(&balancer, 6).await, "a b");
}

fn config_backend(url: &str) -> evenkeel::config::Backend {
    evenkeel::config::Backend::new(evenkeel::config::BackendUrl::parse(url).expect("a URL"))
}

#[tokio::test]
async fn two_that_change_at_the_same_time_lose_nothing() {
    let backends = [Backend::saying("a").await, Backend::saying("b").await];
    let balancer = Balancer::start(&web(&[&backends[0], &backends[1]], "")).await;
    let (urls, balancer) = (backends.iter().map(Backend::url).collect::<Vec<_>>(), &balancer);
    let one = async {
        for port in 1..20 {
            let body = json!({ "url": format!("http://127.0.0.1:{port}") });
            assert_eq!(call(balancer, "POST", "/v1/upstreams/web/backends", &body).await.status(), 201);
        }
        call(balancer, "PATCH", &path(&urls[0]), &json!({ "weight": 7 })).await
    };
    let two = async {
        for port in 21..40 {
            let body = json!({ "url": format!("http://127.0.0.1:{port}"), "weight": 0 });
            assert_eq!(call(balancer, "POST", "/v1/upstreams/web/backends", &body).await.status(), 201);
        }
        call(balancer, "PATCH", &path(&urls[0]), &json!({ "drained": true })).await
    };
    tokio::join!(one, two);
    let shown = json_of(&request(balancer, "GET", "/v1/upstreams/web", "", "").await);
    assert_eq!(shown["backends"].as_array().map(Vec::len), Some(2 + 19 + 19));
    let change = &shown["backends"][0]["change"];
    assert_eq!((&change["weight"], &change["drained"]), (&json!(7), &json!(true)));

    // With If-Match, the second one learns of the first one's change instead.
    let seen = request(balancer, "GET", &path(&urls[1]), "", "").await;
    let tag = seen.header("etag").expect("an ETag").to_owned();
    let fields = format!("Content-Type: application/json\r\nIf-Match: {tag}\r\n");
    let first = request(balancer, "PATCH", &path(&urls[1]), &fields, "{\"weight\": 2}").await;
    let second = request(balancer, "PATCH", &path(&urls[1]), &fields, "{\"weight\": 3}").await;
    assert_eq!((first.status(), second.status()), (200, 412), "{}", second.text());
    let now = first.header("etag").expect("an ETag");
    let fields = format!("Content-Type: application/json\r\nIf-Match: {now}\r\n");
    assert_eq!(request(balancer, "PATCH", &path(&urls[1]), &fields, "{\"weight\": 3}").await.status(), 200);
}

#[tokio::test]
async fn requests_that_are_wrong_are_rejected() {
    let backend = Backend::saying("a").await;
    let balancer = Balancer::start(&web(&[&backend], "")).await;
    let backends = "/v1/upstreams/web/backends";
    let own = format!("http://{}", balancer.address());
    for (method, path, body, status, text) in [
        ("POST", backends, json!({ "url": backend.url() }), 409, "exists already"),
        ("POST", backends, json!({ "url": own }), 422, "listener"),
        ("POST", backends, json!({ "url": "ftp://a" }), 400, "url"),
        ("POST", backends, json!({ "url": "http://a:1", "weight": 70_000 }), 400, "weight"),
        ("POST", backends, json!({ "url": "http://a:1", "wieght": 1 }), 400, "wieght"),
        ("POST", backends, json!({ "url": 1 }), 400, "url"),
        ("POST", backends, json!(["http://a:1"]), 400, "object"),
        ("POST", "/v1/upstreams/none/backends", json!({ "url": "http://a:1" }), 404, "no upstream none"),
        ("PATCH", "/v1/upstreams/web/backends/10.0.0.1:1", json!({ "drained": true }), 404, "no backend"),
        ("PATCH", &path(&backend.url()), json!({}), 400, "expected drained or weight"),
        ("PATCH", &path(&backend.url()), json!({ "drained": "yes" }), 400, "true or false"),
        ("PATCH", &path(&backend.url()), json!({ "weight": -1 }), 400, "0 to 65535"),
        ("PATCH", &path(&backend.url()), json!({ "weight": 65_536 }), 422, "0 to 65535"),
        ("PATCH", &path(&backend.url()), json!({ "drain": true }), 400, "unknown key drain"),
        ("PUT", &path(&backend.url()), json!({}), 405, "PATCH"),
        ("GET", "/v1/upstreams/", json!({}), 404, "no such resource"),
        ("GET", "/v1/upstreams/web/backends/%zz", json!({}), 404, "no such resource"),
        ("GET", "/v1/nothing", json!({}), 404, "no such resource"),
    ] {
        let response = call(&balancer, method, path, &body).await;
        assert_eq!(response.status(), status, "{method} {path} {body}: {}", response.text());
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
        let detail = json_of(&response)["detail"].as_str().expect("text").to_owned();
        assert!(detail.contains(text), "{method} {path} {body}: {detail}");
    }
    let plain =
        request(&balancer, "POST", backends, "Content-Type: text/plain\r\n", "{\"url\":\"http://a:1\"}")
            .await;
    assert_eq!(plain.status(), 415, "a page of another site can send this type");
    let large = "x".repeat(70_000);
    let large = request(&balancer, "POST", backends, "Content-Type: application/json\r\n", &large).await;
    assert_eq!(large.status(), 413);
    assert_eq!(responding(&balancer, 2).await, "a");
}

#[tokio::test]
async fn who_may_change_what() {
    let backend = Backend::saying("a").await;
    let (full, read) = ("0123456789abcdef-full", "0123456789abcdef-read");
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), format!("{read}\n")).expect("a file");
    let file = secret.path().display();
    let with = |admin: &str| format!("admin: {{ address: 127.0.0.1:0, {admin} }}\n{}", web(&[&backend], ""));
    let open = Balancer::start(&with("hosts: []")).await;
    let closed = Balancer::start(&with(&format!("token: {full}, read_only_token_file: {file}"))).await;
    let reading = Balancer::start(&with(&format!("read_only_token: {read}"))).await;
    let (body, patch) = ("{\"weight\": 2}", path(&backend.url()));
    let (none, same) = ("", "Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n");
    let foreign = "Origin: http://evil.example\r\n";
    let (full, read) =
        (format!("Authorization: Bearer {full}\r\n"), format!("Authorization: Bearer {read}\r\n"));
    let wrong = "Authorization: Bearer 0123456789abcdef\r\n";
    for (balancer, fields, may_read, may_change) in [
        (&open, none.to_owned(), 200, 200),
        (&open, same.to_owned(), 200, 200),
        (&open, foreign.to_owned(), 200, 403),
        (&open, "Sec-Fetch-Site: cross-site\r\n".to_owned(), 200, 403),
        (&open, "Origin: null\r\n".to_owned(), 200, 403),
        (&closed, none.to_owned(), 401, 401),
        (&closed, wrong.to_owned(), 401, 401),
        (&closed, read.clone(), 200, 403),
        (&closed, full.clone(), 200, 200),
        (&closed, full.clone() + foreign, 200, 403),
        (&reading, none.to_owned(), 401, 401),
        (&reading, read.clone(), 200, 403),
        (&reading, full.clone(), 401, 401),
    ] {
        let reads = request(balancer, "GET", "/v1/upstreams", &fields, "").await;
        let json = format!("{fields}Content-Type: application/json\r\n");
        let changes = request(balancer, "PATCH", &patch, &json, body).await;
        assert_eq!((reads.status(), changes.status()), (may_read, may_change), "{fields}");
        let reload = request(balancer, "POST", "/reload", &fields, "").await;
        // There is no file to read again, so one that is let through gets a 422.
        assert_eq!(reload.status(), if may_change == 200 { 422 } else { may_change }, "{fields}");
    }
    // The content of a token's file can change.
    std::fs::write(secret.path(), "another-token-of-enough-length").expect("a file");
    assert_eq!(request(&closed, "GET", "/status", &read, "").await.status(), 401);
    std::fs::write(secret.path(), "short").expect("a file");
    let short = "Authorization: Bearer short\r\n";
    assert_eq!(request(&closed, "GET", "/status", short, "").await.status(), 401);
}

#[tokio::test]
async fn the_commands_change_a_running_balancer() {
    let (a, b) = (Backend::saying("a").await, Backend::saying("b").await);
    let token = "0123456789abcdef-token";
    let admin = format!("admin: {{ address: 127.0.0.1:0, token: {token} }}");
    let program = Program::run(&format!("{}\n{admin}", web(&[&a], ""))).await;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("token"), token).expect("a file");
    let address = format!("http://{}", program.admin());
    let run = async |arguments: &[&str]| {
        let all = [arguments, &["--admin", &address, "--token-file", "token"]].concat();
        let said = evenkeel(folder.path(), &all).await;
        (said.code, said.out, said.err)
    };
    let (code, out, err) = run(&["add", "web", &b.url(), "--weight", "3"]).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert_eq!(
        out,
        format!(
            "upstream web: backend {} added\nThis survives a reload, and ends with the process.\n",
            b.url()
        )
    );
    let (code, out, _) = run(&["drain", "web", &a.url()]).await;
    assert!(code == Some(0) && out.contains("drained: it gets no new requests"), "{out}");
    let (code, out, _) = run(&["weight", "web", &b.address().to_string(), "0"]).await;
    assert!(code == Some(0) && out.contains("has the weight 0"), "{out}");
    let (_, _, err) = run(&["drain", "web", &a.url()]).await;
    assert_eq!(err, "warning: upstream web has no backend that can be picked now\n");
    let (code, out, err) = run(&["undrain", "web", &a.url()]).await;
    assert!(code == Some(0) && err.is_empty() && out.contains("no longer drained"), "{out}{err}");
    let (code, out, _) = run(&["remove", "web", &b.url()]).await;
    assert!(code == Some(0) && out.contains("removed"), "{out}");
    let (code, _, err) = run(&["drain", "web", "10.0.0.1:1"]).await;
    assert_eq!((code, err.as_str()), (Some(1), "error: no backend 10.0.0.1:1\n"));
    let (code, _, err) = run(&["weight", "web", &a.url(), "many"]).await;
    assert!(code == Some(2) && err.contains("expected 0 to 65535"), "{err}");
    // An address that responds, but is not an admin address.
    let other = Backend::start(|_| Reply::ok("{}")).await;
    let wrong = evenkeel(folder.path(), &["drain", "web", &a.url(), "--admin", &other.url()]).await;
    assert_eq!((wrong.code, wrong.out.as_str()), (Some(1), ""));
    assert!(wrong.err.contains("the response is not one of an admin address"), "{}", wrong.err);
    let logged = |text: &str| program.said().iter().any(|line| line.contains(text));
    let line = format!("upstream web: {} drained: changed by 127.0.0.1:", a.url());
    eventually(PATIENCE, || logged(&line) && logged("with the token")).await;
}

#[tokio::test]
async fn the_description_of_the_api_is_what_it_does() {
    let a = Backend::saying("a").await;
    let file = tempfile::NamedTempFile::with_suffix(".json").expect("a file");
    std::fs::write(file.path(), format!("[\"{}\"]", a.url())).expect("a file");
    let more = format!("discovery: {{ file: {{ path: {} }} }}", file.path().display());
    let balancer = Balancer::start(&web(&[], &more)).await;
    let described = request(&balancer, "GET", "/openapi.json", "", "").await;
    let api = json_of(&described);
    let mut calls = 0;
    for (path, item) in api["paths"].as_object().expect("paths") {
        let real = path.replace("{upstream}", "web").replace("{backend}", &a.address().to_string());
        for (method, operation) in item.as_object().expect("methods") {
            let body = match method.as_str() {
                "parameters" => continue,
                "post" => json!({ "url": "http://127.0.0.1:1" }),
                "patch" => json!({ "weight": 5, "drained": false }),
                _ => json!({}),
            };
            let response = call(&balancer, &method.to_uppercase(), &real, &body).await;
            let success = if method == "post" { "201" } else { "200" };
            assert_eq!(response.status().to_string(), success, "{method} {real}: {}", response.text());
            let schema = &operation["responses"][success]["content"]["application/json"]["schema"];
            conforms(&json_of(&response), schema, &api, &format!("{method} {path}"));
            calls += 1;
        }
        let put = call(&balancer, "PUT", &real, &json!({})).await;
        assert_eq!(put.status(), 405, "{real}");
        let mut allowed: Vec<_> = put.header("allow").expect("Allow").split(", ").collect();
        allowed.retain(|method| *method != "HEAD");
        let mut listed: Vec<_> =
            item.as_object().expect("methods").keys().map(|key| key.to_uppercase()).collect();
        listed.retain(|key| key != "PARAMETERS");
        allowed.sort_unstable();
        listed.sort_unstable();
        assert_eq!(allowed, listed, "{path}");
    }
    assert!(calls >= 9, "{calls}");
}

/// Fails unless a value is as a schema says: its type, its required keys, and no key that the schema does not have.
fn conforms(value: &Value, schema: &Value, api: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = api.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference}"));
        return conforms(value, target, api, place);
    }
    if let Some(any) = schema["oneOf"].as_array() {
        let schema = if value.is_null() { any.last() } else { any.first() };
        return conforms(value, schema.expect("one"), api, place);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds: Vec<&str> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    assert!(
        kinds.contains(&kind) || (kind == "integer" && kinds.contains(&"number")),
        "{place}: {value} {kinds:?}"
    );
    if let Some(values) = schema["enum"].as_array() {
        assert!(values.contains(value), "{place}: {value}");
    }
    for item in value.as_array().into_iter().flatten() {
        conforms(item, &schema["items"], api, place);
    }
    let Some(object) = value.as_object() else { return };
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(object.contains_key(required), "{place}: {required} is missing in {value}");
    }
    for (key, value) in object {
        let known = &schema["properties"][key];
        let known = if known.is_null() { &schema["additionalProperties"] } else { known };
        assert!(known.is_object(), "{place}: {key} is not described");
        conforms(value, known, api, &format!("{place}.{key}"));
    }
}
