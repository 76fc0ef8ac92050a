//! What a request is counted by, as a hash.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// What a request is counted by, as a hash: requests with equal keys share a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimitKey(pub(super) u64);

/// Makes a key of its parts.
#[derive(Clone, Debug)]
pub struct KeyHasher(SipHasher13);

/// What makes the keys of one limit: keeps clients from finding keys that collide.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeySecret(u64, u64);

// === impl KeyHasher ===

impl KeyHasher {
    /// With this part; `None` if the request does not have it. The order of parts matters.
    #[must_use]
    #[inline]
    pub fn with(mut self, part: Option<&[u8]>) -> Self {
        // The length in front, so that "ab" and "c" is another key than "a" and "bc".
        self.0.write_u64(part.map_or(0, |part| part.len() as u64 + 1));
        self.0.write(part.unwrap_or_default());
        self
    }

    /// The key.
    #[inline]
    pub fn finish(self) -> LimitKey {
        LimitKey(self.0.finish().max(1))
    }
}

// === impl KeySecret ===

impl KeySecret {
    /// Of a random number.
    pub fn new(secret: u128) -> Self {
        Self(secret as u64, (secret >> 64) as u64)
    }

    /// What makes keys.
    #[inline]
    pub fn hasher(&self) -> KeyHasher {
        KeyHasher(SipHasher13::new_with_keys(self.0, self.1))
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret")
    }
}
