//! What makes requests belong together: the key that an algorithm hashes, the cookie that names a backend.

use std::net::IpAddr;

use evenkeel_core::balance::HashKey;
use evenkeel_core::route::{query_decoded, query_parameter};
use evenkeel_http::message::{RequestHead, cookie};
use http::HeaderValue;

use crate::upstream::{Affinity, Endpoint, Members, hash, hash_of_client};

// === impl Affinity ===

impl Affinity {
    /// The hash of what this request shares with those that it belongs to; zero where nothing is hashed.
    pub fn key_of(&self, head: &dyn RequestHead, client: Option<IpAddr>) -> u64 {
        let Some(key) = &self.key else { return 0 };
        let found = match key {
            HashKey::Header(name) => head.header(name).map(|value| hash(value.iter().copied())),
            HashKey::Cookie(name) => cookie(head, name, |value| hash(value.iter().copied())),
            HashKey::Query(name) => head
                .query()
                .and_then(|query| query_parameter(query, name))
                .map(|value| hash(query_decoded(value))),
            HashKey::Path => Some(hash(head.path().bytes())),
            _ => None,
        };
        found.unwrap_or_else(|| hash_of_client(client))
    }

    /// What of this request is hashed, for people; `None` where the client's address takes its place.
    pub fn key_text(&self, head: &dyn RequestHead) -> Option<String> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        match self.key.as_ref()? {
            HashKey::Header(name) => head.header(name).map(|value| text(value.to_vec())),
            HashKey::Cookie(name) => cookie(head, name, |value| text(value.to_vec())),
            HashKey::Query(name) => {
                query_parameter(head.query()?, name).map(|value| text(query_decoded(value).collect()))
            }
            HashKey::Path => Some(head.path().to_owned()),
            _ => None,
        }
    }

    /// The value of the sticky cookie that the client sent, if it did.
    pub fn cookie_text(&self, head: &dyn RequestHead) -> Option<String> {
        cookie(head, &self.sticky.as_ref()?.cookie, |value| String::from_utf8_lossy(value).into_owned())
    }

    /// The backend that the client's cookie names, by its place, if it can be picked now.
    pub fn named(&self, head: &dyn RequestHead, members: &Members) -> Option<usize> {
        let sticky = self.sticky.as_ref()?;
        cookie(head, &sticky.cookie, |value| members.by_cookie(value))?
    }

    /// The `Set-Cookie` that names this backend.
    pub(super) fn set_cookie(&self, endpoint: &Endpoint, secure: bool) -> Option<HeaderValue> {
        let (sticky, value) = (self.sticky.as_ref()?, endpoint.cookie.as_ref()?);
        let mut text = format!("{}={value}; Path=/; HttpOnly; SameSite=Lax", sticky.cookie);
        if let Some(ttl) = sticky.ttl {
            text.push_str(&format!("; Max-Age={}", ttl.as_secs()));
        }
        if secure {
            text.push_str("; Secure");
        }
        HeaderValue::from_str(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Described;

    #[test]
    fn what_people_are_told_is_what_is_hashed() {
        let request = Described::new("GET", "http://a.test/x%20y?q=a+b%20c").unwrap();
        let request = request.with_header("x-user: al").unwrap().with_header("cookie: a=1; u=bo").unwrap();
        let client = Some(IpAddr::from([192, 0, 2, 7]));
        let named = |key: fn(Box<str>) -> HashKey, name: &str| key(name.into());
        for (key, text) in [
            (named(HashKey::Header, "x-user"), "al"),
            (named(HashKey::Cookie, "u"), "bo"),
            (named(HashKey::Query, "q"), "a b c"),
            (HashKey::Path, "/x%20y"),
        ] {
            let affinity = Affinity { key: Some(key), sticky: None };
            assert_eq!(affinity.key_text(&request).as_deref(), Some(text));
            assert_eq!(affinity.key_of(&request, client), hash(text.bytes()));
        }
        for key in [HashKey::ClientIp, named(HashKey::Header, "x-other"), named(HashKey::Query, "u")] {
            let affinity = Affinity { key: Some(key), sticky: None };
            assert_eq!(affinity.key_text(&request), None);
            assert_eq!(affinity.key_of(&request, client), hash_of_client(client));
        }
    }
}
