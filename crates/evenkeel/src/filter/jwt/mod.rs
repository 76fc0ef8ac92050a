//! `jwt`: which requests have a valid JSON Web Token.
//!
//! A token is checked where it comes, with keys in memory. A request waits only for keys that were never read, or for a key that is
//! not known yet. It never knows where the request goes.

mod claims;
mod keys;
mod params;
mod source;
mod verify;

#[cfg(test)]
mod tests;

pub use params::{JwtKeyParams, JwtParams};

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};

use super::identity::IdentityHeader;
use super::place::{self, Place};
use super::registry::{FilterError, FilterKind};
use super::{BuildContext, Filter, HeaderEdit, Rejection, Request, RequestHead, Verdict, Wait};
use keys::{ALGORITHMS, KeySet};
use source::Source;
use verify::{Claims, Invalid, Verifier};

/// Rejects requests without a valid JSON Web Token.
#[derive(Debug)]
pub struct JwtFilter {
    source: Source,
    rules: Arc<Rules>,
}

/// What a token must be, and what becomes of its request.
#[derive(Debug)]
struct Rules {
    verifier: Verifier,
    places: Vec<Place>,
    headers: Vec<(IdentityHeader, String)>,
    require: Vec<(String, Vec<String>)>,
    allow_missing: bool,
    forward_token: bool,
    realm: String,
}

/// The token of a request.
#[derive(Debug, PartialEq, Eq)]
enum Found<'a> {
    None,
    Token(Cow<'a, str>),
    /// There is one, and it cannot be read; or there are several.
    Malformed,
}

// === impl JwtFilter ===

impl Filter for JwtFilter {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        let head = request.head;
        let token = match self.rules.find(head) {
            Found::Token(token) => token,
            Found::None if self.rules.allow_missing => {
                request.explain(|| "no token: accepted without".to_owned());
                self.rules.write_headers(request, &Claims::new());
                return Verdict::Continue;
            }
            Found::None => {
                request.explain(|| "no token: rejected".to_owned());
                return self.rules.reject("", "a token is needed");
            }
            Found::Malformed => return self.rules.judge(request, Err(Invalid::Malformed)),
        };
        let result = self.source.load().map(|keys| self.rules.verifier.verify(&token, &keys));
        match (result, self.source.remote()) {
            (Some(Err(Invalid::UnknownKey)) | None, Some(remote)) => {
                let (remote, rules, token) = (remote.clone(), self.rules.clone(), token.into_owned());
                let wait = async move { remote.next().await };
                Verdict::Wait(Wait::then(wait, move |keys, request| {
                    rules.finish(request, &token, keys.as_deref())
                }))
            }
            (result, _) => self.rules.judge(request, result.unwrap_or(Err(Invalid::UnknownKey))),
        }
    }
}

impl FilterKind for JwtFilter {
    const NAME: &'static str = "jwt";
    const EXAMPLE: &'static str = "jwt: { keys: { url: \"https://login.example.com/jwks.json\" }, issuer: \"https://login.example.com\", audiences: [api], headers: { x-user: sub } }";
    const DOC: &'static str = "Rejects requests without a valid JSON Web Token with status 401: signed by one of the keys, not expired, of \
                               the issuer, for the audience. The algorithm must be one with a public key.";
    type Params = JwtParams;

    fn new(params: JwtParams, context: &BuildContext<'_>) -> Result<Self, FilterError> {
        let previous = context.previous::<Self>().map(|previous| &previous.source);
        let mut algorithms = Vec::new();
        for (at, name) in params.algorithms.iter().enumerate() {
            let known = ALGORITHMS.iter().find(|(known, _)| known == name);
            let expected = || {
                let known: Vec<_> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
                FilterError::new(format!("algorithms[{at}]"), format!("one of {}", known.join(", ")))
            };
            algorithms.push(known.ok_or_else(expected)?.1);
        }
        if algorithms.is_empty() {
            return Err(FilterError::new("algorithms", "at least one algorithm"));
        }
        let places = params.from.iter().enumerate().map(|(at, text)| {
            Place::parse(text).ok_or_else(|| FilterError::new(format!("from[{at}]"), place::EXPECTED))
        });
        let places = places.collect::<Result<Vec<_>, _>>()?;
        let headers = params
            .headers
            .into_iter()
            .map(|(name, claim)| Ok((IdentityHeader::new(&name, &format!("headers.{name}"))?, claim)));
        let headers = headers.collect::<Result<Vec<_>, FilterError>>()?;
        if places.is_empty() {
            return Err(FilterError::new("from", "at least one place of the token"));
        }
        if !params.realm.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
            return Err(FilterError::new("realm", "printable ASCII characters, without \" and \\"));
        }
        let leeway = params.leeway.0.as_secs();
        let verifier = Verifier::new(algorithms, params.issuer.as_deref(), &params.audiences, leeway);
        let rules = Rules {
            verifier,
            places,
            headers,
            require: params.require.into_iter().collect(),
            allow_missing: params.allow_missing,
            forward_token: params.forward_token,
            realm: params.realm,
        };
        Ok(Self { source: Source::new(params.keys, previous, context)?, rules: Arc::new(rules) })
    }
}

