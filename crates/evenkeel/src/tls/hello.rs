//! The first message of a TLS client, as far as it says where its connection belongs (RFC 8446, 4.1.2; RFC 6066, 3; RFC 7301).
//!
//! It is read and not changed: the backend agrees on TLS with the client. Versions, ciphers and extensions that
//! this product does not have are no obstacle, which is why rustls does not read it.

/// What a client asks for in its first message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The name that it asks for (SNI), if any, in lower case.
    pub server_name: Option<Box<str>>,
    /// The protocols that it offers (ALPN), the preferred one first.
    pub protocols: Vec<Box<[u8]>>,
}

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// A part of a client's first message, and more must come.
    Part,
    /// A client's whole first message.
    Hello(Hello),
    /// Something else.
    Other,
}

/// The largest first message that is read: a hello with every extension has 2 KiB, and post-quantum keys add a few.
const LARGEST: usize = 16 * 1024;

/// What these first bytes of a connection are. Strict: a length that does not fit makes it something else.
pub fn read_hello(bytes: &[u8]) -> First {
    let mut message = Vec::new();
    let mut records = Reader(bytes);
    loop {
        match fragment(&mut records) {
            Fragment::Whole(fragment) => message.extend_from_slice(fragment),
            Fragment::Part(fragment) => {
                // What there is of it may show already that it is something else.
                message.extend_from_slice(fragment);
                return match wanted(&message) {
                    Some(_) => First::Part,
                    None => First::Other,
                };
            }
            Fragment::Other => return First::Other,
        }
        match wanted(&message) {
            Some(wanted) if message.len() >= wanted => {
                let body = message.get(4..wanted).unwrap_or_default();
                return hello(body).map_or(First::Other, First::Hello);
            }
            Some(_) => {}
            None => return First::Other,
        }
    }
}

/// A part of a message, in a record.
enum Fragment<'a> {
    Whole(&'a [u8]),
    /// The record is not complete.
    Part(&'a [u8]),
    Other,
}

/// The next record of a handshake.
fn fragment<'a>(reader: &mut Reader<'a>) -> Fragment<'a> {
    const HANDSHAKE: u8 = 22;
    const LONGEST: usize = 1 << 14;
    let header = reader.0;
    // The version of a record says nothing any more, except that it is a version.
    let known = header
        .iter()
        .zip([Some(HANDSHAKE), Some(3), None])
        .all(|(byte, expected)| expected.is_none_or(|expected| *byte == expected));
    if !known {
        return Fragment::Other;
    }
    let (Some(_), Some(length)) = (reader.take(3), reader.number(2)) else { return Fragment::Part(&[]) };
    if !(1..=LONGEST).contains(&length) {
        return Fragment::Other;
    }
    match reader.take(length) {
        Some(fragment) => Fragment::Whole(fragment),
        None => Fragment::Part(reader.0),
    }
}

/// How long the message is that begins so, its header included; at least the header, if not all of that is there. `None` if it is
/// no client's first message, or too large.
fn wanted(message: &[u8]) -> Option<usize> {
    const HEADER: usize = 4;
    const CLIENT_HELLO: u8 = 1;
    match message {
        [] => Some(HEADER),
        [CLIENT_HELLO, rest @ ..] => match Reader(rest).number(3) {
            None => Some(HEADER),
            Some(length) => (length <= LARGEST).then_some(HEADER + length),
        },
        _ => None,
    }
}

/// What the body of a hello asks for. `None` if it is malformed.
fn hello(body: &[u8]) -> Option<Hello> {
    let mut body = Reader(body);
    let mut hello = Hello::default();
    // Version and random.
    body.take(2 + 32)?;
    let session = body.list(1)?;
    let (ciphers, compressions) = (body.list(2)?, body.list(1)?);
    if session.0.len() > 32 || ciphers.0.is_empty() || compressions.0.is_empty() {
        return None;
    }
    if body.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = body.list(2)?;
    body.end()?;
    let (mut named, mut offered) = (false, false);
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let content = extensions.list(2)?;
        match kind {
            0 if !named => (named, hello.server_name) = (true, server_name(content)?),
            16 if !offered => (offered, hello.protocols) = (true, protocols(content)?),
            // Neither can be there twice.
            0 | 16 => return None,
            _ => {}
        }
    }
    Some(hello)
}

/// The name in a list of names. The inner `None` if it has none that is a host's.
fn server_name(mut content: Reader<'_>) -> Option<Option<Box<str>>> {
    const HOST_NAME: usize = 0;
    let mut names = content.list(2)?;
    content.end()?;
    let mut found = None;
    while !names.0.is_empty() {
        let kind = names.number(1)?;
        let name = names.list(2)?;
        if kind == HOST_NAME && found.is_none() {
            let name = std::str::from_utf8(name.0).ok()?;
            let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
            found = Some(is_name.then(|| name.to_ascii_lowercase().into())?);
        }
    }
    Some(found)
}

