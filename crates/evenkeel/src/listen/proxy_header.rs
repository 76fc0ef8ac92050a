//! The PROXY header that a connection can begin with (PROXY protocol, versions 1 and 2): its length, and who the client is.
//! It never knows a socket, nor whom to trust.
//!
//! `ppp` parses a header. Where the header ends is found here, so that no byte behind it is taken, and no header is larger than
//! [`MAX_HEADER`].

use std::net::SocketAddr;

use ppp::{v1, v2};

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// A part of a header; or too few bytes to know.
    Partial,
    /// A header.
    Header(ProxyHeader),
    /// Anything else.
    Other,
}

/// A complete header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProxyHeader {
    /// Its length in bytes, at most [`MAX_HEADER`].
    pub(super) length: usize,
    /// The client. `None` if the header names none: the proxy itself has opened the connection (`LOCAL`), or the client has no IP
    /// address (`UNKNOWN`, a Unix socket).
    pub(super) client: Option<SocketAddr>,
}

/// Why no connection can begin like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    Malformed,
    TooLarge,
}

/// The largest header, as in nginx. A header with all the usual fields of version 2 has a few hundred bytes.
pub(super) const MAX_HEADER: usize = 4096;

/// The largest header of version 1, as the protocol has it.
const MAX_TEXT_HEADER: usize = 107;
/// The bytes of version 2 up to the length.
const FIXED_PART: usize = 16;
const TEXT_BEGINNING: &[u8] = b"PROXY ";

/// Looks at the first bytes of a connection.
///
/// # Errors
/// If they are the beginning of a header, and whatever follows, it is none.
pub(super) fn look(bytes: &[u8]) -> Result<Beginning, BadHeader> {
    let begins_like = |beginning: &[u8]| {
        let both = beginning.len().min(bytes.len());
        beginning.get(..both) == bytes.get(..both)
    };
    if begins_like(v2::PROTOCOL_PREFIX) {
        binary(bytes)
    } else if begins_like(TEXT_BEGINNING) {
        text(bytes)
    } else {
        Ok(Beginning::Other)
    }
}

fn binary(bytes: &[u8]) -> Result<Beginning, BadHeader> {
    let Some(&[high, low]) = bytes.get(FIXED_PART - 2..FIXED_PART) else { return Ok(Beginning::Partial) };
    let length = FIXED_PART + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_HEADER {
        return Err(BadHeader::TooLarge);
    }
    let Some(bytes) = bytes.get(..length) else { return Ok(Beginning::Partial) };
    let header = v2::Header::try_from(bytes).map_err(|_| BadHeader::Malformed)?;
    if header.tlvs().any(|field| field.is_err()) {
        return Err(BadHeader::Malformed);
    }
    let is_of_a_client = header.command == v2::Command::Proxy && header.protocol == v2::Protocol::Stream;
    let client = match header.addresses {
        v2::Addresses::IPv4(ip) => Some(SocketAddr::from((ip.source_address, ip.source_port))),
        v2::Addresses::IPv6(ip) => Some(SocketAddr::from((ip.source_address, ip.source_port))),
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
    };
    Ok(Beginning::Header(ProxyHeader { length, client: client.filter(|_| is_of_a_client) }))
}

fn text(bytes: &[u8]) -> Result<Beginning, BadHeader> {
    let Some(end) = bytes.iter().take(MAX_TEXT_HEADER).position(|byte| *byte == b'\n') else {
        let is_too_large = bytes.len() >= MAX_TEXT_HEADER;
        return if is_too_large { Err(BadHeader::TooLarge) } else { Ok(Beginning::Partial) };
    };
    let line = bytes.get(..=end).unwrap_or_default();
    let header = v1::Header::try_from(line).map_err(|_| BadHeader::Malformed)?;
    if header.header.len() != line.len() {
        return Err(BadHeader::Malformed);
    }
    let client = match header.addresses {
        v1::Addresses::Tcp4(ip) => Some(SocketAddr::from((ip.source_address, ip.source_port))),
        v1::Addresses::Tcp6(ip) => Some(SocketAddr::from((ip.source_address, ip.source_port))),
        v1::Addresses::Unknown => None,
    };
    Ok(Beginning::Header(ProxyHeader { length: line.len(), client }))
}

#[cfg(test)]
mod tests {
    use super::{BadHeader, Beginning, MAX_HEADER, ProxyHeader, look};

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    const IPV4: &[u8] = &[192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 1, 187];

