//! Text from outside is printed so that it cannot take over a terminal, and may be of any length.

#![cfg(test)]

use std::path::Path;

use serde_json::{Value, json};

use crate::program::{Program, Said, evenkeel, evenkeel_given};
use crate::support::{Backend, Reply, eventually};

/// Sets the title, clears the screen (in two ways), and turns text around.
const HOSTILE: &str = "x\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}2J\u{202e}y\nz";

/// What is shown of it on one line.
const SHOWN: &str = "x\\u{1b}]0;owned\\u{7}\\u{1b}[2J\\u{9b}2J\\u{202e}y\\nz";

/// Longer than any width that formatting supports.
const LONG: usize = 70_000;

const FILE: &str = "\
listeners: [{ address: 127.0.0.1:0 }]
routes: [{ name: all, filters: [{ strip_prefix: /v1 }], upstream: web }]
upstreams: { web: { backends: [\"http://127.0.0.1:8081\"] } }
";

/// Fails on anything that a terminal would obey.
fn assert_safe(said: &Said) {
    for text in [&said.out, &said.err] {
        let bad = text.chars().find(|c| (c.is_control() && !"\n\t".contains(*c)) || *c == '\u{202e}');
        assert_eq!(bad, None, "{said:?}");
    }
}

/// A log of ours with this upstream and backend in it.
fn log(folder: &Path, upstream: &str, backend: &str) {
    let record = |second: usize| {
        json!({
            "time": format!("2026-11-22T10:20:{second:02}.000Z"), "client": "10.0.0.1", "status": 200,
            "upstream": upstream, "backend": backend, "first_byte_ms": 10.0,
        })
        .to_string()
            + "\n"
    };
    std::fs::write(folder.join("access.log"), (0..60).map(record).collect::<String>()).expect("a log");
}

/// A backend that responds with this to whatever is sent.
async fn admin(status: &str, body: String) -> Backend {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    Backend::start(move |_| Reply::new().send(format!("{head}{body}"))).await
}

#[tokio::test]
async fn names_in_a_log_are_printed_as_text() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let simulate = ["simulate", "--from-log", "access.log", "--algorithm", "random"];
    log(folder.path(), HOSTILE, HOSTILE);
    let said = evenkeel(folder.path(), &simulate).await;
    assert!(said.code == Some(0) && said.out.contains(SHOWN), "{said:?}");
    assert_safe(&said);
    let json = evenkeel(folder.path(), &[&simulate[..], &["--json"]].concat()).await;
    assert_safe(&json);
    assert_eq!(serde_json::from_str::<Value>(&json.out).expect("JSON")["backends"][0]["name"], SHOWN);
    let unknown = evenkeel(folder.path(), &[&simulate[..], &["--upstream", "other"]].concat()).await;
    assert!(unknown.code == Some(1) && unknown.err.contains(SHOWN), "{unknown:?}");
    assert_safe(&unknown);
    let chart = ["--svg", "chart.svg", "--change", "1, slow=9x@5s..9s"];
    assert_safe(&evenkeel(folder.path(), &[&simulate[..], &chart].concat()).await);
    let svg = std::fs::read_to_string(folder.path().join("chart.svg")).expect("a chart");
    assert!(!svg.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']), "{svg}");
}

#[tokio::test]
async fn what_a_remote_admin_address_sends_is_printed_as_text() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("evenkeel.yaml"), FILE).expect("a configuration");
    let real = evenkeel(folder.path(), &["explain", "http://a/v1/x", "--json"]).await;
    let mut said: Value = serde_json::from_str(&real.out).expect("JSON");
    for field in ["/route", "/url", "/target", "/filters/0/kind", "/filters/0/path", "/upstreams/0/name"] {
        *said.pointer_mut(field).unwrap_or_else(|| panic!("no {field}")) = HOSTILE.into();
    }
    for field in ["name", "state", "left_out"] {
        said["upstreams"][0]["backends"][0][field] = HOSTILE.into();
    }
    let fake = admin("200 OK", said.to_string()).await;
    let address = fake.url();
    let ask = ["explain", "http://a/", "--admin", &address];
    let text = evenkeel(folder.path(), &ask).await;
    assert_eq!((text.code, text.out.matches(SHOWN).count() >= 8), (Some(0), true), "{text:?}");
    assert_safe(&text);
    let json = evenkeel(folder.path(), &[&ask[..], &["--json"]].concat()).await;
    assert_safe(&json);
    assert_eq!(serde_json::from_str::<Value>(&json.out).expect("JSON"), said, "JSON is the same JSON");

    for (status, body) in [("500 No", HOSTILE.repeat(10_000)), ("200 OK", format!("{{{HOSTILE}"))] {
        let fake = admin(status, body).await;
        let said = evenkeel(folder.path(), &["explain", "http://a/", "--admin", &fake.url()]).await;
        assert!(said.code != Some(0) && said.err.len() < 4_000 && said.err.lines().count() == 1, "{said:?}");
        assert_safe(&said);
    }
}

#[tokio::test]
async fn files_and_arguments_are_printed_as_text() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let quoted = serde_json::to_string(HOSTILE).expect("JSON is YAML");
    let file = format!(
        "{quoted}: 1\nlisteners: [{{ address: {quoted} }}]\nupstreams: {{ web: {{ algorithm: {quoted} }} }}\n"
    );
    for arguments in [["check", "-"].as_slice(), &["run", "-"], &["explain", "-c", "-", "http://a"]] {
        let said = evenkeel_given(folder.path(), arguments, &file, &[]).await;
        assert!(said.code == Some(1) && said.err.contains("\\u{1b}"), "{said:?}");
        assert_safe(&said);
    }
    for arguments in [["check", "-c", HOSTILE].as_slice(), &["run", "--algorithm", HOSTILE], &[HOSTILE]] {
        let said = evenkeel(folder.path(), arguments).await;
        // The argument parser removes what it takes for colours.
        assert!(said.code != Some(0) && said.err.contains("\\u{9b}"), "{said:?}");
        assert_safe(&said);
    }
}

