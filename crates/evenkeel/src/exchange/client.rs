//! The client's address: one value, used by limits, hashing, logs and forwarded headers alike.

use std::net::{IpAddr, SocketAddr};

use evenkeel_http::message::{RequestHead, is_authority};

use crate::exchange::table::Table;

/// Who the client is, and how far the peer that told us is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// The client. `None` for an untrusted peer on a Unix socket.
    pub ip: Option<IpAddr>,
    /// Whether the peer is a trusted proxy, whose forwarding fields are kept and added to.
    pub peer_trusted: bool,
    /// Which header told.
    pub source: AddressSource,
}

/// Which header tells who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressSource {
    /// None: the client is the peer.
    Peer,
    /// `X-Forwarded-For`. `Forwarded` is there too and names another client if `contradicted`, so that it is not believed.
    XForwardedFor {
        /// Whether `Forwarded` names another client.
        contradicted: bool,
    },
    /// `Forwarded`, and the scheme that it gives for this client.
    Forwarded {
        /// `http` or `https`.
        proto: Option<&'static str>,
    },
}

/// Finds the client of a request: the peer, or, behind trusted proxies, the right-most hop that is not one of them.
///
/// `X-Forwarded-For` is read if it is there, else `Forwarded` (RFC 7239). A hop that is not an address (`unknown`,
/// garbage) ends the walk: the client is then the last proxy that was understood.
pub fn client_address(table: &Table, peer: Option<IpAddr>, head: &dyn RequestHead) -> ClientAddress {
    if !table.trusts(peer) {
        return ClientAddress { ip: peer, peer_trusted: false, source: AddressSource::Peer };
    }
    let forwarded = head.header("forwarded").map(|_| walk(table, peer, head, "forwarded", &FORWARDED));
    let (ip, source) = match (head.header("x-forwarded-for"), forwarded) {
        (Some(_), forwarded) => {
            let ip = walk(table, peer, head, "x-forwarded-for", &X_FORWARDED_FOR).client;
            let contradicted = forwarded.is_some_and(|walk| walk.client != ip);
            (ip, AddressSource::XForwardedFor { contradicted })
        }
        (None, Some(walk)) => (walk.client, AddressSource::Forwarded { proto: walk.parameters.proto }),
        (None, None) => (peer, AddressSource::Peer),
    };
    ClientAddress { ip, peer_trusted: true, source }
}

/// Whether the client uses HTTPS: as a trusted peer says in `X-Forwarded-Proto` or `Forwarded`, or with the balancer itself.
pub fn uses_https(client: ClientAddress, tls: bool, head: &dyn RequestHead) -> bool {
    if !client.peer_trusted {
        return tls;
    }
    // The last value is from the nearest proxy.
    let given = head.header("x-forwarded-proto").and_then(|value| value.rsplit(|byte| *byte == b',').next());
    match (given.map(<[u8]>::trim_ascii), client.source) {
        (Some(given), _) if given.eq_ignore_ascii_case(b"https") => true,
        (Some(given), _) if given.eq_ignore_ascii_case(b"http") => false,
        (_, AddressSource::Forwarded { proto: Some(proto) }) => proto == "https",
        _ => tls,
    }
}

/// The host that the client asked for, as `Forwarded` says, where that names the client.
pub(super) fn host_of_forwarded(
    table: &Table,
    peer: Option<IpAddr>,
    head: &dyn RequestHead,
) -> Option<String> {
    walk(table, peer, head, "forwarded", &FORWARDED).parameters.host
}

/// Walks the hops that a field lists, from the last one leftwards.
fn walk<'a>(
    table: &'a Table,
    peer: Option<IpAddr>,
    head: &dyn RequestHead,
    name: &str,
    syntax: &Syntax,
) -> Walk<'a> {
    let mut walk = Walk::new(table, peer);
    let mut lines: Vec<String> = Vec::new();
    head.each(name, &mut |value| lines.push(String::from_utf8_lossy(value).into_owned()));
    for line in lines.iter().rev() {
        let mut rest = Some(line.as_str());
        while let Some(text) = rest {
            let (before, hop) = (syntax.cut)(text);
            if !walk.step((syntax.parse)(hop.trim()), (syntax.parameters)(hop)) {
                return walk;
            }
            rest = before;
        }
    }
    walk
}

/// What `X-Forwarded-For` would say, were it written by the proxies that wrote this `Forwarded`.
pub(super) fn hops_of_forwarded(head: &dyn RequestHead) -> String {
    let mut hops = Vec::new();
    head.each("forwarded", &mut |value| {
        let line = String::from_utf8_lossy(value);
        let (first, mut rest) = (hops.len(), Some(&*line));
        while let Some(text) = rest {
            let (before, element) = cut_last(text, ',', true);
            hops.push(
                forwarded_for(element.trim()).map_or_else(|| "unknown".to_owned(), |ip| ip.to_string()),
            );
            rest = before;
        }
        hops.get_mut(first..).unwrap_or_default().reverse();
    });
    hops.join(", ")
}

const X_FORWARDED_FOR: Syntax = Syntax {
    cut: |line| cut_last(line, ',', false),
    parse: hop_address,
    parameters: |_| HopParameters::default(),
};

const FORWARDED: Syntax =
    Syntax { cut: |line| cut_last(line, ',', true), parse: forwarded_for, parameters: HopParameters::of };

