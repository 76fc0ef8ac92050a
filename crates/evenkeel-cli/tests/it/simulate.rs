//! `evenkeel simulate`: the same seed gives the same result, whose form is in golden files (`UPDATE_GOLDEN=1` rewrites
//! them).

#![cfg(test)]

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::golden;
use crate::program::{Said, evenkeel};

/// A world that is small enough to be read.
const SMALL: [&str; 15] = [
    "simulate",
    "--backend",
    "10msx2",
    "--backend",
    "10ms, weight=2, slow=5x@2s..4s",
    "--rate",
    "200/s",
    "--duration",
    "6s",
    "--window",
    "1s",
    "--algorithm",
    "round_robin",
    "--algorithm",
    "least_connections",
];

const FILE: &str = "\
listeners: [{ address: 127.0.0.1:0 }]
routes: [{ name: all, upstream: api }]
upstreams:
  web: { backends: [\"http://127.0.0.1:8081\"] }
  api:
    algorithm: least_connections
    backends:
      - http://127.0.0.1:8081
      - { url: \"http://127.0.0.1:8082\", weight: 3 }
      - { url: \"http://127.0.0.1:8083\", weight: 0 }
";

fn golden_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// What the program says, given these files.
async fn beside(files: &[(&str, &str)], arguments: &[&str]) -> Said {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("a file");
    }
    evenkeel(folder.path(), arguments).await
}

async fn simulated(files: &[(&str, &str)], arguments: &[&str]) -> String {
    let said = beside(files, arguments).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{}", said.out);
    said.out
}

async fn json(files: &[(&str, &str)], arguments: &[&str]) -> Value {
    let out = simulated(files, &[arguments, &["--json"]].concat()).await;
    serde_json::from_str(&out).expect("JSON")
}

#[tokio::test]
async fn what_is_shown_is_what_it_was() {
    golden(&golden_file("help/simulate.txt"), &simulated(&[], &["simulate", "--help"]).await);
    golden(&golden_file("simulate/default.txt"), &simulated(&[], &["simulate"]).await);
    golden(&golden_file("simulate/small.txt"), &simulated(&[], &SMALL).await);
    let small = simulated(&[], &[&SMALL[..], &["--json"]].concat()).await;
    golden(&golden_file("simulate/small.json"), &small);
}

#[tokio::test]
async fn what_makes_no_sense_is_told() {
    let simulate = ["simulate"];
    for (name, arguments) in [
        ("bad-backend", ["--backend", "10ms, size=3"].as_slice()),
        ("bad-rate", &["--rate", "1000"]),
        ("bad-arrivals", &["--arrivals", "closed"]),
        ("bad-change", &["--change", "11, down=1s..2s"]),
        ("rate-of-a-closed-loop", &["--arrivals", "closed(5)", "--rate", "10/s"]),
        ("no-time", &["--duration", "0s"]),
        ("upstream-without-file", &["--upstream", "api"]),
        ("several-upstreams", &["-c", "evenkeel.yaml"]),
        ("unknown-upstream", &["-c", "evenkeel.yaml", "--upstream", "db"]),
        ("too-many-described", &["-c", "evenkeel.yaml", "--upstream", "web", "--backend", "10msx2"]),
        ("log-of-nothing", &["--from-log", "evenkeel.yaml"]),
    ] {
        let said = beside(&[("evenkeel.yaml", FILE)], &[&simulate, arguments].concat()).await;
        assert!(said.out.is_empty() && said.code != Some(0), "{name}: {said:?}");
        golden(&golden_file(&format!("simulate/said/{name}.txt")), &said.text());
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_answer_and_another_one_does_not() {
    let run = |seed| {
        let world = ["simulate", "--backend", "lognormal(10ms, 0.5)x4, capacity=4", "--duration", "2s"];
        let arguments = [&world[..], &["--json", "--seed", seed]].concat();
        async move { simulated(&[], &arguments).await }
    };
    let (one, again, other) = (run("3").await, run("3").await, run("4").await);
    assert_eq!(one, again);
    assert_ne!(one.replace("seed 3", "").replace("\"seed\": 3", ""), other);
}

#[tokio::test]
async fn the_upstream_of_a_file_is_taken_with_its_weights() {
    let files = [("evenkeel.yaml", FILE)];
    let arguments = ["simulate", "-c", "evenkeel.yaml", "--upstream", "api", "--backend", "5ms"];
    let arguments = [&arguments[..], &["--change", "http://127.0.0.1:8082, down=1s..2s", "--json"]].concat();
    let said = beside(&files, &arguments).await;
    assert_eq!(said.err, "left out: 1 backend with a lower priority or weight 0\n");
    let found: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(found["backends"].as_array().map(Vec::len), Some(2));
    assert_eq!(found["backends"][1]["description"], "5ms, weight=3, down=1s..2s");
    let turns = &found["algorithms"][0];
    assert_eq!(
        (&turns["name"], &turns["backends"][1]["name"]),
        (&"round_robin".into(), &"http://127.0.0.1:8082".into())
    );
    let share = turns["backends"][1]["share"].as_f64().expect("a number");
    assert!((share - 0.75).abs() < 0.01, "{share}");
    let fault = &turns["faults"][0];
    assert_eq!((&fault["kind"], fault["recovers_ms"].as_f64()), (&"down".into(), Some(1_000.0)));
}

#[tokio::test]
async fn a_log_of_ours_is_backends_and_requests() {
    // The records themselves, as the program writes them.
    let form = std::fs::read_to_string(golden_file("records/json.txt")).expect("the form of a record");
    let form = form.lines().next().expect("a record");
    let record = |n: u64| {
        let millis = n * 10;
        form.replace("TIME", &format!("\"2026-11-22T10:20:{:02}.{:03}Z\"", millis / 1_000, millis % 1_000))
            .replace("REQUEST_ID", "\"0\"")
            .replace("BACKEND", if n.is_multiple_of(2) { "http://a:1" } else { "http://b:1" })
            .replace("DURATION_MS", "9.000")
            .replace("FIRST_BYTE_MS", if n.is_multiple_of(2) { "4.000" } else { "8.000" })
            .replace("LANE", "\"lean\"")
    };
    let log: Vec<String> = (0..500).map(record).collect();
    let files = [("access.log", log.join("\n"))];
    let files = [(files[0].0, files[0].1.as_str())];
    let arguments = ["simulate", "--from-log", "access.log", "--algorithm", "round_robin"];
    let found = json(&files, &arguments).await;
    let names: Vec<_> = found["backends"].as_array().expect("backends").iter().map(|b| &b["name"]).collect();
    assert_eq!(names, ["http://a:1", "http://b:1"]);
    let turns = &found["algorithms"][0];
    assert_eq!((turns["requests"].as_u64(), turns["errors"].as_u64()), (Some(500), Some(0)), "{turns}");
    let latency = |quantile: &str| turns["latency_ms"][quantile].as_f64().expect("a number");
    assert!((4.0..4.02).contains(&latency("p50")) && (8.0..8.04).contains(&latency("p99")), "{turns}");
    // Other traffic for the same backends, one of them slower.
    let more = ["--rate", "50/s", "--duration", "2s", "--arrivals", "constant", "--change", "2, slow=2x"];
    let found = json(&files, &[&arguments[..], &more].concat()).await;
    let turns = &found["algorithms"][0];
    assert_eq!((turns["requests"].as_u64(), &turns["latency_ms"]["max"]), (Some(100), &16.0.into()));
    let shown = simulated(&files, &[&arguments[..], &more].concat()).await;
    assert!(!shown.contains("recovers"), "what is always there is no fault to recover from: {shown}");
}

#[tokio::test]
async fn a_chart_has_a_line_for_each_algorithm_and_panel() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let said = evenkeel(folder.path(), &[&SMALL[..], &["--svg", "chart.svg"]].concat()).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let svg = std::fs::read_to_string(folder.path().join("chart.svg")).expect("the chart");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    for line in ["s0", "s1"] {
        // In the legend, for p99, for the share.
        assert_eq!(svg.matches(&format!("<path class=\"{line}\"")).count(), 3, "{svg}");
    }
    assert_eq!(svg.matches("<rect class=\"fault\"").count(), 2, "{svg}");
    assert!(svg.contains("Share of backend 3") && !svg.contains("NaN"), "{svg}");
    assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    let said = evenkeel(folder.path(), &[&SMALL[..], &["--svg", "none/chart.svg"]].concat()).await;
    assert_eq!((said.code, said.out.as_str()), (Some(3), ""));
}