fn protocols(mut content: Reader<'_>) -> Option<Vec<Box<[u8]>>> {
    let mut list = content.list(2)?;
    content.end()?;
    let mut found = Vec::new();
    while !list.0.is_empty() {
        let name = list.list(1)?;
        (!name.0.is_empty()).then_some(())?;
        found.push(name.0.into());
    }
    Some(found)
}

/// Bytes that are left to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of so many bytes.
    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// What a length of so many bytes stands before.
    fn list(&mut self, bytes: usize) -> Option<Self> {
        let length = self.number(bytes)?;
        self.take(length).map(Self)
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::{First, Hello, read_hello};

    fn list(bytes: usize, content: &[u8]) -> Vec<u8> {
        let length = content.len().to_be_bytes();
        [&length[length.len() - bytes..], content].concat()
    }

    fn extension(kind: u8, content: &[u8]) -> Vec<u8> {
        [&[0, kind][..], &list(2, content)].concat()
    }

    fn sni(name: &str) -> Vec<u8> {
        extension(0, &list(2, &[&[0][..], &list(2, name.as_bytes())].concat()))
    }

    fn alpn(names: &[&str]) -> Vec<u8> {
        let names: Vec<u8> = names.iter().flat_map(|name| list(1, name.as_bytes())).collect();
        extension(16, &list(2, &names))
    }

    fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
        let parts = [
            vec![3; 34],
            list(1, &[7; 32]),
            list(2, &[0x13, 1]),
            list(1, &[0]),
            list(2, &extensions.concat()),
        ];
        [&[1][..], &list(3, &parts.concat())].concat()
    }

    fn record(fragment: &[u8]) -> Vec<u8> {
        [&[22, 3, 1][..], &list(2, fragment)].concat()
    }

    fn read(extensions: &[Vec<u8>]) -> First {
        read_hello(&record(&message(extensions)))
    }

    fn found(name: Option<&str>, protocols: &[&str]) -> First {
        let protocols = protocols.iter().map(|name| name.as_bytes().into()).collect();
        First::Hello(Hello { server_name: name.map(Into::into), protocols })
    }

    #[test]
    fn the_name_and_the_protocols_are_found() {
        let grease = extension(0x2a, &[]);
        assert_eq!(read(&[]), found(None, &[]));
        assert_eq!(read(&[grease, sni("DB.example.com")]), found(Some("db.example.com"), &[]));
        assert_eq!(read(&[alpn(&["h2", "mqtt"]), sni("a")]), found(Some("a"), &["h2", "mqtt"]));
    }

    #[test]
    fn however_it_is_cut_it_is_a_part_until_it_is_whole() {
        let message = message(&[sni("db.example.com"), alpn(&["h2"])]);
        let whole = record(&message);
        for length in 0..whole.len() {
            assert_eq!(read_hello(&whole[..length]), First::Part, "{length} bytes");
        }
        for at in 1..message.len() {
            let records = [record(&message[..at]), record(&message[at..])].concat();
            assert_eq!(
                read_hello(&records),
                found(Some("db.example.com"), &["h2"]),
                "two records, cut at {at}"
            );
        }
        let more = [whole, vec![20, 3, 3, 0, 1, 1]].concat();
        assert_eq!(
            read_hello(&more),
            found(Some("db.example.com"), &["h2"]),
            "what follows is not looked at"
        );
    }

    #[test]
    fn what_is_no_hello_is_something_else() {
        let first = [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x02\x00",
            b"\x15\x03\x01\x00\x02\x02\x28",
            // An empty record, one that is too long, another message, a message that is too long.
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\x40\x01",
            b"\x16\x03\x01\x00\x04\x02",
            b"\x16\x03\x01\x00\x04\x01\x01\x00\x00",
            // The hello of SSL 2.
            b"\x80\x2e\x01\x03\x01",
        ];
        for bytes in first {
            assert_eq!(read_hello(bytes), First::Other, "{bytes:?}");
        }
    }

    #[test]
    fn a_length_that_does_not_fit_makes_it_something_else() {
        assert_eq!(read(&[sni("a"), sni("b")]), First::Other, "two names");
        assert_eq!(read(&[alpn(&["a"]), alpn(&["b"])]), First::Other, "two lists of protocols");
        assert_eq!(read(&[alpn(&[""])]), First::Other, "an empty protocol");
        assert_eq!(read(&[sni("")]), First::Other, "an empty name");
        assert_eq!(read(&[sni("a b")]), First::Other, "a name with a space");
        let whole = message(&[sni("db.example.com"), alpn(&["h2"])]);
        // Each length within the body, one too large: nothing may be read beyond what there is.
        for at in 4..whole.len() {
            let mut wrong = whole.clone();
            wrong[at] = 255;
            let _ = read_hello(&record(&wrong));
        }
        let mut long = whole.clone();
        long.push(0);
        long[3] += 1;
        assert_eq!(read_hello(&record(&long)), First::Other, "a byte behind the extensions");
    }
}
