use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::{FilterSchema, json_schema, reference};
use crate::Config;

/// Sets and removes header fields.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Headers {
    /// Fields to set.
    #[serde(default)]
    set: Vec<Header>,
}

/// A field.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Header {
    /// Its name.
    name: String,
}

fn sample() -> Vec<FilterSchema> {
    vec![
        FilterSchema::new("strip_prefix", json!({ "type": "string" }), "strip_prefix: /v1")
            .doc("Cuts a prefix."),
        FilterSchema::new(
            "headers",
            schemars::schema_for!(Headers).to_value(),
            "headers: { set: [{ name: x }] }",
        ),
    ]
}

/// Objects that are absent by default.
const OPTIONAL: [&str; 17] = [
    "admin",
    "circuit_breaker",
    "consistent_hash",
    "discovery",
    "grpc",
    "hedge",
    "http",
    "maglev",
    "peak_ewma",
    "prequal",
    "queue",
    "redirect",
    "rendezvous",
    "tcp",
    "respond",
    "sticky",
    "tls",
];

/// The default of each key of an object type, all the way down.
fn defaults(root: &Value, schema: &Value) -> Value {
    let mut object = Map::new();
    for (key, property) in schema["properties"].as_object().unwrap() {
        if let Some(default) = property.get("default") {
            object.insert(key.clone(), default.clone());
        } else if let Some(name) = property.get("$ref").and_then(Value::as_str)
            && root.pointer(name.trim_start_matches('#')).unwrap().get("properties").is_some()
            && !OPTIONAL.contains(&key.as_str())
        {
            object.insert(key.clone(), defaults(root, root.pointer(name.trim_start_matches('#')).unwrap()));
        }
    }
    Value::Object(object)
}

#[test]
fn the_defaults_shown_are_those_that_the_model_gets() {
    let schema = json_schema(&[]);
    let mut file = defaults(&schema, &schema);
    let mut listener = defaults(&schema, &schema["$defs"]["listener"]);
    listener["address"] = json!("127.0.0.1:8080");
    let mut upstream = defaults(&schema, &schema["$defs"]["upstream"]);
    upstream["backends"] = json!([{ "url": "http://127.0.0.1:8081", "weight": schema["$defs"]["backend"]["properties"]["weight"]["default"] }]);
    file["listeners"] = json!([listener]);
    file["upstreams"] = json!({ "web": upstream });
    // Each default is there to be compared.
    for pointer in [
        "/listeners/0/max_connections",
        "/listeners/0/http/idle_timeout",
        "/listeners/0/http/max_body_size",
        "/upstreams/web/algorithm",
        "/upstreams/web/retry/attempts",
        "/upstreams/web/retry/on",
        "/upstreams/web/retry/budget/ratio",
        "/upstreams/web/retry/max_body",
        "/upstreams/web/outlier_detection/consecutive_failures",
        "/upstreams/web/outlier_detection/max_ejected",
        "/upstreams/web/when_all_down",
        "/upstreams/web/panic_threshold",
        "/upstreams/web/timeouts/upgraded_idle",
        "/upstreams/web/pool/idle_timeout",
        "/upstreams/web/pool/max_idle",
        "/upstreams/web/backends/0/weight",
        "/shutdown/drain_timeout",
        "/forwarding/forwarded",
        "/lanes",
    ] {
        assert!(file.pointer(pointer).is_some_and(|value| !value.is_null()), "{pointer} in {file:#}");
    }
    let written = Config::from_yaml(&file.to_string(), "defaults", &|_| None).unwrap();
    let short =
        "{listeners: [{address: '127.0.0.1:8080'}], upstreams: {web: {backends: ['http://127.0.0.1:8081']}}}";
    let short = Config::from_yaml(short, "short", &|_| None).unwrap();
    assert_eq!(format!("{:#?}", written.model()), format!("{:#?}", short.model()));
}

