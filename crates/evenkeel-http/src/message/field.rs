//! Which header fields are the balancer's own to write.

/// Whether a header field, in lower case, controls the framing of a message or is for one hop only. The balancer writes these:
/// no filter and no fixed response can.
pub fn is_of_the_connection(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "content-length"
            | "expect"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}
