//! What makes requests belong together: the key that an algorithm hashes, the cookie that names a backend.

use std::net::IpAddr;

use evenkeel_config::Sticky;
use evenkeel_core::balance::HashKey;
use evenkeel_core::route::{query_decoded, query_parameter};
use http::HeaderValue;
use ring::hmac;

use super::table::Endpoint;
use crate::filter::RequestHead;

/// What makes an upstream's requests belong together.
#[derive(Debug, Default)]
pub struct Affinity {
    /// What the algorithm hashes, if it hashes.
    pub key: Option<HashKey>,
    /// The cookie that keeps a client with its backend, if there is one.
    pub sticky: Option<Sticky>,
}

/// The name of a backend in a sticky cookie. It tells nothing of the address: whoever has no secret can at most find out
/// that a guess is right, and with a secret not even that.
pub fn cookie_value(sticky: &Sticky, upstream: &str, backend: &str) -> Box<str> {
    let secret = sticky.secret.as_deref().unwrap_or("evenkeel: no secret was given");
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    for part in [upstream.as_bytes(), b"\n", backend.as_bytes()] {
        context.update(part);
    }
    let tag = context.sign();
    tag.as_ref().iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

// === impl Affinity ===

impl Affinity {
    /// The hash of what this request shares with those that it belongs to; zero where nothing is hashed.
    pub(super) fn key_of(&self, head: &dyn RequestHead, client: Option<IpAddr>) -> u64 {
        let Some(key) = &self.key else { return 0 };
        let found = match key {
            HashKey::Header(name) => head.header(name).map(|value| hash(value.iter().copied())),
            HashKey::Cookie(name) => cookie(head, name, |value| hash(value.bytes())),
            HashKey::Query(name) => head
                .query()
                .and_then(|query| query_parameter(query, name))
                .map(|value| hash(query_decoded(value))),
            HashKey::Path => Some(hash(head.path().bytes())),
            _ => None,
        };
        found.unwrap_or_else(|| hash_of_client(client))
    }

    /// The backend that the client's cookie names, by its place, if it may be chosen now.
    pub(super) fn named(
        &self,
        head: &dyn RequestHead,
        endpoints: &[std::sync::Arc<Endpoint>],
    ) -> Option<usize> {
        let sticky = self.sticky.as_ref()?;
        let place =
            |value: &str| endpoints.iter().position(|endpoint| endpoint.cookie.as_deref() == Some(value));
        cookie(head, &sticky.cookie, place)?
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

/// What `then` makes of the value of the first cookie of this name.
fn cookie<T>(head: &dyn RequestHead, name: &str, then: impl Fn(&str) -> T) -> Option<T> {
    let mut found = None;
    head.each("cookie", &mut |line| {
        if found.is_none()
            && let Ok(line) = std::str::from_utf8(line)
        {
            let pairs = line.split(';').filter_map(|pair| pair.split_once('='));
            let mut values = pairs.filter(|(known, _)| known.trim() == name).map(|(_, value)| value.trim());
            found = values.next().map(&then);
        }
    });
    found
}

/// An IPv6 client is its /64: the rest of the address changes as it likes.
fn hash_of_client(client: Option<IpAddr>) -> u64 {
    match client {
        Some(IpAddr::V4(ip)) => hash(ip.octets()),
        Some(IpAddr::V6(ip)) => hash(ip.octets().into_iter().take(8)),
        None => hash([]),
    }
}

/// FNV-1a, mixed once more at the end (as splitmix64 does) so that keys that differ in their last byte lie far apart. Fixed
/// for ever: several balancers, and one before and after its restart, must agree.
fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut hash = bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, fold);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