// === impl Rules ===

impl Rules {
    /// The token of the first place that the request has.
    fn find<'a>(&self, head: &'a dyn RequestHead) -> Found<'a> {
        let mut found = self.places.iter().map(|place| Found::at(place, head));
        found.find(|found| *found != Found::None).unwrap_or(Found::None)
    }

    /// The request goes on with keys that were read since; `None` if there are none.
    fn finish(&self, request: &mut Request<'_>, token: &str, keys: Option<&KeySet>) -> Verdict {
        match keys {
            Some(keys) => self.judge(request, self.verifier.verify(token, keys)),
            None => {
                let rejection = Rejection::status(503, "tokens cannot be checked at the moment");
                Verdict::Refuse(rejection.retry_after(Duration::from_secs(1)).into())
            }
        }
    }

    fn judge(&self, request: &mut Request<'_>, result: Result<Claims, Invalid>) -> Verdict {
        let claims = match result {
            Ok(claims) => claims,
            Err(invalid) => {
                request.explain(|| format!("{}: rejected", invalid.text()));
                return self.reject(
                    &format!(", error=\"invalid_token\", error_description=\"{}\"", invalid.text()),
                    invalid.text(),
                );
            }
        };
        let has = |(claim, wanted): &(String, Vec<String>)| {
            claims::find(&claims, claim).is_some_and(|value| claims::has_one_of(value, wanted))
        };
        if let Some((claim, _)) = self.require.iter().find(|required| !has(required)) {
            request.explain(|| format!("the token lacks a value of {claim} that is required: rejected"));
            return self.forbid();
        }
        request.explain(|| "the token is valid: accepted".to_owned());
        self.write_headers(request, &claims);
        if !self.forward_token {
            for place in &self.places {
                if let Place::Header(name) = place {
                    request.edits.danger_push(HeaderEdit::Remove(name.clone()));
                }
            }
        }
        Verdict::Continue
    }

    fn write_headers(&self, request: &mut Request<'_>, claims: &Claims) {
        for (header, claim) in &self.headers {
            let text = claims::find(claims, claim).and_then(claims::text);
            header.write(request, text.and_then(|text| HeaderValue::from_str(&text).ok()));
        }
    }

    /// 401, with these parameters of the challenge (RFC 6750, 3).
    fn reject(&self, params: &str, text: &'static str) -> Verdict {
        let challenge = format!("Bearer realm=\"{}\"{params}", self.realm);
        let challenge = HeaderValue::from_str(&challenge).unwrap_or(HeaderValue::from_static("Bearer"));
        Verdict::Refuse(Rejection::unauthorized(challenge, text).into())
    }

    fn forbid(&self) -> Verdict {
        let challenge = format!("Bearer realm=\"{}\", error=\"insufficient_scope\"", self.realm);
        let challenge = HeaderValue::from_str(&challenge).unwrap_or(HeaderValue::from_static("Bearer"));
        let rejection = Rejection::forbidden("the token does not allow this");
        Verdict::Refuse(rejection.header(WWW_AUTHENTICATE, challenge).into())
    }
}

// === impl Found ===

impl<'a> Found<'a> {
    fn at(place: &Place, head: &'a dyn RequestHead) -> Self {
        match place.find(head) {
            None => Self::None,
            Some((_, true)) => Self::Malformed,
            Some((Cow::Borrowed(value), false)) => Self::parse(place, Cow::Borrowed(value)),
            Some((Cow::Owned(value), false)) => Self::parse(place, Cow::Owned(value)),
        }
    }

    fn parse(place: &Place, value: Cow<'a, [u8]>) -> Self {
        let text = match value {
            Cow::Borrowed(value) => std::str::from_utf8(value).ok().map(Cow::Borrowed),
            Cow::Owned(value) => String::from_utf8(value).ok().map(Cow::Owned),
        };
        let Some(text) = text else { return Self::Malformed };
        let token = match text {
            Cow::Borrowed(text) => bearer(text).map(Cow::Borrowed),
            Cow::Owned(ref owned) => bearer(owned).map(|token| Cow::Owned(token.to_owned())),
        };
        match token {
            Some(token) if token.is_empty() => Self::Malformed,
            Some(token) => Self::Token(token),
            // Another scheme is not a token, and perhaps another filter knows it.
            None if *place == Place::Header(AUTHORIZATION) => Self::None,
            None => match text.trim() {
                "" => Self::Malformed,
                token => Self::Token(Cow::Owned(token.to_owned())),
            },
        }
    }
}

/// What follows the scheme `Bearer`.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}