/// Optional objects have defaults too, once they are present.
#[test]
fn the_defaults_shown_within_what_is_optional_are_those_that_the_model_gets() {
    let schema = json_schema(&[]);
    let of = |name: &str| defaults(&schema, &schema["$defs"][name]);
    let upstream = |part: &str, value: Value| {
        let upstream = json!({ "backends": ["http://127.0.0.1:1"], "max_connections": 1, (part): value });
        let file =
            json!({ "listeners": [{ "address": "127.0.0.1:8080" }], "upstreams": { "web": upstream } });
        let config = Config::from_yaml(&file.to_string(), part, &|_| None);
        format!("{:#?}", config.unwrap_or_else(|error| panic!("{file:#}: {error}")).model())
    };
    let mut check = of("health_check");
    check["http"] = of("http_check");
    let parts = [
        ("hedge", json!({}), of("hedge"), 2),
        ("queue", json!({}), of("queue"), 2),
        ("sticky", json!({}), of("sticky"), 1),
        ("retry", json!({}), of("retry"), 4),
        ("outlier_detection", json!({}), of("outlier_detection"), 6),
        ("health_check", json!({ "http": {} }), check, 6),
        ("health_check", json!({ "grpc": {} }), json!({ "grpc": of("grpc_check") }), 1),
        ("algorithm", json!({ "peak_ewma": {} }), json!({ "peak_ewma": of("peak_ewma") }), 1),
        ("algorithm", json!({ "prequal": {} }), json!({ "prequal": of("prequal") }), 1),
        ("algorithm", json!({ "maglev": {} }), json!({ "maglev": of("hash_key") }), 1),
        ("algorithm", json!("maglev"), json!({ "maglev": of("hash_key") }), 1),
        ("algorithm", json!("peak_ewma"), json!({ "peak_ewma": of("peak_ewma") }), 1),
        ("algorithm", json!("prequal"), json!({ "prequal": of("prequal") }), 1),
        ("algorithm", json!({ "rendezvous": {} }), json!({ "rendezvous": of("hash_key") }), 1),
        ("algorithm", json!("consistent_hash"), json!({ "consistent_hash": of("consistent_hash") }), 1),
    ];
    for (part, short, written, at_least) in parts {
        assert!(written.as_object().is_some_and(|keys| keys.len() >= at_least), "{part}: {written:#}");
        assert_eq!(upstream(part, written.clone()), upstream(part, short), "{part}: {written:#}");
    }
}

#[test]
fn every_key_is_described() {
    fn check(name: &str, schema: &Value) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let description = property["description"].as_str().unwrap_or_default();
            assert!(description.len() > 15, "{name}.{key}: {property:#}");
        }
    }
    let schema = json_schema(&[]);
    check("file", &schema);
    for (name, schema) in schema["$defs"].as_object().unwrap() {
        check(name, schema);
    }
}

/// A key that no golden file sets could be read and then forgotten on the way to the model.
#[test]
fn every_key_is_set_in_a_golden_file() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/ok");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text: String = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let schema = json_schema(&[]);
    let types = schema["$defs"].as_object().unwrap().values().chain([&schema]);
    for key in types.filter_map(|schema| schema["properties"].as_object()).flat_map(Map::keys) {
        assert!(text.contains(&format!("{key}:")), "no golden file sets {key}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(root: &Value, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| check(root, item)),
            Value::Object(object) => {
                if let Some(Value::String(target)) = object.get("$ref") {
                    assert!(root.pointer(target.trim_start_matches('#')).is_some(), "{target}");
                }
                object.values().for_each(|value| check(root, value));
            }
            _ => {}
        }
    }
    let schema = json_schema(&sample());
    check(&schema, &schema);
    assert!(schema.pointer("/$defs/headers.Header").is_some());
    assert_eq!(schema["$defs"]["filter"]["oneOf"][0]["required"], json!(["strip_prefix"]));
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
}

#[test]
fn nothing_may_be_null() {
    let text = json_schema(&sample()).to_string();
    assert!(!text.contains("null"), "{text}");
}

#[test]
fn the_reference_has_every_section() {
    let text = reference(&sample());
    for expected in [
        "## The file",
        "## `listener`",
        "| `idle_timeout` | [duration](#duration) | `1m` |",
        "| `listeners` | list of [listener](#listener) | required |",
        "| `address` | text | required |",
        "[headers.Header](#headersheader)",
        "### `strip_prefix`",
        "headers: { set: [{ name: x }] }",
        "| `attempts` | number | `3` |",
        "| `timeout` | [duration](#duration) | `2s` |",
        "| `max_ejected` | [percentage](#percentage) | `50%` |",
        "| `after` | [hedge_after](#hedge_after) | `p95` |",
        "| `algorithm` | [algorithm](#algorithm) or `round_robin`, ",
        "| `outlier_detection` | [outlier_detection](#outlier_detection) or `off`, `false` | see there |",
        "`round_robin`, `random`",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
}
