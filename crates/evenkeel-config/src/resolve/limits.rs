//! How much an upstream takes, and who stays where.

use std::num::NonZeroU32;
use std::time::Duration;

use evenkeel_core::limit::{CircuitBreakerOptions, QueueOptions};
use evenkeel_http::message::is_of_the_connection;

use super::general::{self, is_token};
use super::{Context, given, listener};
use crate::values::Secret;
use crate::wire;
use crate::yaml::Path;
use crate::{Sticky, UpstreamLimits};

/// How much an upstream takes.
pub(super) fn limits(
    upstream: &wire::Upstream,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<UpstreamLimits> {
    let max_path = path.key("max_connections");
    if let Some(most) = upstream.max_connections {
        listener::at_least_one(most as usize, &max_path, context);
    }
    let queue_path = path.key("queue");
    if upstream.queue.is_some() && upstream.max_connections.is_none() && !context.is_damaged(&max_path) {
        let message = "has no effect without max_connections: no request waits for a backend without a limit";
        context.wrong_key(&queue_path, message);
    }
    let queue = given(upstream.queue.as_ref(), |wire| queue(wire, &queue_path, context));
    let breaker_path = path.key("circuit_breaker");
    let circuit_breaker =
        upstream.circuit_breaker.as_ref().map(|wire| circuit_breaker(wire, &breaker_path, context));
    let header_path = path.key("deadline_header");
    let deadline_header =
        given(upstream.deadline_header.as_deref(), |name| own_field(name, &header_path, context));
    Some(UpstreamLimits {
        max_connections: upstream.max_connections.and_then(NonZeroU32::new),
        queue: queue?.unwrap_or_default(),
        circuit_breaker: circuit_breaker.unwrap_or_default(),
        deadline_header: deadline_header?,
    })
}

fn queue(wire: &wire::Queue, path: &Path, context: &mut Context<'_>) -> Option<QueueOptions> {
    const LONGEST: usize = 1_000_000;
    if wire.max_pending > LONGEST {
        let message = format!("is out of range: expected 0 to {LONGEST}");
        context.wrong(&path.key("max_pending"), &wire.max_pending.to_string(), message);
    }
    let timeout = listener::timeout(wire.timeout, &path.key("timeout"), context)?;
    Some(QueueOptions { max_pending: wire.max_pending, timeout })
}

fn circuit_breaker(
    wire: &wire::CircuitBreaker,
    path: &Path,
    context: &mut Context<'_>,
) -> CircuitBreakerOptions {
    let limits = [("max_in_flight", wire.max_in_flight), ("max_retries", wire.max_retries)];
    for (key, limit) in limits {
        if let Some(limit) = limit {
            listener::at_least_one(limit as usize, &path.key(key), context);
        }
    }
    if limits.iter().all(|(_, limit)| limit.is_none()) && !context.is_damaged(path) {
        context.wrong_key(path, "has no effect: expected max_in_flight, max_retries or both");
    }
    CircuitBreakerOptions { max_in_flight: wire.max_in_flight, max_retries: wire.max_retries }
}

/// The name of a field that the balancer fills, in lower case.
fn own_field(name: &str, path: &Path, context: &mut Context<'_>) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    if !is_token(name) {
        let message =
            "is not the name of a header field: expected letters, digits and any of !#$%&'*+-.^_`|~";
        context.wrong(path, name, message);
        return None;
    }
    if lower == "host" || is_of_the_connection(&lower) {
        let message = "already has another meaning: expected another name, like x-deadline-ms";
        context.wrong(path, name, message);
        return None;
    }
    Some(lower)
}

/// Whether requests of one client stay with one backend.
pub(super) fn sticky(wire: &wire::Sticky, path: &Path, context: &mut Context<'_>) -> Option<Sticky> {
    if !is_token(&wire.cookie) {
        let message = "is not a name for a cookie: expected letters, digits and any of !#$%&'*+-.^_`|~";
        context.wrong(&path.key("cookie"), &wire.cookie, message);
    }
    let ttl = given(wire.ttl, |ttl| {
        // A cookie's age has whole seconds.
        if ttl.0 < Duration::from_secs(1) {
            context.wrong(&path.key("ttl"), &ttl.to_string(), "is too short: expected at least 1s");
            return None;
        }
        listener::bounded(ttl, &path.key("ttl"), context)
    });
    if let Some(Secret(secret)) = &wire.secret {
        general::secret(secret, &path.key("secret"), context);
    }
    Some(Sticky {
        cookie: wire.cookie.clone(),
        ttl: ttl?,
        secret: wire.secret.as_ref().map(|secret| secret.0.clone()),
    })
}
