//! What the program says of itself at its admin address, and the kernel of it. Knows nothing of the load.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::failure::Failure;
use crate::process::Running;

/// The program, and where it answers its administrator.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    pub(crate) running: &'a Running,
    pub(crate) admin: u16,
}

/// What it says at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sight {
    /// Finished requests.
    pub(crate) requests: u64,
    /// Connections of clients.
    pub(crate) open: u64,
    /// Attempts that backends are busy with, as the metrics have it.
    pub(crate) in_flight: u64,
    /// The same as `/status` has it.
    pub(crate) status_in_flight: u64,
    /// The clients' connections as `/status` has it.
    pub(crate) status_open: u64,
}

/// How many looks at memory make one figure.
const LOOKS: u32 = 9;

// === impl Watch ===

impl Watch<'_> {
    /// Looks once.
    pub(crate) fn sight(&self) -> Result<Sight, Failure> {
        let metrics = self.get("/metrics")?;
        let status: serde_json::Value = serde_json::from_str(&self.get("/status")?)
            .map_err(|e| Failure::new(format!("/status is no JSON: {e}")))?;
        Ok(Sight {
            requests: sum(&metrics, "evenkeel_requests_total")?,
            open: sum(&metrics, "evenkeel_connections_open")?,
            in_flight: sum(&metrics, "evenkeel_backend_in_flight")?,
            status_in_flight: total(&status, "in_flight"),
            status_open: total(&status, "connections_open"),
        })
    }

    /// Resident memory in KiB: the middle of several looks over about two seconds.
    pub(crate) fn memory(&self) -> Result<u64, Failure> {
        let mut looks = Vec::new();
        for _ in 0..LOOKS {
            looks.push(self.running.memory()?);
            std::thread::sleep(Duration::from_millis(200));
        }
        looks.sort_unstable();
        looks.get(looks.len() / 2).copied().ok_or_else(|| Failure::new("no look at memory"))
    }

    fn get(&self, path: &str) -> Result<String, Failure> {
        let failure = |e: std::io::Error| Failure::new(format!("cannot get {path}: {e}"));
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).map_err(failure)?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(failure)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n").map_err(failure)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(failure)?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
            _ => Err(Failure::new(format!("{path} answered {:?}", answer.lines().next()))),
        }
    }
}

/// The sum of a family's samples. A family that is not there is a failure, not a zero.
fn sum(metrics: &str, family: &str) -> Result<u64, Failure> {
    let samples = metrics.lines().filter(|line| {
        line.strip_prefix(family).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
    });
    let values: Vec<u64> =
        samples.filter_map(|line| line.rsplit_once(' ').and_then(|(_, value)| value.parse().ok())).collect();
    if values.is_empty() {
        return Err(Failure::new(format!("/metrics has no {family}")));
    }
    Ok(values.iter().sum())
}

/// The sum of all numbers of this name, however deep.
fn total(value: &serde_json::Value, name: &str) -> u64 {
    match value {
        serde_json::Value::Array(items) => items.iter().map(|item| total(item, name)).sum(),
        serde_json::Value::Object(fields) => fields
            .iter()
            .map(
                |(key, value)| {
                    if key == name { value.as_u64().unwrap_or_default() } else { total(value, name) }
                },
            )
            .sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_family_are_added_up() {
        let page = "# HELP a_total x\na_total{r=\"a b\"} 3\na_total{r=\"\"} 4\na_total_more 9\nb 5\n";
        assert_eq!(sum(page, "a_total").unwrap(), 7);
        assert_eq!(sum(page, "b").unwrap(), 5);
        assert!(sum(page, "c").is_err());
    }

    #[test]
    fn numbers_are_found_at_any_depth() {
        let status =
            serde_json::json!({ "u": [{ "b": [{ "in_flight": 2 }, { "in_flight": 3 }] }], "in_flight_": 9 });
        assert_eq!(total(&status, "in_flight"), 5);
    }
}
