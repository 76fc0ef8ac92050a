//! Bytes over time.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Refused, Size};

/// A number of bytes for each second, at least one: `1KiB/s`; or `off` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRate(pub Option<u64>);

// === impl ByteRate ===

impl FromStr for ByteRate {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        if matches!(text, "off" | "false") {
            return Ok(Self(None));
        }
        let size = text.strip_suffix("/s").map(|size| size.trim_end().parse::<Size>());
        match size {
            Some(Ok(Size(bytes @ 1..))) => Ok(Self(Some(bytes))),
            _ => {
                let mut refused =
                    Refused::new("is not a rate: expected bytes in a second, like 500B/s or 1KiB/s, or off");
                let size = text.trim_end().parse::<Size>().ok().filter(|size| size.0 > 0);
                refused.suggestion = size.map(|size| Self(Some(size.0)).to_string());
                Err(refused)
            }
        }
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => {
                let size = Size(bytes).to_string();
                let unit = if size.ends_with(|c: char| c.is_ascii_digit()) { "B" } else { "" };
                write!(f, "{size}{unit}/s")
            }
            None => f.write_str("off"),
        }
    }
}

impl JsonSchema for ByteRate {
    fn schema_name() -> Cow<'static, str> {
        "byte_rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes in a second, or off for none.",
            "type": ["string", "boolean"],
            "not": { "const": true },
            "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)?\s*/s\s*$|^off$|\$\{",
            "examples": ["1KiB/s", "off"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::ByteRate;

    #[test]
    fn a_rate_is_a_size_in_a_second() {
        for (text, bytes, written) in [
            ("1KiB/s", Some(1024), "1KiB/s"),
            ("500B/s", Some(500), "500B/s"),
            ("500/s", Some(500), "500B/s"),
            ("2 MB /s", Some(2_000_000), "2MB/s"),
            ("off", None, "off"),
        ] {
            let rate = text.parse::<ByteRate>().unwrap_or_else(|_| panic!("{text}"));
            assert_eq!((rate.0, rate.to_string().as_str()), (bytes, written));
        }
        for (text, suggestion) in [
            ("1KiB", Some("1KiB/s")),
            ("100", Some("100B/s")),
            ("0/s", None),
            ("1KiB/m", None),
            ("fast", None),
        ] {
            let Err(refused) = text.parse::<ByteRate>() else { panic!("{text} is taken") };
            assert_eq!(refused.suggestion.as_deref(), suggestion, "{text}");
        }
    }
}
