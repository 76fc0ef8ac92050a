//! What makes requests belong together: the key that an algorithm hashes, the cookie that names a backend.

use std::net::IpAddr;

use evenkeel_config::Sticky;
use evenkeel_core::balance::HashKey;
use ring::hmac;

/// What makes an upstream's requests belong together.
#[derive(Debug, Default)]
pub struct Affinity {
    /// What the algorithm hashes, if it hashes.
    pub key: Option<HashKey>,
    /// The cookie that keeps a client with its backend, if there is one.
    pub sticky: Option<Sticky>,
}

/// The name of a backend in a sticky cookie. It does not reveal the address: without the secret a client can at most
/// verify a guess, and if there is a secret not even that.
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

/// An IPv6 client is its /64: the rest of the address changes as it likes.
pub fn hash_of_client(client: Option<IpAddr>) -> u64 {
    match client {
        Some(IpAddr::V4(ip)) => hash(ip.octets()),
        Some(IpAddr::V6(ip)) => hash(ip.octets().into_iter().take(8)),
        None => hash([]),
    }
}

/// FNV-1a, mixed again at the end (as in splitmix64) so that keys that differ in their last byte are far apart. Fixed
/// forever: several balancers, and one before and after its restart, must agree.
pub fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut hash = bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, fold);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
