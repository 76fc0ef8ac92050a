//! Headers of requests and responses in records.

use std::path::Path;

use crate::support::{Backend, Balancer, PATIENCE, Reply, eventually};

fn yaml(backend: &Backend, log: &str) -> String {
    format!(
        "access_log: {{ {log} }}\n\
         routes: [{{ name: all, filters: [{{ response_headers: {{ set: {{ x-made: '{{path}}' }}, remove: [x-cache] }} }}], upstream: web }}]\n\
         upstreams: {{ web: {{ backends: [\"{}\"] }} }}\n",
        backend.url()
    )
}

async fn backend() -> Backend {
    Backend::start(|_| {
        Reply::bytes("HTTP/1.1 200 OK\r\nX-Cache: hit\r\nX-Kept: a \"b\"\r\nSet-Cookie: id=1\r\nContent-Length: 0\r\n\r\n")
    })
    .await
}

/// The record, as soon as it is there.
async fn written(path: &Path) -> String {
    let read = || std::fs::read_to_string(path).unwrap_or_default();
    eventually(PATIENCE, || read().ends_with('\n')).await;
    read()
}

const REQUEST: &str = "GET /a HTTP/1.1\r\nHost: test\r\nX-Tenant: acme\r\nAuthorization: Basic eA==\r\n\r\n";

#[tokio::test]
async fn a_json_record_has_the_headers_that_are_named() {
    let backend = backend().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.log");
    let headers = "request_headers: [X-Tenant, authorization, x-none], \
                   response_headers: [x-cache, x-made, x-kept, set-cookie]";
    let balancer = Balancer::start(&yaml(&backend, &format!("to: {}, {headers}", path.display()))).await;
    balancer.client().await.ask(REQUEST).await;
    let record: serde_json::Value = serde_json::from_str(&written(&path).await).expect("JSON");
    let request = serde_json::json!({ "x-tenant": "acme", "authorization": "(redacted)" });
    let response = serde_json::json!({ "x-made": "/a", "x-kept": "a \"b\"", "set-cookie": "(redacted)" });
    assert_eq!((&record["request_headers"], &record["response_headers"]), (&request, &response), "{record}");
}

#[tokio::test]
async fn a_template_has_them_too() {
    let backend = backend().await;
    let format =
        "'{client_ip} {header.x-tenant} {header.x-none} {response.header.x-kept} {response.header.x-cache}'";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.log");
    let log = format!("to: {}, format: {format}", path.display());
    let balancer = Balancer::start(&yaml(&backend, &log)).await;
    balancer.client().await.ask(REQUEST).await;
    assert_eq!(written(&path).await, "127.0.0.1 acme - a \\x22b\\x22 -\n");
}
