//! Backends and requests from an access log of evenkeel: JSON, one record per line.
//!
//! A backend's law consists of the times to the first byte of its own responses, each as likely as in the log. Its
//! failure rate is the share of its records with a status of 500 or above, or without a response. Requests come at the
//! logged times from the logged clients. A log does not show how many requests a backend can serve at once: its times
//! belong to the load that it had.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use evenkeel_sim::{Fault, Law, Samples, Trace};
use jiff::Timestamp;
use serde::Deserialize;

use super::super::failure::Failure;
use super::super::printable::one_line;
use super::describe::Backend;
use super::figures;
use super::source::{Scenario, no_such, which};

/// The fields of a record that matter here.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    time: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    client: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    upstream: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    backend: Option<std::borrow::Cow<'a, str>>,
    status: Option<u16>,
    first_byte_ms: Option<f64>,
}

/// What a log contains about an upstream.
#[derive(Default)]
struct Seen {
    /// When each request came, and a number for its client.
    requests: Vec<(Timestamp, u64)>,
    backends: BTreeMap<String, Backends>,
}

/// What a log contains about a backend.
#[derive(Default)]
struct Backends {
    times: Vec<Duration>,
    records: u64,
    failures: u64,
}

/// The status of a request whose client disconnected: it says nothing about the backend.
const CLIENT_LEFT: u16 = 499;

/// Reads the upstream of this name from a log, or the only one.
pub(super) fn read(file: &Path, upstream: Option<&str>) -> Result<Scenario, Failure> {
    let failed = |error: io::Error| Failure::start(format!("{}: {error}", file.display()));
    let input: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(file).map_err(failed)?))
    };
    let (seen, strange) = gather(input).map_err(failed)?;
    let names = || seen.keys().map(String::as_str);
    let chosen = match (upstream, seen.len()) {
        (_, 0) => {
            let what =
                "no record of a request that went to a backend: expected evenkeel's access log in JSON";
            return Err(Failure::refused(format!("{}: {what}", file.display())));
        }
        (None, 1) => seen.values().next(),
        (None, _) => return Err(Failure::refused(which("log", names()))),
        (Some(name), _) => seen.get(name),
    };
    let Some(chosen) = chosen else {
        return Err(Failure::refused(no_such("log", upstream.unwrap_or_default(), names())));
    };
    let mut scenario = chosen.scenario();
    if scenario.backends.is_empty() {
        return Err(Failure::refused(format!("{}: no backend in it ever responded", file.display())));
    }
    if strange > 0 {
        let lines = figures::count(strange);
        scenario.notes.push(format!("left out: {lines} lines of the log that are not JSON records"));
    }
    Ok(scenario)
}

/// The content of the log for each upstream, and how many lines are not records.
fn gather(mut input: impl BufRead) -> io::Result<(BTreeMap<String, Seen>, u64)> {
    let (mut seen, mut strange) = (BTreeMap::<String, Seen>::new(), 0);
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        let record = serde_json::from_slice::<Record<'_>>(&line).ok();
        match record.and_then(|record| Some((record.time.parse::<Timestamp>().ok()?, record))) {
            Some((time, record)) => {
                if let (Some(upstream), Some(_)) = (&record.upstream, &record.backend) {
                    match seen.get_mut(upstream.as_ref()) {
                        Some(upstream) => upstream.add(time, &record),
                        None => seen.entry(upstream.to_string()).or_default().add(time, &record),
                    }
                }
            }
            None if line.trim_ascii().is_empty() => {}
            None => strange += 1,
        }
        line.clear();
    }
    Ok((seen, strange))
}

// === impl Seen ===

impl Seen {
    fn add(&mut self, time: Timestamp, record: &Record<'_>) {
        let client = record.client.as_deref().unwrap_or_default();
        self.requests.push((time, number(client)));
        let Some(name) = record.backend.as_deref() else { return };
        if !self.backends.contains_key(name) {
            self.backends.insert(name.to_owned(), Backends::default());
        }
        if let Some(backend) = self.backends.get_mut(name) {
            backend.add(record);
        }
    }

    fn scenario(&self) -> Scenario {
        let named =
            |(name, backend): (&String, &Backends)| Some((one_line(name).into_owned(), backend.backend()?));
        let unknown = self.backends.values().filter(|backend| backend.times.is_empty()).count();
        let note = format!("left out: {unknown} backends that never responded");
        Scenario {
            backends: self.backends.iter().filter_map(named).collect(),
            trace: Some(self.trace()),
            own: None,
            notes: (unknown > 0).then_some(note).into_iter().collect(),
        }
    }

