//! Paths: what a route asks of one.
//!
//! Never decodes and never removes `..`: a path is compared byte for byte as it is given. What brings paths into their normal
//! form runs before: see [`normal_path`](super::normal_path).

use std::fmt;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

/// Bound of a compiled expression, in bytes: a pattern such as `(\w{1000}){1000}` is refused rather than built.
const REGEX_SIZE: usize = 1 << 20;
/// Bound of what one expression keeps for speed, for each thread that uses it; past it, matching is slower, not wrong.
const REGEX_CACHE: usize = 128 << 10;

/// The paths that a route takes.
///
/// The path is compared as it is given: letter case counts, and nothing is decoded (`/a%2Fb` is not `/a/b`).
/// The constructors refuse what could match nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// This path alone: `/v1` takes neither `/v1/` nor `/v1/x`.
    Exact(Box<str>),
    /// This path and all below it, by whole segments: `/v1` takes `/v1`, `/v1/` and `/v1/x`, but not `/v1beta`.
    ///
    /// A slash at the end asks for something below: `/v1/` takes `/v1/` and `/v1/x`, but not `/v1`. `/` takes every
    /// path; not the `*` of `OPTIONS *`, which only routes without a condition on the path take.
    Prefix(Box<str>),
    /// Paths in which this expression is found.
    Regex(TextRegex),
}

/// A regular expression over paths, hosts and values, in the syntax of the [`regex`] crate (linear time; no back references).
///
/// It is found anywhere in the text unless it says otherwise: `^/v[0-9]+/` is anchored at the start, `\.png$` at the
/// end. Two are equal when their sources are.
///
/// # Cost
/// The compiled expression takes at most 1 MiB (the usual one a few KiB), and up to 128 KiB more for each thread that
/// uses it, allocated at that thread's first use.
#[derive(Clone)]
pub struct TextRegex(Arc<Regex>);

/// Why a text is no [`PathMatch`]. The message says what is expected.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PathMatchError {
    /// The path does not start with a slash.
    #[error("expected a path that starts with `/`")]
    Slash,
    /// The path holds a query or a fragment.
    #[error("expected a path alone, found {0:?}: use query for the query")]
    Query(char),
    /// A character that is not allowed in a path as clients send it.
    #[error("expected a path as clients send it, found {0:?}: write it percent-encoded")]
    Character(char),
    /// The expression is wrong, or too large.
    #[error("expected a regular expression: {0}")]
    Regex(regex::Error),
}

// === impl PathMatch ===

impl PathMatch {
    /// The path alone.
    ///
    /// # Errors
    /// When it does not start with `/`, or holds what no path in a request holds.
    pub fn exact(path: &str) -> Result<Self, PathMatchError> {
        validate(path).map(|()| Self::Exact(path.into()))
    }

    /// The path and all below it; see [`PathMatch::Prefix`].
    ///
    /// # Errors
    /// When it does not start with `/`, or holds what no path in a request holds.
    pub fn prefix(path: &str) -> Result<Self, PathMatchError> {
        validate(path).map(|()| Self::Prefix(path.into()))
    }

    /// The paths in which this expression is found; see [`TextRegex`].
    ///
    /// # Errors
    /// When it is no regular expression, or compiles to more than 1 MiB.
    pub fn regex(source: &str) -> Result<Self, PathMatchError> {
        TextRegex::new(source).map(Self::Regex)
    }

    /// Whether this takes the path, which comes as sent, without the query.
    #[inline]
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(own) => **own == *path,
            Self::Prefix(own) => path.starts_with(&**own) && ends_segment(path.as_bytes(), own.len()),
            Self::Regex(own) => own.0.is_match(path),
        }
    }

    /// Whether this takes every path that the other takes. Says no when it cannot know.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Exact(path)) => self.matches(path),
            // Every path below starts as the prefix does, so what takes the prefix takes them all.
            (Self::Prefix(_), Self::Prefix(path)) => self.matches(path),
            (Self::Regex(own), Self::Regex(other)) => own == other,
            _ => false,
        }
    }
}

// === impl TextRegex ===

impl TextRegex {
    /// Compiles the expression.
    ///
    /// # Errors
    /// When it is no regular expression, or compiles to more than 1 MiB.
    pub fn new(source: &str) -> Result<Self, PathMatchError> {
        RegexBuilder::new(source)
            .size_limit(REGEX_SIZE)
            .dfa_size_limit(REGEX_CACHE)
            .build()
            .map(|regex| Self(Arc::new(regex)))
            .map_err(PathMatchError::Regex)
    }

