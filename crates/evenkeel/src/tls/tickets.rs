//! Keys of session tickets from a file: machines that share it, and a process after a restart, resume each other's sessions.
//!
//! A ticket holds a whole session, encrypted with AES-256-GCM (RFC 5077, RFC 8446). What a listener trusts to certify clients is
//! authenticated with it, so that a ticket is worth nothing where another trust holds.

use std::fmt;
use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac::{HMAC_SHA256, Key, sign};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;

use super::certificate::read;
use super::server::TlsError;

/// The secrets of a file, in its order. The first one is for new tickets.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct TicketKeys(Vec<Vec<u8>>);

/// Tickets with these keys.
pub(super) struct SharedTickets {
    keys: Vec<TicketKey>,
    /// What is authenticated with each ticket.
    trust: Vec<u8>,
    random: SystemRandom,
}

struct TicketKey {
    name: [u8; NAME],
    key: LessSafeKey,
}

/// The bytes of a ticket that say which key it has.
const NAME: usize = 16;
/// Fewer bytes are no secret.
const SHORTEST: usize = 32;
/// More keys than this are a mistake: each is tried by its name for each ticket.
const MOST: usize = 16;
/// How long clients keep a ticket, in seconds: as with keys of the process.
const LIFETIME: u32 = 12 * 3600;

const EXPECTED: &str =
    "expected one key in each line, as at least 64 hexadecimal digits: write one with `openssl rand -hex 32`";

// === impl TicketKeys ===

impl TicketKeys {
    /// Reads the secrets of a file.
    pub(super) fn read(path: &Path) -> Result<Self, TlsError> {
        let keys = read(path).and_then(|text| Self::parse(&text));
        keys.map_err(|reason| TlsError::File { key: "ticket_keys", path: path.to_owned(), reason })
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| format!("is not text: {EXPECTED}"))?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let keys = lines.map(|(at, line)| match unhex(line.trim()) {
            Some(key) if key.len() >= SHORTEST => Ok(key),
            // The line itself is a secret.
            Some(_) => Err(format!("has a key that is too short in line {}: {EXPECTED}", at + 1)),
            None => Err(format!("has no key in line {}: {EXPECTED}", at + 1)),
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        match keys.len() {
            0 => Err(format!("has no key: {EXPECTED}")),
            1..=MOST => Ok(Self(keys)),
            more => Err(format!("has {more} keys: expected at most {MOST}")),
        }
    }

    /// Tickets with these keys, for sessions with this trust in certificates of clients.
    pub(super) fn tickets(&self, trust: &[u8]) -> Option<SharedTickets> {
        let keys = self.0.iter().map(|secret| TicketKey::new(secret)).collect::<Option<Vec<_>>>()?;
        Some(SharedTickets { keys, trust: trust.to_vec(), random: SystemRandom::new() })
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketKeys({})", self.0.len())
    }
}

// === impl TicketKey ===

impl TicketKey {
    fn new(secret: &[u8]) -> Option<Self> {
        let secret = Key::new(HMAC_SHA256, secret);
        let (key, label) = (sign(&secret, b"evenkeel ticket key"), sign(&secret, b"evenkeel ticket name"));
        let mut name = [0; NAME];
        name.copy_from_slice(label.as_ref().get(..NAME)?);
        Some(Self { name, key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).ok()?) })
    }
}

// === impl SharedTickets ===

impl ProducesTickets for SharedTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = self.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let aad = Aad::from(self.trust.as_slice());
        key.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).ok()?;
        Some([key.name.as_slice(), &nonce, &sealed].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = cipher.split_at_checked(NAME)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let key = self.keys.iter().find(|key| key.name == name)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let plain = key.key.open_in_place(nonce, Aad::from(self.trust.as_slice()), &mut sealed).ok()?;
        Some(plain.to_vec())
    }
}

impl fmt::Debug for SharedTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedTickets({})", self.keys.len())
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => {
                let digit =
                    |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                Some(digit(*high)? << 4 | digit(*low)?)
            }
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rustls::server::ProducesTickets;

    use super::TicketKeys;

    const ONE: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const TWO: &str = "ff0102030405060708090A0B0C0D0E0F101112131415161718191a1b1c1d1e1f";

    fn keys(lines: &[&str]) -> TicketKeys {
        TicketKeys::parse(lines.join("\n").as_bytes()).unwrap()
    }

    #[test]
    fn tickets_are_read_with_any_of_the_keys_and_the_same_trust_only() {
        let made = keys(&[ONE]).tickets(b"trust").unwrap();
        let ticket = made.encrypt(b"a session").unwrap();
        assert_ne!(ticket, made.encrypt(b"a session").unwrap());
        let both = keys(&[TWO, "", ONE]).tickets(b"trust").unwrap();
        assert_eq!(both.decrypt(&ticket).as_deref(), Some(b"a session".as_slice()));
        assert_eq!(keys(&[TWO]).tickets(b"trust").unwrap().decrypt(&ticket), None, "the key is gone");
        assert_eq!(keys(&[ONE]).tickets(b"other").unwrap().decrypt(&ticket), None, "another trust");
        assert_eq!(made.decrypt(&both.encrypt(b"a session").unwrap()), None, "a key that is not known here");
        for at in 0..ticket.len() {
            let mut forged = ticket.clone();
            forged[at] ^= 1;
            assert_eq!(made.decrypt(&forged), None, "{at}");
            assert_eq!(made.decrypt(&ticket[..at]), None, "{at}");
        }
    }

    #[test]
    fn a_file_that_has_no_keys_is_rejected_without_its_content() {
        for (text, reason) in [
            ("", "has no key:"),
            ("\n \n", "has no key:"),
            ("0011", "too short in line 1"),
            (&*format!("{ONE}\n{}", &TWO[1..]), "has no key in line 2"),
            (&format!("{ONE}\nnot hexadecimal"), "has no key in line 2"),
            (&format!("{ONE}\n").repeat(17), "has 17 keys"),
        ] {
            let error = TicketKeys::parse(text.as_bytes()).unwrap_err();
            assert!(
                error.contains(reason) && !error.contains("0011") && !error.contains("not hex"),
                "{error}"
            );
        }
        assert!(TicketKeys::parse(&[0xff; 64]).is_err());
    }
}
