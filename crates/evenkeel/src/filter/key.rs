//! What a limit counts by: parts of a request.

use std::fmt::{self, Write};
use std::net::IpAddr;

use evenkeel_config::plain_key;
use evenkeel_core::limit::{KeyHasher, LimitKey};
use evenkeel_core::route::{query_decoded, query_parameter};
use evenkeel_http::message::cookie;
use http::HeaderName;
use ipnet::IpNet;
use ring::rand::{SecureRandom, SystemRandom};

use crate::filter::{FilterError, Request};

/// What a limit counts by. Requests with equal parts share a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    parts: Vec<Part>,
    prefixes: Prefixes,
}

/// How much of an address is the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefixes {
    pub(super) v4: u8,
    pub(super) v6: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    ClientIp,
    /// By name, in lower case.
    Header(String),
    Cookie(String),
    Query(String),
    Path,
    Host,
    Method,
    Route,
    /// The same for all requests.
    All,
}

/// Longer values are shown only in part: they may be secrets.
const SHOWN: usize = 8;

/// Whether a text can be the name of a limit: what can be in quotes as it is, in a header and in a label.
pub(super) fn is_limit_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'))
}

/// A random number for a limit's keys. Without it clients could look for values that share a key with others.
pub(super) fn random() -> u128 {
    let mut bytes = [0; 16];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => u128::from_ne_bytes(bytes),
        Err(_) => fastrand::u128(..),
    }
}

// === impl Key ===

impl Key {
    /// A key of these parts, as written.
    pub(super) fn new(written: &[String], prefixes: Prefixes) -> Result<Self, FilterError> {
        let parts = written.iter().enumerate().map(|(at, text)| {
            Part::parse(text).ok_or_else(|| {
                let path = if written.len() == 1 { "key".to_owned() } else { format!("key[{at}]") };
                FilterError::new(path, Part::EXPECTED)
            })
        });
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        if parts.is_empty() {
            return Err(FilterError::new("key", Part::EXPECTED));
        }
        for (most, given, path) in [(32, prefixes.v4, "ipv4_prefix"), (128, prefixes.v6, "ipv6_prefix")] {
            if !(1..=most).contains(&given) {
                return Err(FilterError::new(path, format!("a length from 1 to {most}")));
            }
        }
        Ok(Self { parts, prefixes })
    }

    /// Whether there is only one value, whatever clients send, for a filter of this route; empty for that of several.
    pub(super) fn is_constant(&self, route: &str) -> bool {
        let is_constant = |part: &Part| *part == Part::All || *part == Part::Route && !route.is_empty();
        self.parts.iter().all(is_constant)
    }

    /// Whether it is the same for all clients.
    pub(super) fn has_one_value(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::All | Part::Route))
    }

    /// The key of a request.
    #[inline]
    pub(super) fn of(&self, request: &Request<'_>, hasher: KeyHasher) -> LimitKey {
        let hash = |hasher, part: &Part| part.hash(hasher, request, self.prefixes);
        self.parts.iter().fold(hasher, hash).finish()
    }

    /// The key of a request as text. Long values of headers, cookies and query parameters are shown in part, unless `whole`.
    pub(super) fn text(&self, request: &Request<'_>, whole: bool) -> String {
        let mut text = String::new();
        for part in &self.parts {
            if !text.is_empty() {
                text.push_str(", ");
            }
            part.write(&mut text, request, self.prefixes, whole);
        }
        text
    }
}

/// As written: `client_ip, header x-user`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.parts.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{part}")?;
        }
        Ok(())
    }
}

// === impl Prefixes ===

impl Prefixes {
    /// The network of an address.
    #[inline]
    fn network(self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.v4.min(32))).unwrap_or(0);
                IpAddr::V4((u32::from(address) & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.v6.min(128))).unwrap_or(0);
                IpAddr::V6((u128::from(address) & mask).into())
            }
        }
    }

    /// The network of a client's address as text, without the length where it is the whole address.
    fn text(self, client: Option<IpAddr>) -> String {
        let Some(client) = client else { return "unix".to_owned() };
        let (length, most) = if client.is_ipv4() { (self.v4, 32) } else { (self.v6, 128) };
        let network = self.network(client);
        match IpNet::new(network, length) {
            Ok(network) if length < most => network.to_string(),
            _ => network.to_string(),
        }
    }
}

