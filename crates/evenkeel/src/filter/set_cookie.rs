//! `cookie`: changes the attributes of the cookies that backends set.

use http::HeaderValue;
use http::header::SET_COOKIE;
use schemars::JsonSchema;
use serde::Deserialize;

use super::registry::{FilterError, FilterKind};
use super::{BuildContext, Filter, HeaderEdit, Response};

/// Which cookies, and which attributes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map, like { secure: true, same_site: Lax }")]
pub struct CookieParams {
    /// The names of the cookies. Default: all.
    pub names: Vec<String>,
    /// Whether browsers send the cookie over TLS only.
    pub secure: Option<bool>,
    /// Whether the cookie is hidden from scripts.
    pub http_only: Option<bool>,
    /// With which requests of other sites browsers send the cookie: `Strict`, `Lax` or `None`. `None` needs `secure: true`.
    pub same_site: Option<String>,
    /// The path below which browsers send the cookie.
    pub path: Option<String>,
    /// The domain whose hosts get the cookie; `off` for the host of the request only.
    pub domain: Option<String>,
}

/// Changes the attributes of the cookies that backends set.
#[derive(Debug)]
pub struct CookieFilter {
    names: Vec<String>,
    changes: Vec<Change>,
}

/// What becomes of an attribute.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    name: &'static str,
    /// What is written in its place.
    attribute: Option<String>,
}

// === impl CookieFilter ===

impl CookieFilter {
    /// The cookie with its changes; `None` if it is another one.
    fn changed(&self, cookie: &HeaderValue) -> Option<HeaderValue> {
        let mut parts = cookie.as_bytes().split(|byte| *byte == b';');
        let pair = parts.next()?.trim_ascii();
        let name = pair.split(|byte| *byte == b'=').next()?.trim_ascii();
        if !self.names.is_empty() && !self.names.iter().any(|known| known.as_bytes() == name) {
            return None;
        }
        let is_changed = |attribute: &[u8]| {
            let name = attribute.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
            self.changes.iter().any(|change| name.eq_ignore_ascii_case(change.name.as_bytes()))
        };
        let kept =
            parts.map(<[u8]>::trim_ascii).filter(|attribute| !attribute.is_empty() && !is_changed(attribute));
        let new = self.changes.iter().filter_map(|change| change.attribute.as_deref()).map(str::as_bytes);
        let all: Vec<&[u8]> = std::iter::once(pair).chain(kept).chain(new).collect();
        HeaderValue::from_bytes(&all.join(&b"; "[..])).ok()
    }
}

impl Filter for CookieFilter {
    fn on_response(&self, response: &mut Response<'_>) {
        let cookies = response.values(&SET_COOKIE);
        let mut is_changed = false;
        let cookies: Vec<HeaderValue> = cookies
            .into_iter()
            .map(|cookie| match self.changed(&cookie) {
                Some(changed) => {
                    is_changed = true;
                    changed
                }
                None => cookie,
            })
            .collect();
        if is_changed {
            response.edits.danger_push(HeaderEdit::Remove(SET_COOKIE));
            for cookie in cookies {
                response.edits.danger_push(HeaderEdit::Add(SET_COOKIE, cookie));
            }
        }
    }
}

impl FilterKind for CookieFilter {
    const NAME: &'static str = "cookie";
    const EXAMPLE: &'static str =
        "cookie: { names: [session], secure: true, http_only: true, same_site: Lax }";
    const DOC: &'static str = "Changes the attributes of the cookies that backends set, in `Set-Cookie`. The cookie of `sticky` is not changed.";
    type Params = CookieParams;

    fn new(params: CookieParams, _: &BuildContext<'_>) -> Result<Self, FilterError> {
        let mut changes = Vec::new();
        let mut flag = |name: &'static str, wanted: Option<bool>| {
            if let Some(wanted) = wanted {
                changes.push(Change { name, attribute: wanted.then(|| name.to_owned()) });
            }
        };
        flag("Secure", params.secure);
        flag("HttpOnly", params.http_only);
        if let Some(text) = &params.same_site {
            let known = ["Strict", "Lax", "None"].into_iter().find(|known| known.eq_ignore_ascii_case(text));
            let known = known.ok_or_else(|| FilterError::new("same_site", "Strict, Lax or None"))?;
            if known == "None" && params.secure != Some(true) {
                return Err(FilterError::new(
                    "same_site",
                    "Strict or Lax, or secure: true with None: browsers reject it otherwise",
                ));
            }
            changes.push(Change { name: "SameSite", attribute: Some(format!("SameSite={known}")) });
        }
        if let Some(path) = params.path {
            if !path.starts_with('/') || !is_plain(&path) {
                return Err(FilterError::new("path", "a path that starts with /, without ;"));
            }
            changes.push(Change { name: "Path", attribute: Some(format!("Path={path}")) });
        }
        if let Some(domain) = params.domain {
            let is_off = domain == "off" || domain == "false";
            if domain.is_empty() || !is_plain(&domain) {
                return Err(FilterError::new("domain", "a domain, or off"));
            }
            changes.push(Change { name: "Domain", attribute: (!is_off).then(|| format!("Domain={domain}")) });
        }
        if changes.is_empty() {
            return Err(FilterError::new(
                "",
                "at least one of secure, http_only, same_site, path and domain",
            ));
        }
        Ok(Self { names: params.names, changes })
    }
}

/// Whether a text can be the value of an attribute.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b';')
}

#[cfg(test)]
mod tests {
    use super::{BuildContext, CookieFilter, CookieParams, FilterKind, HeaderValue};

    fn filter(change: impl FnOnce(&mut CookieParams)) -> CookieFilter {
        let mut params = CookieParams::default();
        change(&mut params);
        CookieFilter::new(params, &BuildContext::new("all", 1)).unwrap()
    }

    fn changed(filter: &CookieFilter, cookie: &str) -> Option<String> {
        let value = filter.changed(&HeaderValue::from_str(cookie).unwrap())?;
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn attributes_are_replaced_and_others_stay() {
        let all = filter(|params| {
            (params.secure, params.http_only) = (Some(true), Some(false));
            params.same_site = Some("lax".to_owned());
            (params.path, params.domain) = (Some("/app".to_owned()), Some("off".to_owned()));
        });
        let end = "Secure; SameSite=Lax; Path=/app";
        for (cookie, expected) in [
            ("a=b", format!("a=b; {end}")),
            (
                "a=b; Max-Age=5; HTTPONLY ;secure; path=/; Domain=x.test; samesite=None;",
                format!("a=b; Max-Age=5; {end}"),
            ),
            ("a=\"b;c\"", format!("a=\"b; c\"; {end}")),
            ("a=secure", format!("a=secure; {end}")),
            ("", format!("; {end}")),
        ] {
            assert_eq!(changed(&all, cookie), Some(expected), "{cookie}");
        }
        let domain = filter(|params| params.domain = Some("x.test".to_owned()));
        assert_eq!(changed(&domain, "a=b; domain=y").as_deref(), Some("a=b; Domain=x.test"));
    }

    #[test]
    fn only_these_cookies_change() {
        let one = filter(|params| (params.names, params.secure) = (vec!["a".to_owned()], Some(true)));
        assert_eq!(changed(&one, " a =b").as_deref(), Some("a =b; Secure"));
        for other in ["ab=c", "b=a", "A=b", "=a"] {
            assert_eq!(changed(&one, other), None, "{other}");
        }
    }
}
