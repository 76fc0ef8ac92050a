//! Header fields and query parameters: what a route asks of one.
//!
//! Never knows which fields a request has beyond the one that it asks for.

use super::TextRegex;

/// A condition on a header field or on a query parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldMatch {
    name: Box<str>,
    value: FieldValue,
}

/// What a route asks of a field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldValue {
    /// The field is there, whatever its value; an empty one will do.
    Present,
    /// The value is this, byte for byte; letter case counts.
    Exact(Box<str>),
    /// This expression is found in the value. A value that is not UTF-8 does not match.
    Regex(TextRegex),
}

/// Why a name is no name of a field. The message says what is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldMatchError {
    /// The name is empty.
    #[error("expected a name, found nothing")]
    Empty,
    /// A character that is not allowed in the name of a header field (RFC 9110, 5.6.2).
    #[error("expected a header name of letters, digits and any of !#$%&'*+-.^_`|~, found {0:?}")]
    Character(char),
}

// === impl FieldMatch ===

impl FieldMatch {
    /// A condition on a header field. The name's letter case does not count.
    ///
    /// Of several fields with this name, the first is looked at.
    ///
    /// # Errors
    /// When the name is not one of a header field, so that no request could have it.
    pub fn header(name: &str, value: FieldValue) -> Result<Self, FieldMatchError> {
        if name.is_empty() {
            return Err(FieldMatchError::Empty);
        }
        match name.chars().find(|&character| !is_token(character)) {
            Some(character) => Err(FieldMatchError::Character(character)),
            None => Ok(Self { name: name.to_ascii_lowercase().into(), value }),
        }
    }

    /// A condition on a query parameter, with name and value as they are before they are encoded.
    ///
    /// `%XX` and `+` in a request are decoded before they are compared, so the value `a b` takes both `q=a+b` and
    /// `q=a%20b`. A `%` without two hexadecimal digits stands for itself. A parameter without `=` has the empty value.
    /// Of several parameters with this name, any one will do. Letter case counts.
    ///
    /// # Errors
    /// When the name is empty.
    pub fn query(name: &str, value: FieldValue) -> Result<Self, FieldMatchError> {
        if name.is_empty() {
            return Err(FieldMatchError::Empty);
        }
        Ok(Self { name: name.into(), value })
    }

    /// The field's name; of a header field, in lower case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The condition on the value.
    pub fn value(&self) -> &FieldValue {
        &self.value
    }

    /// Whether the header field with this value, or its absence, will do.
    pub(super) fn takes_header(&self, value: Option<&[u8]>) -> bool {
        match (&self.value, value) {
            (_, None) => false,
            (FieldValue::Present, Some(_)) => true,
            (FieldValue::Exact(expected), Some(value)) => expected.as_bytes() == value,
            (FieldValue::Regex(regex), Some(value)) => {
                std::str::from_utf8(value).is_ok_and(|value| regex.matches(value))
            }
        }
    }

    /// Whether a parameter of this query will do. Allocates only for an expression; linear in the query's length.
    pub(super) fn takes_query(&self, query: Option<&str>) -> bool {
        query.is_some_and(|query| query.split('&').any(|parameter| self.takes_parameter(parameter)))
    }

    /// Whether whatever meets the other meets this.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.name == other.name && (self.value == FieldValue::Present || self.value == other.value)
    }

    fn takes_parameter(&self, parameter: &str) -> bool {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        decodes_to(name, &self.name)
            && match &self.value {
                FieldValue::Present => true,
                FieldValue::Exact(expected) => decodes_to(value, expected),
                FieldValue::Regex(regex) => {
                    String::from_utf8(query_decoded(value).collect()).is_ok_and(|value| regex.matches(&value))
                }
            }
    }
}

fn is_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
}

/// The value of the first parameter of this name in a query, still encoded; empty without a `=`. `None` without one.
pub fn query_parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let split = |parameter: &'a str| parameter.split_once('=').unwrap_or((parameter, ""));
    query.split('&').map(split).find(|(known, _)| decodes_to(known, name)).map(|(_, value)| value)
}

/// The bytes that a part of a query stands for: `%XX` and `+` decoded, a `%` without two hexadecimal digits as it is.
pub fn query_decoded(encoded: &str) -> impl Iterator<Item = u8> {
    let mut rest = encoded.as_bytes();
    std::iter::from_fn(move || {
        let (decoded, length) = match rest {
            [b'%', high, low, ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (b'%', 1),
            },
            [b'+', ..] => (b' ', 1),
            [byte, ..] => (*byte, 1),
            [] => return None,
        };
        rest = rest.get(length..).unwrap_or_default();
        Some(decoded)
    })
}

/// Whether the encoded text says the expected, comparing as it decodes.
fn decodes_to(encoded: &str, expected: &str) -> bool {
    query_decoded(encoded).eq(expected.bytes())
}

pub(super) fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_compared_decoded() {
        let table = [
            ("q", None, "q", true),
            ("q", None, "q=", true),
            ("q", None, "a=1&q=2", true),
            ("q", None, "Q=1", false),
            ("q", None, "qq=1&a=q", false),
            ("q", Some(""), "q", true),
            ("q", Some("a b"), "q=a+b", true),
            ("q", Some("a b"), "q=a%20b", true),
            ("q", Some("a b"), "x=1&%71=a%20b", true),
            ("q", Some("a+b"), "q=a+b", false),
            ("q", Some("a+b"), "q=a%2Bb", true),
            ("q", Some("a+b"), "q=a%2bb", true),
            ("q", Some("ü"), "q=%C3%BC", true),
            ("q", Some("1=2"), "q=1=2", true),
            ("q", Some("%"), "q=%", true),
            ("q", Some("%zz"), "q=%zz", true),
            ("q", Some("2"), "q=1&q=2", true),
            ("q", Some("1"), "q=12", false),
            ("q", Some("12"), "q=1", false),
            ("q", Some("1"), "", false),
        ];
        for (name, value, query, expected) in table {
            let value = value.map_or(FieldValue::Present, |value| FieldValue::Exact(value.into()));
            let condition = FieldMatch::query(name, value).unwrap();
            assert_eq!(condition.takes_query(Some(query)), expected, "{condition:?} on {query:?}");
            assert!(!condition.takes_query(None));
        }
    }

    #[test]
    fn a_header_is_compared_as_sent() {
        let exact = FieldMatch::header("X-Beta", FieldValue::Exact("1".into())).unwrap();
        assert_eq!(exact.name(), "x-beta");
        assert!(
            exact.takes_header(Some(b"1")) && !exact.takes_header(Some(b"10")) && !exact.takes_header(None)
        );
        let present = FieldMatch::header("x-beta", FieldValue::Present).unwrap();
        assert!(present.takes_header(Some(b"")) && !present.takes_header(None));
        assert!(present.covers(&exact) && !exact.covers(&present) && exact.covers(&exact));
    }

    #[test]
    fn says_why_a_name_is_refused() {
        assert_eq!(FieldMatch::header("", FieldValue::Present), Err(FieldMatchError::Empty));
        assert_eq!(FieldMatch::header("x y", FieldValue::Present), Err(FieldMatchError::Character(' ')));
        assert_eq!(FieldMatch::header(":path", FieldValue::Present), Err(FieldMatchError::Character(':')));
        assert_eq!(FieldMatch::query("", FieldValue::Present), Err(FieldMatchError::Empty));
    }
}