// === impl Part ===

impl Part {
    const EXPECTED: &'static str = "client_ip, header NAME, cookie NAME, query NAME, path, host, method, route or all, or a list of these";

    fn parse(text: &str) -> Option<Self> {
        let text = &*plain_key(text);
        let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).ok().map(|_| name.to_owned());
        match text.split_once(' ').map(|(kind, name)| (kind, name.trim())) {
            Some(("header", header)) => name(&header.to_ascii_lowercase()).map(Self::Header),
            Some(("cookie", cookie)) => name(cookie).map(Self::Cookie),
            Some(("query", query)) => (!query.is_empty()).then(|| Self::Query(query.to_owned())),
            Some(_) => None,
            None => match text {
                "client_ip" => Some(Self::ClientIp),
                "path" => Some(Self::Path),
                "host" => Some(Self::Host),
                "method" => Some(Self::Method),
                "route" => Some(Self::Route),
                "all" => Some(Self::All),
                _ => None,
            },
        }
    }

    /// What `then` makes of this part's value. `None` if the request has none, and for the client's address.
    #[inline]
    fn value<T>(&self, request: &Request<'_>, then: impl Fn(&[u8]) -> T) -> Option<T> {
        let head = request.head;
        match self {
            Self::ClientIp => None,
            Self::Header(name) => head.header(name).map(then),
            Self::Cookie(name) => cookie(head, name, then),
            Self::Query(name) => {
                let value = query_parameter(head.query()?, name)?;
                let is_plain = !value.bytes().any(|byte| matches!(byte, b'%' | b'+'));
                Some(if is_plain {
                    then(value.as_bytes())
                } else {
                    then(&query_decoded(value).collect::<Vec<u8>>())
                })
            }
            Self::Path => Some(then(head.path().as_bytes())),
            Self::Host => {
                let host = head.host();
                let is_lower = !host.bytes().any(|byte| byte.is_ascii_uppercase());
                Some(if is_lower {
                    then(host.as_bytes())
                } else {
                    then(host.to_ascii_lowercase().as_bytes())
                })
            }
            Self::Method => Some(then(head.method().as_bytes())),
            Self::Route => Some(then(request.route.as_bytes())),
            Self::All => Some(then(b"")),
        }
    }

    /// Adds this part. Without it, the client's address takes its place: a client that leaves out a header has a quota like others.
    #[inline]
    fn hash(&self, hasher: KeyHasher, request: &Request<'_>, prefixes: Prefixes) -> KeyHasher {
        let with = self.value(request, |value| hasher.clone().with(Some(value)));
        with.unwrap_or_else(|| {
            let hasher = hasher.with(None);
            match request.client.map(|client| prefixes.network(client)) {
                Some(IpAddr::V4(network)) => hasher.with(Some(&network.octets())),
                Some(IpAddr::V6(network)) => hasher.with(Some(&network.octets())),
                None => hasher.with(None),
            }
        })
    }

    fn write(&self, text: &mut String, request: &Request<'_>, prefixes: Prefixes, whole: bool) {
        if *self == Self::All {
            text.push_str("all requests");
            return;
        }
        let may_be_secret = matches!(self, Self::Header(_) | Self::Cookie(_) | Self::Query(_));
        let shown = self.value(request, |value| {
            let value = String::from_utf8_lossy(value).into_owned();
            match value.char_indices().nth(SHOWN) {
                Some(_) if may_be_secret && !whole => {
                    let begin: String = value.chars().take(SHOWN / 2).collect();
                    format!("{begin}… ({} bytes)", value.len())
                }
                _ => value,
            }
        });
        match shown {
            Some(value) if may_be_secret => _ = write!(text, "{self} {value}"),
            Some(value) => text.push_str(&value),
            None => text.push_str(&prefixes.text(request.client)),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientIp => f.write_str("client_ip"),
            Self::Header(name) => write!(f, "header {name}"),
            Self::Cookie(name) => write!(f, "cookie {name}"),
            Self::Query(name) => write!(f, "query {name}"),
            Self::Path => f.write_str("path"),
            Self::Host => f.write_str("host"),
            Self::Method => f.write_str("method"),
            Self::Route => f.write_str("route"),
            Self::All => f.write_str("all"),
        }
    }
}