    /// A header of version 2.
    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    /// What comes, and the address that it names or what is wrong with it.
    type Row = (Vec<u8>, Result<Option<&'static str>, BadHeader>);

    fn table() -> Vec<Row> {
        let v6 = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..], &[0; 16], &[0, 80, 1, 187]];
        let tlvs =
            [IPV4, &[1, 0, 2, b'h', b'2'], &[2, 0, 1, b'a'], &[4, 0, 0], &[0xee, 0, 3, 1, 2, 3]].concat();
        let large = [IPV4, &[4, 0x10, 0], &[0; 0x1000]].concat();
        let long_text = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        let malformed = Err(BadHeader::Malformed);
        vec![
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n".to_vec(), Ok(Some("192.0.2.7:4711"))),
            (b"PROXY TCP6 2001:db8::7 ::1 80 443\r\n".to_vec(), Ok(Some("[2001:db8::7]:80"))),
            (b"PROXY UNKNOWN\r\n".to_vec(), Ok(None)),
            (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".to_vec(), Ok(None)),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\n".to_vec(), malformed),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n".to_vec(), malformed),
            (b"PROXY TCP4 192.0.2.777 10.0.0.1 4711 443\r\n".to_vec(), malformed),
            (b"PROXY TCP4 2001:db8::7 ::1 80 443\r\n".to_vec(), malformed),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 70000 443\r\n".to_vec(), malformed),
            (b"PROXY UDP4 192.0.2.7 10.0.0.1 4711 443\r\n".to_vec(), malformed),
            (b"PROXY UNKNOWN a\rb\n".to_vec(), malformed),
            (b"PROXY / HTTP/1.1\r\n".to_vec(), malformed),
            (long_text.into_bytes(), Err(BadHeader::TooLarge)),
            (binary(0x21, 0x11, IPV4), Ok(Some("192.0.2.7:4711"))),
            (binary(0x21, 0x21, &v6.concat()), Ok(Some("[2001:db8::7]:80"))),
            (binary(0x21, 0x11, &tlvs), Ok(Some("192.0.2.7:4711"))),
            (binary(0x20, 0x11, IPV4), Ok(None)),
            (binary(0x20, 0x00, &[]), Ok(None)),
            (binary(0x21, 0x00, &[9; 20]), Ok(None)),
            (binary(0x21, 0x00, &[4, 0, 1, 9]), Ok(None)),
            (binary(0x21, 0x12, IPV4), Ok(None)),
            (binary(0x21, 0x31, &[b'x'; 216]), Ok(None)),
            (binary(0x21, 0x11, &[IPV4, &[4, 0, 9, 1]].concat()), malformed),
            (binary(0x21, 0x11, &IPV4[..8]), malformed),
            (binary(0x11, 0x11, IPV4), malformed),
            (binary(0x22, 0x11, IPV4), malformed),
            (binary(0x21, 0x51, IPV4), malformed),
            (binary(0x21, 0x11, &large), Err(BadHeader::TooLarge)),
        ]
    }

    #[test]
    fn headers_are_read_to_their_end_and_no_further() {
        for (bytes, client) in table() {
            let shown = String::from_utf8_lossy(&bytes).into_owned();
            let expected = client.map(|client| {
                let client = client.map(|client| client.parse().unwrap());
                Beginning::Header(ProxyHeader { length: bytes.len(), client })
            });
            assert_eq!(look(&bytes), expected, "{shown:?}");
            let more = [bytes.as_slice(), b"GET / HTTP/1.1\r\n\r\n"].concat();
            assert_eq!(look(&more), expected, "{shown:?} and more");
            for part in 0..bytes.len() {
                let seen = look(&bytes[..part]);
                assert!(
                    seen == Ok(Beginning::Partial) || seen == expected,
                    "{shown:?} up to {part}: {seen:?}"
                );
            }
        }
    }

    #[test]
    fn other_protocols_are_recognized_from_the_first_byte_that_differs() {
        for other in ["GET / HTTP/1.1", "POST /", "PRI * HTTP/2.0", "PROXYX", "\r\nGET /", "\x16\x03\x01"] {
            assert_eq!(look(other.as_bytes()), Ok(Beginning::Other), "{other:?}");
        }
        for part in ["", "P", "PR", "PROXY", "\r\n", "\r\n\r\n"] {
            assert_eq!(look(part.as_bytes()), Ok(Beginning::Partial), "{part:?}");
        }
    }

    #[test]
    fn no_bytes_panic_or_make_a_header_beyond_its_bounds() {
        let mut random = fastrand::Rng::with_seed(7);
        let seeds: Vec<_> = table().into_iter().map(|(bytes, _)| bytes).collect();
        for round in 0..100_000 {
            let mut bytes = seeds[round % seeds.len()].clone();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(0..bytes.len());
                bytes[at] = random.u8(..);
            }
            bytes.truncate(random.usize(0..=bytes.len()));
            if let Ok(Beginning::Header(header)) = look(&bytes) {
                assert!(header.length <= bytes.len().min(MAX_HEADER), "{bytes:?}");
            }
        }
    }
}
