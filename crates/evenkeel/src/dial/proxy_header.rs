//! The PROXY header with which a connection to a backend begins (PROXY protocol): it says who the client is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ppp::v2::{Addresses, Builder, Command, Protocol, Version};

/// The version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeaderVersion {
    /// Text.
    V1,
    /// Binary.
    V2,
}

// === impl HeaderVersion ===

impl HeaderVersion {
    /// The header of a connection to the backend at `to` (`None` on a Unix socket) for this client; `None` for a connection of the
    /// balancer itself, or of a client without an IP address.
    pub(super) fn header(self, client: Option<SocketAddr>, to: Option<SocketAddr>) -> Vec<u8> {
        let addresses = client.map(|client| {
            let to = to.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into());
            same_family(client, to)
        });
        match self {
            Self::V1 => text(addresses),
            Self::V2 => binary(addresses).unwrap_or_default(),
        }
    }
}

fn text(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let Some((client, to)) = addresses else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {} {} {} {}\r\n", client.ip(), to.ip(), client.port(), to.port()).into_bytes()
}

/// Only a header that is far larger cannot be built.
fn binary(addresses: Option<(SocketAddr, SocketAddr)>) -> Option<Vec<u8>> {
    let (command, protocol, addresses) = match addresses {
        Some(addresses) => (Command::Proxy, Protocol::Stream, addresses.into()),
        None => (Command::Local, Protocol::Unspecified, Addresses::Unspecified),
    };
    Builder::with_addresses(Version::Two | command, protocol, addresses).build().ok()
}

/// A header has addresses of one family: where they differ, IPv4 addresses are written as IPv6 ones.
fn same_family(client: SocketAddr, to: SocketAddr) -> (SocketAddr, SocketAddr) {
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    let to = SocketAddr::new(to.ip().to_canonical(), to.port());
    match (client.ip(), to.ip()) {
        (IpAddr::V4(ip), IpAddr::V6(_)) => (SocketAddr::new(ip.to_ipv6_mapped().into(), client.port()), to),
        (IpAddr::V6(_), IpAddr::V4(ip)) => (client, SocketAddr::new(ip.to_ipv6_mapped().into(), to.port())),
        _ => (client, to),
    }
}

#[cfg(test)]
mod tests {
    use super::HeaderVersion;

    #[test]
    fn headers_have_the_client_and_the_backend_in_one_family() {
        let table = [
            (Some("192.0.2.7:4711"), Some("10.0.0.1:80"), "PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n"),
            (Some("[2001:db8::7]:4711"), Some("[::1]:80"), "PROXY TCP6 2001:db8::7 ::1 4711 80\r\n"),
            (Some("[2001:db8::7]:1"), Some("10.0.0.1:80"), "PROXY TCP6 2001:db8::7 ::ffff:10.0.0.1 1 80\r\n"),
            (Some("192.0.2.7:1"), Some("[::1]:80"), "PROXY TCP6 ::ffff:192.0.2.7 ::1 1 80\r\n"),
            (Some("192.0.2.7:1"), Some("[::ffff:10.0.0.1]:80"), "PROXY TCP4 192.0.2.7 10.0.0.1 1 80\r\n"),
            (Some("192.0.2.7:1"), None, "PROXY TCP4 192.0.2.7 0.0.0.0 1 0\r\n"),
            (None, Some("10.0.0.1:80"), "PROXY UNKNOWN\r\n"),
        ];
        for (client, to, expected) in table {
            let (client, to) = (client.map(|one| one.parse().unwrap()), to.map(|one| one.parse().unwrap()));
            assert_eq!(String::from_utf8(HeaderVersion::V1.header(client, to)).unwrap(), expected);
            let binary = HeaderVersion::V2.header(client, to);
            let parsed = ppp::v2::Header::try_from(binary.as_slice()).unwrap();
            assert_eq!(parsed.as_bytes().len(), binary.len());
            let is_of_a_client = parsed.command == ppp::v2::Command::Proxy;
            assert_eq!(is_of_a_client, client.is_some());
            match ppp::v1::Header::try_from(expected).unwrap().addresses {
                ppp::v1::Addresses::Tcp4(ip) => assert_eq!(parsed.addresses, ppp::v2::Addresses::IPv4(ip)),
                ppp::v1::Addresses::Tcp6(ip) => assert_eq!(parsed.addresses, ppp::v2::Addresses::IPv6(ip)),
                ppp::v1::Addresses::Unknown => assert_eq!(binary.len(), 16),
            }
        }
    }
}
