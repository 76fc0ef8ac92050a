//! JSON Web Tokens, and the keys of their issuer.

use std::sync::LazyLock;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};

/// Issues tokens, with a key of this id.
pub(crate) struct Issuer {
    id: &'static str,
    key: EncodingKey,
}

/// The issuer whose keys configurations of tests can name.
pub(crate) static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("one"));

// === impl Issuer ===

impl Issuer {
    pub(crate) fn new(id: &'static str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).expect("a key");
        Self { id, key }
    }

    /// Its public key, as a key set.
    pub(crate) fn keys(&self) -> String {
        let jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256).expect("a public key");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        jwk["kid"] = json!(self.id);
        json!({ "keys": [jwk] }).to_string()
    }

    /// A token of ann for ten minutes, with these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.to_owned());
        let mut all = json!({ "exp": get_current_timestamp() + 600, "sub": "ann" });
        for (name, value) in claims.as_object().expect("a map") {
            all[name] = value.clone();
        }
        encode(&header, &all, &self.key).expect("a token")
    }
}
