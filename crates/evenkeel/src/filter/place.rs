//! Where a request has what tells who it is from: a header or a cookie.

use std::borrow::Cow;

use evenkeel_http::message::{RequestHead, cookie};
use http::HeaderName;

/// A header or a cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Header(HeaderName),
    Cookie(String),
}

/// What an expression of a place looks like.
pub(super) const EXPECTED: &str = "header NAME or cookie NAME, like header authorization";

// === impl Place ===

impl Place {
    /// Reads `header NAME` or `cookie NAME`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(' ')?;
        let header = HeaderName::from_bytes(name.as_bytes()).ok()?;
        match kind {
            "header" => Some(Self::Header(header)),
            "cookie" => Some(Self::Cookie(name.to_owned())),
            _ => None,
        }
    }

    /// Its first value in a request, and whether there are more: which of them would a backend take?
    pub(super) fn find<'a>(&self, head: &'a dyn RequestHead) -> Option<(Cow<'a, [u8]>, bool)> {
        match self {
            Self::Header(name) => {
                let value = head.header(name.as_str())?;
                let mut count = 0;
                head.each(name.as_str(), &mut |_| count += 1);
                Some((Cow::Borrowed(value), count > 1))
            }
            Self::Cookie(name) => {
                let value = cookie(head, name, <[u8]>::to_vec)?;
                Some((Cow::Owned(value), false))
            }
        }
    }
}
