//! `strip_prefix`: removes a prefix from the path before the request goes to a backend.

use evenkeel_core::route::normal_path;

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
        let plain = prefix.trim_end_matches('/');
        if !plain.starts_with('/') || plain.contains(['?', '#', ' ']) {
            return Err(FilterError::new("", "a path prefix that starts with /, like /v1"));
        }
        // Filters see paths in their normal form, so that another one would never be found.
        match normal_path(plain) {
            Ok(normal) if normal == plain => Ok(Self { prefix: plain.to_owned() }),
            Ok(normal) => Err(FilterError::new("", format!("a path prefix in its normal form: {normal}"))),
            Err(_) => Err(FilterError::new("", "a path prefix in its normal form, like /v1")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BuildContext, FilterKind, StripPrefix};

    #[test]
    fn a_prefix_that_no_path_has_is_rejected() {
        let new = |prefix: &str| StripPrefix::new(prefix.to_owned(), &BuildContext::new("all", 1));
        for (prefix, meant) in [
            ("//v1", "/v1"),
            ("/./v1", "/v1"),
            ("/a/../v1/", "/v1"),
            ("/%761", "/v1"),
            ("v1", "like /v1"),
            ("/", "like /v1"),
            ("/v1?x", "like /v1"),
        ] {
            let error = new(prefix).expect_err(prefix);
            assert!(error.expected.ends_with(meant), "{prefix}: {}", error.expected);
        }
        for prefix in ["/v1", "/v1/", "/a%2Fb", "/v1/users"] {
            assert!(new(prefix).is_ok(), "{prefix}");
        }
    }
}
