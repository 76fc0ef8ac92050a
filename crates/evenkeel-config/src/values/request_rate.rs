//! Requests over time.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;

use evenkeel_core::limit::Rate;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Refused;
use crate::yaml::refuse;

/// A number of requests in a period: `100/s`, `5000/h`, `10/5m`. Filters use it in their parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRate(pub Rate);

/// A number of requests in a period, as people write it: `100/s`, `5000/h`, `10/5m`.
///
/// # Errors
/// What the text is not, and what was expected, to follow the text itself.
pub fn parse_rate(text: &str) -> Result<Rate, String> {
    parsed(text).map_err(|refused| refused.message)
}

fn parsed(text: &str) -> Result<Rate, Refused> {
    let refused = || Refused {
        message: "is not a rate: expected requests in a period, like 100/s, 5000/h or 10/5m".to_owned(),
        suggestion: corrected(text),
    };
    let (count, period) = text.split_once('/').ok_or_else(refused)?;
    let count = count.trim().parse::<NonZeroU32>().map_err(|_| refused())?;
    let period = period.trim();
    let one = format!("1{period}");
    let period = if period.starts_with(|c: char| c.is_ascii_digit()) { period } else { &one };
    let period = period.parse::<super::Duration>().map_err(|_| refused())?.0;
    Rate::new(count, period).ok_or_else(|| {
        let most = Rate::MAX_PER_SECOND;
        Refused::new(format!("is out of range: expected at most {most}/s, in a period of at most 1d"))
    })
}

/// What was probably meant by `100`, `100r/s` or `10/min`.
fn corrected(text: &str) -> Option<String> {
    let (count, period) = text.split_once('/').unwrap_or((text, "s"));
    let digits = count.trim().trim_end_matches(|c: char| !c.is_ascii_digit());
    let count = digits.parse::<NonZeroU32>().ok()?;
    let unit = match period.trim().to_lowercase().as_str() {
        "s" | "sec" | "second" => "s",
        "m" | "min" | "minute" => "m",
        "h" | "hr" | "hour" => "h",
        "d" | "day" => "d",
        _ => return None,
    };
    Some(format!("{count}/{unit}"))
}

// === impl RequestRate ===

impl fmt::Display for RequestRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for RequestRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = RequestRate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rate, like 100/s or 5000/h")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RequestRate, E> {
                parsed(text).map(RequestRate).map_err(|refused| refuse(refused.message, refused.suggestion))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl Serialize for RequestRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for RequestRate {
    fn schema_name() -> Cow<'static, str> {
        "rate".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\s*[0-9]+\s*/\s*([0-9]+(\.[0-9]+)?\s*)?(ms|s|m|h|d)\s*$|\$\{",
            "examples": ["100/s", "5000/h", "10/5m"],
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rate_is_a_number_in_a_period() {
        for (text, count, seconds, written) in [
            ("100/s", 100, 1, "100/s"),
            ("5000/h", 5000, 3600, "5000/h"),
            (" 10 / 5m ", 10, 300, "10/5m"),
            ("1/d", 1, 86_400, "1/d"),
            ("90/90s", 90, 90, "90/90s"),
            ("1000000/s", 1_000_000, 1, "1000000/s"),
        ] {
            let rate = parse_rate(text).unwrap();
            assert_eq!((rate.count().get(), rate.period()), (count, Duration::from_secs(seconds)), "{text}");
            assert_eq!(RequestRate(rate).to_string(), written);
        }
        for (text, suggestion) in [
            ("100", Some("100/s")),
            ("100r/s", Some("100/s")),
            ("10/min", Some("10/m")),
            ("0/s", None),
            ("-1/s", None),
            ("fast", None),
            ("1/week", None),
        ] {
            let Err(refused) = parsed(text) else { panic!("{text} is taken") };
            assert_eq!(refused.suggestion.as_deref(), suggestion, "{text}");
        }
        for text in ["1000001/s", "1/2d", "2000/1ms"] {
            assert!(parse_rate(text).unwrap_err().starts_with("is out of range"), "{text}");
        }
    }
}
