//! Hosts: what a route asks of one, and in which form hosts are compared.
//!
//! Never knows the table: a pattern matches one host at a time.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// No name of the DNS is longer (RFC 1035, 2.3.4), so a longer host meets only `*`: this bounds what a lookup reads.
const MAX_HOST_LENGTH: usize = 253;

/// The hosts that a route takes, written `*`, `api.example.com`, `*.example.com` or `[2001:db8::1]`.
///
/// Hosts are compared without regard to ASCII letter case and to one trailing dot. International names are compared in
/// the form that clients send (`xn--…`). A host longer than 253 bytes, which no DNS name is, meets [`Any`](Self::Any)
/// alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Every host, and a request that names none.
    Any,
    /// This host. For an IPv6 address, the address in its shortest form (RFC 5952), in brackets.
    Exact(Box<str>),
    /// Every host below this one, at any depth, but not the host itself; `*.example.com` holds `example.com`.
    Suffix(Box<str>),
}

/// Why a text is no [`HostPattern`]. The message says what is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostPatternError {
    /// The text is empty.
    #[error("expected a host such as api.example.com, *.example.com or *, found nothing")]
    Empty,
    /// It names a scheme.
    #[error("expected a host alone, found a URL: leave out everything up to and including `://`")]
    Scheme,
    /// It names a path.
    #[error("expected a host alone, found a `/`: use a path condition for the path")]
    Path,
    /// It names a port.
    #[error(
        "expected a host without a port: a route matches a host on every port (write IPv6 addresses in brackets)"
    )]
    Port,
    /// A star stands elsewhere than alone in the first label.
    #[error("expected `*` alone or as the whole first label, as in *.example.com")]
    Star,
    /// The text in brackets is no IPv6 address.
    #[error("expected an IPv6 address in the brackets, such as [2001:db8::1]")]
    Ipv6,
    /// Two dots in a row, or a dot at the start.
    #[error("expected a name between any two dots, found none")]
    EmptyLabel,
    /// A character that is not allowed in a host name.
    #[error(
        "expected letters, digits, `-`, `_` and `.` in a host, found {0:?} (write international names as xn--…)"
    )]
    Character(char),
    /// More than 253 bytes.
    #[error("expected a host of at most 253 bytes, found {0}")]
    TooLong(usize),
}

/// A host as patterns are compared with it: folded to lower case, without a trailing dot. Empty stands for a request
/// without a host, and for a host that only `*` takes.
///
/// On the stack, and only when folding is needed: nearly all clients send lower case.
pub(super) struct Folded<'a> {
    sent: &'a [u8],
    buffer: Option<[u8; MAX_HOST_LENGTH]>,
}

// === impl HostPattern ===

impl HostPattern {
    /// Whether this pattern takes this host, which comes as sent, without its port.
    pub fn matches(&self, host: &str) -> bool {
        let host = comparable(host);
        match self {
            Self::Any => true,
            Self::Exact(name) => !host.is_empty() && host.eq_ignore_ascii_case(name.as_bytes()),
            Self::Suffix(parent) => is_below(host, parent.as_bytes()),
        }
    }

    /// Whether this pattern takes every host that the other takes.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) | (Self::Exact(_), Self::Suffix(_)) => false,
            (Self::Exact(own), Self::Exact(name)) => own.eq_ignore_ascii_case(name),
            (Self::Suffix(own), Self::Exact(name)) => is_below(name.as_bytes(), own.as_bytes()),
            (Self::Suffix(own), Self::Suffix(parent)) => {
                own.eq_ignore_ascii_case(parent) || is_below(parent.as_bytes(), own.as_bytes())
            }
        }
    }
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(rest) = text.strip_prefix('[') {
            return address(rest).map(Self::Exact);
        }
        match text.strip_prefix("*.") {
            Some(parent) => name(parent).map(Self::Suffix),
            None => name(text).map(Self::Exact),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(parent) => write!(f, "*.{parent}"),
        }
    }
}

// === impl Folded ===

impl<'a> Folded<'a> {
    #[inline]
    pub(super) fn new(host: &'a str) -> Self {
        let sent = comparable(host);
        if !sent.iter().any(u8::is_ascii_uppercase) {
            return Self { sent, buffer: None };
        }
        let mut buffer = [0; MAX_HOST_LENGTH];
        for (to, from) in buffer.iter_mut().zip(sent) {
            *to = from.to_ascii_lowercase();
        }
        Self { sent, buffer: Some(buffer) }
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        match &self.buffer {
            Some(buffer) => buffer.get(..self.sent.len()).unwrap_or_default(),
            None => self.sent,
        }
    }
}

/// The host without one trailing dot, or nothing when it is too long to be a name.
#[inline]
fn comparable(host: &str) -> &[u8] {
    let host = host.strip_suffix('.').unwrap_or(host).as_bytes();
    if host.len() > MAX_HOST_LENGTH { &[] } else { host }
}

/// Whether a non-empty label and a dot stand before the parent.
fn is_below(host: &[u8], parent: &[u8]) -> bool {
    let Some((left, tail)) = host.len().checked_sub(parent.len()).and_then(|at| host.split_at_checked(at))
    else {
        return false;
    };
    left.len() > 1 && left.ends_with(b".") && tail.eq_ignore_ascii_case(parent)
}

