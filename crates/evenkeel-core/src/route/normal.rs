//! The normal form of a path (RFC 3986, 6.2.2): one spelling for every path that servers take for the same.
//!
//! Never knows of routes, nor what a path is used for: a spelling goes in, and its normal form comes out.
//!
//! The normal form has unreserved characters decoded (`%61` is `a`), the hexadecimal digits of every other `%XX` in upper
//! case, no dot segments, and one slash where several stood. Reserved characters stay encoded: `%2F` is not a slash, and
//! `%25` is not a percent sign that begins another encoding.

use std::borrow::Cow;
use std::fmt;

use super::field::hex;

/// Why a path has no normal form. The message says what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvalidPath {
    /// `%00`: a server that decodes it may see the path end there.
    Nul,
    /// A `%` without two hexadecimal digits: servers do not agree about what it stands for.
    Percent,
    /// `..` takes back an empty segment, as in `/a//../b`. That is `/a/b` for servers that keep empty segments, and `/b` for
    /// those that do not.
    Ambiguous,
}

// === impl InvalidPath ===

impl InvalidPath {
    /// What is wrong with the path.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nul => "the path has an encoded NUL (%00)",
            Self::Percent => "the path has a % without two hexadecimal digits",
            Self::Ambiguous => "the path has .. after an empty segment",
        }
    }
}

impl fmt::Display for InvalidPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for InvalidPath {}

/// The normal form of a path that starts with `/`: unreserved characters decoded, dot segments removed, slashes merged. Any other text
/// is its own.
///
/// # Errors
/// When servers would not agree about what the path means.
///
/// # Cost
/// One look at each byte. A path that is normal already allocates nothing.
pub fn normal_path(path: &str) -> Result<Cow<'_, str>, InvalidPath> {
    if !path.starts_with('/') || is_plain(path.as_bytes()) || is_normal(path)? {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decoded(path);
    let (mut merged, mut kept): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    let mut segments = decoded.split('/').skip(1).peekable();
    let mut last = "";
    while let Some(segment) = segments.next() {
        if segments.peek().is_none() {
            last = segment;
        }
        match segment {
            "." => {}
            ".." => {
                merged.pop();
                kept.pop();
            }
            _ if segments.peek().is_none() => {}
            "" => kept.push(segment),
            _ => {
                merged.push(segment);
                kept.push(segment);
            }
        }
    }
    kept.retain(|segment| !segment.is_empty());
    if kept != merged {
        return Err(InvalidPath::Ambiguous);
    }
    let mut normal = String::with_capacity(decoded.len());
    for segment in merged {
        normal.push('/');
        normal.push_str(segment);
    }
    normal.push('/');
    if !matches!(last, "." | "..") {
        normal.push_str(last);
    }
    Ok(Cow::Owned(normal))
}

/// Whether a path contains nothing that could make it not normal. This is true for nearly every path.
#[inline]
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().all(|&byte| {
        let plain = byte != b'%' && !(before == b'/' && matches!(byte, b'/' | b'.'));
        before = byte;
        plain
    })
}

/// Whether a path is its own normal form.
fn is_normal(path: &str) -> Result<bool, InvalidPath> {
    let mut normal = true;
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let [high, low, ..] = *after else { return Err(InvalidPath::Percent) };
                let byte = byte(high, low).ok_or(InvalidPath::Percent)?;
                if byte == 0 {
                    return Err(InvalidPath::Nul);
                }
                let lower = high.is_ascii_lowercase() || low.is_ascii_lowercase();
                normal &= !lower && !is_unreserved(byte);
            }
            b'/' => {
                normal &= !matches!(
                    after,
                    [b'/', ..] | [b'.'] | [b'.', b'.'] | [b'.', b'/', ..] | [b'.', b'.', b'/', ..]
                )
            }
            _ => {}
        }
    }
    Ok(normal)
}

