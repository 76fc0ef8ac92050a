//! Load as a backend reports it: ORCA's text and JSON forms, or a JSON object of the two numbers.
//!
//! ORCA (Open Request Cost Aggregation, `xds.data.orca.v3.OrcaLoadReport`) has no field for requests in flight or for
//! latency, so both are named metrics: `rif` and `latency_ms`. In the text form they are `named_metrics.rif` and
//! `named_metrics.latency_ms`, in the JSON form they are members of `named_metrics`. Without that prefix they are
//! taken as well. What else is reported is left alone.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Load;

/// Longest latency that is believed.
const LONGEST: f64 = 24.0 * 60.0 * 60.0 * 1000.0;

/// A report, as it came.
enum Report<'a> {
    Text(&'a str),
    Json(Map<String, Value>),
}

/// Reads a report; what is wrong with it otherwise.
pub(super) fn read(report: &[u8]) -> Result<Load, &'static str> {
    let report = Report::parse(report)?;
    let in_flight = report.number("rif").ok_or("no `rif`")?;
    let latency = report.number("latency_ms").ok_or("no `latency_ms`")?;
    if !(0.0..=f64::from(u32::MAX)).contains(&in_flight) {
        return Err("`rif` is not a number of requests");
    }
    if !(0.0..=LONGEST).contains(&latency) {
        return Err("`latency_ms` is not a latency");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "its range was looked at")]
    let in_flight = in_flight.round() as u32;
    Ok(Load { in_flight, latency: Duration::from_secs_f64(latency / 1000.0) })
}

// === impl Report ===

impl<'a> Report<'a> {
    fn parse(report: &'a [u8]) -> Result<Self, &'static str> {
        let report = std::str::from_utf8(report).map_err(|_| "not text")?.trim();
        if let Some(text) = report.strip_prefix("TEXT ") {
            return Ok(Self::Text(text));
        }
        let json = report.strip_prefix("JSON ").unwrap_or(report);
        serde_json::from_str(json).map(Self::Json).map_err(|_| "neither TEXT nor JSON")
    }

    fn number(&self, name: &str) -> Option<f64> {
        match self {
            Self::Text(text) => in_text(text, name),
            Self::Json(object) => in_json(object, name),
        }
    }
}

/// `cpu_utilization=0.3,named_metrics.rif=3`.
fn in_text(text: &str, name: &str) -> Option<f64> {
    let mut fields = text.split(',').filter_map(|field| field.split_once('='));
    let (_, value) = fields.find(|(key, _)| {
        let key = key.trim();
        key.strip_prefix("named_metrics.").unwrap_or(key) == name
    })?;
    value.trim().parse().ok()
}

/// `{"cpu_utilization": 0.3, "named_metrics": {"rif": 3}}`; protobuf's JSON may also call that member `namedMetrics`.
fn in_json(object: &Map<String, Value>, name: &str) -> Option<f64> {
    let named = object.get("named_metrics").or_else(|| object.get("namedMetrics"));
    named.and_then(|named| named.get(name)).or_else(|| object.get(name))?.as_f64()
}
