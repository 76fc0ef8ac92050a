//! What a reload would change, by name and key.

#![cfg(test)]

use std::sync::Arc;

use evenkeel_config::{Changes, Config, Model};

const BASE: &str = "
listeners: [{ address: 127.0.0.1:8080 }]
upstreams:
  web: { backends: ['http://127.0.0.1:8081', 'http://127.0.0.1:8082'] }
  api: { backends: ['http://127.0.0.1:9081'] }
routes:
  - { name: api, match: { path_prefix: /api }, filters: [{ strip_prefix: /api }], upstream: api }
  - { name: web, match: { path_prefix: /web }, upstream: web }
";

fn model(text: &str) -> Arc<Model> {
    Config::from_yaml(text, "test.yaml", &|_| None).unwrap().model().unwrap().clone()
}

/// The changes from the base to what `edit` makes of it, as text.
fn words(edit: impl FnOnce(String) -> String) -> Vec<String> {
    changes(edit).iter().map(ToString::to_string).collect()
}

fn changes(edit: impl FnOnce(String) -> String) -> Changes {
    model(BASE).changes(&model(&edit(BASE.to_owned())))
}

#[test]
fn the_same_file_changes_nothing_however_it_is_laid_out() {
    assert!(changes(|base| base).is_empty());
    let moved = changes(|base| format!("# a comment\n\n{base}\nlanes: auto\n"));
    assert!(moved.is_empty(), "{moved}");
    let upstreams_swapped = changes(|base| {
        let api = "  api: { backends: ['http://127.0.0.1:9081'] }\n";
        base.replace(api, "").replace("upstreams:\n", &format!("upstreams:\n{api}"))
    });
    assert!(upstreams_swapped.is_empty(), "{upstreams_swapped}");
}

#[test]
fn each_change_is_told_by_name_and_key() {
    for (from, to, expected) in [
        (
            "'http://127.0.0.1:8082'",
            "'http://127.0.0.1:8083'",
            &[
                "upstream web: backend http://127.0.0.1:8083 added",
                "upstream web: backend http://127.0.0.1:8082 removed",
            ][..],
        ),
        (
            "'http://127.0.0.1:8082'",
            "{ url: 'http://127.0.0.1:8082', weight: 3 }",
            &["upstream web: backend http://127.0.0.1:8082 changed: weight"],
        ),
        (
            "  api: {",
            "  api: { algorithm: random, slow_start: 3s,",
            &["upstream api changed: algorithm, slow_start"],
        ),
        ("strip_prefix: /api", "strip_prefix: /ap", &["route api changed: filters"]),
        ("upstream: web", "upstream: api", &["route web changed: target"]),
        (
            "127.0.0.1:8080 }",
            "127.0.0.1:8080, http: { header_timeout: 1s } }",
            &["listener 127.0.0.1:8080 changed: http.header_timeout"],
        ),
        (
            "127.0.0.1:8080 }",
            "127.0.0.1:8081 }",
            &["listener 127.0.0.1:8081 added", "listener 127.0.0.1:8080 removed"],
        ),
        ("routes:", "access_log: { to: stderr }\nroutes:", &["access_log changed"]),
        ("routes:", "trusted_proxies: [unix]\nroutes:", &["trusted_proxies changed"]),
        ("routes:", "trusted_proxies: [unix, 10.0.0.1]\nroutes:", &["trusted_proxies changed"]),
    ] {
        assert_eq!(words(|base| base.replace(from, to)), expected, "{from} -> {to}");
    }
}

#[test]
fn the_order_of_routes_matters_and_that_of_upstreams_does_not() {
    let swapped = words(|base| {
        let web = "  - { name: web, match: { path_prefix: /web }, upstream: web }\n";
        base.replace(web, "").replace("routes:\n", &format!("routes:\n{web}"))
    });
    assert_eq!(swapped, ["order of routes changed"]);
}

#[test]
fn workers_need_a_restart_and_other_settings_do_not() {
    let changes = changes(|base| format!("{base}\nworkers: 3\nforwarding: {{ forwarded: true }}\n"));
    let restart: Vec<String> = changes.needs_restart().map(ToString::to_string).collect();
    assert_eq!(restart, ["workers changed"]);
    assert_eq!(changes.iter().count(), 2);
}

