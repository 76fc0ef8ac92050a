//! What the program reports at its admin address, and what the kernel reports of it. Knows nothing of the load.

use std::time::Duration;

use xtask::failure::Failure;
use xtask::process::Running;

use crate::http;

/// The program, and the port of its admin address.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    pub(crate) running: &'a Running,
    pub(crate) admin: u16,
}

/// What it reports at one moment.
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
    pub(crate) async fn sight(&self) -> Result<Sight, Failure> {
        let metrics = http::get(self.admin, "/metrics").await?;
        let status: serde_json::Value = serde_json::from_str(&http::get(self.admin, "/status").await?)
            .map_err(|e| Failure::new(format!("/status is not JSON: {e}")))?;
        Ok(Sight {
            requests: sum(&metrics, "evenkeel_requests_total")?,
            open: sum(&metrics, "evenkeel_connections_open")?,
            in_flight: sum(&metrics, "evenkeel_backend_in_flight")?,
            status_in_flight: total(&status, "in_flight"),
            status_open: total(&status, "connections_open"),
        })
    }

    /// Resident memory in KiB: the middle of several looks over about two seconds.
    pub(crate) async fn memory(&self) -> Result<u64, Failure> {
        let mut looks = Vec::new();
        for _ in 0..LOOKS {
            looks.push(self.running.memory()?);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        looks.sort_unstable();
        looks.get(looks.len() / 2).copied().ok_or_else(|| Failure::new("no look at memory"))
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
