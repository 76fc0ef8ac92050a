//! Shares of a whole.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::Refused;

/// A share of a whole: `20%`, `0.5%`. Held as a fraction, from 0 to 1 if it comes from text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Percent(pub(crate) f64);

/// The fraction that a number of hundredths is: 99.9 is 0.999. `None` unless it is a plain decimal number.
pub(crate) fn hundredths(number: &str) -> Option<f64> {
    const LONGEST: usize = 20;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if number.len() > LONGEST || !digits(whole) || !digits(fraction) {
        return None;
    }
    // The exponent moves the point before anything is rounded.
    format!("{number}e-2").parse().ok()
}

/// The number of hundredths that gives this fraction, as short as can be.
pub(crate) fn in_hundredths(fraction: f64) -> String {
    let written = |decimals: usize| format!("{:.decimals$}", fraction * 100.0);
    (0..17).map(written).find(|text| hundredths(text) == Some(fraction)).unwrap_or_else(|| written(2))
}

// === impl Percent ===

impl FromStr for Percent {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let Some(fraction) = text.strip_suffix('%').and_then(|number| hundredths(number.trim_end())) else {
            let mut refused = Refused::new("is not a percentage: expected one like 20% or 0.5%");
            refused.suggestion = corrected(text);
            return Err(refused);
        };
        if fraction > 1.0 {
            return Err(Refused::new("is out of range: expected 0% to 100%"));
        }
        Ok(Self(fraction))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", in_hundredths(self.0))
    }
}

/// What was probably meant by `20` or `0.2`.
fn corrected(text: &str) -> Option<String> {
    let fraction = hundredths(text)?;
    match text.starts_with("0.") {
        true => Some(Percent(text.parse().ok()?).to_string()),
        false if fraction <= 1.0 => Some(format!("{text}%")),
        false => None,
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "percentage".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A share of a whole, from 0% to 100%.",
            "type": "string",
            "pattern": r"^[0-9]+(\.[0-9]+)?\s*%$|\$\{",
            "examples": ["20%", "0.5%"],
        })
    }
}
