//! A filter that waits: it asks another service whether a token is valid, and passes the user's name on to the backend.

use std::time::Duration;

use evenkeel::prelude::*;
use http::{HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What `token` takes in a file: the address of the service.
type Address = String;

/// Lets requests with a valid token through. The service reads a line with the token, and writes the user's name, or nothing.
#[derive(Debug)]
struct Token {
    service: Address,
}

/// Without a limit of its own, a filter waits until the route's timeout.
const LIMIT: Duration = Duration::from_secs(1);

impl Filter for Token {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        let Some(token) = request.head.header("authorization").map(<[u8]>::to_vec) else {
            let challenge = HeaderValue::from_static("Bearer");
            return Verdict::Refuse(Rejection::unauthorized(challenge, "a token is needed").into());
        };
        let user = tokio::time::timeout(LIMIT, user(self.service.clone(), token));
        Verdict::Wait(Wait::then(user, |user, request| match user {
            Ok(Ok(name)) if !name.is_empty() => {
                let Ok(name) = HeaderValue::from_bytes(&name) else {
                    return Verdict::Refuse(
                        Rejection::forbidden("the user's name is no header value").into(),
                    );
                };
                // It cannot fail: the name is no header that frames the request.
                let _ = request.edits.set(HeaderName::from_static("x-user"), name);
                Verdict::Continue
            }
            Ok(Ok(_)) => Verdict::Refuse(Rejection::forbidden("this token is not valid").into()),
            Ok(Err(_)) | Err(_) => Verdict::Refuse(Rejection::status(503, "tokens cannot be checked").into()),
        }))
    }
}

/// The user of a token.
async fn user(service: Address, mut token: Vec<u8>) -> std::io::Result<Vec<u8>> {
    let mut socket = TcpStream::connect(&service).await?;
    token.push(b'\n');
    socket.write_all(&token).await?;
    let mut name = Vec::new();
    socket.take(256).read_to_end(&mut name).await?;
    Ok(name.trim_ascii().to_vec())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = "
        listeners: [{ address: 127.0.0.1:8080 }]
        upstreams: { web: { backends: ['http://127.0.0.1:8081'] } }
        routes: [{ name: all, filters: [{ token: 127.0.0.1:9000 }], upstream: web, timeout: 30s }]
    ";
    let config = Config::from_yaml(file, "example", &|_| None)?;
    let filters =
        Registry::builtin().with_factory("token", |service: Address, _| match service.contains(':') {
            true => Ok(Token { service }),
            false => Err(FilterError::new("", "an address with a port")),
        });
    Server::new(config).filters(filters).run().await?;
    Ok(())
}
