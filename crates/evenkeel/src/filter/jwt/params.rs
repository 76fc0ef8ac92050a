//! The parameters of `jwt`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::filter::DurationParam;

/// Which tokens are accepted, and what backends learn of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with keys, like { keys: { file: /etc/evenkeel/jwks.json } }")]
pub struct JwtParams {
    /// The public keys of the service that issues tokens.
    pub keys: JwtKeyParams,
    /// The issuer: the claim `iss` must be this. Default: any.
    pub issuer: Option<String>,
    /// The claim `aud` must contain one of these. Default: any. Set it if the issuer issues tokens for other services too: otherwise
    /// a token for one of them is accepted here.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// The algorithms that are accepted: `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384`, `EdDSA`.
    #[serde(default = "usual_algorithms")]
    pub algorithms: Vec<String>,
    /// By how much the clocks of the issuer and of this machine can differ: for the claims `exp` and `nbf`.
    #[serde(default = "usual_leeway")]
    pub leeway: DurationParam,
    /// Where the token is: `header NAME` or `cookie NAME`. The first that the request has counts. `Bearer` before the token is
    /// optional, except in `authorization`.
    #[serde(default = "usual_places")]
    pub from: Vec<String>,
    /// Request headers that tell backends the value of a claim: `{ x-user: sub, x-roles: realm_access.roles }`. Values of a list are
    /// separated by commas. Copies that a client sends are removed, also if the token has no such claim.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Claims that the token must have, each with one of these values: `{ scope: [read], groups: [admin, ops] }`. Otherwise the request
    /// is rejected with status 403. Of a claim of text, each word counts.
    #[serde(default)]
    pub require: BTreeMap<String, Vec<String>>,
    /// Whether a request without a token passes. A token that is not valid is rejected in any case.
    #[serde(default)]
    pub allow_missing: bool,
    /// Whether backends receive the header with the token. A cookie stays.
    #[serde(default = "yes")]
    pub forward_token: bool,
    /// The realm in `WWW-Authenticate`.
    #[serde(default = "usual_realm")]
    pub realm: String,
}

/// Public keys as a JSON Web Key Set, from one of these places.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map with one of url, file and inline")]
#[schemars(inline)]
pub struct JwtKeyParams {
    /// A URL, with `http` or `https`. While it cannot be read, the last keys stay.
    pub url: Option<String>,
    /// A file. It is read again within a second when it changes.
    pub file: Option<PathBuf>,
    /// The key set itself: `'{"keys":[…]}'`.
    pub inline: Option<String>,
    /// The authorities that certify the server of an `https` URL, in PEM. Default: those of the system.
    pub ca: Option<PathBuf>,
    /// How often the URL is read again. A token with an unknown key leads to an earlier read, at most one in two seconds.
    pub refresh: DurationParam,
    /// How long a read of the URL can take, and how long a request waits for keys.
    pub timeout: DurationParam,
}

fn usual_algorithms() -> Vec<String> {
    super::keys::ALGORITHMS.iter().map(|(name, _)| (*name).to_owned()).collect()
}

fn usual_leeway() -> DurationParam {
    DurationParam(Duration::from_secs(30))
}

fn usual_places() -> Vec<String> {
    vec!["header authorization".to_owned()]
}

fn usual_realm() -> String {
    "restricted".to_owned()
}

fn yes() -> bool {
    true
}

// === impl JwtKeyParams ===

impl Default for JwtKeyParams {
    fn default() -> Self {
        let (refresh, timeout) = (Duration::from_secs(600), Duration::from_secs(5));
        let (refresh, timeout) = (DurationParam(refresh), DurationParam(timeout));
        Self { url: None, file: None, inline: None, ca: None, refresh, timeout }
    }
}
