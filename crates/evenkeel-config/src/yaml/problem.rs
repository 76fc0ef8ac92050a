//! What is wrong at one node of a tree: the error type that reading a tree into types ends in.

use std::fmt;

use serde::de::{Error, Expected, Unexpected};

use super::{Found, Hints, Kind, Node, Path, Segment};
use crate::suggest::closest;
use crate::{Diagnostic, Location};

/// One mistake, with the way to it.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Details>);

#[derive(Clone, Debug)]
struct Details {
    path: Path,
    place: Option<Location>,
    value: Option<String>,
    message: String,
    suggestion: Option<String>,
    /// The key that is missing at `path`, if that is what is wrong.
    missing: Option<&'static str>,
    /// The key that is not known at `path`, if that is what is wrong.
    unknown: Option<String>,
    /// What stands where something of another shape must, and what must.
    shape: Option<(Found, String)>,
    /// Whether the place is settled; until then the problem is about the node that is being read.
    placed: bool,
}

/// Refuses a value from within `Deserialize`, where errors are only text. `message` follows the value, as in
/// `is not a duration: expected …`.
pub(crate) fn refuse<E: Error>(message: impl fmt::Display, suggestion: Option<String>) -> E {
    match suggestion {
        Some(suggestion) => E::custom(format_args!("{message}{SEPARATOR}{suggestion}")),
        None => E::custom(message),
    }
}

const SEPARATOR: char = '\u{1f}';

// === impl Problem ===