    /// The expression as written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it is found in this text.
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// The number of a group, which is given by its number or name: the whole match is 0.
    pub fn group(&self, name: &str) -> Option<usize> {
        let named = self.0.capture_names().position(|known| known == Some(name));
        named.or_else(|| name.parse().ok().filter(|number| *number < self.0.captures_len()))
    }

    /// What a group matched in a path. `None` if the path does not match, or the group is not part of the match.
    pub fn capture<'t>(&self, path: &'t str, group: usize) -> Option<&'t str> {
        Some(self.0.captures(path)?.get(group)?.as_str())
    }
}

impl PartialEq for TextRegex {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for TextRegex {}

impl fmt::Debug for TextRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TextRegex({:?})", self.as_str())
    }
}

/// Whether the first `length` bytes of a path that has that many end with a segment, so that a prefix may end there.
#[inline]
pub(super) fn ends_segment(path: &[u8], length: usize) -> bool {
    let last = length.checked_sub(1).and_then(|at| path.get(at));
    last == Some(&b'/') || matches!(path.get(length), None | Some(b'/'))
}

fn validate(path: &str) -> Result<(), PathMatchError> {
    if !path.starts_with('/') {
        return Err(PathMatchError::Slash);
    }
    for character in path.chars() {
        match character {
            '?' | '#' => return Err(PathMatchError::Query(character)),
            '!'..='~' => {}
            other => return Err(PathMatchError::Character(other)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_it_says() {
        let exact = |path| PathMatch::exact(path).unwrap();
        let prefix = |path| PathMatch::prefix(path).unwrap();
        let regex = |path| PathMatch::regex(path).unwrap();
        let table: &[(PathMatch, &[&str], &[&str])] = &[
            (exact("/v1"), &["/v1"], &["/v1/", "/V1", "/", "/v1/x", "*"]),
            (prefix("/v1"), &["/v1", "/v1/", "/v1/x", "/v1//"], &["/v1beta", "/v", "/", "/V1", "*", "/x/v1"]),
            (prefix("/v1/"), &["/v1/", "/v1/x", "/v1//x"], &["/v1", "/v1beta/"]),
            (prefix("/"), &["/", "/x", "//"], &["*", ""]),
            (prefix("/a%2Fb"), &["/a%2Fb/c"], &["/a/b", "/a%2fb"]),
            (regex("^/v[0-9]+/"), &["/v1/x", "/v22/"], &["/x/v1/", "/v/"]),
            (regex("png$"), &["/x/a.png", "/png"], &["/png/"]),
            (regex("b"), &["/abc"], &["/"]),
        ];
        for (condition, yes, no) in table {
            for path in *yes {
                assert!(condition.matches(path), "{condition:?} takes {path}");
            }
            for path in *no {
                assert!(!condition.matches(path), "{condition:?} does not take {path}");
            }
        }
    }

    #[test]
    fn says_why_a_text_is_refused() {
        assert_eq!(PathMatch::exact(""), Err(PathMatchError::Slash));
        assert_eq!(PathMatch::prefix("v1/"), Err(PathMatchError::Slash));
        assert_eq!(PathMatch::exact("/a?b=c"), Err(PathMatchError::Query('?')));
        assert_eq!(PathMatch::prefix("/a b"), Err(PathMatchError::Character(' ')));
        assert_eq!(PathMatch::prefix("/café"), Err(PathMatchError::Character('é')));
        assert!(matches!(PathMatch::regex("("), Err(PathMatchError::Regex(_))));
    }

    #[test]
    fn an_expression_that_would_eat_memory_is_refused() {
        let error = PathMatch::regex(r"(\w{100}){1000}").unwrap_err();
        assert!(error.to_string().contains("size limit"), "{error}");
    }

    #[test]
    fn covers_narrower_conditions_alone() {
        let exact = |path| PathMatch::exact(path).unwrap();
        let prefix = |path| PathMatch::prefix(path).unwrap();
        let regex = |path| PathMatch::regex(path).unwrap();
        assert!(prefix("/v1").covers(&prefix("/v1/")) && !prefix("/v1/").covers(&prefix("/v1")));
        assert!(prefix("/").covers(&prefix("/a")) && prefix("/a").covers(&exact("/a/b")));
        assert!(!prefix("/a").covers(&prefix("/ab")) && !exact("/a").covers(&prefix("/a")));
        assert!(regex("^/a").covers(&exact("/ab")) && regex("^/a").covers(&regex("^/a")));
        assert!(!regex("^/a").covers(&prefix("/a")) && !prefix("/").covers(&regex("^/a")));
    }
}
