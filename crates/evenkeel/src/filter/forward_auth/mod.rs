//! `forward_auth`: another service decides about each request.
//!
//! The service receives the head of the request, and what it responds is the verdict: 2xx accepts, a redirect or a status of 4xx goes to
//! the client. It never knows where the request goes.

mod cache;
mod params;

pub use params::{ForwardAuthParams, OnFailure};

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use super::identity::IdentityHeader;
use super::pause::LogPause;
use super::place::{self, Place};
use super::registry::{FilterError, FilterKind};
use super::service::{Reply, Service, ServiceError, Target};
use super::{Answer, BuildContext, Filter, HeaderEdit, Rejection, Request, Response, Verdict, Wait};
use cache::{Cache, Tag};

/// Sends the head of each request to another service, which decides.
#[derive(Debug)]
pub struct ForwardAuthFilter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    service: Service,
    timeout: Duration,
    send: Vec<HeaderName>,
    upstream: Vec<IdentityHeader>,
    client: Vec<HeaderName>,
    on_failure: OnFailure,
    cache: Option<Cache>,
    logged: LogPause,
}

/// What the backend receives of a request that was accepted: a value for each header, in their order.
#[derive(Debug, Default)]
struct Granted(Vec<Option<HeaderValue>>);

/// What the client receives with the response.
#[derive(Debug)]
struct ForClient(Vec<(HeaderName, HeaderValue)>);

/// Largest response of the service, in bytes.
const LARGEST: usize = 256 << 10;

// === impl ForwardAuthFilter ===

impl Filter for ForwardAuthFilter {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        let tag = self.0.cache.as_ref().and_then(|cache| cache.tag(request));
        if let (Some(cache), Some(tag)) = (&self.0.cache, tag)
            && let Some(granted) = cache.find(tag, request.now)
        {
            return self.0.accept(request, &granted);
        }
        let (shared, worker) = (self.0.clone(), request.worker);
        let headers = self.0.question(request);
        let asked = async move {
            let result = shared.service.get(worker, headers, shared.timeout).await;
            (shared, result)
        };
        Verdict::Wait(Wait::then(asked, move |(shared, result), request| shared.judge(request, result, tag)))
    }

    fn on_response(&self, response: &mut Response<'_>) {
        if response.head.status() >= 200
            // It stays: a response that is replaced passes the filters again.
            && let Some(ForClient(headers)) = response.state.get()
        {
            for (name, value) in headers {
                response.edits.danger_push(HeaderEdit::Add(name.clone(), value.clone()));
            }
        }
    }
}

impl FilterKind for ForwardAuthFilter {
    const NAME: &'static str = "forward_auth";
    const EXAMPLE: &'static str = "forward_auth: { url: \"http://127.0.0.1:4180/oauth2/auth\", upstream_headers: [x-auth-request-user] }";
    const DOC: &'static str = "Sends the head of each request to another service, which decides. A status of 2xx accepts the request. Any other \
                               below 500 is the response to the client, with its headers and body, such as a redirect to a sign-in page.";
    type Params = ForwardAuthParams;

    fn new(params: ForwardAuthParams, context: &BuildContext<'_>) -> Result<Self, FilterError> {
        let target = Target::new(("url", &params.url), ("ca", params.ca.as_deref()))?;
        let upstream = params.upstream_headers.iter().enumerate();
        let upstream =
            upstream.map(|(at, name)| IdentityHeader::new(name, &format!("upstream_headers[{at}]")));
        let by = params.cache_by.iter().enumerate().map(|(at, text)| {
            Place::parse(text).ok_or_else(|| FilterError::new(format!("cache_by[{at}]"), place::EXPECTED))
        });
        let shared = Shared {
            service: Service::new(target, context.workers, LARGEST),
            timeout: params.timeout.0,
            send: names(&params.send_headers, "send_headers")?,
            upstream: upstream.collect::<Result<_, _>>()?,
            client: names(&params.client_headers, "client_headers")?,
            on_failure: params.on_failure,
            cache: Cache::new(by.collect::<Result<_, _>>()?, params.cache_for.0),
            logged: LogPause::default(),
        };
        Ok(Self(Arc::new(shared)))
    }
}

