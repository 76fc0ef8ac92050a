//! A duration among the parameters of a filter.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use evenkeel_config::parse_duration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration as people write it: `500ms`, `60s`, `1h30m`. For the parameters of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationParam(pub Duration);

// === impl DurationParam ===

impl<'de> Deserialize<'de> for DurationParam {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = DurationParam;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration, like 500ms, 60s or 5m")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<DurationParam, E> {
                parse_duration(text).map(DurationParam).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// As the reference shows a default.
impl Serialize for DurationParam {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = self.0.as_millis();
        let units = [("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
        match units.into_iter().find(|(_, scale)| millis > 0 && millis.is_multiple_of(*scale)) {
            Some((unit, scale)) => serializer.collect_str(&format_args!("{}{unit}", millis / scale)),
            None => serializer.collect_str(&format_args!("{millis}ms")),
        }
    }
}

impl JsonSchema for DurationParam {
    fn schema_name() -> Cow<'static, str> {
        "duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\s*([0-9]+(\.[0-9]+)?\s*(us|ms|s|m|h|d)\s*)+$|\$\{",
            "examples": ["500ms", "60s", "1h30m"],
        })
    }
}