/// How a field lists hops.
struct Syntax {
    /// What stands before the last hop, if anything does, and that hop.
    cut: fn(&str) -> (Option<&str>, &str),
    /// A hop's address.
    parse: fn(&str) -> Option<IpAddr>,
    /// What a hop says of the request that it received.
    parameters: fn(&str) -> HopParameters,
}

/// What the element of a hop says of the request as that hop received it.
#[derive(Debug, Default)]
struct HopParameters {
    /// `http` or `https`.
    proto: Option<&'static str>,
    host: Option<String>,
}

/// From the peer leftwards, as long as each hop is trusted.
struct Walk<'a> {
    table: &'a Table,
    client: Option<IpAddr>,
    parameters: HopParameters,
}

impl<'a> Walk<'a> {
    fn new(table: &'a Table, peer: Option<IpAddr>) -> Self {
        Self { table, client: peer, parameters: HopParameters::default() }
    }

    /// Takes one more hop; false when the walk is over.
    fn step(&mut self, hop: Option<IpAddr>, parameters: HopParameters) -> bool {
        let Some(hop) = hop else { return false };
        (self.client, self.parameters) = (Some(hop), parameters);
        self.table.trusts(self.client)
    }
}

/// An address of `X-Forwarded-For`: bare, with a port, or in brackets, as different proxies write it.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let ip = if let Ok(ip) = hop.parse::<IpAddr>() {
        ip
    } else if let Ok(address) = hop.parse::<SocketAddr>() {
        address.ip()
    } else {
        hop.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok()?
    };
    // An IPv4 address that is written as an IPv6 one is an IPv4 address.
    Some(ip.to_canonical())
}

/// The `for` of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    hop_address(parameter(element, "for")?)
}

impl HopParameters {
    /// What one element of `Forwarded` says: a scheme that a web server has, and a host that can be in a URL.
    fn of(element: &str) -> Self {
        let proto = parameter(element, "proto")
            .and_then(|proto| ["http", "https"].into_iter().find(|known| proto.eq_ignore_ascii_case(known)));
        let host = parameter(element, "host").filter(|host| !host.is_empty() && is_authority(host));
        Self { proto, host: host.map(str::to_owned) }
    }
}

fn parameter<'a>(element: &'a str, wanted: &str) -> Option<&'a str> {
    let mut rest = Some(element);
    while let Some(text) = rest {
        let (before, pair) = cut_last(text, ';', true);
        if let Some((name, value)) = pair.split_once('=')
            && name.trim().eq_ignore_ascii_case(wanted)
        {
            return Some(value.trim().trim_matches('"'));
        }
        rest = before;
    }
    None
}

/// What stands before the last `separator`, if there is one, and what stands behind it. With `quotes`, a separator within a
/// quoted string is none.
///
/// Read from the right: that part was written by the nearest proxy, and an unclosed quote from a client further left
/// does not affect it.
fn cut_last(text: &str, separator: char, quotes: bool) -> (Option<&str>, &str) {
    let mut quoted = false;
    for (at, c) in text.char_indices().rev() {
        let before = text.get(..at).unwrap_or_default();
        if quotes && c == '"' {
            // Within quotes, a backslash takes a quote's meaning away, and so does another one with the backslash's.
            let backslashes = before.bytes().rev().take_while(|&byte| byte == b'\\').count();
            quoted ^= backslashes % 2 == 0;
        } else if c == separator && !quoted {
            return (Some(before), text.get(at + 1..).unwrap_or_default());
        }
    }
    (None, text)
}

#[cfg(test)]
mod tests {
    use super::{cut_last, forwarded_for, hop_address};

    #[test]
    fn hops_are_read_as_proxies_write_them() {
        for (text, ip) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7:4711", "192.0.2.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:4711", "2001:db8::7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
        ] {
            assert_eq!(hop_address(text), Some(ip.parse().unwrap()), "{text}");
        }
        for text in ["", "unknown", "_hidden", "192.0.2", "192.0.2.7.8", "example.com", "1.2.3.4, 5.6.7.8"] {
            assert_eq!(hop_address(text), None, "{text}");
        }
    }

    #[test]
    fn the_for_of_forwarded_is_found_in_any_place_and_case() {
        let element = "proto=https; For=\"[2001:db8::1]:80\";by=203.0.113.43";
        assert_eq!(forwarded_for(element), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(forwarded_for("for=192.0.2.60"), Some("192.0.2.60".parse().unwrap()));
        assert_eq!(forwarded_for("for=unknown"), None);
        assert_eq!(forwarded_for("proto=http"), None);
        assert_eq!(
            forwarded_for("host=\"a;for=192.0.2.1\";for=192.0.2.60"),
            Some("192.0.2.60".parse().unwrap())
        );
    }

    #[test]
    fn what_is_quoted_separates_nothing() {
        for (text, last) in [
            ("a,b", "b"),
            ("a,\"b,c\"", "\"b,c\""),
            (r#"a,"b\",c""#, r#""b\",c""#),
            (r#"a,"b\\",c"#, "c"),
            // Left open by a client, before a proxy added its own.
            ("\"open,b", "b"),
            ("\"open,\"b,c\"", "\"b,c\""),
        ] {
            assert_eq!(cut_last(text, ',', true).1, last, "{text}");
        }
        assert_eq!(cut_last("\"a,b\"", ',', false).1, "b\"");
    }
}
