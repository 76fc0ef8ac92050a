//! Values that stand for other values: `{map.NAME}`.
//!
//! Never knows where its entries come from.

use std::collections::HashMap;
use std::sync::Arc;

use evenkeel_core::route::TextRegex;

use super::{Facts, RequestFacts, Template};

/// A table from the value of a template to another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    name: Box<str>,
    key: Template,
    values: HashMap<Box<[u8]>, Box<[u8]>>,
    default: Box<[u8]>,
    ignore_case: bool,
}

/// What the placeholders of a template can name, besides the request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope<'a> {
    /// What the route asks of the path, if that is an expression: its groups are `{path.1}` or `{path.NAME}`.
    pub path_regex: Option<&'a TextRegex>,
    /// The maps: `{map.NAME}`.
    pub maps: &'a [Arc<Map>],
}

// === impl Map ===

impl Map {
    /// A map of this name from what `key` gives to these values. Of a key that is there twice, the last counts. `default` is
    /// for a key that is not there. With `ignore_case`, upper and lower case of ASCII letters in keys are the same.
    pub fn new(
        name: &str,
        key: Template,
        values: impl IntoIterator<Item = (String, String)>,
        default: &str,
        ignore_case: bool,
    ) -> Self {
        let folded = |mut key: String| {
            if ignore_case {
                key.make_ascii_lowercase();
            }
            key.into_bytes().into()
        };
        let values = values.into_iter().map(|(key, value)| (folded(key), value.into_bytes().into()));
        Self {
            name: name.into(),
            key,
            values: values.collect(),
            default: default.as_bytes().into(),
            ignore_case,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value for a request.
    ///
    /// # Cost
    /// The key is rendered and looked up by its hash.
    pub(super) fn value(&self, request: &RequestFacts<'_>) -> &[u8] {
        let mut key = Vec::new();
        self.key.render(Facts { request: Some(request), response: None }, &mut key);
        if self.ignore_case {
            key.make_ascii_lowercase();
        }
        self.values.get(&*key).unwrap_or(&self.default)
    }
}
