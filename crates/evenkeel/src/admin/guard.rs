//! Which requests the admin address accepts: by their framing, their `Host` and their token.

use std::net::{IpAddr, Ipv6Addr};

use evenkeel_config::Admin;
use hyper::header::{AUTHORIZATION, HOST, TRANSFER_ENCODING};
use hyper::{Request, StatusCode, Version};

/// Why a request is rejected before its path counts: the status and the text. `None` if it is not.
pub(super) fn rejection<B>(request: &Request<B>, settings: &Admin) -> Option<(StatusCode, &'static str)> {
    if request.headers().contains_key(TRANSFER_ENCODING) {
        return Some((StatusCode::BAD_REQUEST, "Transfer-Encoding is not accepted here\n"));
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() || (host.is_none() && request.version() != Version::HTTP_10) {
        return Some((StatusCode::BAD_REQUEST, "expected one Host\n"));
    }
    let host = host.map(|host| host.to_str().unwrap_or_default());
    // An absolute target takes the place of `Host` (RFC 9112, 3.2.2); here neither can be foreign.
    let target = request.uri().authority().map(|authority| authority.as_str());
    if host.into_iter().chain(target).all(|host| is_known(host, settings)) {
        return None;
    }
    let text = "this Host is not an IP address, localhost or one of the names in admin.hosts of the configuration: \
                use an IP address, or add the name to admin.hosts\n";
    Some((StatusCode::MISDIRECTED_REQUEST, text))
}

/// Whether a request has the token, if one is needed.
pub(super) fn admits<B>(request: &Request<B>, settings: &Admin) -> bool {
    let Some(token) = &settings.token else { return true };
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((scheme, given)) = given.and_then(|given| given.split_once(' ')) else { return false };
    // The case of the scheme does not matter (RFC 9110, 11.1).
    scheme.eq_ignore_ascii_case("bearer") && same(given.trim_start_matches(' '), token)
}

/// Compares in a time that does not depend on where two texts differ.
fn same(given: &str, token: &str) -> bool {
    let differences = given.bytes().zip(token.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    given.len() == token.len() && differences == 0
}

/// Whether a host, with or without a port, can be trusted to be the balancer: a web page of someone else has its own name.
fn is_known(host: &str, settings: &Admin) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        return rest
            .split_once(']')
            .is_some_and(|(ip, port)| ip.parse::<Ipv6Addr>().is_ok() && is_port(port));
    }
    let (name, port) = host.find(':').map_or((host, ""), |colon| host.split_at(colon));
    let known = name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || settings.hosts.iter().any(|pattern| pattern.matches(name));
    known && is_port(port)
}

/// Whether this is what can follow a host: nothing, or a colon and digits.
fn is_port(text: &str) -> bool {
    text.is_empty()
        || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}
