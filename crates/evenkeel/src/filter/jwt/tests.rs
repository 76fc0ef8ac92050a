//! What attackers do with tokens, and what must be accepted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};

use super::keys::{ALGORITHMS, KeySet};
use super::verify::{Claims, Invalid, Verifier};

/// A private key, and its public one with an id.
struct Pair {
    private: EncodingKey,
    public: Value,
}

impl Pair {
    fn new(algorithm: Algorithm, id: &str) -> Self {
        let made = |kind| rcgen::KeyPair::generate_for(kind).unwrap().serialize_pem();
        let private = match algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_pem(made(&rcgen::PKCS_ECDSA_P256_SHA256).as_bytes()),
            Algorithm::ES384 => EncodingKey::from_ec_pem(made(&rcgen::PKCS_ECDSA_P384_SHA384).as_bytes()),
            Algorithm::EdDSA => {
                // PKCS #8 around a seed (RFC 8410).
                let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
                der.extend((0..32).map(|_| fastrand::u8(..)));
                Ok(EncodingKey::from_ed_der(&der))
            }
            _ => EncodingKey::from_rsa_pem(made(&rcgen::PKCS_RSA_SHA256).as_bytes()),
        };
        let private = private.unwrap();
        let mut public = serde_json::to_value(Jwk::from_encoding_key(&private, algorithm).unwrap()).unwrap();
        public["kid"] = json!(id);
        Self { private, public }
    }

    fn sign(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.private).unwrap()
    }
}

fn header(algorithm: Algorithm, id: Option<&str>) -> Header {
    let mut header = Header::new(algorithm);
    header.kid = id.map(str::to_owned);
    header
}

