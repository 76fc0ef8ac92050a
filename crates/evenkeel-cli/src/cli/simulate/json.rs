//! The result as JSON, for programs. Times are in milliseconds; everything is rounded to three digits after the point, or
//! six for shares, so that the same seed gives the same text on every machine.

use std::time::Duration;

use evenkeel_sim::{BackendReport, Fault, FaultReport, LatencySummary, Recovery, Report};
use serde::Serialize;

use super::super::failure::Failure;
use super::contest::{Contest, Run};
use super::source::Scenario;
use super::traffic::Traffic;

#[derive(Serialize)]
struct Document<'a> {
    seed: u64,
    duration_ms: f64,
    traffic: String,
    window_ms: f64,
    backends: Vec<Backend<'a>>,
    algorithms: Vec<Algorithm<'a>>,
}

#[derive(Serialize)]
struct Backend<'a> {
    name: &'a str,
    description: String,
}

#[derive(Serialize)]
struct Algorithm<'a> {
    name: &'a str,
    requests: u64,
    errors: u64,
    rejected: u64,
    latency_ms: Latency,
    mean_wait_ms: f64,
    imbalance: f64,
    faults: Vec<Overcome<'a>>,
    backends: Vec<Part<'a>>,
    windows: Course,
}

#[derive(Serialize)]
struct Latency {
    mean: f64,
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

/// The recovery from a fault. A time is a number, `"never"`, or null if there is none.
#[derive(Serialize)]
struct Overcome<'a> {
    backend: &'a str,
    kind: &'static str,
    /// How many times slower, or what share of failures.
    amount: Option<f64>,
    from_ms: f64,
    /// Null when it never ends.
    to_ms: Option<f64>,
    recovers_ms: Option<Took>,
    returns_ms: Option<Took>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Took {
    Millis(f64),
    Never(&'static str),
}

#[derive(Serialize)]
struct Part<'a> {
    name: &'a str,
    attempts: u64,
    failures: u64,
    share: f64,
    peak_in_flight: u32,
    mean_in_flight: f64,
}

/// What happened in each window, in order.
#[derive(Serialize)]
struct Course {
    requests: Vec<u64>,
    errors: Vec<u64>,
    p99_ms: Vec<Option<f64>>,
    /// The part of all attempts that went to the backends with faults; empty when there are none.
    share_of_faulty: Vec<Option<f64>>,
}

/// The result as one JSON object, indented.
pub(super) fn write(scenario: &Scenario, traffic: &Traffic, contest: &Contest) -> Result<String, Failure> {
    let windows = contest.runs.first().map_or(&[][..], |run| &run.report.windows);
    let width = windows.get(1).map_or(contest.duration, |window| window.from);
    let names: Vec<&str> = scenario.backends.iter().map(|(name, _)| name.as_str()).collect();
    let document = Document {
        seed: traffic.seed,
        duration_ms: millis(contest.duration),
        traffic: traffic.describe(scenario),
        window_ms: millis(width),
        backends: scenario
            .backends
            .iter()
            .map(|(name, backend)| Backend { name, description: backend.to_string() })
            .collect(),
        algorithms: contest.runs.iter().map(|run| Algorithm::of(run, &names, &contest.faulty())).collect(),
    };
    let text = serde_json::to_string_pretty(&document);
    text.map(|text| text + "\n").map_err(|error| Failure::start(format!("cannot write JSON: {error}")))
}

// === impl Algorithm ===

impl<'a> Algorithm<'a> {
    fn of(run: &'a Run, names: &[&'a str], faulty: &[usize]) -> Self {
        let report: &Report = &run.report;
        let name = |index: usize| names.get(index).copied().unwrap_or_default();
        let part = |(index, backend): (usize, &BackendReport)| Part {
            name: name(index),
            attempts: backend.attempts,
            failures: backend.failures,
            share: rounded(backend.share, 1e6),
            peak_in_flight: backend.peak_in_flight,
            mean_in_flight: rounded(backend.mean_in_flight, 1e3),
        };
        let shares = if faulty.is_empty() { Vec::new() } else { run.shares(faulty) };
        Self {
            name: run.name,
            requests: report.requests,
            errors: report.errors,
            rejected: report.rejected,
            latency_ms: Latency::of(&report.latency),
            mean_wait_ms: millis(report.mean_wait),
            imbalance: rounded(report.imbalance, 1e3),
            faults: report.faults.iter().map(|fault| Overcome::of(fault, name(fault.backend))).collect(),
            backends: report.backends.iter().enumerate().map(part).collect(),
            windows: Course {
                requests: report.windows.iter().map(|window| window.requests).collect(),
                errors: report.windows.iter().map(|window| window.errors).collect(),
                p99_ms: report.windows.iter().map(|window| window.p99.map(millis)).collect(),
                share_of_faulty: shares
                    .into_iter()
                    .map(|share| share.map(|share| rounded(share, 1e6)))
                    .collect(),
            },
        }
    }
}

// === impl Latency ===

impl Latency {
    fn of(latency: &LatencySummary) -> Self {
        Self {
            mean: millis(latency.mean),
            p50: millis(latency.p50),
            p99: millis(latency.p99),
            p999: millis(latency.p999),
            max: millis(latency.max),
        }
    }
}

// === impl Overcome ===

impl<'a> Overcome<'a> {
    fn of(report: &FaultReport, backend: &'a str) -> Self {
        let (kind, amount) = match report.fault {
            Fault::Slow { factor, .. } => ("slow", Some(factor)),
            Fault::Errors { share, .. } => ("errors", Some(rounded(share, 1e6))),
            Fault::Down { .. } => ("down", None),
            _ => ("other", None),
        };
        let span = report.fault.span();
        let took = |recovery: Recovery| match recovery {
            Recovery::After(time) => Took::Millis(millis(time)),
            Recovery::Never => Took::Never("never"),
        };
        Self {
            backend,
            kind,
            amount,
            from_ms: millis(span.start),
            to_ms: (span.end < Duration::MAX).then(|| millis(span.end)),
            recovers_ms: report.recovered.map(took),
            returns_ms: report.returned.map(took),
        }
    }
}

fn millis(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1e3, 1e3)
}

/// To a part of one, like a thousandth.
fn rounded(number: f64, parts: f64) -> f64 {
    (number * parts).round() / parts
}