    /// The log has milliseconds: requests within one millisecond are spread over it evenly.
    fn trace(&self) -> Trace {
        let mut requests: Vec<(i128, u64)> =
            self.requests.iter().map(|(time, client)| (time.as_nanosecond(), *client)).collect();
        requests.sort_by_key(|(time, _)| *time);
        let first = requests.first().map_or(0, |(time, _)| *time);
        let spread = requests.chunk_by(|(one, _), (other, _)| one == other).flat_map(|together| {
            let step = 1_000_000 / together.len() as u64;
            together.iter().zip(0_u64..).map(move |(&(time, client), index)| {
                let since = u64::try_from(time - first).unwrap_or(u64::MAX);
                (Duration::from_nanos(since.saturating_add(index * step)), client)
            })
        });
        Trace::new(spread)
    }
}

// === impl Backends ===

impl Backends {
    fn add(&mut self, record: &Record<'_>) {
        let status = record.status.unwrap_or_default();
        if status == CLIENT_LEFT {
            return;
        }
        self.records += 1;
        let time = record.first_byte_ms.and_then(|millis| Duration::try_from_secs_f64(millis / 1_000.0).ok());
        match time {
            Some(time) if status < 500 => self.times.push(time),
            _ => self.failures += 1,
        }
    }

    /// `None` if it never responded.
    fn backend(&self) -> Option<Backend> {
        let mut times = self.times.clone();
        times.sort_unstable();
        let quantile = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1) - 1;
            figures::latency(times.get(rank).copied().unwrap_or_default())
        };
        let plural = if times.len() == 1 { "" } else { "s" };
        let answers = figures::count(times.len() as u64);
        let text = format!("{answers} response{plural}, p50 {}, p99 {}", quantile(50), quantile(99));
        let backend = Backend::new(Law::Empirical(Samples::new(times)?), text);
        if self.failures == 0 {
            return Some(backend);
        }
        let share = self.failures as f64 / self.records as f64;
        let fault = Fault::Errors { from: Duration::ZERO, to: Duration::MAX, share };
        Some(backend.fault(fault, format!("errors={}", figures::percent(share))))
    }
}

/// A number for a text, the same in every run (FNV-1a).
fn number(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"{"time":"2026-11-22T10:20:31.000Z","client":"10.0.0.1","status":200,"upstream":"web","backend":"http://a:1","first_byte_ms":12.500}
{"time":"2026-11-22T10:20:30.000Z","client":"10.0.0.1","status":200,"upstream":"web","backend":"http://a:1","first_byte_ms":7.5}
{"time":"2026-11-22T10:20:31.000Z","client":"10.0.0.2","status":502,"upstream":"web","backend":"http://b:1","end":"refused=connect"}
{"time":"2026-11-22T10:20:32.000Z","client":"10.0.0.2","status":200,"upstream":"web","backend":"http://b:1","first_byte_ms":3.0}
{"time":"2026-11-22T10:20:32.500Z","client":"10.0.0.2","status":499,"upstream":"web","backend":"http://b:1"}

{"time":"2026-11-22T10:20:32.600Z","client":"10.0.0.2","status":404}
{"time":"2026-11-22T10:20:33.000Z","client":"10.0.0.2","status":503,"upstream":"web","backend":"http://c:1"}
{"time":"2026-11-22T10:20:30.000Z","status":200,"upstream":"api","backend":"http://a:1","first_byte_ms":100}
not a record
{"time":"2026-11-22T10:2"#;

    #[test]
    fn backends_and_requests_are_those_of_the_log() {
        let (seen, strange) = gather(LOG.as_bytes()).unwrap();
        assert_eq!((seen.keys().map(String::as_str).collect::<Vec<_>>(), strange), (vec!["api", "web"], 2));
        let web = seen["web"].scenario();
        let shown: Vec<_> = web.backends.iter().map(|(name, backend)| format!("{name}: {backend}")).collect();
        assert_eq!(
            shown,
            [
                "http://a:1: 2 responses, p50 7.50 ms, p99 12.5 ms",
                "http://b:1: 1 response, p50 3.00 ms, p99 3.00 ms, errors=50.0%"
            ]
        );
        assert_eq!(web.notes, ["left out: 1 backends that never responded"]);
        let trace = web.trace.unwrap();
        assert_eq!((trace.len(), trace.end()), (6, Duration::from_secs(3)));
        let (one, two) = (number("10.0.0.1"), number("10.0.0.2"));
        let ms = Duration::from_millis;
        let half = Duration::from_micros(1_000_500);
        let calls = [
            (ms(0), one),
            (ms(1_000), one),
            (half, two),
            (ms(2_000), two),
            (ms(2_500), two),
            (ms(3_000), two),
        ];
        assert_eq!(trace, Trace::new(calls));
    }
}
