//! `evenkeel status`: shows what a running balancer says of itself at its admin address.

use std::fmt::Write as _;

use hyper::{Method, StatusCode};
use serde_json::Value;

use super::admin::{self, Target};
use super::failure::Failure;
use super::printable::{one_line, width};
use super::{block_on, print, print_json};

/// The arguments of `status`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show only this upstream
    upstream: Option<String>,
    #[command(flatten)]
    target: Target,
    /// Print the JSON of /status
    #[arg(long, conflicts_with = "upstream")]
    json: bool,
}

/// The columns of the table of backends: the title, and the key in the JSON.
const COLUMNS: [(&str, &str); 6] = [
    ("BACKEND", "name"),
    ("STATE", "state"),
    ("WEIGHT", "weight"),
    ("IN FLIGHT", "in_flight"),
    ("ATTEMPTS", "attempts"),
    ("FAILURES", "failures"),
];

/// What is shown next to the state of a backend, if it is so.
const NOTES: [&str; 3] = ["draining", "unreachable", "gray"];

/// Prints the status, as text or as JSON.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let balancer = args.target.balancer()?;
    let response = block_on(admin::send(&balancer.address, balancer.token, Method::GET, "/status"))?;
    if response.status != StatusCode::OK {
        return Err(response.unexpected(&balancer.address));
    }
    if args.json {
        return print_json(&format!("{}\n", String::from_utf8_lossy(&response.body).trim_end()));
    }
    let status: Value = serde_json::from_slice(&response.body)
        .map_err(|error| Failure::start(format!("{}: the status is not JSON: {error}", balancer.address)))?;
    let upstreams: Vec<&Value> = list(&status, "upstreams")
        .filter(|upstream| args.upstream.as_ref().is_none_or(|name| text(upstream, "name") == *name))
        .collect();
    let mut shown = String::new();
    match &args.upstream {
        Some(name) if upstreams.is_empty() => {
            return Err(Failure::refused(format!("{}: no upstream {name}", balancer.address)));
        }
        Some(_) => {}
        None => write_head(&mut shown, &status),
    }
    for upstream in upstreams {
        write_upstream(&mut shown, upstream);
    }
    print(shown.trim_start())
}

fn write_head(shown: &mut String, status: &Value) {
    let ready = if status["ready"] == Value::Bool(true) { "ready" } else { "not ready" };
    let reloads = &status["reloads"];
    let _ = writeln!(
        shown,
        "evenkeel {}: {ready}, up {}, {} workers, {} reloads applied, {} rejected",
        text(status, "version"),
        duration(status["uptime_seconds"].as_f64().unwrap_or_default()),
        text(status, "workers"),
        text(reloads, "applied"),
        text(reloads, "rejected"),
    );
    for listener in list(status, "listeners") {
        let _ = writeln!(
            shown,
            "listener {}: {} connections open, {} accepted",
            text(listener, "address"),
            text(listener, "connections_open"),
            text(listener, "connections_accepted"),
        );
    }
    for route in list(status, "routes") {
        let _ = writeln!(shown, "route {}: {} requests", text(route, "name"), text(route, "requests"));
    }
}

fn write_upstream(shown: &mut String, upstream: &Value) {
    let _ = writeln!(
        shown,
        "\nupstream {}: mode {}, {} requests waiting",
        text(upstream, "name"),
        text(upstream, "mode"),
        text(upstream, "pending"),
    );
    let mut rows = vec![COLUMNS.map(|(title, _)| title.to_owned())];
    for backend in list(upstream, "backends") {
        rows.push(COLUMNS.map(|(_, key)| match key {
            "state" => state(backend),
            key => text(backend, key),
        }));
    }
    let mut widths = [0; COLUMNS.len()];
    for (column, most) in widths.iter_mut().enumerate() {
        *most = width(rows.iter().filter_map(|row| row.get(column)).map(String::as_str));
    }
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Numbers to the right, words to the left.
            let _ =
                if column < 2 { write!(line, "  {cell:width$}") } else { write!(line, "  {cell:>width$}") };
        }
        let _ = writeln!(shown, "{}", line.trim_end());
    }
}

/// The state of a backend, and what else an operator must know of it.
fn state(backend: &Value) -> String {
    let mut state = text(backend, "state");
    for note in NOTES.iter().filter(|note| backend[**note] == Value::Bool(true)) {
        let _ = write!(state, ", {note}");
    }
    state
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

/// A value as a word; a dash if there is none.
fn text(value: &Value, key: &str) -> String {
    match &value[key] {
        Value::String(text) => one_line(text).into_owned(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// The two largest units, like `3d 4h` or `12s`.
fn duration(seconds: f64) -> String {
    let mut left = seconds as u64;
    let mut parts = Vec::new();
    for (unit, length) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        if left >= length || (unit == "s" && parts.is_empty()) {
            parts.push(format!("{}{unit}", left / length));
            left %= length;
        }
    }
    parts.truncate(2);
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{duration, state};

    #[test]
    fn a_duration_has_two_units_at_most() {
        for (seconds, expected) in
            [(0.4, "0s"), (12.0, "12s"), (60.0, "1m"), (3_725.0, "1h 2m"), (90_061.0, "1d 1h")]
        {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn a_state_says_what_else_is_known() {
        assert_eq!(state(&json!({ "state": "up", "gray": false })), "up");
        assert_eq!(
            state(&json!({ "state": "up", "unreachable": true, "gray": true })),
            "up, unreachable, gray"
        );
    }
}
