//! Sends the request to a running balancer at its admin address.

use std::time::Duration;

use bytes::Bytes;
use evenkeel::control::{Described, Explanation};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::super::failure::Failure;
use super::super::printable::one_line;

/// How long a response may take. It usually takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Largest response that is read: one about 100,000 backends is smaller.
const LARGEST: usize = 64 << 20;

/// Longest description of a request: what a target can hold (hyper), less the path.
const LONGEST: usize = 65_000;

/// How many bytes of an unexpected response are shown.
const SHOWN: usize = 1_000;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// The explanation of the balancer at this address.
pub(super) async fn ask(
    admin: &str,
    token: Option<HeaderValue>,
    request: &Described,
) -> Result<Explanation, Failure> {
    let address = admin.strip_prefix("http://").unwrap_or(admin).trim_end_matches('/');
    if address.contains('/') || !address.contains(':') {
        return Err(Failure::usage(format!(
            "expected an address like http://127.0.0.1:9900, found `{admin}`"
        )));
    }
    let query = request.to_query();
    if query.len() > LONGEST {
        return Err(Failure::usage(format!(
            "the request is too long for an admin address: {} bytes, expected at most {LONGEST}; explain it by a file",
            query.len()
        )));
    }
    let has_token = token.is_some();
    let response = match tokio::time::timeout(PATIENCE, get(address, token, &query)).await {
        Ok(response) => response.map_err(|error| Failure::start(format!("{admin}: {error}")))?,
        Err(_) => return Err(Failure::start(format!("{admin}: no response within {PATIENCE:?}"))),
    };
    let (status, body) = response;
    match status {
        StatusCode::OK => serde_json::from_slice(&body).map_err(|error| {
            Failure::start(format!(
                "{admin}: the response is not an explanation that this version understands: {error}"
            ))
        }),
        StatusCode::UNAUTHORIZED if has_token => {
            Err(Failure::refused(format!("{admin}: the token was rejected")))
        }
        StatusCode::UNAUTHORIZED => Err(Failure::refused(format!(
            "{admin}: a token is needed: --token-file FILE or EVENKEEL_ADMIN_TOKEN"
        ))),
        status => {
            let body = body.get(..SHOWN).unwrap_or(&body);
            let said = String::from_utf8_lossy(body);
            Err(Failure::refused(format!("{admin}: {}: {}", status.as_u16(), one_line(said.trim_end()))))
        }
    }
}

async fn get(
    address: &str,
    token: Option<HeaderValue>,
    query: &str,
) -> Result<(StatusCode, Bytes), AnyError> {
    let mut request = Request::get(format!("/explain?{query}")).header(HOST, address);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, token);
    }
    let request = request.body(Empty::<Bytes>::new())?;
    let socket = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await?;
    Ok((status, body.to_bytes()))
}
