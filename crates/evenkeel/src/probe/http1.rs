//! HTTP/1.1 as a client: one request, and the content of its response.

use std::future::pending;
use std::pin::pin;

use bytes::Bytes;
use evenkeel_config::HttpCheck;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use memchr::memmem::Finder;

use super::connect::{Deadline, HTTP1, Socket, Way};
use super::failed::short;
use super::{BODY, Failed, ProbeError, Target};

/// What probes call themselves.
pub(super) const AGENT: HeaderValue = HeaderValue::from_static("evenkeel-health");

/// A request over its own connection, and the expected response.
#[derive(Debug)]
pub(super) struct Question {
    request: Template,
    statuses: Vec<(u16, u16)>,
    body: Option<Finder<'static>>,
}

/// A request without a body, to be sent again and again.
#[derive(Debug)]
pub(super) struct Template {
    way: Way,
    method: Method,
    path: Uri,
    headers: HeaderMap,
}

/// The two ends of one connection: one accepts requests, the other must run so that they are sent and responses arrive.
type Ends = (SendRequest<Empty<Bytes>>, Connection<TokioIo<Socket>, Empty<Bytes>>);

/// A response body, as far as it is read.
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// Whether that was all of it.
    pub(super) whole: bool,
}

/// Largest response head, in bytes; hyper reads that much ahead.
const HEAD: usize = 64 << 10;
/// Most header fields of a response.
const FIELDS: usize = 100;

// === impl Question ===

impl Question {
    /// As the check says.
    pub(super) fn new(check: &HttpCheck, target: &Target) -> Result<Self, ProbeError> {
        let host = check.host.as_ref().unwrap_or(&target.host);
        let mut request = Template::new(target, &check.method, &check.path, host)?;
        request.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        for (name, value) in &check.headers {
            request.set(name, value)?;
        }
        let body = check.expect_body.as_ref().map(|text| Finder::new(text.as_bytes()).into_owned());
        Ok(Self { request, statuses: check.expect_status.clone(), body })
    }

    /// Asks once.
    pub(super) async fn ask(&self, deadline: Deadline) -> Result<(), Failed> {
        let (mut client, connection) = self.request.open(deadline).await?;
        alongside(self.judge(&mut client, deadline), connection).await
    }

    async fn judge(&self, client: &mut SendRequest<Empty<Bytes>>, deadline: Deadline) -> Result<(), Failed> {
        let answer = deadline.hold(Failed::NoAnswer, self.request.send(client)).await?;
        let status = answer.status().as_u16();
        if !self.statuses.iter().any(|&(from, to)| (from..=to).contains(&status)) {
            return Err(Failed::Status(status));
        }
        // A response that breaks off is unhealthy, whether or not a text is expected.
        let body = deadline.hold(Failed::NoEnd, read(answer)).await?;
        match &self.body {
            Some(text) if text.find(&body.bytes).is_none() => {
                Err(Failed::Body(short(&String::from_utf8_lossy(text.needle()))))
            }
            _ => Ok(()),
        }
    }
}

// === impl Template ===

impl Template {
    pub(super) fn new(target: &Target, method: &str, path: &str, host: &str) -> Result<Self, ProbeError> {
        let wrong = |what, value: &str| ProbeError::Request { what, value: value.to_owned() };
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| wrong("method", method))?;
        let path = match path.parse::<Uri>() {
            Ok(uri) if uri.authority().is_none() && path.starts_with('/') => uri,
            _ => return Err(wrong("path", path)),
        };
        let host = HeaderValue::from_str(host).map_err(|_| wrong("host", host))?;
        let headers = HeaderMap::from_iter([(HOST, host), (USER_AGENT, AGENT)]);
        Ok(Self { way: Way::new(target, HTTP1)?, method, path, headers })
    }

    /// Sets a header field. The framing is not the user's to set: there is no body.
    fn set(&mut self, name: &str, value: &str) -> Result<(), ProbeError> {
        let wrong = |what, value: &str| ProbeError::Request { what, value: value.to_owned() };
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            (Ok(CONTENT_LENGTH | TRANSFER_ENCODING) | Err(_), _) => {
                Err(wrong("header field of a request without a body", name))
            }
            (Ok(_), Err(_)) => Err(wrong("value of a header field", value)),
            (Ok(name), Ok(value)) => {
                self.headers.insert(name, value);
                Ok(())
            }
        }
    }

    /// A new connection.
    pub(super) async fn open(&self, deadline: Deadline) -> Result<Ends, Failed> {
        let socket = TokioIo::new(self.way.open(deadline).await?);
        let mut builder = Builder::new();
        builder.max_buf_size(HEAD).max_headers(FIELDS);
        builder.handshake(socket).await.map_err(|error| Failed::http1(&error))
    }

    /// Sends the request, and returns the response head.
    pub(super) async fn send(
        &self,
        client: &mut SendRequest<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, Failed> {
        let mut request = Request::new(Empty::new());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = self.headers.clone();
        client.send_request(request).await.map_err(|error| Failed::http1(&error))
    }
}

/// Reads the body of a response to its end, or as far as it is needed.
pub(super) async fn read(answer: Response<Incoming>) -> Result<Body, Failed> {
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| Failed::http1(&error))?.into_data() else { continue };
        let room = BODY - bytes.len();
        match data.get(..room) {
            Some(most) => {
                bytes.extend_from_slice(most);
                return Ok(Body { bytes, whole: false });
            }
            None => bytes.extend_from_slice(&data),
        }
    }
    Ok(Body { bytes, whole: true })
}

/// Waits for the work, and runs the connection that it needs. When the work is dropped, so is the connection, and no
/// task outlives a probe.
pub(super) async fn alongside<T>(work: impl Future<Output = T>, connection: impl Future) -> T {
    let mut work = pin!(work);
    // A connection that is over has told the work so, or has left it all that it needs.
    let connection = pin!(async {
        drop(connection.await);
        pending::<std::convert::Infallible>().await
    });
    tokio::select! {
        biased;
        done = &mut work => done,
        never = connection => match never {},
    }
}
