//! A filter that is a value: it holds what the program shares, here the set of revoked keys, and keeps state of each request.

use std::collections::HashSet;
use std::sync::{Arc, RwLock};

use evenkeel::prelude::*;
use http::{HeaderName, HeaderValue};

/// Rejects requests with a revoked key, and tells the client which key it used.
#[derive(Debug)]
struct Revoked {
    keys: Arc<RwLock<HashSet<String>>>,
}

/// The key of one request.
struct Key(HeaderValue);

impl Filter for Revoked {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        let Some(key) = request.head.header("x-api-key").and_then(|key| HeaderValue::from_bytes(key).ok())
        else {
            return Verdict::Continue;
        };
        let is_revoked = key.to_str().is_ok_and(|key| self.keys.read().is_ok_and(|keys| keys.contains(key)));
        if is_revoked {
            return Verdict::Refuse(Rejection::forbidden("this key was revoked").into());
        }
        request.state.set(Key(key));
        Verdict::Continue
    }

    fn on_response(&self, response: &mut Response<'_>) {
        if let Some(Key(key)) = response.state.take() {
            // It cannot fail: the name is no header that frames the response.
            let _ = response.edits.set(HeaderName::from_static("x-api-key-used"), key);
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let keys = Arc::new(RwLock::new(HashSet::from(["stolen".to_owned()])));
    let config = ConfigBuilder::new()
        .listen_address("127.0.0.1:8080")
        .upstream(UpstreamBuilder::new("web").backend("http://127.0.0.1:8081"))
        .route(
            RouteBuilder::new("all").filter_value("revoked", Revoked { keys: keys.clone() }).upstream("web"),
        )
        .build();
    // Elsewhere in the program, keys.write() revokes more of them while the balancer runs.
    Server::new(config).run().await?;
    Ok(())
}