/// The path with unreserved characters decoded, and the digits of what stays encoded in upper case. Every `%` is known to
/// have its digits.
fn decoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let (digits, after) = after.split_at_checked(2).unwrap_or((after, ""));
        match *digits.as_bytes() {
            [high, low] if let Some(byte) = byte(high, low).filter(|&byte| is_unreserved(byte)) => {
                text.push(char::from(byte));
            }
            _ => {
                text.push('%');
                text.extend(digits.chars().map(|digit| digit.to_ascii_uppercase()));
            }
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

fn byte(high: u8, low: u8) -> Option<u8> {
    Some(hex(high)? << 4 | hex(low)?)
}

/// What never needs to be encoded (RFC 3986, 2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::{InvalidPath, normal_path};

    #[test]
    fn every_spelling_of_a_path_has_one_normal_form() {
        for (path, normal) in [
            ("/", "/"),
            ("*", "*"),
            ("", ""),
            ("/admin", "/admin"),
            ("//admin", "/admin"),
            ("///admin//", "/admin/"),
            ("/./admin", "/admin"),
            ("/x/../admin", "/admin"),
            ("/%61dmin", "/admin"),
            ("/%2e%2E/admin", "/admin"),
            ("/x/%2e./admin", "/admin"),
            ("/%2561dmin", "/%2561dmin"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2F..%2Fb", "/a%2F..%2Fb"),
            ("/../../a", "/a"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/a/./", "/a/"),
            ("/..", "/"),
            ("/.", "/"),
            ("//", "/"),
            ("//../a", "/a"),
            ("/a//b/../c", "/a/c"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
            ("/a/..b", "/a/..b"),
            ("/a.b/c..", "/a.b/c.."),
            ("/%7Euser/%c3%bc", "/~user/%C3%BC"),
            ("/\\x", "/\\x"),
        ] {
            assert_eq!(normal_path(path).as_deref(), Ok(normal), "{path}");
            assert_eq!(normal_path(normal).as_deref(), Ok(normal), "the normal form is its own: {path}");
        }
    }

    #[test]
    fn what_servers_do_not_agree_about_is_refused() {
        for (path, error) in [
            ("/a%00", InvalidPath::Nul),
            ("/%", InvalidPath::Percent),
            ("/%4", InvalidPath::Percent),
            ("/a%zz", InvalidPath::Percent),
            ("/%u0061", InvalidPath::Percent),
            ("/%%36%31", InvalidPath::Percent),
            ("/a//../b", InvalidPath::Ambiguous),
            ("/a//./../b", InvalidPath::Ambiguous),
            ("/admin//x/../..", InvalidPath::Ambiguous),
        ] {
            assert_eq!(normal_path(path), Err(error), "{path}");
        }
    }

    #[test]
    fn a_normal_path_costs_no_allocation() {
        let paths =
            ["/", "/v1/users/42", "/.well-known/acme-challenge/x", "/a%20b/%C3%BC", "/a.b/..c/d-e_f~g"];
        let allocations = allocation_counter::measure(|| {
            for path in paths {
                assert!(matches!(normal_path(path), Ok(std::borrow::Cow::Borrowed(same)) if same == path));
            }
        });
        assert_eq!(allocations.count_total, 0);
    }

    #[test]
    fn any_text_has_at_most_one_normal_form() {
        let mut rng = fastrand::Rng::with_seed(15);
        let parts = ["/", "/", ".", "..", "%2e", "%2F", "%25", "a", "b", "%61", "%c3", "//", "%0", "%"];
        for _ in 0..20_000 {
            let path: String = (0..rng.usize(1..12)).map(|_| parts[rng.usize(..parts.len())]).collect();
            let path = format!("/{path}");
            let Ok(normal) = normal_path(&path) else { continue };
            assert_eq!(normal_path(&normal).as_deref(), Ok(&*normal), "{path}");
            assert!(!normal.contains("//") && normal.starts_with('/'), "{path}: {normal}");
            assert!(!normal.split('/').any(|segment| matches!(segment, "." | "..")), "{path}: {normal}");
        }
    }
}
