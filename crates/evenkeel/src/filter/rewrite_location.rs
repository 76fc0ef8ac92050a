//! `rewrite_location`: changes the URLs to which responses of backends lead.

use http::HeaderValue;
use http::header::{HeaderName, LOCATION, REFRESH};
use schemars::JsonSchema;
use serde::Deserialize;

use super::registry::{FilterError, FilterKind};
use super::{BuildContext, Filter, Response};

/// The beginning of a URL, and what takes its place.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a map with from and to, like { from: \"http://10.0.0.1:8080/\", to: / }"
)]
pub struct RewriteLocationParams {
    /// The beginning of a URL that backends send.
    pub from: String,
    /// What clients get in its place.
    pub to: String,
}

/// Changes the URLs to which responses of backends lead: the first rule that fits counts.
#[derive(Debug)]
pub struct RewriteLocation(Vec<RewriteLocationParams>);

// === impl RewriteLocation ===

impl RewriteLocation {
    fn rewritten(&self, url: &[u8]) -> Option<Vec<u8>> {
        self.0.iter().find_map(|RewriteLocationParams { from, to }| {
            let rest = url.strip_prefix(from.as_bytes())?;
            // A host or a segment ends here: http://internal is not the beginning of http://internal.example.
            if !from.ends_with('/') && !matches!(rest.first(), None | Some(b'/' | b'?' | b'#')) {
                return None;
            }
            // Two slashes, or one and a backslash, begin another host.
            let begun = rest.iter().take_while(|byte| matches!(byte, b'/' | b'\\')).count();
            let rest = if to.ends_with('/') { rest.get(begun..)? } else { rest };
            Some([to.as_bytes(), rest].concat())
        })
    }

    fn edit(&self, response: &mut Response<'_>, name: &HeaderName, start: &[u8]) {
        let Some(value) = response.values(name).into_iter().next() else { return };
        // The URL of Refresh follows a number: `5; url=http://…`.
        let at = match start {
            [] => 0,
            start => {
                match value.as_bytes().windows(start.len()).position(|part| part.eq_ignore_ascii_case(start))
                {
                    Some(at) => at + start.len(),
                    None => return,
                }
            }
        };
        let Some((before, url)) = value.as_bytes().split_at_checked(at) else { return };
        let rewritten = self.rewritten(url).map(|url| [before, &url].concat());
        if let Some(value) = rewritten.and_then(|value| HeaderValue::from_bytes(&value).ok()) {
            response.edits.danger_set(name.clone(), value);
        }
    }
}

impl Filter for RewriteLocation {
    fn on_response(&self, response: &mut Response<'_>) {
        if response.head.status() >= 200 {
            self.edit(response, &LOCATION, b"");
            self.edit(response, &REFRESH, b"url=");
        }
    }
}

impl FilterKind for RewriteLocation {
    const NAME: &'static str = "rewrite_location";
    const EXAMPLE: &'static str = "rewrite_location: [{ from: \"http://10.0.0.1:8080/\", to: / }]";
    const DOC: &'static str = "Changes the beginning of the URLs in `Location` and `Refresh`, for backends that do not know the address of clients. \
                               The first rule that fits counts.";
    type Params = Vec<RewriteLocationParams>;

    fn new(rules: Vec<RewriteLocationParams>, _: &BuildContext<'_>) -> Result<Self, FilterError> {
        for (at, RewriteLocationParams { from, to }) in rules.iter().enumerate() {
            let is_plain = |text: &str| text.bytes().all(|byte| matches!(byte, b'!'..=b'~'));
            for (key, text) in [("from", from), ("to", to)] {
                if !is_plain(text) || text.is_empty() {
                    return Err(FilterError::new(
                        format!("[{at}].{key}"),
                        "the beginning of a URL, without spaces",
                    ));
                }
            }
        }
        Ok(Self(rules))
    }
}
