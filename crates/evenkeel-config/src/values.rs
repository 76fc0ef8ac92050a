//! Values as people write them: durations, sizes, shares. Each reads from text, and says what it expected otherwise.
//!
//! This file never knows where a value stands or what it steers.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::yaml::refuse;

mod mode;
mod percent;
mod rate;
mod redirect;
mod request_rate;

pub(crate) use mode::FileMode;
pub(crate) use percent::{Percent, hundredths, in_hundredths};
pub use rate::ByteRate;
pub(crate) use redirect::HttpsRedirect;
pub use request_rate::{RequestRate, parse_rate};

/// A span of time: `500ms`, `5s`, `2m`, `1h30m`. Units: `us`, `ms`, `s`, `m`, `h`, `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Duration(pub(crate) std::time::Duration);

/// A number of bytes: `32KiB`, `10MB`, `1GiB`, or a bare number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// A size, or `off` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizeLimit(pub(crate) Option<u64>);

/// A relative weight: `3`, or `95%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weight(pub(crate) u32);

/// What no log and no message may show.
#[derive(Clone, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Secret(pub(crate) String);

/// Why a text is not a value of its type.
pub struct Refused {
    message: String,
    suggestion: Option<String>,
}

const TIME_UNITS: &[(&str, u128)] = &[
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

// === impl Duration ===

impl Duration {
    /// The longest that can be written; no timer overflows at it.
    pub(crate) const MAX: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);
}

impl FromStr for Duration {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let refused = || Refused {
            message: "is not a duration: expected a number with a unit, like 500ms, 60s or 5m".to_owned(),
            suggestion: corrected_duration(text),
        };
        let mut nanos = 0_u128;
        let mut rest = text;
        if rest.is_empty() {
            return Err(refused());
        }
        while !rest.is_empty() {
            let (number, unit, after) = number_and_unit(rest).ok_or_else(refused)?;
            let (_, scale) = TIME_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refused)?;
            nanos = nanos.saturating_add(scaled(number, *scale).ok_or_else(refused)?);
            rest = after;
        }
        if nanos > Self::MAX.as_nanos() {
            return Err(Refused::new("is too long: expected at most 365d"));
        }
        let nanos = u64::try_from(nanos).map_err(|_| refused())?;
        Ok(Self(std::time::Duration::from_nanos(nanos)))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        let fits = |(_, scale): &&(&str, u128)| nanos.is_multiple_of(*scale);
        match TIME_UNITS.iter().rev().find(fits) {
            Some((unit, scale)) => write!(f, "{}{unit}", nanos / scale),
            None => write!(f, "{}us", nanos / 1_000),
        }
    }
}

/// A span of time as people write it: `500ms`, `5s`, `1h30m`. At most 365 days.
///
/// # Errors
/// What the text is not, and what was expected, to follow the text itself.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    text.parse::<Duration>().map(|duration| duration.0).map_err(|refused| refused.message)
}

/// The first number of a text, its unit, and what follows; spaces around them skipped.
fn number_and_unit(text: &str) -> Option<(&str, &str, &str)> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let rest = rest.trim_start();
    let end = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    let well_formed = number.starts_with(|c: char| c.is_ascii_digit()) && !number.ends_with('.');
    well_formed.then_some((number, unit, rest.trim()))
}

/// A decimal number times a scale, exactly; `None` if it does not fit or is finer than one.
fn scaled(number: &str, scale: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 9 || fraction.contains('.') {
        return None;
    }
    let power = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? };
    let whole = whole.parse::<u128>().ok()?.checked_mul(scale)?;
    whole.checked_add(fraction.checked_mul(scale)?.checked_div(power)?)
}

/// What was probably meant by `60`, `5 sec` or `10 Minutes`.
fn corrected_duration(text: &str) -> Option<String> {
    let (number, unit, "") = number_and_unit(text)? else { return None };
    let unit = match unit.to_lowercase().as_str() {
        "" | "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => "ms",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hrs" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        _ => return None,
    };
    Some(format!("{number}{unit}"))
}

// === impl Size ===

