//! The users, and which credentials were found right before.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs;
use std::path::Path;

use arc_swap::ArcSwap;
use ring::hmac;
use ring::rand::SystemRandom;

use super::credentials::Credentials;
use super::hash::PasswordHash;

/// The users, and which credentials were found right before. Another set of users starts with nothing found.
pub(super) struct Users {
    hashes: BTreeMap<Box<str>, PasswordHash>,
    /// What names credentials in memory: without it, what is remembered could be used to guess passwords.
    secret: Option<hmac::Key>,
    known: ArcSwap<HashSet<Tag>>,
}

/// Credentials, so that no one can tell which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tag([u8; 32]);

/// How many credentials are remembered. More of them start again.
const MOST_KNOWN: usize = 1024;

// === impl Users ===

impl Users {
    pub(super) fn new(hashes: BTreeMap<Box<str>, PasswordHash>) -> Self {
        // Without randomness nothing is remembered.
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok();
        Self { hashes, secret, known: ArcSwap::default() }
    }

    /// The users of a file, together with others.
    pub(super) fn read(path: &Path, others: &BTreeMap<Box<str>, PasswordHash>) -> Result<Self, String> {
        let shown = path.display();
        let text = fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
        let mut hashes = others.clone();
        for (at, line) in text.lines().enumerate() {
            let (number, line) = (at + 1, line.trim());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let parts = line.split_once(':').filter(|(name, _)| !name.is_empty());
            let (name, hash) =
                parts.ok_or_else(|| format!("{shown}:{number}: expected a user, like name:hash"))?;
            // What may follow the hash in such a file is a comment.
            let hash = hash.split(':').next().unwrap_or_default();
            let hash = PasswordHash::parse(hash).map_err(|expected| {
                format!("{shown}:{number}: user {}: expected {expected}", name.escape_debug())
            })?;
            if hashes.insert(name.into(), hash).is_some() {
                return Err(format!("{shown}:{number}: the user {} is there twice", name.escape_debug()));
            }
        }
        Ok(Self::new(hashes))
    }

    /// What the credentials are remembered by.
    pub(super) fn tag(&self, credentials: &Credentials) -> Option<Tag> {
        let mut context = hmac::Context::with_key(self.secret.as_ref()?);
        context.update(&(credentials.user().len() as u64).to_ne_bytes());
        context.update(credentials.user().as_bytes());
        context.update(credentials.password().as_bytes());
        context.sign().as_ref().try_into().ok().map(Tag)
    }

    /// Whether the credentials were found right before.
    pub(super) fn is_known(&self, tag: Option<Tag>) -> bool {
        tag.is_some_and(|tag| self.known.load().contains(&tag))
    }

    /// Whether the credentials are right. Takes as long for a user that does not exist.
    pub(super) fn check(&self, credentials: &Credentials, tag: Option<Tag>) -> bool {
        // Requests with the same credentials often come together: one of them finds out.
        if self.is_known(tag) {
            return true;
        }
        match self.hashes.get(credentials.user()) {
            Some(hash) => {
                let is_right = hash.is_of(credentials.password());
                if let (true, Some(tag)) = (is_right, tag) {
                    self.remember(tag);
                }
                is_right
            }
            None => {
                if let Some(decoy) = self.decoy(credentials.user()) {
                    let _ = std::hint::black_box(decoy.is_of(credentials.password()));
                }
                false
            }
        }
    }

    /// The hash of another user, always the same one for a name: so the time tells nothing about whether a user exists.
    fn decoy(&self, name: &str) -> Option<&PasswordHash> {
        let secret = self.secret.as_ref()?;
        let signed = hmac::sign(secret, name.as_bytes());
        let number =
            signed.as_ref().iter().take(4).fold(0_usize, |number, byte| (number << 8) | usize::from(*byte));
        let at = number.checked_rem(self.hashes.len())?;
        self.hashes.values().nth(at)
    }

    fn remember(&self, tag: Tag) {
        self.known.rcu(|known| {
            let mut next = if known.len() < MOST_KNOWN { HashSet::clone(known) } else { HashSet::new() };
            next.insert(tag);
            next
        });
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.hashes).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::credentials::Credentials;
    use super::{MOST_KNOWN, PasswordHash, Tag, Users};
    use std::collections::BTreeMap;

    fn users() -> Users {
        let hash = PasswordHash::parse(&bcrypt::hash("secret", 4).unwrap()).unwrap();
        Users::new(BTreeMap::from([("ann".into(), hash.clone()), ("bob".into(), hash)]))
    }

    #[test]
    fn only_right_credentials_are_remembered() {
        let users = users();
        for (user, password, expected) in [
            ("ann", "secret", true),
            ("ann", "wrong", false),
            ("eve", "secret", false),
            ("annsec", "ret", false),
        ] {
            let credentials = Credentials::new(user, password);
            let tag = users.tag(&credentials);
            assert!(!users.is_known(tag), "{user}");
            assert_eq!(users.check(&credentials, tag), expected, "{user}");
            assert_eq!(users.is_known(tag), expected, "{user}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let users = users();
        for number in 0..=MOST_KNOWN {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_ne_bytes());
            users.remember(Tag(bytes));
        }
        assert_eq!(users.known.load().len(), 1);
    }

    #[test]
    fn a_user_that_does_not_exist_has_a_hash_too() {
        let users = users();
        assert_eq!(users.decoy("eve"), users.decoy("eve"));
        assert!(users.decoy("mallory").is_some());
        assert!(Users::new(BTreeMap::new()).decoy("eve").is_none());
    }
}
