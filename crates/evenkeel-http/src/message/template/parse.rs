//! Reads the text of a template: what is text, and what is a name in braces.
//!
//! Never knows what a name stands for.

/// Why a text is not a template. The message follows the text: "has a …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// There is no placeholder of this name.
    #[error("has {{{0}}}, which is not a placeholder")]
    Unknown(String),
    /// The name is of a family, and its second part is wrong.
    #[error("has {{{name}}}: expected {expected}")]
    Malformed {
        /// The name.
        name: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The value is known only once there is a response.
    #[error("has {{{0}}}, which is not known before there is a response: expected another placeholder")]
    TooEarly(String),
    /// The value is a group of an expression that the route does not have.
    #[error("has {{{0}}}: expected match.path_regex in the same route")]
    NoPathRegex(String),
    /// A `{` without its `}`.
    #[error("has a \"{{\" without its \"}}\": expected {{name}}, or {{{{ for the brace itself")]
    Unclosed,
    /// A `}` without its `{`.
    #[error("has a \"}}\" without its \"{{\": expected {{name}}, or }}}} for the brace itself")]
    Unopened,
}

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text, as it is.
    Text(&'a str),
    /// A name in braces, and what stands there if it has no value: `{name:-default}`.
    Value { name: &'a str, default: Option<&'a str> },
}

/// The pieces of a text. If `strict`, every brace must belong to a name or be written twice. Otherwise braces that do not
/// hold a name are text, and `{{name}}` is the text `{name}`.
pub(super) fn pieces(text: &str, strict: bool) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        let (piece, length) = match strict {
            true => strict_piece(from)?,
            // A template of another language, such as JavaScript.
            false if before.ends_with('$') => (Piece::Text(from.get(..1).unwrap_or_default()), 1),
            false => lenient_piece(from),
        };
        pieces.extend([Piece::Text(before), piece].into_iter().filter(|piece| *piece != Piece::Text("")));
        rest = from.get(length..).unwrap_or_default();
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// The piece that begins with a brace, and its length.
fn strict_piece(from: &str) -> Result<(Piece<'_>, usize), TemplateError> {
    if from.starts_with("{{") || from.starts_with("}}") {
        return Ok((Piece::Text(from.get(..1).unwrap_or_default()), 2));
    }
    let after = from.strip_prefix('{').ok_or(TemplateError::Unopened)?;
    let (inner, _) = after.split_once('}').ok_or(TemplateError::Unclosed)?;
    Ok((value(inner), inner.len() + 2))
}

fn lenient_piece(from: &str) -> (Piece<'_>, usize) {
    let held = |from: &'_ str| -> Option<usize> {
        let (inner, _) = from.strip_prefix('{')?.split_once('}')?;
        is_name(inner.split_once(":-").map_or(inner, |(name, _)| name)).then_some(inner.len())
    };
    if let Some(after) = from.strip_prefix('{')
        && let Some(length) = held(after)
        && after.get(length + 2..).is_some_and(|rest| rest.starts_with('}'))
    {
        return (Piece::Text(after.get(..length + 2).unwrap_or_default()), length + 4);
    }
    match held(from) {
        Some(length) => (value(from.get(1..=length).unwrap_or_default()), length + 2),
        None => (Piece::Text(from.get(..1).unwrap_or_default()), 1),
    }
}

fn value(inner: &str) -> Piece<'_> {
    match inner.split_once(":-") {
        Some((name, default)) => Piece::Value { name, default: Some(default) },
        None => Piece::Value { name: inner, default: None },
    }
}

/// Whether a text in braces is meant as a name: `host`, `header.x-user`, but nothing of JSON or of a style sheet.
fn is_name(text: &str) -> bool {
    let (family, rest) = text.split_once('.').map_or((text, None), |(family, rest)| (family, Some(rest)));
    family.starts_with(|c: char| c.is_ascii_lowercase())
        && family.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && rest.is_none_or(|rest| {
            !rest.is_empty()
                && rest.bytes().all(|byte| {
                    byte.is_ascii_graphic() && !matches!(byte, b'{' | b'"' | b'\'' | b';' | b'(' | b')')
                })
        })
}
