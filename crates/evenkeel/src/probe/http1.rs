//! HTTP/1.1 as a client: one request, and the content of its response. The response is read by the parser that reads the
//! responses to clients' requests, so that a backend is healthy only if those would be accepted.

use evenkeel_config::HttpCheck;
use evenkeel_http::http1::{self, Buffer, with_answer};
use evenkeel_http::message::{Interim, Malformed, ResponseHead};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderValue, Method, Uri};
use memchr::memmem::Finder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::{Connector, Deadline, HTTP1, Socket};
use super::failed::short;
use super::{BODY, ProbeError, ProbeFailure, Target};

/// What probes call themselves.
pub(super) const AGENT: HeaderValue = HeaderValue::from_static("evenkeel-health");

/// A request over its own connection, and the expected response.
#[derive(Debug)]
pub(super) struct HttpProbe {
    request: Template,
    statuses: Vec<(u16, u16)>,
    body: Option<Finder<'static>>,
}

/// A request without a body, to be sent again and again.
#[derive(Debug)]
pub(super) struct Template {
    connector: Connector,
    method: Method,
    path: Uri,
    headers: HeaderMap,
}

/// A connection to a backend.
pub(super) struct Client {
    socket: Socket,
    /// What has arrived and was not read yet.
    input: Buffer,
}

/// The head of a final response, as far as probes use it.
pub(super) struct Response {
    pub(super) status: u16,
    /// The value of `endpoint-load-metrics`.
    pub(super) load: Option<Vec<u8>>,
    /// Whether the connection ends with it.
    last: bool,
    body: http1::Body,
}

/// A response body, as far as it is read.
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// Whether another request can follow on the connection.
    pub(super) reusable: bool,
}

/// What every response begins with.
const BEGINNING: &[u8] = b"HTTP/1.";
/// The most that is read at once, in bytes.
const READ: usize = 16 << 10;

// === impl HttpProbe ===

impl HttpProbe {
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
    pub(super) async fn run(&self, deadline: Deadline) -> Result<(), ProbeFailure> {
        let mut client = self.request.open(deadline).await?;
        let response = deadline.hold(ProbeFailure::NoAnswer, client.send(&self.request)).await?;
        let status = response.status;
        if !self.statuses.iter().any(|&(from, to)| (from..=to).contains(&status)) {
            return Err(ProbeFailure::Status(status));
        }
        // A response that breaks off is unhealthy, whether or not a text is expected.
        let body = deadline.hold(ProbeFailure::NoEnd, client.read(response)).await?;
        match &self.body {
            Some(text) if text.find(&body.bytes).is_none() => {
                Err(ProbeFailure::Body(short(&String::from_utf8_lossy(text.needle()))))
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
        Ok(Self { connector: Connector::new(target, HTTP1)?, method, path, headers })
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
    pub(super) async fn open(&self, deadline: Deadline) -> Result<Client, ProbeFailure> {
        Ok(Client { socket: self.connector.open(deadline).await?, input: Buffer::default() })
    }

    fn bytes(&self) -> Vec<u8> {
        let path = self.path.path_and_query().map_or("/", |path| path.as_str());
        let mut bytes = format!("{} {path} HTTP/1.1\r\n", self.method).into_bytes();
        for (name, value) in &self.headers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                bytes.extend_from_slice(part);
            }
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}

// === impl Client ===

impl Client {
    /// Sends the request, and returns the head of the final response.
    pub(super) async fn send(&mut self, request: &Template) -> Result<Response, ProbeFailure> {
        // A backend that reads no request may still have sent a response. Whether there is one is seen below.
        let _ = self.socket.write_all(&request.bytes()).await;
        let _ = self.socket.flush().await;
        let (mut searched, mut interim) = (0, Interim::default());
        let head_only = request.method == Method::HEAD;
        loop {
            let bytes = self.input.filled();
            if bytes.iter().zip(BEGINNING).any(|(found, expected)| found != expected) {
                return Err(malformed(Malformed::StatusLine));
            }
            let read = with_answer(bytes, &mut searched, |answer| {
                let load = answer.header("endpoint-load-metrics").map(<[u8]>::to_vec);
                let (status, last) = (answer.status(), answer.last);
                (answer.length, Response { status, load, last, body: answer.body(head_only) })
            });
            match read.map_err(malformed)? {
                Some((_, Response { status: 101, .. })) => {
                    return Err(malformed(Malformed::UnexpectedUpgrade));
                }
                Some((length, response)) => {
                    self.input.consume(length);
                    searched = 0;
                    if response.status >= 200 {
                        return Ok(response);
                    }
                    interim.admit(length).map_err(malformed)?;
                }
                None if self.fill().await? == 0 => return Err(ProbeFailure::Closed),
                None => {}
            }
        }
    }

    /// Reads the body of a response to its end, or as far as it is needed.
    pub(super) async fn read(&mut self, response: Response) -> Result<Body, ProbeFailure> {
        let Response { last, mut body, .. } = response;
        let mut bytes = Vec::new();
        while !body.is_done() {
            let input = self.input.filled();
            if input.is_empty() {
                match self.fill().await? {
                    0 if matches!(body, http1::Body::UntilClose) => break,
                    0 => return Err(ProbeFailure::Closed),
                    _ => continue,
                }
            }
            let piece = body.next(input).map_err(malformed)?;
            let data = input.get(piece.skip..piece.skip + piece.data).unwrap_or_default();
            let room = BODY - bytes.len();
            if let Some(most) = data.get(..room) {
                bytes.extend_from_slice(most);
                return Ok(Body { bytes, reusable: false });
            }
            bytes.extend_from_slice(data);
            self.input.consume(piece.skip + piece.data);
        }
        if let http1::Body::Chunked(chunked) = &body {
            chunked.check_end().map_err(malformed)?;
        }
        let reusable = !last && body.is_done() && self.input.is_empty();
        Ok(Body { bytes, reusable })
    }

    /// Reads more; how many bytes, none at the end.
    async fn fill(&mut self) -> Result<usize, ProbeFailure> {
        let read =
            self.socket.read(self.input.room(READ)).await.map_err(|error| ProbeFailure::broken(&error))?;
        self.input.add(read);
        Ok(read)
    }
}

fn malformed(malformed: Malformed) -> ProbeFailure {
    ProbeFailure::Protocol(format!("HTTP/1.1: {malformed}"))
}
