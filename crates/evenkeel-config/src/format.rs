//! Text with names in braces: parsed once when the configuration is read, rendered for each request.
//!
//! This file never knows what a name stands for.

use std::fmt;

use crate::suggest::closest;

/// Text with names in braces: `https://{host}{path}`. `{{` and `}}` stand for the braces themselves.
///
/// Rendering is the caller's: it walks [`parts`](Format::parts), so nothing is parsed while requests are served.
#[derive(Clone, PartialEq, Eq)]
pub struct Format {
    text: Box<str>,
    parts: Box<[FormatPart]>,
}

/// A piece of a [`Format`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormatPart {
    /// Text, as it is.
    Text(Box<str>),
    /// A name, without its braces, to be replaced by what it stands for.
    Name(Box<str>),
}

/// Why a text is not a format.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatError {
    /// A name that is not among the allowed ones.
    UnknownName {
        /// The name, without braces.
        name: String,
        /// The names that may be used.
        allowed: Vec<String>,
        /// The allowed name that looks most like it.
        suggestion: Option<String>,
    },
    /// A `{` without its `}`.
    Unclosed,
    /// A `}` without its `{`; the brace itself is written `}}`.
    Unopened,
}

// === impl Format ===

impl Format {
    /// Reads a format that may use the names in `allowed`.
    ///
    /// # Errors
    /// When a brace is not closed or a name is not allowed.
    pub fn parse(text: &str, allowed: &[&str]) -> Result<Self, FormatError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            literal.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else {
                let after = from.strip_prefix('{').ok_or(FormatError::Unopened)?;
                let (name, after) = after.split_once('}').ok_or(FormatError::Unclosed)?;
                if !literal.is_empty() {
                    parts.push(FormatPart::Text(std::mem::take(&mut literal).into()));
                }
                parts.push(FormatPart::name(name, allowed)?);
                rest = after;
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(FormatPart::Text(literal.into()));
        }
        Ok(Self { text: text.into(), parts: parts.into() })
    }

    /// The pieces, in order.
    pub fn parts(&self) -> &[FormatPart] {
        &self.parts
    }

    /// The format as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Format({:?})", self.text)
    }
}

// === impl FormatPart ===

impl FormatPart {
    fn name(name: &str, allowed: &[&str]) -> Result<Self, FormatError> {
        if allowed.contains(&name) {
            return Ok(Self::Name(name.into()));
        }
        Err(FormatError::UnknownName {
            name: name.to_owned(),
            allowed: allowed.iter().map(|&known| known.to_owned()).collect(),
            suggestion: closest(name, allowed.iter().copied()).map(str::to_owned),
        })
    }
}

// === impl FormatError ===

impl FormatError {
    /// What was probably meant, with its braces.
    pub fn suggestion(&self) -> Option<String> {
        match self {
            Self::UnknownName { suggestion: Some(name), .. } => Some(format!("{{{name}}}")),
            _ => None,
        }
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownName { name, allowed, .. } => {
                write!(f, "has an unknown name {{{name}}}: expected ")?;
                for (index, known) in allowed.iter().enumerate() {
                    let separator = if index == 0 {
                        ""
                    } else if index + 1 == allowed.len() {
                        " or "
                    } else {
                        ", "
                    };
                    write!(f, "{separator}{{{known}}}")?;
                }
                Ok(())
            }
            Self::Unclosed => {
                f.write_str("has a \"{\" without its \"}\": expected {name}, or {{ for the brace itself")
            }
            Self::Unopened => {
                f.write_str("has a \"}\" without its \"{\": expected {name}, or }} for the brace itself")
            }
        }
    }
}

impl std::error::Error for FormatError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_text_and_names() {
        let format = Format::parse("a{{b}}{host}{path}!", &["path", "host"]).unwrap();
        let expected = [
            FormatPart::Text("a{b}".into()),
            FormatPart::Name("host".into()),
            FormatPart::Name("path".into()),
            FormatPart::Text("!".into()),
        ];
        assert_eq!(format.parts(), expected);
        assert_eq!(format.as_str(), "a{{b}}{host}{path}!");
        assert!(Format::parse("", &[]).unwrap().parts().is_empty());
    }

    #[test]
    fn what_is_no_format_is_refused() {
        assert_eq!(Format::parse("{host", &["host"]), Err(FormatError::Unclosed));
        assert_eq!(Format::parse("host}", &["host"]), Err(FormatError::Unopened));
        let error = Format::parse("{hots}", &["host", "path"]).unwrap_err();
        assert_eq!(error.suggestion().as_deref(), Some("{host}"));
        assert_eq!(error.to_string(), "has an unknown name {hots}: expected {host} or {path}");
    }
}
