//! `rewrite_path`: gives the path another form by a regular expression.

use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::registry::{FilterError, FilterKind};
use super::{Filter, Request, Verdict};

/// What to look for in the path, and what to put in its place.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RewritePathParams {
    /// A regular expression (Rust's `regex` syntax), looked for anywhere in the path; the first match is replaced. Anchor
    /// it with `^` and `$` to mean the whole path.
    pub from: String,
    /// What takes its place; `$1` or `${name}` stand for what a group matched.
    pub to: String,
}

/// Replaces what a regular expression finds in the path, before the request goes to a backend. A path that it does not
/// match stays as it is; a result that is not a path (no `/` at its start, or a space, `?` or `#` in it) is refused with
/// 400.
#[derive(Debug)]
pub struct RewritePath {
    from: Regex,
    to: String,
}

impl Filter for RewritePath {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        let path = request.path();
        if let std::borrow::Cow::Owned(path) = self.from.replace(path, self.to.as_str()) {
            if !path.starts_with('/') || path.contains(|c: char| c <= ' ' || c == '?' || c == '#') {
                return Verdict::Refuse(super::Refusal::BadRequest("the path cannot be rewritten"));
            }
            request.edits.path = Some(path);
        }
        Verdict::Continue
    }
}

impl FilterKind for RewritePath {
    const NAME: &'static str = "rewrite_path";
    const EXAMPLE: &'static str = "rewrite_path: { from: \"^/users/([0-9]+)$\", to: /u/$1 }";
    const DOC: &'static str =
        "Replaces what a regular expression finds in the path, before the request goes to a backend.";
    type Params = RewritePathParams;

    fn new(params: RewritePathParams) -> Result<Self, FilterError> {
        let from = regex::RegexBuilder::new(&params.from).size_limit(1 << 20).build();
        let from = from.map_err(|error| {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            FilterError::new("from", format!("a regular expression: {reason}"))
        })?;
        Ok(Self { from, to: params.to })
    }
}

#[cfg(test)]
mod tests {
    use super::{RewritePath, RewritePathParams};
    use crate::filter::registry::FilterKind;

    #[test]
    fn a_bad_expression_says_why() {
        let params = RewritePathParams { from: "(".to_owned(), to: String::new() };
        let error = RewritePath::new(params).unwrap_err();
        assert_eq!(
            (error.path.as_str(), error.expected.as_str()),
            ("from", "a regular expression: unclosed group")
        );
    }
}
