//! The mode of a file.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::Refused;

/// Who may read, write and execute a file, in octal digits as chmod takes them: `0660`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileMode(pub(crate) u32);

// === impl FileMode ===

impl FromStr for FileMode {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let octal = (3..=4).contains(&digits.len()).then(|| u32::from_str_radix(digits, 8).ok()).flatten();
        match octal {
            Some(mode @ 0..=0o777) if !digits.starts_with('+') => Ok(Self(mode)),
            _ => Err(Refused::new("is not a file mode: expected three octal digits, like 0660")),
        }
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0{:03o}", self.0)
    }
}

impl JsonSchema for FileMode {
    fn schema_name() -> Cow<'static, str> {
        "file_mode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A file mode in octal digits, as chmod takes it.",
            "type": ["integer", "string"],
            "pattern": r"^(0|0o)?[0-7]{3}$|\$\{",
            "examples": ["0660"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::FileMode;

    #[test]
    fn a_mode_is_octal_whether_or_not_it_begins_with_zero() {
        for (text, mode) in [("0660", 0o660), ("660", 0o660), ("0o600", 0o600), ("0777", 0o777), ("000", 0)] {
            let read = text.parse::<FileMode>().unwrap_or_else(|_| panic!("{text}"));
            assert_eq!(read.0, mode, "{text}");
        }
        assert_eq!(FileMode(0o660).to_string(), "0660");
        for text in ["", "66", "0888", "1777", "rw-rw----", "00660", "+660", "-660"] {
            assert!(text.parse::<FileMode>().is_err(), "{text}");
        }
    }
}
