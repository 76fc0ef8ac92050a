//! A JSON Web Key Set (RFC 7517): public keys, each with the algorithms that it is for.
//!
//! Keys of a shared secret are left out: a public key that is taken for a secret would let everyone sign. What a token says of a
//! key (`jwk`, `jku`, `x5u`) is never used.

use std::fmt;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// Public keys.
#[derive(Debug)]
pub(super) struct KeySet(Vec<PublicKey>);

/// A public key, and what it is for.
pub(super) struct PublicKey {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

/// The algorithms that can be accepted: only those with a public key.
pub(super) const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// How many keys are used: a token without the id of a key is checked with each of them.
const MOST: usize = 32;

// === impl KeySet ===

impl KeySet {
    /// Reads a key set. Keys of kinds that are not supported are left out.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let set: Value = serde_json::from_slice(text).map_err(|error| format!("not JSON: {error}"))?;
        let keys = set.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or("not a key set: it has no list named keys")?;
        let usable = keys.iter().filter_map(|key| PublicKey::new(serde_json::from_value(key.clone()).ok()?));
        let usable: Vec<_> = usable.take(MOST).collect();
        if usable.is_empty() {
            return Err("it has no public key of RSA, P-256, P-384 or Ed25519".to_owned());
        }
        Ok(Self(usable))
    }

    /// The keys that can have signed a token with this algorithm and this id of a key.
    pub(super) fn find(&self, algorithm: Algorithm, id: Option<&str>) -> impl Iterator<Item = &PublicKey> {
        let is_named = move |key: &&PublicKey| match (id, &key.id) {
            (Some(id), Some(known)) => id == known,
            _ => true,
        };
        self.0.iter().filter(is_named).filter(move |key| key.algorithms.contains(&algorithm))
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

// === impl PublicKey ===

impl PublicKey {
    fn new(jwk: Jwk) -> Option<Self> {
        if jwk.common.public_key_use.as_ref().is_some_and(|uses| *uses != PublicKeyUse::Signature) {
            return None;
        }
        let operations = jwk.common.key_operations.as_ref();
        if operations.is_some_and(|operations| !operations.contains(&KeyOperations::Verify)) {
            return None;
        }
        let fits = |algorithm: Algorithm| match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => {
                use Algorithm::{PS256, PS384, PS512, RS256, RS384, RS512};
                matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512)
            }
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => algorithm == Algorithm::ES256,
                EllipticCurve::P384 => algorithm == Algorithm::ES384,
                _ => false,
            },
            AlgorithmParameters::OctetKeyPair(key) => {
                key.curve == EllipticCurve::Ed25519 && algorithm == Algorithm::EdDSA
            }
            _ => false,
        };
        let named = jwk.common.key_algorithm.as_ref().map(ToString::to_string);
        let is_named = |name: &str| named.as_deref().is_none_or(|named| named == name);
        let algorithms =
            ALGORITHMS.into_iter().filter(|(name, algorithm)| fits(*algorithm) && is_named(name));
        let algorithms: Vec<_> = algorithms.map(|(_, algorithm)| algorithm).collect();
        let key = DecodingKey::from_jwk(&jwk).ok().filter(|_| !algorithms.is_empty())?;
        Some(Self { id: jwk.common.key_id, algorithms, key })
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey")
            .field("id", &self.id)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}