impl FromStr for Size {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let refused = || Refused {
            message: "is not a size: expected bytes, or a number with a unit, like 32KiB, 10MB or 1GiB"
                .to_owned(),
            suggestion: corrected_size(text),
        };
        let (number, unit, "") = number_and_unit(text).ok_or_else(refused)? else { return Err(refused()) };
        let scale = match unit {
            "" => 1,
            unit => SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refused)?.1,
        };
        let bytes = scaled(number, scale.into()).ok_or_else(refused)?;
        u64::try_from(bytes).map(Self).map_err(|_| Refused::new("is too large: expected less than 16 EiB"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, scale): &&(&str, u64)| self.0 != 0 && self.0.is_multiple_of(*scale) && *scale > 1;
        match SIZE_UNITS.iter().rev().find(fits) {
            Some((unit, scale)) => write!(f, "{}{unit}", self.0 / scale),
            None => self.0.fmt(f),
        }
    }
}

fn corrected_size(text: &str) -> Option<String> {
    let (number, unit, "") = number_and_unit(text)? else { return None };
    let unit = match unit.to_lowercase().as_str() {
        "b" | "byte" | "bytes" => "B",
        "k" | "kib" | "kb" => "KiB",
        "m" | "mib" | "mb" => "MiB",
        "g" | "gib" | "gb" => "GiB",
        _ => return None,
    };
    Some(format!("{number}{unit}"))
}

// === impl SizeLimit ===

impl FromStr for SizeLimit {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        match text {
            "off" | "false" => Ok(Self(None)),
            text => match text.parse::<Size>() {
                Ok(size) => Ok(Self(Some(size.0))),
                Err(mut refused) => {
                    refused.message.push_str(", or off for no limit");
                    Err(refused)
                }
            },
        }
    }
}

impl fmt::Display for SizeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(size) => Size(size).fmt(f),
            None => f.write_str("off"),
        }
    }
}

// === impl Weight ===

impl Weight {
    /// The largest weight that can be written.
    pub(crate) const MAX: u32 = 65_535;
}

impl FromStr for Weight {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let refused =
            || Refused::new(format!("is not a weight: expected a whole number from 0 to {}", Self::MAX));
        let number = text.strip_suffix('%').unwrap_or(text).trim_end();
        match number.parse::<u32>() {
            Ok(weight) if weight <= Self::MAX => Ok(Self(weight)),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl Secret ===

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

// === impl Refused ===

impl Refused {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), suggestion: None }
    }
}

impl From<Refused> for (String, Option<String>) {
    fn from(refused: Refused) -> Self {
        (refused.message, refused.suggestion)
    }
}

/// Reading from text, and writing the same text.
macro_rules! as_text {
    ($($type:ident, $expecting:literal;)*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(|refused: Refused| refuse(refused.message, refused.suggestion))
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

as_text! {
    Duration, "a duration, like 500ms, 60s or 5m";
    Size, "a size, like 32KiB or 10MB";
    SizeLimit, "a size, like 32KiB or 10MB, or off";
    ByteRate, "a rate, like 1KiB/s, or off";
    FileMode, "a file mode in octal digits, like 0660";
    Percent, "a percentage, like 20%";
    Weight, "a weight, a whole number from 0 to 65535";
    HttpsRedirect, "true, false, or a port";
}

// === impl JsonSchema ===

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration: a number with a unit (us, ms, s, m, h, d), or several: 1h30m.",
            "type": "string",
            "pattern": r"^\s*([0-9]+(\.[0-9]+)?\s*(us|ms|s|m|h|d)\s*)+$|\$\{",
            "examples": ["500ms", "60s", "1h30m"],
        })
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes: a number with a unit (B, kB, MB, GB, KiB, MiB, GiB), or without a unit.",
            "type": ["integer", "string"],
            "minimum": 0,
            "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)?\s*$|\$\{",
            "examples": ["32KiB", "10MB", 4096],
        })
    }
}

impl JsonSchema for SizeLimit {
    fn schema_name() -> Cow<'static, str> {
        "size_or_off".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes, or off for no limit.",
            "type": ["integer", "string", "boolean"],
            "minimum": 0,
            "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)?\s*$|^off$|\$\{",
            "not": { "const": true },
            "examples": ["256MiB", "off"],
        })
    }
}

impl JsonSchema for Weight {
    fn schema_name() -> Cow<'static, str> {
        "weight".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A share relative to the others: a whole number, or a percentage.",
            "type": ["integer", "string"],
            "minimum": 0,
            "maximum": Weight::MAX,
            "pattern": r"^[0-9]+\s*%?$|\$\{",
            "examples": [1, "95%"],
        })
    }
}

#[cfg(test)]
mod tests;
