//! The requests that sources send: HTTP/1.1, one connection for each.
//!
//! A source sends a request every few seconds at most, so a connection that is kept would only be one more thing that can be
//! stale. Everything that a server sends is bounded, in size and in time.

use std::time::Duration;

use bytes::Bytes;
use evenkeel_config::{HttpUrl, Token};
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::DiscoveryError;
use crate::dial::with_causes;

/// A server that sources send requests to.
#[derive(Clone, Debug)]
pub(super) struct Client {
    url: HttpUrl,
    token: Option<(HeaderName, Token)>,
}

/// A response, read to its end.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Largest response body, in bytes.
const LARGEST: usize = 16 << 20;
/// Largest response head, in bytes.
const HEAD: usize = 64 << 10;

// === impl Client ===

impl Client {
    /// The server of this URL. The token is sent in this field: as a bearer token in `authorization`, otherwise as it is.
    pub(super) fn new(url: &HttpUrl, token: Option<(HeaderName, Token)>) -> Self {
        Self { url: url.clone(), token }
    }

    /// Sends a GET request for `path`, with these header fields.
    ///
    /// # Errors
    /// Why there is no whole response within `limit`.
    pub(super) async fn get(
        &self,
        path: &str,
        headers: HeaderMap,
        limit: Duration,
    ) -> Result<Reply, DiscoveryError> {
        let late = || DiscoveryError::Unreachable(format!("no response within {limit:?}"));
        timeout(limit, self.exchange(path, headers)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn exchange(&self, path: &str, headers: HeaderMap) -> Result<Reply, DiscoveryError> {
        let request = self.request(path, headers).await?;
        let host = (self.url.host.as_str(), self.url.port);
        let socket = TcpStream::connect(host).await.map_err(|error| broken("cannot connect", &error))?;
        let mut builder = Builder::new();
        builder.max_buf_size(HEAD);
        let ends = builder.handshake(TokioIo::new(socket)).await;
        let (mut sender, connection) = ends.map_err(|error| broken("the connection broke", &error))?;
        let exchange = async {
            let response =
                sender.send_request(request).await.map_err(|error| broken("no response", &error))?;
            let (head, mut body) = response.into_parts();
            let mut bytes = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| broken("the response broke off", &error))?;
                let Ok(data) = frame.into_data() else { continue };
                if bytes.len() + data.len() > LARGEST {
                    let most = LARGEST >> 20;
                    return Err(DiscoveryError::Invalid(format!("the response is larger than {most} MiB")));
                }
                bytes.extend_from_slice(&data);
            }
            Ok(Reply { status: head.status.as_u16(), headers: head.headers, body: bytes.into() })
        };
        // The connection ends with the exchange: no task outlives a request.
        tokio::select! {
            biased;
            reply = exchange => reply,
            () = async { drop(connection.await); std::future::pending().await } => {
                Err(DiscoveryError::Unreachable("the connection broke".to_owned()))
            }
        }
    }

    async fn request(&self, path: &str, headers: HeaderMap) -> Result<Request<Empty<Bytes>>, DiscoveryError> {
        let invalid = |what: &str| DiscoveryError::Invalid(format!("{what} cannot be sent"));
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = path.parse().map_err(|_| invalid("the path"))?;
        let fields = request.headers_mut();
        *fields = headers;
        let host = HeaderValue::from_str(&self.url.authority()).map_err(|_| invalid("the host"))?;
        fields.insert(HOST, host);
        fields.insert(USER_AGENT, HeaderValue::from_static("evenkeel-discovery"));
        fields.insert(ACCEPT, HeaderValue::from_static("application/json"));
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
        if let Some((name, token)) = &self.token {
            let secret = secret(token).await?;
            let value = if *name == AUTHORIZATION { format!("Bearer {secret}") } else { secret };
            let mut value = HeaderValue::from_str(&value).map_err(|_| invalid("the token"))?;
            value.set_sensitive(true);
            fields.insert(name.clone(), value);
        }
        Ok(request)
    }
}

/// The secret, without the line break at the end of its file.
async fn secret(token: &Token) -> Result<String, DiscoveryError> {
    let shown = match token {
        Token::File(path) => path.display().to_string(),
        _ => String::new(),
    };
    let token = token.clone();
    match tokio::task::spawn_blocking(move || token.read()).await {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(DiscoveryError::Unreachable(format!("token file {shown}: {error}"))),
        Err(_) => Err(DiscoveryError::Panicked),
    }
}

fn broken(what: &str, error: &dyn std::error::Error) -> DiscoveryError {
    DiscoveryError::Unreachable(with_causes(what, error))
}