fn set(keys: &[&Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

/// Claims that are fine for an hour, changed.
fn claims(changes: Value) -> Value {
    let mut claims = json!({ "sub": "ann", "iss": "https://login.test", "aud": "api", "exp": get_current_timestamp() + 3600 });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

fn verifier() -> Verifier {
    let audiences = ["api".to_owned(), "other".to_owned()];
    Verifier::new(ALGORITHMS.map(|(_, algorithm)| algorithm), Some("https://login.test"), &audiences, 30)
}

/// A token of these parts, as they are.
fn raw(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(header), part(claims), URL_SAFE_NO_PAD.encode(signature))
}

fn outcome(result: Result<Claims, Invalid>) -> Result<(), Invalid> {
    result.map(|_| ())
}

#[test]
fn each_algorithm_with_a_public_key_works() {
    for (name, algorithm) in ALGORITHMS {
        let pair = Pair::new(algorithm, "one");
        let token = pair.sign(&header(algorithm, Some("one")), &claims(json!({})));
        let claims = verifier().verify(&token, &set(&[&pair.public])).expect(name);
        assert_eq!(claims["sub"], "ann", "{name}");
    }
}

#[test]
fn claims_are_checked() {
    let pair = Pair::new(Algorithm::ES256, "one");
    let (keys, verifier, now) = (set(&[&pair.public]), verifier(), get_current_timestamp());
    for (changes, expected) in [
        (json!({ "exp": now - 3600 }), Err(Invalid::Expired)),
        (json!({ "exp": now - 40 }), Err(Invalid::Expired)),
        (json!({ "exp": now - 20 }), Ok(())),
        (json!({ "exp": null }), Err(Invalid::Missing)),
        (json!({ "exp": "tomorrow" }), Err(Invalid::Missing)),
        (json!({ "nbf": now + 3600 }), Err(Invalid::NotYet)),
        (json!({ "nbf": now + 20 }), Ok(())),
        (json!({ "aud": "billing" }), Err(Invalid::Audience)),
        (json!({ "aud": ["billing", "shop"] }), Err(Invalid::Audience)),
        (json!({ "aud": [] }), Err(Invalid::Audience)),
        (json!({ "aud": ["billing", "api"] }), Ok(())),
        (json!({ "aud": "other" }), Ok(())),
        (json!({ "aud": "API" }), Err(Invalid::Audience)),
        (json!({ "aud": null }), Err(Invalid::Missing)),
        (json!({ "iss": "https://login.test.evil.test" }), Err(Invalid::Issuer)),
        (json!({ "iss": "https://login.test/" }), Err(Invalid::Issuer)),
        (json!({ "iss": null }), Err(Invalid::Missing)),
    ] {
        let token = pair.sign(&header(Algorithm::ES256, Some("one")), &claims(changes.clone()));
        assert_eq!(outcome(verifier.verify(&token, &keys)), expected, "{changes}");
    }
}

#[test]
fn a_token_without_a_signature_is_rejected() {
    let pair = Pair::new(Algorithm::RS256, "one");
    let keys = set(&[&pair.public]);
    for name in ["none", "None", "NONE", "nOnE", "", "HS1", "RS256 "] {
        for signature in [&b""[..], b"x"] {
            let token = raw(&json!({ "alg": name, "kid": "one" }), &claims(json!({})), signature);
            let result = outcome(verifier().verify(&token, &keys));
            assert!(matches!(result, Err(Invalid::Malformed | Invalid::Algorithm)), "{name}: {result:?}");
        }
    }
    let token = pair.sign(&header(Algorithm::RS256, Some("one")), &claims(json!({})));
    let (rest, _) = token.rsplit_once('.').unwrap();
    for (token, why) in [
        (format!("{rest}."), "no signature"),
        (format!("{rest}.AAAA"), "another signature"),
        (rest.to_owned(), "two parts"),
        (format!("{token}.AAAA"), "four parts"),
        (format!("{token}="), "padding"),
        (String::new(), "nothing"),
        ("..".to_owned(), "empty parts"),
        (format!("{}.{}", "a".repeat(20_000), token), "too long"),
    ] {
        let result = outcome(verifier().verify(&token, &keys));
        assert!(matches!(result, Err(Invalid::Malformed | Invalid::Signature)), "{why}: {result:?}");
    }
    let other = URL_SAFE_NO_PAD.encode(claims(json!({ "sub": "root" })).to_string());
    let mut parts = token.split('.');
    let (head, _, signature) = (parts.next().unwrap(), parts.next(), parts.next().unwrap());
    let changed = format!("{head}.{other}.{signature}");
    assert_eq!(outcome(verifier().verify(&changed, &keys)), Err(Invalid::Signature));
}

#[test]
fn a_public_key_is_no_secret() {
    let pair = Pair::new(Algorithm::RS256, "one");
    let secret = json!({ "kty": "oct", "kid": "two", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode("secret") });
    let keys = set(&[&pair.public, &secret]);
    assert_eq!(keys.len(), 1, "the shared secret is left out");
    let modulus = URL_SAFE_NO_PAD.decode(pair.public["n"].as_str().unwrap()).unwrap();
    let text = pair.public.to_string();
    for secret in [modulus.as_slice(), text.as_bytes(), b"secret", b"one"] {
        for (algorithm, id) in
            [(Algorithm::HS256, Some("one")), (Algorithm::HS512, None), (Algorithm::HS256, Some("two"))]
        {
            let token = encode(
                &header(algorithm, id),
                &claims(json!({})),
                &EncodingKey::from_secret(secret).unwrap(),
            )
            .unwrap();
            assert_eq!(outcome(verifier().verify(&token, &keys)), Err(Invalid::Algorithm));
        }
    }
}

#[test]
fn only_known_keys_sign() {
    let (one, two, evil) = (
        Pair::new(Algorithm::ES256, "one"),
        Pair::new(Algorithm::ES256, "two"),
        Pair::new(Algorithm::ES256, "one"),
    );
    let keys = set(&[&one.public, &two.public]);
    let fine = claims(json!({}));
    let result = |token: &str| outcome(verifier().verify(token, &keys));
    assert_eq!(result(&evil.sign(&header(Algorithm::ES256, Some("one")), &fine)), Err(Invalid::Signature));
    assert_eq!(result(&evil.sign(&header(Algorithm::ES256, None), &fine)), Err(Invalid::Signature));
    assert_eq!(result(&two.sign(&header(Algorithm::ES256, Some("one")), &fine)), Err(Invalid::Signature));
    assert_eq!(result(&one.sign(&header(Algorithm::ES256, Some("three")), &fine)), Err(Invalid::UnknownKey));
    assert_eq!(result(&two.sign(&header(Algorithm::ES256, None), &fine)), Ok(()), "each key is tried");
    // A key that the token brings along, or says where to find.
    let mut own = header(Algorithm::ES256, Some("one"));
    own.jwk = Some(serde_json::from_value(evil.public.clone()).unwrap());
    own.jku = Some("https://evil.test/jwks.json".to_owned());
    assert_eq!(result(&evil.sign(&own, &fine)), Err(Invalid::Signature));
    // What must be understood.
    let mut critical = header(Algorithm::ES256, Some("one"));
    critical.crit = Some(vec!["exp".to_owned()]);
    assert_eq!(result(&one.sign(&critical, &fine)), Err(Invalid::Malformed));
}

#[test]
fn a_key_is_for_what_it_says() {
    let rsa = Pair::new(Algorithm::RS256, "rsa");
    let token = |algorithm| rsa.sign(&header(algorithm, Some("rsa")), &claims(json!({})));
    let with = |changes: &[(&str, Value)]| {
        let mut key = rsa.public.clone();
        for (name, value) in changes {
            key[*name] = value.clone();
        }
        key
    };
    let result = |token: &str, key: &Value| outcome(verifier().verify(token, &set(&[key])));
    assert_eq!(
        result(&token(Algorithm::RS512), &rsa.public),
        Err(Invalid::UnknownKey),
        "the key is for RS256"
    );
    assert_eq!(result(&token(Algorithm::RS512), &with(&[("alg", json!("RS512"))])), Ok(()));
    for unusable in [
        with(&[("use", json!("enc"))]),
        with(&[("key_ops", json!(["encrypt"]))]),
        with(&[("alg", json!("RSA-OAEP"))]),
        with(&[("kty", json!("XYZ"))]),
    ] {
        assert!(KeySet::parse(json!({ "keys": [unusable] }).to_string().as_bytes()).is_err(), "{unusable}");
    }
    // An algorithm that the route does not accept.
    let only = Verifier::new([Algorithm::ES256], None, &[], 0);
    assert_eq!(outcome(only.verify(&token(Algorithm::RS256), &set(&[&rsa.public]))), Err(Invalid::Algorithm));
}

#[test]
fn what_is_no_key_set_is_rejected() {
    for wrong in ["", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[]}", "{\"keys\":[{}]}", "<html>"] {
        assert!(KeySet::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
}
