//! A filter of one's own: the API key that a route asks for, named in the configuration like any other filter.

use evenkeel::prelude::*;
use http::HeaderValue;
use schemars::JsonSchema;
use serde::Deserialize;

/// Lets a request through that carries the right key.
#[derive(Debug)]
struct ApiKey {
    header: String,
    key: String,
}

/// What `api_key` takes in a file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ApiKeyParams {
    /// The field that carries the key.
    header: String,
    /// The key.
    key: String,
}

impl Filter for ApiKey {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        if request.head.header(&self.header) == Some(self.key.as_bytes()) {
            return Verdict::Continue;
        }
        let challenge = HeaderValue::from_static("ApiKey");
        Verdict::Refuse(Rejection::unauthorized(challenge, "an API key is needed").into())
    }
}

impl FilterKind for ApiKey {
    const NAME: &'static str = "api_key";
    const EXAMPLE: &'static str = "api_key: { header: x-api-key, key: \"${API_KEY}\" }";
    const DOC: &'static str = "Lets a request through that carries the right key.";
    type Params = ApiKeyParams;

    fn new(params: ApiKeyParams, _: &BuildContext<'_>) -> Result<Self, FilterError> {
        if params.key.len() < 8 {
            return Err(FilterError::new("key", "a key of at least 8 characters"));
        }
        Ok(Self { header: params.header.to_ascii_lowercase(), key: params.key })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = "
        listeners: [{ address: 127.0.0.1:8080 }]
        upstreams: { web: { backends: ['http://127.0.0.1:8081'] } }
        routes:
          - { name: open, match: { path: /healthz }, upstream: web }
          - name: guarded
            filters: [{ api_key: { header: x-api-key, key: correct-horse } }]
            upstream: web
    ";
    let config = Config::from_yaml(file, "example", &|_| None)?;
    Server::new(config).filters(Registry::builtin().with::<ApiKey>()).run().await?;
    Ok(())
}