#[tokio::test]
async fn a_log_line_turns_no_text_around() {
    let yaml =
        "lanes: pingora\nupstreams: { \"x\\u202ey\": { hedge: {}, backends: [\"http://127.0.0.1:1\"] } }";
    let program = Program::run(yaml).await;
    eventually(crate::support::PATIENCE, || program.said().iter().any(|line| line.contains("WARN"))).await;
    let said = program.said();
    let line = said.iter().find(|line| line.contains("hedge")).expect("a warning");
    assert!(line.contains("x\\u{202e}y") && line.starts_with('['), "{said:#?}");
}

#[tokio::test]
async fn a_long_url_is_explained() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("evenkeel.yaml"), FILE).expect("a configuration");
    let path = format!("/v1/{}", "x".repeat(LONG));
    let said = evenkeel(folder.path(), &["explain", &format!("http://a{path}")]).await;
    assert!(said.code == Some(0) && said.err.is_empty(), "{:?} {}", said.code, said.err);
    assert!(said.out.contains(&path[3..]), "the path is not shown in full");
    let program = Program::run(FILE).await;
    let admin = program.admin().to_string();
    let said = evenkeel(folder.path(), &["explain", &format!("http://a{path}"), "--admin", &admin]).await;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.starts_with("error: the request is too long for an admin address: "), "{}", said.err);
}

#[tokio::test]
async fn a_long_name_in_a_log_is_simulated() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let name = "x".repeat(LONG);
    log(folder.path(), &name, &name);
    for option in ["--seed=1", "--json", "--svg=chart.svg", "--change=1, slow=9x@5s..9s"] {
        let arguments = ["simulate", "--from-log", "access.log", "--algorithm", "random", option];
        let said = evenkeel(folder.path(), &arguments).await;
        assert!(said.code == Some(0) && said.err.is_empty(), "{option}: {:?} {}", said.code, said.err);
    }
}
