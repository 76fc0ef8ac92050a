//! Whether a token is valid (RFC 7519, with the advice of RFC 8725).

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::keys::KeySet;

/// What a token must be.
#[derive(Debug)]
pub(super) struct Verifier {
    /// For each algorithm that is accepted.
    validations: Vec<(Algorithm, Validation)>,
}

/// What a token says.
pub(super) type Claims = Map<String, Value>;

/// Why a token is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invalid {
    Malformed,
    Algorithm,
    /// No key has its id.
    UnknownKey,
    Signature,
    Expired,
    NotYet,
    Issuer,
    Audience,
    /// `exp` or another claim that is needed is missing.
    Missing,
}

/// The longest token, in bytes.
const LONGEST: usize = 16 << 10;

// === impl Verifier ===

impl Verifier {
    pub(super) fn new(
        algorithms: impl IntoIterator<Item = Algorithm>,
        issuer: Option<&str>,
        audiences: &[String],
        leeway: u64,
    ) -> Self {
        let validation = |algorithm| {
            let mut validation = Validation::new(algorithm);
            let mut required = vec!["exp"];
            (validation.leeway, validation.validate_nbf) = (leeway, true);
            validation.validate_aud = !audiences.is_empty();
            if !audiences.is_empty() {
                validation.set_audience(audiences);
                required.push("aud");
            }
            if let Some(issuer) = issuer {
                validation.set_issuer(&[issuer]);
                required.push("iss");
            }
            validation.set_required_spec_claims(&required);
            (algorithm, validation)
        };
        Self { validations: algorithms.into_iter().map(validation).collect() }
    }

    /// The claims of a token that one of these keys has signed.
    pub(super) fn verify(&self, token: &str, keys: &KeySet) -> Result<Claims, Invalid> {
        if token.len() > LONGEST {
            return Err(Invalid::Malformed);
        }
        // An algorithm that is not known, as `none`, is an error here.
        let header = decode_header(token).map_err(|error| match error.kind() {
            ErrorKind::InvalidAlgorithmName | ErrorKind::InvalidAlgorithm => Invalid::Algorithm,
            _ => Invalid::Malformed,
        })?;
        // What must be understood is not (RFC 7515, 4.1.11).
        if header.crit.is_some() {
            return Err(Invalid::Malformed);
        }
        let accepted = self.validations.iter().find(|(algorithm, _)| *algorithm == header.alg);
        let (algorithm, validation) = accepted.ok_or(Invalid::Algorithm)?;
        let mut result = Err(Invalid::UnknownKey);
        for key in keys.find(*algorithm, header.kid.as_deref()) {
            match decode::<Claims>(token, &key.key, validation) {
                Ok(data) => return Ok(data.claims),
                Err(error) => result = Err(Invalid::of(error.kind())),
            }
            // The signature was right: no other key makes it better.
            if result != Err(Invalid::Signature) {
                break;
            }
        }
        result
    }
}

// === impl Invalid ===

impl Invalid {
    fn of(error: &ErrorKind) -> Self {
        match error {
            ErrorKind::InvalidSignature => Self::Signature,
            ErrorKind::ExpiredSignature => Self::Expired,
            ErrorKind::ImmatureSignature => Self::NotYet,
            ErrorKind::InvalidIssuer => Self::Issuer,
            ErrorKind::InvalidAudience => Self::Audience,
            ErrorKind::MissingRequiredClaim(_) => Self::Missing,
            ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => Self::Algorithm,
            _ => Self::Malformed,
        }
    }

    /// For the client and for the log.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Malformed => "the token is malformed",
            Self::Algorithm => "the algorithm of the token is not accepted",
            Self::UnknownKey => "the key of the token is not known",
            Self::Signature => "the signature of the token is wrong",
            Self::Expired => "the token has expired",
            Self::NotYet => "the token is not valid yet",
            Self::Issuer => "the token is of another issuer",
            Self::Audience => "the token is for another audience",
            Self::Missing => "the token lacks exp, iss or aud",
        }
    }
}
