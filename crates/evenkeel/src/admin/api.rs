//! The JSON API, version 1: upstreams and backends, and their changes at run time.
//!
//! It never decides which change is allowed: `control` does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evenkeel_config::{Backend, BackendUrl, Scheme, backend_list};
use evenkeel_core::route::{percent_decoded, percent_encoded};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH, LOCATION};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::{AdminCommands, reply};
use crate::control::{BackendUpdate, Change, ChangeError, ChangeRequest, Changed, State, WeightUpdate};

/// What a path of the API names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Upstreams,
    Upstream(String),
    Backends(String),
    Backend(String, String),
    Changes(String),
}

/// Why a request has failed.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
}

/// What a request is served with.
pub(super) struct Api {
    pub(super) state: Arc<State>,
    pub(super) commands: Arc<dyn AdminCommands>,
    /// Who sends it, for the log.
    pub(super) by: String,
}

type Outcome = Result<Response<Full<Bytes>>, Problem>;

/// Largest body of a request, in bytes.
const LARGEST: usize = 64 << 10;
/// How long a client can take to send it.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const JSON: &str = "application/json";
/// Where the resources of this version are.
pub(super) const PREFIX: &str = "/v1/";
/// What the API is, for programs.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

// === impl Resource ===

impl Resource {
    /// What a path names, if anything.
    pub(super) fn of(path: &str) -> Option<Self> {
        let mut segments = path.strip_prefix(PREFIX)?.split('/').map(decoded);
        let mut next = || segments.next();
        let resource = match (next()?.as_deref()?, next(), next(), next()) {
            ("upstreams", None, ..) => Self::Upstreams,
            ("upstreams", Some(name), None, _) => Self::Upstream(name?),
            ("upstreams", Some(name), Some(kind), last) => match (kind?.as_str(), last) {
                ("backends", None) => Self::Backends(name?),
                ("backends", Some(backend)) => Self::Backend(name?, backend?),
                ("changes", None) => Self::Changes(name?),
                _ => return None,
            },
            _ => return None,
        };
        segments.next().is_none().then_some(resource)
    }

    /// The methods that it has.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Upstreams | Self::Upstream(_) => "GET, HEAD",
            Self::Backends(_) => "GET, HEAD, POST",
            Self::Backend(..) => "GET, HEAD, PATCH, DELETE",
            Self::Changes(_) => "GET, HEAD, DELETE",
        }
    }
}

// === impl Api ===

