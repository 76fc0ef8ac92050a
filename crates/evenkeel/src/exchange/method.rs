//! What a method says about sending a request twice.

/// Whether a method may be repeated without harm (RFC 9110, 9.2.2).
pub(super) fn is_idempotent(method: &str) -> bool {
    is_safe(method) || matches!(method, "PUT" | "DELETE")
}

/// Whether a method is safe (RFC 9110, 9.2.1), so that it does not matter whether the request is sent once or twice.
pub(super) fn is_safe(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE")
}
