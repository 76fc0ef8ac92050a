//! Whose host a location has, whatever a request contains.
//!
//! Never knows a request: what is found holds for all of them.

use super::{Part, Placeholder, Template};

/// Why a template is no location.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocationError {
    /// It begins neither with a scheme nor with a path.
    #[error(
        "expected one that begins with a scheme, with / or with {{path}}, like https://{{host}}{{path}}{{query}}"
    )]
    Beginning,
    /// A value of the request would choose the host.
    #[error(
        "expected a host without other placeholders than {{host}} and {{authority}}: clients must not choose where they are sent"
    )]
    Host,
}

/// What of a location has been read so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Start,
    /// Behind `{scheme}`.
    Scheme,
    Authority,
}

/// Checks that only `{host}` and `{authority}` are in the host of a location, so that no request can choose another one.
///
/// # Errors
/// When another placeholder is there, or the text is no location.
pub fn check_location(template: &Template) -> Result<(), LocationError> {
    let mut at = At::Start;
    for part in &template.parts {
        match (at, part) {
            (At::Start, Part::Text(text)) => match behind_the_scheme(text) {
                Some(authority) if ends_authority(authority) => return Ok(()),
                Some(_) => at = At::Authority,
                None if text.starts_with(b"/") || text.starts_with(b"?") || text.starts_with(b"#") => {
                    return Ok(());
                }
                None => return Err(LocationError::Beginning),
            },
            (At::Start, Part::Value(Placeholder::Scheme, _)) => at = At::Scheme,
            (At::Start | At::Authority, Part::Value(Placeholder::Path, _)) => return Ok(()),
            // It may be empty. Then what follows must be a beginning too.
            (At::Start | At::Authority, Part::Value(Placeholder::Query, _)) => {}
            (
                At::Authority,
                Part::Value(Placeholder::Host | Placeholder::Authority | Placeholder::Map(_), _),
            ) => {}
            // Its values are of the configuration. One can end in a host.
            (At::Start, Part::Value(Placeholder::Map(_), _)) => at = At::Authority,
            (At::Authority, Part::Value(..)) => return Err(LocationError::Host),
            (At::Authority, Part::Text(text)) if ends_authority(text) => return Ok(()),
            (At::Authority, Part::Text(_)) => {}
            (At::Scheme, Part::Text(text)) => match text.strip_prefix(b"://") {
                Some(authority) if ends_authority(authority) => return Ok(()),
                Some(_) => at = At::Authority,
                None => return Err(LocationError::Beginning),
            },
            (At::Start | At::Scheme, Part::Value(..)) => return Err(LocationError::Beginning),
        }
    }
    match at {
        At::Start if template.parts.is_empty() => Err(LocationError::Beginning),
        At::Start | At::Authority => Ok(()),
        At::Scheme => Err(LocationError::Beginning),
    }
}

/// What is behind `//` or `scheme://` at the beginning of a text.
fn behind_the_scheme(text: &[u8]) -> Option<&[u8]> {
    if let Some(rest) = text.strip_prefix(b"//") {
        return Some(rest);
    }
    let at = memchr::memmem::find(text, b"://")?;
    let (scheme, rest) = text.split_at_checked(at)?;
    let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    if is_scheme { rest.strip_prefix(b"://") } else { None }
}

/// Whether a host ends in a text. A browser takes a backslash for a slash.
fn ends_authority(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'/' | b'\\' | b'?' | b'#'))
}
