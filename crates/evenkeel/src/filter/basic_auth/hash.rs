//! The hash of a password, as `htpasswd`, `mkpasswd` and `argon2` write it, and whether a password has it.
//!
//! It takes tens of milliseconds to find out: that is what these hashes are for. So it never runs on a worker.

use std::fmt;

use argon2::{Argon2, Params, PasswordHash as Phc, PasswordVerifier};

/// The hash of a password.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum PasswordHash {
    Bcrypt(Box<str>),
    Argon2(Box<str>),
    Sha256(Box<str>),
    Sha512(Box<str>),
}

/// What a text must be to be one.
pub(super) const EXPECTED: &str =
    "a hash of bcrypt ($2y$…), argon2 ($argon2id$…) or SHA-2 crypt ($5$…, $6$…), like \"htpasswd -B\" writes";

/// The most rounds of bcrypt, as a power of two: more take seconds.
const MOST_BCRYPT: u32 = 15;
/// The most memory of argon2, in KiB.
const MOST_ARGON2: u32 = 256 << 10;
/// The most passes of argon2.
const MOST_PASSES: u32 = 16;
/// The most rounds of SHA-2 crypt.
const MOST_ROUNDS: usize = 1_000_000;

// === impl PasswordHash ===

impl PasswordHash {
    /// Reads a hash; otherwise says what was expected.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let kind = text.split('$').nth(1).unwrap_or_default();
        match kind {
            "2a" | "2b" | "2x" | "2y" => {
                text.parse::<bcrypt::HashParts>().map_err(|_| EXPECTED.to_owned())?;
                let cost = text.split('$').nth(2).and_then(|cost| cost.parse::<u32>().ok());
                match cost {
                    Some(4..=MOST_BCRYPT) => Ok(Self::Bcrypt(text.into())),
                    _ => Err(format!("a bcrypt hash with a cost from 4 to {MOST_BCRYPT}")),
                }
            }
            "argon2id" | "argon2i" | "argon2d" => {
                let hash = Phc::new(text).map_err(|_| EXPECTED.to_owned())?;
                let params = Params::try_from(&hash).map_err(|_| EXPECTED.to_owned())?;
                if hash.salt.is_none() || hash.hash.is_none() {
                    return Err(EXPECTED.to_owned());
                }
                if params.m_cost() > MOST_ARGON2 || params.t_cost() > MOST_PASSES {
                    let most = MOST_ARGON2 >> 10;
                    return Err(format!(
                        "an argon2 hash of at most {most} MiB (m) and {MOST_PASSES} passes (t)"
                    ));
                }
                Ok(Self::Argon2(text.into()))
            }
            "5" => crypt(text, 43).map(|()| Self::Sha256(text.into())),
            "6" => crypt(text, 86).map(|()| Self::Sha512(text.into())),
            _ => Err(EXPECTED.to_owned()),
        }
    }

    /// Whether it is the hash of this password. Takes tens of milliseconds, and as long for a wrong password as for the right
    /// one.
    pub(super) fn is_of(&self, password: &str) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Argon2(hash) => Phc::new(hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()),
            Self::Sha256(hash) => sha_crypt::sha256_check(password, hash).is_ok(),
            Self::Sha512(hash) => sha_crypt::sha512_check(password, hash).is_ok(),
        }
    }
}

/// Checks the form of a hash of SHA-2 crypt: `$6$rounds=5000$salt$hash`, the rounds optional.
fn crypt(text: &str, length: usize) -> Result<(), String> {
    let is_plain =
        |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/'));
    let mut parts: Vec<&str> = text.split('$').skip(2).collect();
    if let Some(rounds) = parts.first().and_then(|part| part.strip_prefix("rounds=")) {
        if !rounds.parse::<usize>().is_ok_and(|rounds| (1000..=MOST_ROUNDS).contains(&rounds)) {
            return Err(format!("a hash with 1000 to {MOST_ROUNDS} rounds"));
        }
        parts.remove(0);
    }
    match parts.as_slice() {
        [salt, hash]
            if (1..=16).contains(&salt.len()) && is_plain(salt) && hash.len() == length && is_plain(hash) =>
        {
            Ok(())
        }
        _ => Err(EXPECTED.to_owned()),
    }
}

/// Not the hash itself.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bcrypt(_) => "bcrypt",
            Self::Argon2(_) => "argon2",
            Self::Sha256(_) => "sha256",
            Self::Sha512(_) => "sha512",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::PasswordHash;

    #[test]
    fn a_hash_is_of_its_password_only() {
        // The samples of SHA-2 crypt are those of its specification, by Ulrich Drepper.
        let bcrypt = bcrypt::hash("secret", 4).unwrap();
        let php = bcrypt.replacen("$2b$", "$2y$", 1);
        for (hash, password) in [
            (bcrypt.as_str(), "secret"),
            (php.as_str(), "secret"),
            ("$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", "Hello world!"),
            ("$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA", "Hello world!"),
            (
                "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
                "Hello world!",
            ),
        ] {
            let Ok(parsed) = PasswordHash::parse(hash) else { panic!("{hash}") };
            assert!(parsed.is_of(password), "{hash}");
            for wrong in ["", "secre", "secretx", "Hello world", "SECRET"] {
                assert!(!parsed.is_of(wrong), "{hash} {wrong}");
            }
        }
    }

    #[test]
    fn weak_and_malformed_and_costly_hashes_are_rejected() {
        for wrong in [
            "secret",
            "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            "$apr1$y1hZ0Kmf$kdzV0w5p6rN2YhO0Vh0wN0",
            "$1$salt$hash",
            "rqXexS6ZhobKA",
            "$2y$10$short",
            "$2y$31$zz7WHxmYlLRZ5qwqVYjPyemPzx5m5tJt6RVEKQX9NKQ3cBjrDaZx2",
            "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc",
            "$5$$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc8",
            "$5$rounds=999999999$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc8",
            "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ",
            "$argon2id$v=19$m=4194304,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b5dWRWJTmaaJObG",
            "",
        ] {
            assert!(PasswordHash::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_hash_of_argon2_is_of_its_password() {
        let text = argon2::PasswordHasher::hash_password(
            &argon2::Argon2::new(
                argon2::Algorithm::Argon2id,
                argon2::Version::V0x13,
                argon2::Params::new(64, 2, 1, None).unwrap(),
            ),
            b"password",
            argon2::password_hash::Salt::from_b64("c29tZXNhbHQ").unwrap(),
        );
        let text = text.unwrap().to_string();
        let hash = PasswordHash::parse(&text).unwrap();
        assert!(hash.is_of("password") && !hash.is_of("passwore"), "{text}");
    }
}
