//! What a request is called in logs and by backends.

use std::fmt;

/// What a request is called.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestId {
    /// A number drawn at random, written as 32 hexadecimal digits.
    Random(u128),
    /// What a trusted proxy called it.
    Given(Box<str>),
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(id) => write!(f, "{id:032x}"),
            Self::Given(id) => f.write_str(id),
        }
    }
}
