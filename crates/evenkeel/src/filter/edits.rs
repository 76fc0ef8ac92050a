//! The changes that a filter makes to a head. The data path applies them.

use http::{HeaderName, HeaderValue};

/// Changes to a head, in order. Empty edits allocate nothing.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    /// Changes to the fields.
    pub headers: Vec<HeaderEdit>,
    /// The path to send instead of the client's, without a query; requests only. Starts with `/`.
    pub path: Option<String>,
}

/// One change to the fields of a head.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HeaderEdit {
    /// Give the field this one value, replacing all of its values.
    Set(HeaderName, HeaderValue),
    /// Add another value to the field.
    Add(HeaderName, HeaderValue),
    /// Remove the field.
    Remove(HeaderName),
}

impl Edits {
    /// Gives a field one value.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.push(HeaderEdit::Set(name, value));
    }

    /// Adds a value to a field.
    pub fn add(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.push(HeaderEdit::Add(name, value));
    }

    /// Removes a field.
    pub fn remove(&mut self, name: HeaderName) {
        self.headers.push(HeaderEdit::Remove(name));
    }
}

impl HeaderEdit {
    /// Applies the change to a list of fields.
    pub fn apply_to(self, headers: &mut Vec<(HeaderName, HeaderValue)>) {
        match self {
            Self::Add(name, value) => headers.push((name, value)),
            Self::Remove(name) => headers.retain(|(known, _)| *known != name),
            Self::Set(name, value) => {
                headers.retain(|(known, _)| *known != name);
                headers.push((name, value));
            }
        }
    }
}
