//! Sends the request to a running balancer at its admin address.

use evenkeel::explain::{Described, Explanation};
use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};

use super::super::admin;
use super::super::failure::Failure;

/// Longest description of a request: what a target can hold (hyper), less the path.
const LONGEST: usize = 65_000;

/// The explanation of the balancer at this address.
pub(super) async fn ask(
    address: &str,
    token: Option<HeaderValue>,
    request: &Described,
) -> Result<Explanation, Failure> {
    let query = request.to_query();
    if query.len() > LONGEST {
        return Err(Failure::usage(format!(
            "the request is too long for an admin address: {} bytes, expected at most {LONGEST}; explain it by a file",
            query.len()
        )));
    }
    let response = admin::send(address, token, Method::GET, &format!("/explain?{query}")).await?;
    if response.status != StatusCode::OK {
        return Err(response.unexpected(address));
    }
    serde_json::from_slice(&response.body).map_err(|error| {
        Failure::start(format!(
            "{address}: the response is not an explanation that this version understands: {error}"
        ))
    })
}
