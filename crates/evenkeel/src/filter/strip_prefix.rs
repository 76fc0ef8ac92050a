//! `strip_prefix`: removes a prefix from the path before the request goes to a backend.

use super::registry::{FilterError, FilterKind};
use super::{BuildContext, Filter, Request, Verdict};

/// Removes a prefix from the path, in whole segments only: `/v1` turns `/v1/users` into `/users` and `/v1` into `/`,
/// and leaves `/v1beta` unchanged.
#[derive(Debug)]
pub struct StripPrefix {
    /// Without a slash at its end.
    prefix: String,
}

impl Filter for StripPrefix {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        let stripped = match request.path().strip_prefix(self.prefix.as_str()) {
            Some("") => Some("/".to_owned()),
            Some(rest) if rest.starts_with('/') => Some(rest.to_owned()),
            _ => None,
        };
        if stripped.is_some() {
            request.edits.path = stripped;
        }
        Verdict::Continue
    }
}

impl FilterKind for StripPrefix {
    const NAME: &'static str = "strip_prefix";
    const EXAMPLE: &'static str = "strip_prefix: /v1";
    const DOC: &'static str =
        "Removes a prefix from the path, in whole segments only, before the request goes to a backend.";
    type Params = String;

    fn new(prefix: String, _: &BuildContext<'_>) -> Result<Self, FilterError> {
        match prefix.trim_end_matches('/') {
            prefix if prefix.starts_with('/') && !prefix.contains(['?', '#', ' ']) => {
                Ok(Self { prefix: prefix.to_owned() })
            }
            _ => Err(FilterError::new("", "a path prefix that starts with /, like /v1")),
        }
    }
}
