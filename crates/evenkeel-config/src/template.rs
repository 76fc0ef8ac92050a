//! Text with names in braces: parsed once when the configuration is read, rendered for each request.
//!
//! This file never knows what a name stands for.

use std::fmt;

use crate::suggest::closest;

/// Text with names in braces: `https://{host}{path}`. `{{` and `}}` stand for the braces themselves.
///
/// Rendering is the caller's: it walks [`parts`](Template::parts), so nothing is parsed while requests are served.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    parts: Box<[Part]>,
}

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text, as it is.
    Text(Box<str>),
    /// A name, without its braces, to be replaced by what it stands for.
    Name(Box<str>),
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateError {
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

// === impl Template ===

impl Template {
    /// Reads a template that may use the names in `allowed`.
    ///
    /// # Errors
    /// When a brace is not closed or a name is not allowed.
    pub fn parse(text: &str, allowed: &[&str]) -> Result<Self, TemplateError> {
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
                let after = from.strip_prefix('{').ok_or(TemplateError::Unopened)?;
                let (name, after) = after.split_once('}').ok_or(TemplateError::Unclosed)?;
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal).into()));
                }
                parts.push(Part::name(name, allowed)?);
                rest = after;
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Self { text: text.into(), parts: parts.into() })
    }

    /// The pieces, in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.text)
    }
}

// === impl Part ===

impl Part {
    fn name(name: &str, allowed: &[&str]) -> Result<Self, TemplateError> {
        if allowed.contains(&name) {
            return Ok(Self::Name(name.into()));
        }
        Err(TemplateError::UnknownName {
            name: name.to_owned(),
            allowed: allowed.iter().map(|&known| known.to_owned()).collect(),
            suggestion: closest(name, allowed.iter().copied()).map(str::to_owned),
        })
    }
}

// === impl TemplateError ===

impl TemplateError {
    /// What was probably meant, with its braces.
    pub fn suggestion(&self) -> Option<String> {
        match self {
            Self::UnknownName { suggestion: Some(name), .. } => Some(format!("{{{name}}}")),
            _ => None,
        }
    }
}

impl fmt::Display for TemplateError {
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

impl std::error::Error for TemplateError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_text_and_names() {
        let template = Template::parse("a{{b}}{host}{path}!", &["path", "host"]).unwrap();
        let expected = [
            Part::Text("a{b}".into()),
            Part::Name("host".into()),
            Part::Name("path".into()),
            Part::Text("!".into()),
        ];
        assert_eq!(template.parts(), expected);
        assert_eq!(template.as_str(), "a{{b}}{host}{path}!");
        assert!(Template::parse("", &[]).unwrap().parts().is_empty());
    }

    #[test]
    fn what_is_no_template_is_refused() {
        assert_eq!(Template::parse("{host", &["host"]), Err(TemplateError::Unclosed));
        assert_eq!(Template::parse("host}", &["host"]), Err(TemplateError::Unopened));
        let error = Template::parse("{hots}", &["host", "path"]).unwrap_err();
        assert_eq!(error.suggestion().as_deref(), Some("{host}"));
        assert_eq!(error.to_string(), "has an unknown name {hots}: expected {host} or {path}");
    }
}
