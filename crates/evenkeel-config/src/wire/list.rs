//! Lists of backends outside of the configuration: as this product writes them, and as Prometheus does.

use schemars::Schema;
use serde::Deserialize;

use super::{Backend, Named, Short};
use crate::values::Weight;

/// A backend of a list, or only its URL.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a URL, or a map of keys and values")]
pub(crate) struct Item {
    pub(crate) url: String,
    #[serde(default = "one")]
    pub(crate) weight: Weight,
    #[serde(default)]
    pub(crate) backup: bool,
    pub(crate) priority: Option<u8>,
    pub(crate) zone: Option<String>,
    #[serde(default)]
    pub(crate) metadata: Named<String>,
}

/// Targets with the same labels: an entry of Prometheus' `file_sd` and `http_sd`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map of targets and labels")]
pub(crate) struct Group {
    pub(crate) targets: Vec<String>,
    #[serde(default)]
    pub(crate) labels: Named<String>,
}

// === impl Item ===

impl Short for Item {
    const EXPECTING: &'static str = Backend::EXPECTING;

    fn from_text(text: &str) -> Result<Self, (String, Option<String>)> {
        let (url, weight) = (text.to_owned(), one());
        Ok(Self { url, weight, backup: false, priority: None, zone: None, metadata: Named::default() })
    }

    fn text_schema() -> Schema {
        Backend::text_schema()
    }
}

fn one() -> Weight {
    Weight(1)
}
