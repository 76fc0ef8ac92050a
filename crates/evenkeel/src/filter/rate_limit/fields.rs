//! The fields `RateLimit` and `RateLimit-Policy`, as draft-ietf-httpapi-ratelimit-headers-11 has them.
//!
//! `q` is the burst, so that a client that sends its whole quota at once is within the limit, and `w` is the time in which that
//! much comes back at the rate. `r` is what would pass now. `t` is the time until the quota is whole again; if nothing would
//! pass, it is the time until one request does, as in `Retry-After`.

use std::time::Duration;

use evenkeel_core::limit::{Decision, Gcra};
use http::{HeaderName, HeaderValue};

use crate::filter::{Edits, FilterError, HeaderEdit};

/// What a limit writes into responses.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    name: Box<str>,
    policy: HeaderValue,
}

/// What is left of a request's quota, kept until its response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remaining {
    remaining: u32,
    reset: Duration,
}

static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

// === impl Fields ===

impl Fields {
    /// For a limit of this name: printable ASCII, without quotes.
    pub(super) fn new(name: &str, rule: &Gcra) -> Result<Self, FilterError> {
        let (count, period) = (u128::from(rule.rate().count().get()), rule.rate().period().as_micros());
        let window = (u128::from(rule.burst()) * period).div_ceil(count * 1_000_000).max(1);
        let policy = HeaderValue::try_from(format!("\"{name}\";q={};w={window}", rule.burst()));
        let policy = policy.map_err(|_| FilterError::new("name", "printable characters"))?;
        Ok(Self { name: name.into(), policy })
    }

    /// Adds both. Other limits of the request, and of the backend, have theirs as well: the fields are lists.
    pub(super) fn write(&self, left: Remaining, edits: &mut Edits) {
        let Remaining { remaining, reset } = left;
        let text = format!("\"{}\";r={remaining};t={}", self.name, seconds(reset).max(1));
        if let Ok(value) = HeaderValue::try_from(text) {
            edits.reserve(2);
            edits.danger_push(HeaderEdit::Add(RATE_LIMIT.clone(), value));
            edits.danger_push(HeaderEdit::Add(RATE_LIMIT_POLICY.clone(), self.policy.clone()));
        }
    }
}

// === impl Remaining ===

impl From<Decision> for Remaining {
    fn from(decision: Decision) -> Self {
        Self { remaining: decision.remaining, reset: decision.reset }
    }
}

/// Rounded up.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
