//! Where requests without TLS are redirected to.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::Refused;

/// The port of HTTPS, or none for no redirect: `true` is 443.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HttpsRedirect(pub(crate) Option<u16>);

/// The port of HTTPS in URLs without a port.
const HTTPS: u16 = 443;

// === impl HttpsRedirect ===

impl FromStr for HttpsRedirect {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        match text {
            "true" => Ok(Self(Some(HTTPS))),
            "false" => Ok(Self(None)),
            text => match text.parse::<u16>() {
                Ok(port @ 1..) => Ok(Self(Some(port))),
                _ => Err(Refused::new("is not a port: expected true, false, or the port of HTTPS like 8443")),
            },
        }
    }
}

impl fmt::Display for HttpsRedirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("false"),
            Some(HTTPS) => f.write_str("true"),
            Some(port) => port.fmt(f),
        }
    }
}

impl JsonSchema for HttpsRedirect {
    fn schema_name() -> Cow<'static, str> {
        "https_redirect".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Whether to redirect to HTTPS: true for port 443, another port, or false.",
            "type": ["boolean", "integer", "string"],
            "minimum": 1,
            "maximum": 65535,
            "pattern": r"^(true|false|[1-9][0-9]*)$|\$\{",
            "examples": [true, 8443],
        })
    }
}
