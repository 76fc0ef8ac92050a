//! The name and the password of a request (RFC 7617).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::filter::RequestHead;

/// A name and a password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    text: Box<str>,
    /// Where the name ends in it.
    name: usize,
}

/// The longest name and password, in bytes: hashes take longer for long ones.
const LONGEST: usize = 512;

// === impl Credentials ===

impl Credentials {
    /// Those of a request: none if it has no such header, more than one, or one that is malformed.
    pub(super) fn of(head: &dyn RequestHead) -> Option<Self> {
        let (mut found, mut count) = (None, 0);
        head.each("authorization", &mut |value| {
            count += 1;
            found = Self::parse(value);
        });
        found.filter(|_| count == 1)
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let (scheme, encoded) = value.split_at_checked(memchr::memchr(b' ', value)?)?;
        let encoded = encoded.trim_ascii();
        if !scheme.eq_ignore_ascii_case(b"basic") || encoded.len() > LONGEST.div_ceil(3) * 4 {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        let name = text.find(':')?;
        let is_fine = name > 0 && text.len() <= LONGEST && !text.chars().any(char::is_control);
        is_fine.then(|| Self { text: text.into(), name })
    }

    #[cfg(test)]
    pub(super) fn new(user: &str, password: &str) -> Self {
        Self { text: format!("{user}:{password}").into(), name: user.len() }
    }

    pub(super) fn user(&self) -> &str {
        self.text.get(..self.name).unwrap_or_default()
    }

    pub(super) fn password(&self) -> &str {
        self.text.get(self.name + 1..).unwrap_or_default()
    }
}

/// Not the password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Credentials;

    #[test]
    fn credentials_are_read() {
        for (value, expected) in [
            ("Basic YW5uOnNlY3JldA==", Some(("ann", "secret"))),
            ("basic   YW5uOnNlY3JldA==", Some(("ann", "secret"))),
            // "ann:a:b" and "ann:"
            ("Basic YW5uOmE6Yg==", Some(("ann", "a:b"))),
            ("Basic YW5uOg==", Some(("ann", ""))),
            ("Basic YW5u", None),
            // ":secret", and a line end in the name
            ("Basic OnNlY3JldA==", None),
            ("Basic YW4KbjpzZWNyZXQ=", None),
            // Not UTF-8
            ("Basic /zph", None),
            ("Basic YW5uOnNlY3JldA", None),
            ("Basic !!!!", None),
            ("Basic", None),
            ("Bearer YW5uOnNlY3JldA==", None),
            ("", None),
        ] {
            let parsed = Credentials::parse(value.as_bytes());
            assert_eq!(parsed.as_ref().map(|both| (both.user(), both.password())), expected, "{value}");
        }
        let long = format!("Basic {}", "YWFh".repeat(200));
        assert_eq!(Credentials::parse(long.as_bytes()), None);
    }
}