impl Problem {
    /// Something wrong with the node that is being read.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Details {
            path: Path::default(),
            place: None,
            value: None,
            message: message.into(),
            suggestion: None,
            missing: None,
            unknown: None,
            shape: None,
            placed: false,
        }))
    }

    /// Something wrong with a node of the wrong type.
    pub(crate) fn expected(node: &Node, expected: &dyn fmt::Display) -> Self {
        let expected = plain_words(&expected.to_string());
        let (found, message) = match &node.kind {
            _ if node.is_empty() => (Some(Found::Nothing), format!("has no value: expected {expected}")),
            Kind::Scalar { text, .. } => (Some(Found::Scalar(text.clone())), format!("is not {expected}")),
            Kind::List(_) => (Some(Found::List), format!("is a list: expected {expected}")),
            Kind::Map(_) => (Some(Found::Map), format!("is a map: expected {expected}")),
            Kind::Removed => (None, format!("is missing: expected {expected}")),
        };
        let mut problem = Self::new(message);
        if let (Some(Found::Scalar(text)), "true or false") = (&found, &*expected) {
            problem.0.suggestion = truth(text).map(str::to_owned);
        }
        problem.0.shape = found.map(|found| (found, expected));
        problem.within(node)
    }

    /// Settles that this is about `node`, unless something within it is to blame.
    pub(crate) fn within(mut self, node: &Node) -> Self {
        if !self.0.placed {
            self.0.placed = true;
            self.0.place.clone_from(&node.place);
            if let (Kind::Scalar { text, .. }, false) = (&node.kind, node.is_empty()) {
                self.0.value = Some(text.clone());
            }
        }
        self
    }

    /// Settles that this is about a key.
    pub(crate) fn at_key(mut self, key: &str, place: Option<&Location>) -> Self {
        if !self.0.placed {
            self.0.placed = true;
            self.0.place = place.cloned();
            self.0.path.prepend(Segment::Key(key.to_owned()));
        }
        self
    }

    /// One level up.
    pub(crate) fn under(mut self, segment: Segment) -> Self {
        self.0.path.prepend(segment);
        self
    }

    /// One level up, if this is about something further down.
    pub(crate) fn under_if_placed(self, key: &str) -> Self {
        if self.0.placed { self.under(Segment::Key(key.to_owned())) } else { self }
    }

    /// The way to the mistake.
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// The key that is missing there, if that is the mistake.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        self.0.missing
    }

    /// The key that is not known there, and the one that was probably meant, if that is the mistake.
    pub(crate) fn meant(&self) -> Option<&str> {
        self.0.unknown.as_ref()?;
        let written = || self.0.message.split_once("write ")?.1.split_once(':').map(|(key, _)| key);
        self.0.suggestion.as_deref().or_else(written)
    }

    /// Says more about keys, and about values of the wrong shape.
    pub(crate) fn with_hints(mut self, hints: &Hints) -> Self {
        if self.0.unknown.is_some() {
            if hints.is_later(&self.0.path) && self.0.suggestion.is_none() {
                "is not supported yet: remove it".clone_into(&mut self.0.message);
            }
            if let Some(instead) = hints.instead(&self.0.path) {
                instead.clone_into(&mut self.0.message);
                self.0.suggestion = None;
            }
        }
        if let Some(missing) = self.0.missing
            && let Some((_, expected)) = hints.required.iter().find(|(key, _)| *key == missing)
        {
            self.0.message = format!("is missing: expected {expected}");
        }
        if let Some((found, expected)) = &self.0.shape
            && let Some(remedy) = hints.shape(&self.0.path, found, expected)
        {
            self.0.message = format!("{}: {remedy}", self.0.message);
        }
        self
    }

    /// The message for users.
    pub(crate) fn into_diagnostic(self) -> Diagnostic {
        let details = *self.0;
        let path = match details.missing {
            Some(key) => details.path.key(key),
            None => details.path,
        };
        Diagnostic {
            place: details.place,
            path: path.to_string(),
            value: details.value,
            message: details.message,
            suggestion: details.suggestion,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Problem {}

impl Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        match message.split_once(SEPARATOR) {
            Some((message, suggestion)) => {
                let mut problem = Self::new(message);
                problem.0.suggestion = Some(suggestion.to_owned());
                problem
            }
            None => Self::new(message),
        }
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("is not {}", plain_words(&expected.to_string())))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("is out of range: expected {}", plain_words(&expected.to_string())))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::new(format!("has {length} entries: expected {}", plain_words(&expected.to_string())))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::unknown(variant, expected, "is not known here: expected ")
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let mut problem = match field {
            "<<" => Self::new(
                "unknown key: YAML 1.2 has no merge keys: write the keys themselves here, or use *name for a whole value",
            ),
            "true" if expected.contains(&"on") => Self::new(
                "unknown key: a tool that writes YAML 1.1 has replaced the key on: write \"on\", in quotes if the file goes \
                 through such a tool",
            ),
            "true" | "false" => Self::new(format!(
                "unknown key: a tool that writes YAML 1.1 has replaced the key {}: write {}, in quotes if the file goes through such \
                 a tool",
                if field == "true" { "on, yes or y" } else { "off, no or n" },
                any_of(expected),
            )),
            _ => Self::unknown(field, expected, "unknown key: expected "),
        };
        problem.0.unknown = Some(field.to_owned());
        problem
    }

    fn missing_field(field: &'static str) -> Self {
        let mut problem = Self::new("is missing");
        problem.0.missing = Some(field);
        problem
    }
}

impl Problem {
    fn unknown(word: &str, expected: &[&str], text: &str) -> Self {
        let mut problem = Self::new(format!("{text}{}", any_of(expected)));
        problem.0.suggestion = closest(word, expected.iter().copied()).map(str::to_owned);
        problem
    }
}

/// What YAML 1.1 takes for a truth value, in the one way of YAML 1.2.
fn truth(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "y" | "on" | "true" | "1" => Some("true"),
        "no" | "n" | "off" | "false" | "0" => Some("false"),
        _ => None,
    }
}

/// `a, b or c`.
pub(crate) fn any_of(words: &[&str]) -> String {
    match words.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

/// What serde calls a type, as a person would.
fn plain_words(expected: &str) -> String {
    let range = |most: u64| format!("a whole number from 0 to {most}");
    match expected {
        "u8" => range(u8::MAX.into()),
        "u16" => range(u16::MAX.into()),
        "u32" => range(u32::MAX.into()),
        "u64" | "usize" => "a whole number from 0".to_owned(),
        "a nonzero usize" | "a nonzero u64" | "a nonzero u32" => "a whole number from 1".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" => "text".to_owned(),
        "a sequence" => "a list".to_owned(),
        other if other.starts_with("struct ") => "a map of keys and values".to_owned(),
        other => other.to_owned(),
    }
}
