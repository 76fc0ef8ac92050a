//! Addresses and names as text: where to listen, where a backend is.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::{BackendHost, BackendUrl, ListenAddress, Protocol};

/// Why a text is not an address: what follows the text in a message, and what was probably meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) message: String,
    pub(super) suggestion: Option<String>,
}

/// `ip:port`, `[ipv6]:port` or `unix:/path`.
pub(super) fn listen(text: &str) -> Result<ListenAddress, Refused> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_path(path).map(ListenAddress::Unix);
    }
    text.parse().map(ListenAddress::Tcp).map_err(|_| {
        let expected = "expected ip:port, [ipv6]:port or unix:/path";
        let meant = corrected_socket(text);
        match wrong_part(text) {
            Some(wrong) => Refused::new(format!("{wrong}: {expected}")).meant(meant),
            None => Refused::new(format!("is not an address to listen on: {expected}")).meant(meant),
        }
    })
}

/// `ip:port`, without Unix sockets.
pub(super) fn socket(text: &str) -> Result<SocketAddr, Refused> {
    text.parse().map_err(|_| {
        Refused::new("is not an address: expected ip:port or [ipv6]:port").meant(corrected_socket(text))
    })
}

/// `http://host:port`, `https://host:port`, `http+unix:/path`, `tcp://host:port` or `tcp+unix:/path`.
pub(super) fn backend(text: &str) -> Result<BackendUrl, Refused> {
    for (prefix, protocol) in [("http+unix:", Protocol::Http), ("tcp+unix:", Protocol::Tcp)] {
        if let Some(path) = text.strip_prefix(prefix) {
            let host = BackendHost::Unix(unix_path(path.strip_prefix("//").unwrap_or(path))?);
            return Ok(BackendUrl { text: text.to_owned(), protocol, tls: false, host });
        }
    }
    let (scheme, authority) = match text.split_once("://") {
        Some((scheme @ ("http" | "https" | "tcp"), rest)) => (scheme, rest),
        Some((scheme, rest)) => {
            let known = ["http", "https", "http+unix", "tcp", "tcp+unix"];
            if let Some(key) = scheme.strip_suffix(":http").or_else(|| scheme.strip_suffix(":https")) {
                let url = text.get(key.len() + 1..).unwrap_or_default();
                let message = format!("has no space after the colon: expected {key}: {url}");
                return Err(Refused::new(message));
            }
            let meant = crate::suggest::closest(scheme, known).map(|scheme| format!("{scheme}://{rest}"));
            let meant = meant.filter(|meant| backend(meant).is_ok());
            return Err(Refused::new(format!(
                "has the scheme {scheme}: expected http, https, http+unix, tcp or tcp+unix"
            ))
            .meant(meant));
        }
        None => {
            let meant = backend(&format!("http://{text}")).ok().map(|url| url.text);
            return Err(Refused::new(
                "is not a URL: expected http://host:port, https://host:port or tcp://host:port",
            )
            .meant(meant));
        }
    };
    if authority.contains('@') {
        let meant = authority.rsplit('@').next().map(|rest| format!("{scheme}://{rest}"));
        let meant = meant.filter(|meant| backend(meant).is_ok());
        return Err(Refused::new("contains a user name: expected a URL without it").meant(meant));
    }
    if let Some((before, after)) = authority.find(['/', '?', '#']).map(|at| authority.split_at(at)) {
        let what = match after.as_bytes() {
            [b'/', ..] => "a path",
            [b'?', ..] => "a query",
            _ => "a fragment",
        };
        let meant = backend(&format!("{scheme}://{before}")).ok().map(|url| url.text);
        let message = format!(
            "has {what}: expected a URL of scheme, host and port alone (to change paths, use a filter)"
        );
        return Err(Refused::new(message).meant(meant));
    }
    let (protocol, tls) = match scheme {
        "tcp" => (Protocol::Tcp, false),
        scheme => (Protocol::Http, scheme == "https"),
    };
    if protocol == Protocol::Tcp && !has_port(authority) {
        return Err(Refused::new("has no port: expected tcp://host:port"));
    }
    let host = host_and_port(authority, if tls { 443 } else { 80 })?;
    Ok(BackendUrl { text: text.to_owned(), protocol, tls, host })
}