/// Names of headers that are not about a connection.
fn names(written: &[String], key: &str) -> Result<Vec<HeaderName>, FilterError> {
    let names = written.iter().enumerate().map(|(at, name)| {
        let expected =
            || FilterError::new(format!("{key}[{at}]"), "a header name that is not about the connection");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| expected())?;
        HeaderEdit::Remove(name.clone()).check().map_err(|_| expected())?;
        Ok(name)
    });
    names.collect()
}

// === impl Shared ===

impl Shared {
    /// What the service receives of a request: the headers that it may see, and what was requested.
    fn question(&self, request: &Request<'_>) -> HeaderMap {
        let head = request.head;
        let mut headers = HeaderMap::with_capacity(self.send.len() + 5);
        for name in &self.send {
            head.each(name.as_str(), &mut |value| {
                if let Ok(value) = HeaderValue::from_bytes(value) {
                    headers.append(name.clone(), value);
                }
            });
        }
        let uri = match head.query() {
            Some(query) => format!("{}?{query}", head.path()),
            None => head.path().to_owned(),
        };
        let client = request.client.map(|client| client.to_string());
        for (name, value) in [
            ("x-forwarded-method", Some(head.method())),
            ("x-forwarded-proto", Some(if request.tls { "https" } else { "http" })),
            ("x-forwarded-host", Some(head.authority())),
            ("x-forwarded-uri", Some(uri.as_str())),
            ("x-forwarded-for", client.as_deref()),
        ] {
            let name = HeaderName::from_static(name);
            headers.remove(&name);
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
        headers
    }

    fn judge(
        &self,
        request: &mut Request<'_>,
        result: Result<Reply, ServiceError>,
        tag: Option<Tag>,
    ) -> Verdict {
        let problem = match result {
            Ok(reply) if reply.status.is_success() => return self.granted(request, &reply, tag),
            Ok(reply) if (300..500).contains(&reply.status.as_u16()) => {
                return Verdict::Answer(passed_on(reply));
            }
            Ok(reply) => format!("status {}", reply.status.as_u16()),
            Err(error) => error.to_string(),
        };
        let (url, route) = (self.service.target().text(), request.route);
        let result = match self.on_failure {
            OnFailure::Reject => "the request is rejected",
            OnFailure::Allow => "the request passes (on_failure: allow)",
        };
        if self.logged.is_over(request.now) {
            log::warn!("forward_auth of route {route}: {url}: {problem}: {result}");
        }
        match self.on_failure {
            OnFailure::Reject => {
                let rejection = Rejection::status(503, "this cannot be authorized at the moment");
                Verdict::Refuse(rejection.retry_after(Duration::from_secs(1)).into())
            }
            OnFailure::Allow => self.accept(request, &Granted::default()),
        }
    }

    fn granted(&self, request: &mut Request<'_>, reply: &Reply, tag: Option<Tag>) -> Verdict {
        let granted = self.upstream.iter().map(|header| {
            let values: Vec<_> =
                reply.headers.get_all(header.name()).iter().map(HeaderValue::as_bytes).collect();
            if values.is_empty() { None } else { HeaderValue::from_bytes(&values.join(&b", "[..])).ok() }
        });
        let granted = Arc::new(Granted(granted.collect()));
        if let (Some(cache), Some(tag)) = (&self.cache, tag) {
            cache.remember(tag, request.now, granted.clone());
        }
        let values = |name: &HeaderName| {
            let values = reply.headers.get_all(name).iter().map(|value| (name.clone(), value.clone()));
            values.collect::<Vec<_>>()
        };
        let for_client: Vec<_> = self.client.iter().flat_map(values).collect();
        if !for_client.is_empty() {
            request.state.set(ForClient(for_client));
        }
        self.accept(request, &granted)
    }

    fn accept(&self, request: &mut Request<'_>, granted: &Granted) -> Verdict {
        request.explain(|| "the service accepted this a moment ago: accepted".to_owned());
        for (at, header) in self.upstream.iter().enumerate() {
            header.write(request, granted.0.get(at).cloned().flatten());
        }
        Verdict::Continue
    }
}

/// The response of the service, for the client. Its framing and its date are written again.
fn passed_on(reply: Reply) -> Answer {
    let mut answer = Answer::new(reply.status.as_u16()).body(reply.body);
    for (name, value) in &reply.headers {
        if !evenkeel_http::message::is_of_the_connection(name.as_str()) && *name != http::header::DATE {
            answer = answer.header(name.clone(), value.clone());
        }
    }
    answer
}
