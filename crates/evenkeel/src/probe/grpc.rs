//! The gRPC health protocol, version 1, over HTTP/2: known from the start, or agreed on within TLS.
//!
//! One call, `grpc.health.v1.Health/Check`. Both of its messages have one field each, so they are written and read here
//! (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>) rather than by generated code.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};

use super::connect::{Connector, Deadline, HTTP2, LimitedReader, Socket};
use super::failed::short;
use super::http1::AGENT;
use super::{ProbeError, ProbeFailure, Target};

/// A call of the health service.
#[derive(Debug)]
pub(super) struct GrpcProbe {
    connector: Connector,
    uri: Uri,
    /// How long the server should try, as gRPC writes it.
    timeout: HeaderValue,
    service: String,
    message: Bytes,
}

const PATH: &str = "/grpc.health.v1.Health/Check";
/// Largest response, in bytes; a response of the protocol has seven.
const ANSWER: usize = 4 << 10;
/// Largest response head, in bytes.
const HEAD: u32 = 16 << 10;
/// The approximate limit of bytes read from a backend for one call: frames that belong to no response have no other
/// bound.
const ALL: usize = 256 << 10;
/// The statuses of gRPC, by their numbers.
const STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

// === impl GrpcProbe ===

impl GrpcProbe {
    /// Asks for this service; for the server as a whole if it is empty.
    pub(super) fn new(service: &str, timeout: Duration, target: &Target) -> Result<Self, ProbeError> {
        let connector = Connector::new(target, HTTP2)?;
        let uri = Uri::builder()
            .scheme(if connector.is_tls() { "https" } else { "http" })
            .authority(target.host.as_str())
            .path_and_query(PATH)
            .build()
            .map_err(|_| ProbeError::Request { what: "host", value: target.host.clone() })?;
        let message = request_message(service)
            .ok_or_else(|| ProbeError::Request { what: "service", value: short(service) })?;
        // gRPC writes at most eight digits.
        let milliseconds = timeout.as_millis().clamp(1, 99_999_999);
        let timeout = HeaderValue::from_str(&format!("{milliseconds}m"))
            .map_err(|_| ProbeError::Request { what: "timeout", value: format!("{timeout:?}") })?;
        Ok(Self { connector, uri, timeout, service: service.to_owned(), message })
    }

    /// Asks once.
    pub(super) async fn run(&self, deadline: Deadline) -> Result<(), ProbeFailure> {
        let socket = self.connector.open(deadline).await?;
        deadline.hold(ProbeFailure::NoAnswer, self.call(socket)).await
    }

    async fn call(&self, socket: Socket) -> Result<(), ProbeFailure> {
        let mut builder = Builder::new();
        builder.enable_push(false).max_header_list_size(HEAD).max_concurrent_streams(0);
        let (client, connection) = builder
            .handshake::<_, Bytes>(LimitedReader::new(socket, ALL))
            .await
            .map_err(|error| ProbeFailure::http2(&error))?;
        alongside(self.check(client), connection).await
    }

    async fn check(&self, client: SendRequest<Bytes>) -> Result<(), ProbeFailure> {
        let explain = |error: h2::Error| ProbeFailure::http2(&error);
        let mut client = client.ready().await.map_err(explain)?;
        let (answer, mut request) = client.send_request(self.request(), false).map_err(explain)?;
        request.send_data(self.message.clone(), true).map_err(explain)?;
        let answer = answer.await.map_err(explain)?;
        speaks_grpc(&answer)?;
        let (head, mut body) = answer.into_parts();
        // A call that failed at once has its status in the head, and no body.
        if head.headers.contains_key("grpc-status") {
            self.succeeded(&head.headers)?;
        }
        let message = read(&mut body).await?;
        let trailers = body.trailers().await.map_err(explain)?;
        self.succeeded(trailers.as_ref().unwrap_or(&head.headers))?;
        match serving_status(&message) {
            Some(1) => Ok(()),
            Some(0) => Err(ProbeFailure::Grpc("UNKNOWN".to_owned())),
            Some(2) => Err(ProbeFailure::Grpc("NOT_SERVING".to_owned())),
            Some(3) => Err(ProbeFailure::Grpc(format!("SERVICE_UNKNOWN (`{}`)", short(&self.service)))),
            Some(other) => Err(ProbeFailure::Grpc(format!("serving status {other}"))),
            None => Err(ProbeFailure::Protocol("a message of the gRPC health protocol".to_owned())),
        }
    }

    fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.version_mut() = Version::HTTP_2;
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(USER_AGENT, AGENT);
        headers.insert("grpc-timeout", self.timeout.clone());
        request
    }

    /// Whether these fields say that the call succeeded.
    fn succeeded(&self, fields: &HeaderMap) -> Result<(), ProbeFailure> {
        let text = |name| fields.get(name).map(|value| short(&String::from_utf8_lossy(value.as_bytes())));
        let Some(code) = text("grpc-status") else {
            return Err(ProbeFailure::Grpc("no status".to_owned()));
        };
        let name = code.parse::<usize>().ok().and_then(|code| STATUSES.get(code));
        let name = name.map_or_else(|| format!("status {code}"), |name| (*name).to_owned());
        match name.as_str() {
            "OK" => Ok(()),
            "UNIMPLEMENTED" => {
                Err(ProbeFailure::Grpc(format!("{name} (the backend has no gRPC health service)")))
            }
            "NOT_FOUND" => Err(ProbeFailure::Grpc(format!("{name} (service `{}`)", short(&self.service)))),
            _ => Err(ProbeFailure::Grpc(match text("grpc-message") {
                Some(message) if !message.is_empty() => format!("{name}: {message}"),
                _ => name,
            })),
        }
    }
}

fn speaks_grpc(answer: &Response<RecvStream>) -> Result<(), ProbeFailure> {
    if answer.status() != StatusCode::OK {
        return Err(ProbeFailure::Status(answer.status().as_u16()));
    }
    let kind = answer.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if kind.starts_with(b"application/grpc") {
        Ok(())
    } else {
        Err(ProbeFailure::Protocol("gRPC".to_owned()))
    }
}

async fn read(body: &mut RecvStream) -> Result<Vec<u8>, ProbeFailure> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = match data {
            Ok(data) => data,
            // A server that has said all may tell the client to say no more: its status follows or is there.
            Err(error) if error.is_reset() && error.reason() == Some(Reason::NO_ERROR) => break,
            Err(error) => return Err(ProbeFailure::http2(&error)),
        };
        if bytes.len() + data.len() > ANSWER {
            return Err(ProbeFailure::Protocol("a message of the gRPC health protocol".to_owned()));
        }
        bytes.extend_from_slice(&data);
        // The window of a call is sixteen times larger than the largest response.
        let _ = body.flow_control().release_capacity(data.len());
    }
    Ok(bytes)
}

/// `HealthCheckRequest { service = 1 }`, uncompressed, as one message of gRPC. `None` if it is too long for one.
fn request_message(service: &str) -> Option<Bytes> {
    let mut field = BytesMut::new();
    if !service.is_empty() {
        field.put_u8(1 << 3 | 2);
        let mut length = service.len();
        while length >= 0x80 {
            field.put_u8(length.to_le_bytes().first()? | 0x80);
            length >>= 7;
        }
        field.put_u8(u8::try_from(length).ok()?);
        field.put_slice(service.as_bytes());
    }
    let mut message = BytesMut::with_capacity(5 + field.len());
    message.put_u8(0);
    message.put_u32(u32::try_from(field.len()).ok()?);
    message.put(field);
    Some(message.freeze())
}

/// The status of `HealthCheckResponse { status = 1 }` within one message of gRPC; zero if it is left out. `None` if this
/// is no such message.
fn serving_status(answer: &[u8]) -> Option<u64> {
    let (compressed, rest) = answer.split_first()?;
    let (length, mut message) = rest.split_first_chunk::<4>()?;
    if *compressed != 0 || usize::try_from(u32::from_be_bytes(*length)).ok()? != message.len() {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = varint(&mut message)?,
            // Fields that later versions may add.
            (_, 0) => drop(varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Waits for the work, and runs the connection that it needs. When the work is dropped, so is the connection, and no
/// task outlives a probe.
async fn alongside<T>(work: impl Future<Output = T>, connection: impl Future) -> T {
    let mut work = pin!(work);
    // A connection that is over has reported that to the work, or has left it all that it needs.
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
