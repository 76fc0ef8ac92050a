//! Requests to the admin address of a running balancer, for every command that has one.

mod target;
mod token;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub(super) use self::target::{Balancer, Target};
pub(super) use self::token::Token;
use super::failure::Failure;
use super::printable::one_line;

/// How long a response may take. It usually takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Largest response that is read: one about 100,000 backends is smaller.
const LARGEST: usize = 64 << 20;

/// How many bytes of an unexpected response are shown.
const SHOWN: usize = 1_000;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// A response of an admin address.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// Sends a request without a body, and fails where there is no response or the token was not accepted.
pub(super) async fn send(
    admin: &str,
    token: Option<HeaderValue>,
    method: Method,
    target: &str,
) -> Result<Response, Failure> {
    send_json(admin, token, method, target, None).await
}

/// The same with a body of JSON, if there is one.
pub(super) async fn send_json(
    admin: &str,
    token: Option<HeaderValue>,
    method: Method,
    target: &str,
    body: Option<String>,
) -> Result<Response, Failure> {
    let address = admin.strip_prefix("http://").unwrap_or(admin).trim_end_matches('/');
    if address.contains('/') || !address.contains(':') {
        return Err(Failure::usage(format!(
            "expected an address like http://127.0.0.1:9900, found `{admin}`"
        )));
    }
    let has_token = token.is_some();
    let mut request = Request::builder().method(method).uri(target).header(HOST, address);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, token);
    }
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let body = Full::new(Bytes::from(body.unwrap_or_default()));
    let request = request.body(body).map_err(|error| Failure::usage(format!("{admin}: {error}")))?;
    let response = match tokio::time::timeout(PATIENCE, exchange(address, request)).await {
        Ok(response) => response.map_err(|error| Failure::start(format!("{admin}: {error}")))?,
        Err(_) => return Err(Failure::start(format!("{admin}: no response within {PATIENCE:?}"))),
    };
    match response.status {
        StatusCode::UNAUTHORIZED if has_token => {
            Err(Failure::refused(format!("{admin}: the token was rejected")))
        }
        StatusCode::UNAUTHORIZED => Err(Failure::refused(format!(
            "{admin}: a token is needed: --token-file FILE or EVENKEEL_ADMIN_TOKEN"
        ))),
        _ => Ok(response),
    }
}

async fn exchange(address: &str, request: Request<Full<Bytes>>) -> Result<Response, AnyError> {
    let socket = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await?;
    Ok(Response { status, body: body.to_bytes() })
}

// === impl Response ===

impl Response {
    /// The failure that a response with an unexpected status means.
    pub(super) fn unexpected(&self, admin: &str) -> Failure {
        let body = self.body.get(..SHOWN).unwrap_or(&self.body);
        let said = String::from_utf8_lossy(body);
        Failure::refused(format!("{admin}: {}: {}", self.status.as_u16(), one_line(said.trim_end())))
    }
}
