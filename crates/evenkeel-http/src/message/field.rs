//! Which header fields end here, and which are the balancer's own to write.

/// Hop-by-hop fields (RFC 9110, 7.6.1), and those that frame the message, which are written again.
pub fn is_for_one_hop(name: &[u8]) -> bool {
    match name.len() {
        2 => name.eq_ignore_ascii_case(b"te"),
        7 => name.eq_ignore_ascii_case(b"upgrade"),
        10 => name.eq_ignore_ascii_case(b"connection") || name.eq_ignore_ascii_case(b"keep-alive"),
        14 => name.eq_ignore_ascii_case(b"http2-settings"),
        16 => name.eq_ignore_ascii_case(b"proxy-connection"),
        17 => name.eq_ignore_ascii_case(b"transfer-encoding"),
        _ => false,
    }
}

/// Whether a field ends here if `Connection` names it. No one can hide the framing and the host.
pub fn can_be_nominated(name: &[u8]) -> bool {
    !name.eq_ignore_ascii_case(b"content-length") && !name.eq_ignore_ascii_case(b"host")
}

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
