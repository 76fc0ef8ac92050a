//! Which requests the admin address accepts: by their framing, their `Host`, their token, and whether a page of another site sent
//! them.

use std::net::{IpAddr, Ipv6Addr};

use evenkeel_config::{Admin, Token};
use hyper::header::{AUTHORIZATION, HOST, ORIGIN, TRANSFER_ENCODING};
use hyper::{HeaderMap, Request, StatusCode, Version};

use crate::dial::Pause;

/// What a client can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    /// Nothing but to see whether the balancer is alive and ready.
    None,
    /// To see everything.
    Read,
    /// To send commands, too.
    Full,
}

/// A token in a file that is shorter can be guessed, or the file is not what it should be.
const SHORTEST: usize = 16;
static COMPLAINT: Pause = Pause::new();

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

/// Whether a page of another site sent a request. A browser adds these fields and no page can leave them out, so this holds also
/// where no token is needed. A program that is no browser sends neither.
pub(super) fn is_cross_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(|value| value.to_str().unwrap_or_default());
    if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return true;
    }
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut origins = headers.get_all(ORIGIN).iter();
    origins.any(|origin| {
        let origin = origin.to_str().ok().and_then(|text| text.split_once("://"));
        !origin.is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
    })
}

/// What the client of a request can do.
pub(super) async fn access(headers: &HeaderMap, settings: &Admin) -> Access {
    if settings.token.is_none() && settings.read_only_token.is_none() {
        return Access::Full;
    }
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((scheme, given)) = given.and_then(|given| given.split_once(' ')) else { return Access::None };
    let given = given.trim_start_matches(' ');
    // The case of the scheme does not matter (RFC 9110, 11.1).
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Access::None;
    }
    for (token, access) in [(&settings.token, Access::Full), (&settings.read_only_token, Access::Read)] {
        if let Some(token) = token
            && let Some(token) = read(token).await
            && same(given, &token)
        {
            return access;
        }
    }
    Access::None
}

/// A token; `None` if no client can have it, because it cannot be read or could be guessed.
async fn read(token: &Token) -> Option<String> {
    let Token::File(path) = token else { return token.read().ok() };
    let of_file = token.clone();
    let read = tokio::task::spawn_blocking(move || of_file.read()).await.ok()?;
    let problem = match read {
        Ok(token) if token.len() >= SHORTEST => return Some(token),
        Ok(_) => format!("expected a token of at least {SHORTEST} characters"),
        Err(error) => error.to_string(),
    };
    if COMPLAINT.is_due() {
        log::warn!(
            "admin address: token file {}: {problem}: rejecting every request with it",
            path.display()
        );
    }
    None
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

#[cfg(test)]
mod tests {
    use super::is_cross_site;

    fn headers(fields: &[(&'static str, &'static str)]) -> hyper::HeaderMap {
        let mut headers = hyper::HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, hyper::header::HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_page_of_another_site_is_recognised() {
        let host = ("host", "127.0.0.1:9900");
        for (fields, expected) in [
            (vec![host], false),
            (vec![host, ("origin", "http://127.0.0.1:9900"), ("sec-fetch-site", "same-origin")], false),
            (vec![host, ("sec-fetch-site", "none")], false),
            (vec![host, ("sec-fetch-site", "same-site")], true),
            (vec![host, ("sec-fetch-site", "cross-site")], true),
            (vec![host, ("origin", "null")], true),
            (vec![host, ("origin", "")], true),
            (vec![host, ("origin", "http://127.0.0.1")], true),
            (vec![host, ("origin", "http://127.0.0.1:9900.evil.example")], true),
            (vec![host, ("origin", "http://127.0.0.1:9900"), ("origin", "http://evil.example")], true),
            (vec![("origin", "http://evil.example")], true),
        ] {
            assert_eq!(is_cross_site(&headers(&fields)), expected, "{fields:?}");
        }
    }
}