/// Whether a host is followed by a port.
fn has_port(authority: &str) -> bool {
    authority.rsplit_once(']').map_or(authority, |(_, after)| after).contains(':')
}

/// Whether a text may be a host's name in the DNS.
pub(super) fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let labels = || text.strip_suffix('.').unwrap_or(text).split('.');
    // A last label of digits is a mistyped address (RFC 3696, 2).
    let all_digits = labels().next_back().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    text.len() <= 253 && labels().all(label) && !all_digits
}

/// Whether a text may be a host with or without a port, as a request names it.
pub(super) fn is_authority(text: &str) -> bool {
    host_and_port(text, 80).is_ok()
}

fn host_and_port(authority: &str, default: u16) -> Result<BackendHost, Refused> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) =
                rest.split_once(']').ok_or_else(|| Refused::new("has a \"[\" without its \"]\""))?;
            let port = match rest.strip_prefix(':') {
                Some(port) => Some(port),
                None if rest.is_empty() => None,
                None => return Err(Refused::new("has something else than a port after the \"]\"")),
            };
            let address: Ipv6Addr = host.parse().map_err(|_| {
                Refused::new("has no IPv6 address in its brackets: expected one such as [2001:db8::1]")
            })?;
            (BackendHost::Ip(IpAddr::V6(address), default), port)
        }
        None => {
            let (host, port) = match authority.split_once(':') {
                Some((_, rest)) if rest.contains(':') => {
                    return Err(Refused::new("has an IPv6 address without brackets: expected [ipv6]:port"));
                }
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            };
            let host = match host.parse::<IpAddr>() {
                Ok(address) => BackendHost::Ip(address, default),
                Err(_) if is_host_name(host) => BackendHost::Name(host.to_ascii_lowercase(), default),
                Err(_) if host.is_empty() => {
                    return Err(Refused::new("has no host: expected http://host:port"));
                }
                Err(_) => return Err(Refused::new("has no valid host: expected an IP address or a name")),
            };
            (host, port)
        }
    };
    let port = match port {
        None => default,
        Some(text) => match text.parse::<u16>() {
            Ok(port) if port != 0 => port,
            _ => {
                if text.contains("{{") {
                    return Err(Refused::new(crate::yaml::TEMPLATE));
                }
                let message = format!("has the port \"{text}\": expected a number from 1 to 65535");
                return Err(Refused::new(message));
            }
        },
    };
    Ok(match host {
        BackendHost::Ip(address, _) => BackendHost::Ip(address, port),
        BackendHost::Name(name, _) => BackendHost::Name(name, port),
        other @ BackendHost::Unix(_) => other,
    })
}

/// An absolute path that fits into a socket address.
fn unix_path(path: &str) -> Result<PathBuf, Refused> {
    // `sockaddr_un` holds 108 bytes on Linux and 104 elsewhere, with the zero at the end.
    const LONGEST: usize = 103;
    if !path.starts_with('/') || path.len() < 2 {
        return Err(Refused::new("has no absolute path: expected unix:/path/to/socket"));
    }
    if path.len() > LONGEST {
        return Err(Refused::new(format!(
            "has too long a path for a socket: expected at most {LONGEST} bytes"
        )));
    }
    if path.contains('\0') {
        return Err(Refused::new("has a zero byte in its path"));
    }
    Ok(PathBuf::from(path))
}

/// What is wrong with an address that is almost one.
fn wrong_part(text: &str) -> Option<String> {
    if text.contains('$') {
        return Some("has a $ without braces: environment variables are written ${NAME}".to_owned());
    }
    if text.parse::<std::net::Ipv4Addr>().is_ok()
        || text.strip_prefix('[').is_some_and(|rest| rest.ends_with(']'))
    {
        return Some("has no port".to_owned());
    }
    let (host, port) = text.rsplit_once(':')?;
    let is_host = host.is_empty() || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    (is_host && digits && port.parse::<u16>().is_err())
        .then(|| format!("has the port {port}, which is out of range (0 to 65535)"))
}

