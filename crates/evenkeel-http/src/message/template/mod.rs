//! Text with placeholders: compiled when the configuration is read, filled with the values of each request.
//!
//! Never knows where its text goes beyond the [`Escape`] that it was compiled for: that alone decides which bytes of a
//! request can be in the result.

mod escape;
mod facts;
mod location;
mod map;
mod parse;
mod placeholder;

#[cfg(test)]
mod tests;

use std::fmt;

use http::HeaderValue;

pub use escape::Escape;
pub use facts::{Arrival, Facts, RequestFacts, ResponseFacts};
pub use location::{LocationError, check_location};
pub use map::{Map, Scope};
pub use parse::TemplateError;
pub use placeholder::{Phase, Placeholder};

/// Text with placeholders in braces: `https://{host}{path}`, `{header.x-user:-none}`.
///
/// It is compiled once, for one use ([`Escape`]). What a request puts in is escaped for that use, so it can never add a line,
/// a header or another host. The text of the template itself is the operator's, and is not escaped.
#[derive(Clone)]
pub struct Template {
    text: Box<str>,
    escape: Escape,
    parts: Box<[Part]>,
}

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Bytes, as they are.
    Text(Box<[u8]>),
    /// A value, and what stands there if there is none.
    Value(Placeholder, Box<[u8]>),
}

/// Two are equal when they are written the same for the same use.
impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.escape == other.escape && self.parts == other.parts
    }
}

impl Eq for Template {}

// === impl Template ===

impl Template {
    /// Compiles a template for a use.
    ///
    /// # Errors
    /// When a placeholder is unknown, malformed or not known in this phase, and, where a brace has no other use (see
    /// [`Escape::is_strict`]), when a brace is not closed.
    pub fn parse(text: &str, escape: Escape, phase: Phase, scope: Scope<'_>) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        for piece in parse::pieces(text, escape.is_strict())? {
            match piece {
                parse::Piece::Text(text) => literal.extend_from_slice(text.as_bytes()),
                parse::Piece::Value { name, default } => {
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal).into()));
                    }
                    let placeholder = Placeholder::parse(name, phase, scope)?;
                    parts.push(Part::Value(placeholder, default.unwrap_or_default().as_bytes().into()));
                }
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Self { text: text.into(), escape, parts: parts.into() })
    }

    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its text, if it has no placeholders.
    pub fn constant(&self) -> Option<&[u8]> {
        match &*self.parts {
            [] => Some(b""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Its placeholders, in order.
    pub fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Value(placeholder, _) => Some(placeholder),
        })
    }

    /// Whether a placeholder is known only once there is a response.
    pub fn needs_response(&self) -> bool {
        self.placeholders().any(|placeholder| placeholder.phase() == Phase::Response)
    }

    /// Adds the text with the values to `out`. What is not known has its default, or is empty.
    ///
    /// # Cost
    /// Linear in the lengths of the text and the values; a group of the path's expression runs that expression.
    pub fn render(&self, facts: Facts<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Value(placeholder, default) => {
                    let start = out.len();
                    facts.visit(placeholder, &mut |value| self.escape.write(placeholder, value, out));
                    if out.len() == start {
                        out.extend_from_slice(default);
                    }
                }
            }
        }
    }

    /// The text with the values, as text. What is not UTF-8 is replaced.
    pub fn render_text(&self, facts: Facts<'_>) -> String {
        let mut out = Vec::with_capacity(self.text.len() * 2);
        self.render(facts, &mut out);
        String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// The text with the values, as a location. One that begins with a path stays on the host of the request: two slashes at
    /// its start would begin the name of another one, and browsers take a backslash for a slash.
    pub fn location(&self, facts: Facts<'_>) -> Option<HeaderValue> {
        let mut out = Vec::with_capacity(self.text.len() * 2);
        self.render(facts, &mut out);
        if out.first() == Some(&b'/') && !self.text.starts_with("//") {
            let slashes = out.iter().take_while(|byte| matches!(byte, b'/' | b'\\')).count();
            out.drain(1..slashes);
        }
        HeaderValue::from_bytes(&out).ok().filter(|value| !value.is_empty())
    }

    /// The text with the values, as the value of a header. `None` if that is empty: then there should be no such header.
    pub fn header_value(&self, facts: Facts<'_>) -> Option<HeaderValue> {
        if self.escape == Escape::Location {
            return self.location(facts);
        }
        let mut out = Vec::with_capacity(self.text.len() * 2);
        self.render(facts, &mut out);
        let value = out.trim_ascii();
        if value.is_empty() {
            return None;
        }
        HeaderValue::from_bytes(value).ok()
    }

    /// The same template with the values of a request. What is known only once there is a response stays a placeholder. So a
    /// filter can keep it until then.
    #[must_use]
    pub fn with_request(&self, request: &RequestFacts<'_>) -> Self {
        let facts = Facts { request: Some(request), response: None };
        let fixed = |part: &Part| match part {
            Part::Value(placeholder, default) if placeholder.phase() == Phase::Request => {
                let mut text = Vec::new();
                facts.visit(placeholder, &mut |value| self.escape.write(placeholder, value, &mut text));
                Part::Text(if text.is_empty() { default.clone() } else { text.into() })
            }
            part => part.clone(),
        };
        Self { text: self.text.clone(), escape: self.escape, parts: self.parts.iter().map(fixed).collect() }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.text)
    }
}