impl Api {
    /// The response to a request that may be sent.
    pub(super) async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let outcome = match Resource::of(request.uri().path()) {
            Some(resource) => self.serve(&resource, request).await,
            None => Err(Problem::new(StatusCode::NOT_FOUND, "no such resource: see /openapi.json")),
        };
        outcome.unwrap_or_else(Problem::response)
    }

    async fn serve(&self, resource: &Resource, request: Request<Incoming>) -> Outcome {
        let revision = revision(request.headers())?;
        let request_for = |change| ChangeRequest { change, by: self.by.as_str().into(), revision };
        match (resource, request.method()) {
            (resource, &Method::GET | &Method::HEAD) => self.show(resource),
            (Resource::Backends(upstream), &Method::POST) => {
                let backend = added(&body(request).await?)?;
                let changed = self.change(upstream, request_for(Change::Add(backend))).await?;
                self.changed(StatusCode::CREATED, upstream, &changed)
            }
            (Resource::Backend(upstream, backend), &Method::PATCH) => {
                let update = updated(&body(request).await?)?;
                let changed =
                    self.change(upstream, request_for(Change::Update(backend.clone(), update))).await?;
                self.changed(StatusCode::OK, upstream, &changed)
            }
            (Resource::Backend(upstream, backend), &Method::DELETE) => {
                let changed = self.change(upstream, request_for(Change::Remove(backend.clone()))).await?;
                self.changed(StatusCode::OK, upstream, &changed)
            }
            (Resource::Changes(upstream), &Method::DELETE) => {
                let changed = self.change(upstream, request_for(Change::Reset)).await?;
                self.changed(StatusCode::OK, upstream, &changed)
            }
            (resource, _) => {
                let methods = resource.methods();
                let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("expected {methods}"));
                let mut response = problem.response();
                response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
                Ok(response)
            }
        }
    }

    fn show(&self, resource: &Resource) -> Outcome {
        let (name, part) = match resource {
            Resource::Upstreams => {
                let upstreams = json!({ "upstreams": self.state.upstreams() });
                return Ok(reply(StatusCode::OK, JSON, format!("{upstreams:#}\n")));
            }
            Resource::Upstream(name) => (name, None),
            Resource::Backends(name) | Resource::Backend(name, _) => (name, Some("backends")),
            Resource::Changes(name) => (name, Some("changes")),
        };
        let upstream = self.upstream(name)?;
        let tag = tag(&upstream);
        let shown = match (resource, part) {
            (Resource::Backend(_, backend), _) => {
                let known = find(&upstream, backend);
                known.ok_or_else(|| Problem::from(ChangeError::UnknownBackend(backend.clone())))?.clone()
            }
            (_, Some(part)) => json!({ part: upstream.get(part).cloned().unwrap_or_else(|| json!([])) }),
            (_, None) => upstream,
        };
        let mut response = reply(StatusCode::OK, JSON, format!("{shown:#}\n"));
        response.headers_mut().extend(tag.map(|tag| (ETAG, tag)));
        Ok(response)
    }

    async fn change(&self, upstream: &str, order: ChangeRequest) -> Result<Changed, Problem> {
        self.commands.change(upstream, order).await.map_err(|error| match error {
            ChangeError::Gone(_) => unknown(upstream),
            error => Problem::from(error),
        })
    }

    /// What became of a change.
    fn changed(&self, status: StatusCode, name: &str, changed: &Changed) -> Outcome {
        let upstream = self.upstream(name)?;
        let shown = json!({
            "upstream": name,
            "backend": find(&upstream, &changed.backend),
            "changed": changed.changed,
            "revision": changed.revision.to_string(),
            "usable_backends": changed.usable,
            "survives_reload": true,
            "survives_restart": false,
        });
        let mut response = reply(status, JSON, format!("{shown:#}\n"));
        let headers = response.headers_mut();
        headers.extend(HeaderValue::from_str(&format!("\"{}\"", changed.revision)).map(|tag| (ETAG, tag)));
        if status == StatusCode::CREATED {
            let path = format!(
                "{PREFIX}upstreams/{}/backends/{}",
                percent_encoded(name.as_bytes()),
                percent_encoded(changed.backend.as_bytes())
            );
            headers.extend(HeaderValue::from_str(&path).map(|path| (LOCATION, path)));
        }
        Ok(response)
    }

    fn upstream(&self, name: &str) -> Result<Value, Problem> {
        self.state.upstream(name).ok_or_else(|| unknown(name))
    }
}

// === impl Problem ===

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    /// As RFC 9457 says.
    pub(super) fn response(self) -> Response<Full<Bytes>> {
        let title = self.status.canonical_reason();
        let shown = json!({ "title": title, "status": self.status.as_u16(), "detail": self.detail });
        reply(self.status, "application/problem+json", format!("{shown:#}\n"))
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let status = match error {
            ChangeError::Gone(_) | ChangeError::UnknownBackend(_) => StatusCode::NOT_FOUND,
            ChangeError::Exists(_) | ChangeError::Ambiguous(_) => StatusCode::CONFLICT,
            ChangeError::Outdated { .. } => StatusCode::PRECONDITION_FAILED,
            ChangeError::Unusable(_) | ChangeError::Weight(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.to_string())
    }
}

fn unknown(upstream: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("no upstream {upstream}"))
}

/// The body of a request, which is a JSON object. A page of another site cannot send one without asking first (a browser asks
/// for this content type), and no such question is granted.
async fn body(request: Request<Incoming>) -> Result<Map<String, Value>, Problem> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case(JSON) && !kind.eq_ignore_ascii_case("application/merge-patch+json") {
        let detail = "expected Content-Type: application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let read = timeout(BODY_TIMEOUT, Limited::new(request.into_body(), LARGEST).collect()).await;
    let bytes = match read {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!("expected at most {LARGEST} bytes");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        Ok(Err(error)) => return Err(Problem::new(StatusCode::BAD_REQUEST, error.to_string())),
        Err(_) => return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body took too long")),
    };
    let invalid = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(invalid("expected a JSON object".to_owned())),
        Err(error) => Err(invalid(format!("not JSON: {error}"))),
    }
}

