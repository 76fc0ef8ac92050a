//! `allow` and `deny`: which clients can send requests, by network.
//!
//! The networks are in the configuration, in a file, or in both. The file is read again when it changes. A request only looks
//! its client's address up in a set in memory. It never knows where the request goes.

mod params;
mod source;

pub use params::NetworkParams;

use super::registry::{FilterError, FilterKind};
use super::{BuildContext, Filter, Rejection, Request, Verdict};
use source::Source;

/// Rejects requests of clients that are in none of its networks.
#[derive(Debug)]
pub struct AllowFilter(Source);

/// Rejects requests of clients that are in one of its networks.
#[derive(Debug)]
pub struct DenyFilter(Source);

fn verdict(request: &mut Request<'_>, is_in: bool, allowed: bool) -> Verdict {
    request.explain(|| {
        let (place, result) =
            (if is_in { "in" } else { "not in" }, if allowed { "allowed" } else { "rejected" });
        format!("the client is {place} the networks: {result}")
    });
    if allowed {
        Verdict::Continue
    } else {
        Verdict::Refuse(Rejection::forbidden("this client is not allowed").into())
    }
}

impl Filter for AllowFilter {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        let is_in = self.0.contains(request.client);
        verdict(request, is_in, is_in)
    }
}

impl FilterKind for AllowFilter {
    const NAME: &'static str = "allow";
    const EXAMPLE: &'static str = "allow: [10.0.0.0/8, \"2001:db8::/32\"]";
    const DOC: &'static str = "Rejects requests of clients that are in none of these networks, with status 403. \
                               A client on a Unix socket without an address is in none.";
    type Params = NetworkParams;

    fn new(params: NetworkParams, context: &BuildContext<'_>) -> Result<Self, FilterError> {
        Source::new(params, context).map(Self)
    }
}

impl Filter for DenyFilter {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        let is_in = self.0.contains(request.client);
        verdict(request, is_in, !is_in)
    }
}

impl FilterKind for DenyFilter {
    const NAME: &'static str = "deny";
    const EXAMPLE: &'static str = "deny: { file: /etc/evenkeel/deny.txt }";
    const DOC: &'static str =
        "Rejects requests of clients that are in one of these networks, with status 403.";
    type Params = NetworkParams;

    fn new(params: NetworkParams, context: &BuildContext<'_>) -> Result<Self, FilterError> {
        Source::new(params, context).map(Self)
    }
}