fn address(after_bracket: &str) -> Result<Box<str>, HostPatternError> {
    let (inner, rest) = after_bracket.split_once(']').ok_or(HostPatternError::Ipv6)?;
    let address: Ipv6Addr = inner.parse().map_err(|_| HostPatternError::Ipv6)?;
    match rest.chars().next() {
        None => Ok(format!("[{address}]").into()),
        Some(':') => Err(HostPatternError::Port),
        Some('/') => Err(HostPatternError::Path),
        Some(other) => Err(HostPatternError::Character(other)),
    }
}

fn name(text: &str) -> Result<Box<str>, HostPatternError> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return Err(HostPatternError::Empty);
    }
    if text.contains("://") {
        return Err(HostPatternError::Scheme);
    }
    for character in text.chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => {}
            '*' => return Err(HostPatternError::Star),
            '/' => return Err(HostPatternError::Path),
            ':' => return Err(HostPatternError::Port),
            other => return Err(HostPatternError::Character(other)),
        }
    }
    if text.split('.').any(str::is_empty) {
        return Err(HostPatternError::EmptyLabel);
    }
    if text.len() > MAX_HOST_LENGTH {
        return Err(HostPatternError::TooLong(text.len()));
    }
    Ok(text.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        text.parse().unwrap()
    }

    #[test]
    fn takes_what_it_says() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("*", &["", "a", "A.b.", "[::1]"], &[]),
            (
                "API.Example.com",
                &["api.example.com", "API.EXAMPLE.COM", "api.example.com."],
                &["", "example.com", "x.api.example.com", "api.example.com..", "xapi.example.com"],
            ),
            (
                "*.example.com",
                &["a.example.com", "a.b.example.com", "A.EXAMPLE.com."],
                &["example.com", ".example.com", "aexample.com", "a.example.org", ""],
            ),
            ("[2001:DB8:0::1]", &["[2001:db8::1]", "[2001:DB8::1]"], &["2001:db8::1", "[2001:db8::2]"]),
            ("10.0.0.1", &["10.0.0.1"], &["10.0.0.10"]),
        ];
        for (text, yes, no) in table {
            for host in *yes {
                assert!(pattern(text).matches(host), "{text} takes {host}");
            }
            for host in *no {
                assert!(!pattern(text).matches(host), "{text} does not take {host}");
            }
        }
    }

    #[test]
    fn a_host_that_is_too_long_meets_only_the_star() {
        let host = format!("{}.example.com", "a".repeat(MAX_HOST_LENGTH));
        assert!(HostPattern::Any.matches(&host));
        assert!(!pattern("*.example.com").matches(&host));
        assert!(Folded::new(&host).as_bytes().is_empty());
    }

    #[test]
    fn folds_only_what_needs_it() {
        assert_eq!(Folded::new("A.Example.COM.").as_bytes(), b"a.example.com");
        assert!(Folded::new("a.example.com").buffer.is_none());
    }

    #[test]
    fn says_why_a_text_is_refused() {
        let table = [
            ("", HostPatternError::Empty),
            (".", HostPatternError::Empty),
            ("*.", HostPatternError::Empty),
            ("http://example.com", HostPatternError::Scheme),
            ("example.com/v1", HostPatternError::Path),
            ("example.com:80", HostPatternError::Port),
            ("::1", HostPatternError::Port),
            ("[::1]:80", HostPatternError::Port),
            ("[::1", HostPatternError::Ipv6),
            ("[example.com]", HostPatternError::Ipv6),
            ("a.*.example.com", HostPatternError::Star),
            ("*example.com", HostPatternError::Star),
            ("*.*.example.com", HostPatternError::Star),
            ("**", HostPatternError::Star),
            (".example.com", HostPatternError::EmptyLabel),
            ("a..b", HostPatternError::EmptyLabel),
            ("a b", HostPatternError::Character(' ')),
            ("bücher.example", HostPatternError::Character('ü')),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<HostPattern>(), Err(expected), "{text:?}");
        }
        let long = "a".repeat(MAX_HOST_LENGTH + 1);
        assert_eq!(long.parse::<HostPattern>(), Err(HostPatternError::TooLong(MAX_HOST_LENGTH + 1)));
    }

    #[test]
    fn is_written_as_it_is_read() {
        for text in ["*", "api.example.com", "*.example.com", "[2001:db8::1]"] {
            assert_eq!(pattern(text).to_string(), text);
        }
        assert_eq!(pattern("Example.COM."), pattern("example.com"));
    }

    #[test]
    fn covers_narrower_patterns_alone() {
        let covers = |wide: &str, narrow: &str| pattern(wide).covers(&pattern(narrow));
        assert!(covers("*", "*") && covers("*", "a.b") && covers("*", "*.b"));
        assert!(
            covers("*.b", "a.b") && covers("*.b", "*.b") && covers("*.b", "*.a.b") && covers("a.b", "a.b")
        );
        assert!(
            !covers("*.b", "b") && !covers("*.b", "*") && !covers("*.a.b", "*.b") && !covers("a.b", "*.b")
        );
        assert!(!covers("*.b", "*.ab") && !covers("a.b", "*"));
    }
}