/// The backend that a body describes, as an entry of a list of backends does.
fn added(body: &Map<String, Value>) -> Result<Backend, Problem> {
    let invalid = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    if !body.get("url").is_some_and(Value::is_string) {
        return Err(invalid("expected url: the URL of the backend, as text".to_owned()));
    }
    let list = json!([body]).to_string();
    let mut backends = backend_list(&list, "the request", Scheme::Http).map_err(|error| {
        let text = error.diagnostics().iter().map(|one| {
            let value = one.value.as_ref().map(|value| format!("{value:?} ")).unwrap_or_default();
            format!("{}: {value}{}", one.path.trim_start_matches("[0]").trim_start_matches('.'), one.message)
        });
        invalid(text.collect::<Vec<_>>().join("; "))
    })?;
    backends.pop().ok_or_else(|| invalid("expected a backend".to_owned()))
}

/// What a body changes of a backend.
fn updated(body: &Map<String, Value>) -> Result<BackendUpdate, Problem> {
    let mut update = BackendUpdate::default();
    for (key, value) in body {
        match (key.as_str(), value) {
            ("drained", Value::Bool(drained)) => update.drained = Some(*drained),
            ("weight", Value::Null) => update.weight = Some(WeightUpdate::AsGiven),
            ("weight", value) if value.as_u64().is_some_and(|weight| u32::try_from(weight).is_ok()) => {
                let weight = value.as_u64().and_then(|weight| u32::try_from(weight).ok());
                update.weight = weight.map(WeightUpdate::To);
            }
            ("drained", _) => {
                return Err(Problem::new(StatusCode::BAD_REQUEST, "drained: expected true or false"));
            }
            ("weight", _) => {
                let detail = "weight: expected 0 to 65535, or null for the configured one";
                return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
            }
            (other, _) => {
                let detail = format!("unknown key {other}: expected drained or weight");
                return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
            }
        }
    }
    if update == BackendUpdate::default() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "expected drained or weight"));
    }
    Ok(update)
}

/// The revision that a change is made for, if the client says one.
fn revision(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let mut given = headers.get_all(IF_MATCH).iter();
    let (Some(tag), second) = (given.next(), given.next()) else { return Ok(None) };
    let tag = tag.to_str().unwrap_or_default().trim();
    if tag == "*" {
        return Ok(None);
    }
    let revision =
        tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).and_then(|tag| tag.parse().ok());
    match (revision, second) {
        (Some(revision), None) => Ok(Some(revision)),
        _ => {
            let detail = "If-Match: expected the ETag of a response about this upstream";
            Err(Problem::new(StatusCode::PRECONDITION_FAILED, detail))
        }
    }
}

fn tag(upstream: &Value) -> Option<HeaderValue> {
    let revision = upstream.get("revision")?.as_str()?;
    HeaderValue::from_str(&format!("\"{revision}\"")).ok()
}

/// A backend of an upstream by its URL, or by `host:port` where only one backend has that.
fn find<'a>(upstream: &'a Value, name: &str) -> Option<&'a Value> {
    let wanted: Vec<BackendUrl> = ["", "http://", "https://"]
        .iter()
        .filter_map(|scheme| BackendUrl::parse(&format!("{scheme}{name}")).ok())
        .collect();
    let mut found = upstream.get("backends")?.as_array()?.iter().filter(|backend| {
        let Some(url) = backend.get("name").and_then(Value::as_str) else { return false };
        let parsed = BackendUrl::parse(url).ok();
        url == name
            || parsed.is_some_and(|url| wanted.iter().any(|one| (one.tls, &one.host) == (url.tls, &url.host)))
    });
    found.next().filter(|_| found.next().is_none())
}

/// A segment of a path without its encoding; `None` if it is empty, or no text.
fn decoded(segment: &str) -> Option<String> {
    percent_decoded(segment).filter(|text| !text.is_empty())
}