#[test]
fn every_key_of_discovery_is_compared() {
    let with = |discovery: &str| {
        let upstreams = "{ web: { discovery: DISCOVERY } }".replace("DISCOVERY", discovery);
        model(&format!("listeners: [{{ address: 127.0.0.1:8080 }}]\nupstreams: {upstreams}"))
    };
    for (old, new) in [
        ("{ file: { path: a } }", "{ file: { path: b } }"),
        ("{ file: { path: a } }", "{ custom: a }"),
        ("{ custom: a }", "{ custom: b }"),
        ("{ custom: a }", "{ custom: a, allow_empty: true }"),
        ("{ custom: a }", "{ custom: a, debounce: 1s }"),
        ("{ custom: a }", "{ custom: a, start_timeout: 1s }"),
        ("{ custom: a }", "{ custom: a, scheme: https }"),
        ("{ dns: { name: a } }", "{ dns: { name: b } }"),
        ("{ dns: { name: a } }", "{ dns: { name: a, port: 80 } }"),
        ("{ dns: { name: a } }", "{ dns: { name: a, servers: [10.0.0.1] } }"),
        ("{ dns: { name: a } }", "{ dns: { name: a, tcp: true } }"),
        ("{ dns: { name: a } }", "{ dns: { name: a, timeout: 1s } }"),
        ("{ dns: { name: a } }", "{ dns: { name: a, min_ttl: 2s } }"),
        ("{ dns: { name: a } }", "{ dns: { name: a, max_ttl: 2s } }"),
        ("{ http: { url: 'http://a/' } }", "{ http: { url: 'http://b/' } }"),
        ("{ http: { url: 'http://a/' } }", "{ http: { url: 'http://a/', interval: 1s } }"),
        ("{ http: { url: 'http://a/' } }", "{ http: { url: 'http://a/', timeout: 1s } }"),
        ("{ http: { url: 'http://a/' } }", "{ http: { url: 'http://a/', token: x } }"),
        ("{ http: { url: 'http://a/', token: x } }", "{ http: { url: 'http://a/', token_file: x } }"),
        ("{ consul: { service: a } }", "{ consul: { service: b } }"),
        ("{ consul: { service: a } }", "{ consul: { service: a, url: 'http://b' } }"),
        ("{ consul: { service: a } }", "{ consul: { service: a, tags: [b] } }"),
        ("{ consul: { service: a } }", "{ consul: { service: a, datacenter: b } }"),
        ("{ consul: { service: a } }", "{ consul: { service: a, passing_only: false } }"),
        ("{ consul: { service: a } }", "{ consul: { service: a, token: b } }"),
        ("{ consul: { service: a, token: b } }", "{ consul: { service: a, token_file: b } }"),
    ] {
        let changes = with(old).changes(&with(new)).to_string();
        assert_eq!(changes, "upstream web changed: discovery\n", "{old} to {new}");
    }
}

#[test]
fn tls_of_a_listener_is_compared_key_by_key() {
    let listener = "{ address: 127.0.0.1:8080 }";
    let with = |tls: &str| format!("{{ address: 127.0.0.1:8080, tls: {tls} }}");
    let (one, two) = (
        with("{ certificates: [{ cert: a, key: b }] }"),
        with(
            "{ certificates: [{ cert: a, key: c }], strict_sni: true, min_version: 1.3, ticket_keys: k, client_auth: { ca: d } }",
        ),
    );
    assert_eq!(words(|base| base.replace(listener, &one)), ["listener 127.0.0.1:8080 changed: tls"]);
    let changes = model(&BASE.replace(listener, &one)).changes(&model(&BASE.replace(listener, &two)));
    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
    let expected = "listener 127.0.0.1:8080 changed: tls.certificates, tls.min_version, tls.strict_sni, tls.client_auth, tls.ticket_keys";
    assert_eq!(changes, [expected]);
}

#[test]
fn the_mode_of_a_socket_needs_a_restart() {
    let with = |mode: &str| {
        let listener =
            format!("listeners: [{{ address: 'unix:/run/web.sock', unix_socket: {{ mode: {mode} }} }}]");
        model(&BASE.replace("listeners: [{ address: 127.0.0.1:8080 }]", &listener))
    };
    let changes = with("0600").changes(&with("660"));
    let restart: Vec<String> = changes.needs_restart().map(ToString::to_string).collect();
    assert_eq!(restart, ["listener unix:/run/web.sock changed: unix_socket"]);
    assert!(with("0660").changes(&with("660")).is_empty());
}
