//! Fields that say who a client is, and names that a server could take for those.
//!
//! CGI, uWSGI, PHP and the like make one variable of `X-Real-IP` and `X_Real_IP`, so an underscore counts as a hyphen in every
//! name here.

use super::is_for_one_hop;

/// How names of fields begin that say who the client is or how it asked. In lower case.
const X_PREFIXES: [&str; 5] =
    ["x-forwarded", "x-ssl-client-", "x-client-cert", "x-amzn-mtls-", "x-amzn-oidc-"];

/// As [`X_PREFIXES`].
const S_PREFIX: &str = "ssl-client-";

/// Other names of such fields. In lower case.
const X_NAMES: [&str; 23] = [
    "x-appengine-user-ip",
    "x-arr-clientcert",
    "x-arr-ssl",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-envoy-internal",
    "x-original-for",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-method",
    "x-original-proto",
    "x-original-uri",
    "x-original-url",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-rewrite-url",
    "x-scheme",
    "x-url-scheme",
];

/// Those that do not begin with `x`. In lower case.
const NAMES: [&str; 11] = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "client-cert",
    "client-cert-chain",
    "fastly-client-ip",
    "forwarded",
    "front-end-https",
    "proxy-client-ip",
    "true-client-ip",
    "wl-proxy-client-ip",
];

/// Names with a hyphen of fields that frame a message, are for one hop, or that we set ourselves.
const GUARDED: [&str; 8] = [
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "x-request-id",
];

/// Whether a field says something about who the client is, or how it asked.
pub fn is_claim(name: &[u8]) -> bool {
    let is_one_of = |names: &[&str]| names.iter().any(|known| same(name, known.as_bytes()));
    // Most fields begin otherwise.
    match name.first().map(u8::to_ascii_lowercase) {
        Some(b'x') => X_PREFIXES.iter().any(|prefix| begins(name, prefix.as_bytes())) || is_one_of(&X_NAMES),
        Some(b's') => begins(name, S_PREFIX.as_bytes()),
        Some(b'c' | b'f' | b'p' | b't' | b'w') => is_one_of(&NAMES),
        _ => false,
    }
}

/// Whether this is the name of a field that frames the message, is for one hop, or that we set ourselves.
pub(crate) fn is_guarded(name: &[u8]) -> bool {
    matches!(name.len(), 10 | 12 | 14 | 16..=19) && GUARDED.iter().any(|known| same(name, known.as_bytes()))
}

/// Whether a server could take this name for that of a field which is not the client's to set.
pub(crate) fn is_spoof(name: &[u8]) -> bool {
    has_underscore(name) && (is_claim(name) || is_guarded(name))
}

pub(crate) fn has_underscore(name: &[u8]) -> bool {
    memchr::memchr(b'_', name).is_some()
}

/// Whether a name is this one, which is in lower case; an underscore counts as a hyphen.
#[inline]
pub(crate) fn same(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len() && begins(name, known)
}

#[inline]
fn begins(name: &[u8], prefix: &[u8]) -> bool {
    let alike =
        |(byte, known): (&u8, &u8)| byte.to_ascii_lowercase() == *known || *byte == b'_' && *known == b'-';
    name.len() >= prefix.len() && name.iter().zip(prefix).all(alike)
}

/// Whether a trailer may not pass: what frames, routes or authorises a message, or says who sent it, belongs into its head
/// (RFC 9110, 6.5.1).
pub fn is_forbidden_in_trailers(name: &[u8]) -> bool {
    const FORBIDDEN: [&str; 11] = [
        "authorization",
        "cache-control",
        "content-encoding",
        "content-range",
        "content-type",
        "cookie",
        "expect",
        "host",
        "max-forwards",
        "set-cookie",
        "trailer",
    ];
    is_claim(name)
        || is_guarded(name)
        || is_for_one_hop(name)
        || FORBIDDEN.iter().any(|forbidden| same(name, forbidden.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{
        GUARDED, NAMES, S_PREFIX, X_NAMES, X_PREFIXES, is_claim, is_forbidden_in_trailers, is_guarded,
        is_spoof,
    };

    /// The list that users read is the list that is applied.
    #[test]
    fn the_documentation_names_every_field() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/headers.md");
        let text = std::fs::read_to_string(path).unwrap();
        let listed = |title: &str| -> Vec<String> {
            let section = text.split("\n## ").find(|section| section.starts_with(title)).expect(title);
            let items = section.lines().filter_map(|line| line.strip_prefix("* `"));
            items.filter_map(|item| Some(item.split_once('`')?.0.to_ascii_lowercase())).collect()
        };
        let prefixes = X_PREFIXES.iter().chain([&S_PREFIX]).map(|prefix| format!("{prefix}*"));
        let names: Vec<_> =
            prefixes.chain(X_NAMES.iter().chain(&NAMES).map(|name| (*name).to_owned())).collect();
        assert_eq!(listed("Removed from requests of untrusted peers"), names);
        assert_eq!(listed("Never accepted with an underscore"), GUARDED);
    }

    #[test]
    fn an_underscore_hides_nothing() {
        for name in ["X_Forwarded_For", "x_real_ip", "X-Forwarded_Proto", "TRUE_CLIENT_IP", "client_cert"] {
            assert!(is_claim(name.as_bytes()) && is_spoof(name.as_bytes()), "{name}");
        }
        for name in ["Content_Length", "transfer_encoding", "X_Request-Id", "Keep_Alive"] {
            assert!(is_guarded(name.as_bytes()) && is_spoof(name.as_bytes()), "{name}");
            assert!(is_forbidden_in_trailers(name.as_bytes()), "{name}");
        }
        for name in ["x_api_key", "content_type", "user_agent", "x-requested-with", "_", "cookie"] {
            assert!(!is_spoof(name.as_bytes()) && !is_claim(name.as_bytes()), "{name}");
        }
        assert!(!is_spoof(b"X-Forwarded-For") && !is_spoof(b"Content-Length"));
    }
}