/// What was probably meant by `8080`, `:8080`, `localhost:8080`, `*:8080`, `::1:8080` or `http://1.2.3.4:80`.
fn corrected_socket(text: &str) -> Option<String> {
    if let Some((before, name)) = text.split_once('$')
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Some(format!("{before}${{{name}}}"));
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>()
        && (ip.is_ipv4() || text.starts_with('['))
    {
        return Some(SocketAddr::new(ip, 8080).to_string());
    }
    let text = text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/');
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port: u16 = port.parse().ok()?;
    match host {
        "" | "*" => Some(format!("0.0.0.0:{port}")),
        "localhost" => Some(format!("127.0.0.1:{port}")),
        host => match host.parse::<IpAddr>() {
            Ok(address) => Some(SocketAddr::new(address, port).to_string()),
            Err(_) => None,
        },
    }
}

// === impl Refused ===

impl Refused {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), suggestion: None }
    }

    fn meant(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{backend, listen};

    #[test]
    fn addresses_to_listen_on() {
        for (text, expected) in [
            ("127.0.0.1:8080", Ok("127.0.0.1:8080")),
            ("[::]:0", Ok("[::]:0")),
            ("unix:/run/evenkeel.sock", Ok("unix:/run/evenkeel.sock")),
            ("8080", Err(Some("0.0.0.0:8080"))),
            (":8080", Err(Some("0.0.0.0:8080"))),
            ("localhost:8080", Err(Some("127.0.0.1:8080"))),
            ("::1:8080", Err(Some("[::1]:8080"))),
            ("http://10.0.0.1:80/", Err(Some("10.0.0.1:80"))),
            ("example.com:80", Err(None)),
            ("127.0.0.1", Err(Some("127.0.0.1:8080"))),
            ("127.0.0.1:99999", Err(None)),
            ("unix:run.sock", Err(None)),
            ("unix:", Err(None)),
            ("", Err(None)),
        ] {
            let found = listen(text).map(|address| address.to_string()).map_err(|refused| refused.suggestion);
            assert_eq!(found.as_deref().map_err(Option::as_deref), expected, "{text}");
        }
    }

    #[test]
    fn backends_by_url() {
        for (text, expected) in [
            ("http://10.0.0.1:8081", "Ip(10.0.0.1, 8081)"),
            ("https://10.0.0.1", "Ip(10.0.0.1, 443)"),
            ("http://[2001:db8::1]:81", "Ip(2001:db8::1, 81)"),
            ("http://[::1]", "Ip(::1, 80)"),
            ("http://API.internal", "Name(\"api.internal\", 80)"),
            ("http+unix:/run/app.sock", "Unix(\"/run/app.sock\")"),
            ("http+unix:///run/app.sock", "Unix(\"/run/app.sock\")"),
        ] {
            let url = backend(text).unwrap();
            assert_eq!(format!("{:?}", url.host), expected, "{text}");
            assert_eq!(url.text, text);
            assert_eq!(url.tls, text.starts_with("https"), "{text}");
        }
        for text in [
            "",
            "http://",
            "http://:80",
            "http://a b",
            "http://1.2.3.4.5",
            "http://300.1.1.1",
            "http://a:0",
            "http://a:x",
            "http://a:65536",
            "http://::1:80",
            "http://[::1",
            "http://[::1]80",
            "http://[x]",
            "http://u:p@a",
            "http://a?b",
            "http://a#b",
            "ftp://a",
            "http+unix:app.sock",
            "http://-a",
            "http://a..b",
        ] {
            assert!(backend(text).is_err(), "{text}");
        }
        for (text, meant) in [
            ("10.0.0.1:80", "http://10.0.0.1:80"),
            ("http://a:80/", "http://a:80"),
            ("https://a/v1", "https://a"),
            ("htp://a", "http://a"),
        ] {
            assert_eq!(backend(text).unwrap_err().suggestion.as_deref(), Some(meant), "{text}");
        }
    }
}
