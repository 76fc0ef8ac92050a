//! One filter: its kind, and parameters that only the kind's owner can read.
//!
//! This file knows no kind of filter: the registry is a floor above.

use std::fmt;

use serde::de::DeserializeOwned;

use crate::suggest::closest;
use crate::yaml::{Kind, Node, Path, any_of, from_node};
use crate::{Diagnostic, ExtensionValue, Location};

/// A filter of a route or a listener, or one that several of them share, written as a map of one key: `kind: params`.
///
/// Kinds belong to a registry in an upper crate, which reads the parameters with [`Params::parse`] and turns what is
/// wrong with them into a [`Diagnostic`] with [`FilterSpec::error`] or [`FilterSpec::unknown_kind`].
#[derive(Clone)]
pub struct FilterSpec {
    kind: String,
    /// Its name, if routes and listeners share it.
    name: Option<String>,
    /// Where the kind is written.
    place: Option<Location>,
    /// The way to the step: `routes[0].filters[1]`.
    path: Path,
    params: Params,
    /// The filter itself, if a program passed it as a value. It has no parameters then.
    value: Option<ExtensionValue>,
}

/// The parameters of a filter, as written.
#[derive(Clone)]
pub struct Params {
    node: Node,
}

/// Why parameters were refused. Becomes a [`Diagnostic`] with [`FilterSpec::error`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParamError {
    /// The path of keys within the parameters; empty for the parameters as a whole.
    pub path: String,
    /// The value that was refused.
    pub value: Option<String>,
    /// What is wrong and what was expected; follows the value.
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
    /// Where in the file.
    pub place: Option<Location>,
}

/// Kinds that a later version will have.
const LATER: [&str; 2] = ["mirror", "buffer"];

// === impl FilterSpec ===

/// Equal when they mean the same, wherever they are written.
impl PartialEq for FilterSpec {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.name == other.name
            && self.params == other.params
            && self.value == other.value
    }
}

impl FilterSpec {
    /// Which filter it is: the name that a registry knows it by.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Its name in the top-level `filters`, if it is one of those: all routes and listeners that use it share one filter.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Its parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The filter itself, if a program passed it as a value.
    pub fn value(&self) -> Option<&ExtensionValue> {
        self.value.as_ref()
    }

    /// The diagnostic for parameters that were refused.
    #[must_use]
    pub fn error(&self, error: ParamError) -> Diagnostic {
        let path = self.path.key(&self.kind).to_string();
        let path = match error.path.as_str() {
            "" => path,
            inner if inner.starts_with('[') => format!("{path}{inner}"),
            inner => format!("{path}.{inner}"),
        };
        Diagnostic {
            place: error.place.or_else(|| self.place.clone()),
            path,
            value: error.value,
            message: error.message,
            suggestion: error.suggestion,
        }
    }

    /// The diagnostic for a kind that is not among `known`.
    #[must_use]
    pub fn unknown_kind(&self, known: &[&str]) -> Diagnostic {
        let message = match LATER.contains(&self.kind.as_str()) {
            true => "is not supported yet: remove it".to_owned(),
            false => format!("is not a filter: expected {}", any_of(known)),
        };
        Diagnostic::new(self.path.to_string(), message)
            .value(&*self.kind)
            .at(self.place.clone())
            .suggestion(closest(&self.kind, known.iter().copied()))
    }

    /// The same filter under a name.
    pub(crate) fn named(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    /// The same step with the filter itself.
    pub(crate) fn with_value(self, value: Option<ExtensionValue>) -> Self {
        Self { value, ..self }
    }

    /// The step that is written at a node; `None` unless it is a map of one key.
    pub(crate) fn from_node(node: &Node, path: Path) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else { return None };
        let [entry] = &entries[..] else { return None };
        Some(Self {
            kind: entry.key.clone(),
            name: None,
            place: entry.place.clone(),
            path,
            params: Params { node: entry.value.clone() },
            value: None,
        })
    }
}

impl fmt::Debug for FilterSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FilterSpec({}: {:?})", self.kind, self.params)
    }
}

// === impl Params ===

impl PartialEq for Params {
    fn eq(&self, other: &Self) -> bool {
        self.node.means(&other.node)
    }
}

impl Params {
    /// Reads the parameters into a type: `String` for `strip_prefix: /v1`, a struct (with `deny_unknown_fields`) for a map.
    ///
    /// # Errors
    /// What is wrong, with the path within the parameters, and the place in the file.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ParamError> {
        from_node(&self.node).map_err(|problem| {
            let Diagnostic { place, path, value, message, suggestion } = problem.into_diagnostic();
            ParamError { path, value, message, suggestion, place }
        })
    }

    /// An error about the value at `path` within these parameters (`""`, `set`, `set.x-proxy`, `remove[1]`), for what
    /// types cannot say: the message becomes `"x y" is not valid: expected a field name`.
    #[must_use]
    pub fn error(&self, path: &str, expected: impl fmt::Display) -> ParamError {
        let way = Path::parse(path);
        let value = match self.node.find(&way).map(|node| &node.kind) {
            Some(Kind::Scalar { text, .. }) => Some(text.clone()),
            _ => None,
        };
        let place = self.node.find(&way).and_then(|node| node.place.as_ref());
        let place = place.or_else(|| self.node.place_of(&way)).or(self.node.place.as_ref()).cloned();
        let message = format!("is not valid: expected {expected}");
        ParamError { path: path.to_owned(), value, message, suggestion: None, place }
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.node.to_json())
    }
}

// === impl ParamError ===

impl ParamError {
    /// Without the value, which is a secret.
    #[must_use]
    pub fn without_value(mut self) -> Self {
        self.value = None;
        self
    }

    /// With what was probably meant.
    #[must_use]
    pub fn suggestion(mut self, suggestion: Option<impl Into<String>>) -> Self {
        self.suggestion = suggestion.map(Into::into);
        self
    }
}

impl fmt::Display for ParamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut diagnostic =
            Diagnostic::new(&*self.path, &*self.message).suggestion(self.suggestion.as_deref());
        diagnostic.value.clone_from(&self.value);
        diagnostic.place.clone_from(&self.place);
        diagnostic.fmt(f)
    }
}

impl std::error::Error for ParamError {}
