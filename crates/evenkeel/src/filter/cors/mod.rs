//! `cors`: which pages of other origins can use a route (the CORS protocol of the Fetch standard).
//!
//! The filter responds to preflight requests itself. Of other requests it only changes the response: it is the browser that
//! rejects. It never knows where the request goes.

mod origins;
mod params;

pub use params::CorsParams;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderName,
    HeaderValue, VARY,
};

use super::registry::{FilterError, FilterKind};
use super::{Answer, BuildContext, Filter, HeaderEdit, Rejection, Request, Response, Verdict};
use origins::{EXPECTED, Origins};

/// Tells browsers which pages of other origins can use a route.
#[derive(Debug)]
pub struct CorsFilter {
    origins: Origins,
    methods: Allowed,
    headers: Allowed,
    expose: Option<HeaderValue>,
    credentials: bool,
    max_age: HeaderValue,
}

/// A list for the browser.
#[derive(Debug)]
enum Allowed {
    /// What the browser wants to send.
    Any,
    These(Option<HeaderValue>),
}

/// What is known of a request once its response comes.
#[derive(Debug)]
struct Seen {
    /// The value of `Access-Control-Allow-Origin`, if the origin is allowed.
    allow_origin: Option<HeaderValue>,
    is_preflight: bool,
}

/// What only this filter says to browsers.
const OURS: [HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];

// === impl CorsFilter ===

impl CorsFilter {
    fn allow_origin(&self, origin: &[u8]) -> Option<HeaderValue> {
        match self.origins.allow(origin) {
            true if self.origins.any => Some(HeaderValue::from_static("*")),
            true => HeaderValue::from_bytes(origin).ok(),
            false => None,
        }
    }

    fn preflight(&self, request: &Request<'_>) -> Answer {
        let mut answer = Answer::new(204).header(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        let lists = [
            (ACCESS_CONTROL_ALLOW_METHODS, &self.methods, "access-control-request-method"),
            (ACCESS_CONTROL_ALLOW_HEADERS, &self.headers, "access-control-request-headers"),
        ];
        for (name, allowed, requested) in lists {
            if let Some(value) = allowed.value(request.head.header(requested)) {
                answer = answer.header(name, value);
            }
        }
        answer
    }
}

impl Filter for CorsFilter {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        let Some(origin) = request.head.header("origin") else { return Verdict::Continue };
        let allow_origin = self.allow_origin(origin);
        let is_preflight = request.head.method() == "OPTIONS"
            && request.head.header("access-control-request-method").is_some();
        let is_allowed = allow_origin.is_some();
        request.explain(|| format!("the origin is {}allowed", if is_allowed { "" } else { "not " }));
        request.state.set(Seen { allow_origin, is_preflight });
        match (is_preflight, is_allowed) {
            (true, true) => Verdict::Answer(self.preflight(request)),
            (true, false) => Verdict::Refuse(Rejection::forbidden("this origin is not allowed").into()),
            (false, _) => Verdict::Continue,
        }
    }

    fn on_response(&self, response: &mut Response<'_>) {
        if response.head.status() < 200 {
            return;
        }
        // It stays: a response that is replaced passes the filters again.
        let seen = response.state.get::<Seen>();
        if !seen.is_some_and(|seen| seen.is_preflight) {
            for name in OURS {
                if response.head.header(name.as_str()).is_some() {
                    response.edits.danger_push(HeaderEdit::Remove(name));
                }
            }
        }
        if let Some(origin) = seen.and_then(|seen| seen.allow_origin.clone()) {
            response.edits.danger_set(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            if self.credentials {
                let yes = HeaderValue::from_static("true");
                response.edits.danger_set(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
            }
            if let Some(expose) = &self.expose {
                response.edits.danger_set(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
            }
        }
        // Also without an origin: a cache must not give that response to a page of another one.
        if !self.origins.any {
            let origin = HeaderValue::from_static("origin");
            response.edits.danger_push(HeaderEdit::Add(VARY, origin));
        }
    }
}

impl FilterKind for CorsFilter {
    const NAME: &'static str = "cors";
    const EXAMPLE: &'static str = "cors: { allow_origins: [\"https://app.example.com\"], allow_methods: [GET, PUT], allow_headers: [authorization] }";
    const DOC: &'static str = "Tells browsers which pages of other origins can use the route. It responds to preflight requests with 204, or with 403 if \
                               the origin is not allowed. Headers of the backend that begin with `Access-Control-` and say what is allowed are replaced. \
                               Place it before filters that reject requests, so that pages can read the rejection.";
    type Params = CorsParams;

    fn new(params: CorsParams, _: &BuildContext<'_>) -> Result<Self, FilterError> {
        let origins = Origins::parse(&params.allow_origins)
            .map_err(|at| FilterError::new(format!("allow_origins[{at}]"), EXPECTED))?;
        if params.allow_credentials && origins.any {
            let expected =
                "false with the origin *, or a list of origins: browsers accept no credentials with *";
            return Err(FilterError::new("allow_credentials", expected));
        }
        if let Some(at) = params.allow_origins.iter().position(|origin| origin.eq_ignore_ascii_case("null"))
            && params.allow_credentials
        {
            let expected = "no origin null with allow_credentials: any page in a sandbox has the origin null";
            return Err(FilterError::new(format!("allow_origins[{at}]"), expected));
        }
        if let Some(at) = params.expose_headers.iter().position(|name| name == "*")
            && params.allow_credentials
        {
            let expected = "the names of headers: with allow_credentials, browsers take * for a name";
            return Err(FilterError::new(format!("expose_headers[{at}]"), expected));
        }
        let methods = Allowed::new(&params.allow_methods, "allow_methods", "a method, like PUT, or *")?;
        let headers = Allowed::new(&params.allow_headers, "allow_headers", "a header name, or *")?;
        let expose = list(&params.expose_headers, "expose_headers", "a header name, or *")?;
        let max_age = HeaderValue::from(params.max_age.0.as_secs());
        Ok(Self { origins, methods, headers, expose, credentials: params.allow_credentials, max_age })
    }
}

/// These names as one value; none if there are none.
fn list(names: &[String], key: &str, expected: &str) -> Result<Option<HeaderValue>, FilterError> {
    let wrong = names.iter().position(|name| !is_token(name));
    if let Some(at) = wrong {
        return Err(FilterError::new(format!("{key}[{at}]"), expected));
    }
    let value = HeaderValue::from_str(&names.join(", ")).map_err(|_| FilterError::new(key, expected))?;
    Ok(Some(value).filter(|value| !value.is_empty()))
}

/// Whether a text is a token (RFC 9110, 5.6.2): a name of a header or a method.
fn is_token(text: &str) -> bool {
    HeaderName::from_bytes(text.as_bytes()).is_ok()
}

// === impl Allowed ===

impl Allowed {
    fn new(names: &[String], key: &str, expected: &str) -> Result<Self, FilterError> {
        if names.iter().any(|name| name == "*") {
            Ok(Self::Any)
        } else {
            list(names, key, expected).map(Self::These)
        }
    }

    fn value(&self, requested: Option<&[u8]>) -> Option<HeaderValue> {
        match self {
            Self::Any => requested.and_then(|value| HeaderValue::from_bytes(value).ok()),
            Self::These(names) => names.clone(),
        }
    }
}
