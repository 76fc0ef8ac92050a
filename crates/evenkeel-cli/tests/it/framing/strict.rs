//! HTTP/1.1 as strictly as it can be read (RFC 9110, RFC 9112): what the balancer sends, either way, must pass here. Knows
//! nothing of the corpus, and forgives nothing. The fuzz target `lanes` includes this file, so it imports nothing.

/// What is wrong with a message.
pub(super) type Fault = String;

/// A head, whole.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// The three parts of the first line.
    pub(super) line: [String; 3],
    /// Names in lower case, values without the white space around them; bytes beyond ASCII are read as Latin-1.
    pub(super) fields: Vec<(String, String)>,
    /// With the empty line that ends it.
    pub(super) length: usize,
}

/// A body as far as it has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    pub(super) trailers: Vec<(String, String)>,
    /// How many bytes it took on the wire, when it is whole.
    pub(super) end: Option<usize>,
}

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(usize),
    Chunked,
    Close,
}

/// Fields that have no business beyond one hop (RFC 9110, 7.6.1).
const HOP: &[&str] = &["keep-alive", "proxy-connection", "http2-settings", "proxy-authenticate-info"];

/// Fields of which a server could find another spelling: none of these may be there with an underscore.
const NOT_SPOOFED: &[&str] = &[
    "content-length",
    "keep-alive",
    "transfer-encoding",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

/// Fields that must not be in trailers (RFC 9110, 6.5.1): framing, routing, authentication, and the like.
const NOT_TRAILERS: &[&str] = &[
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
];

/// The head of a request that begins these bytes; `None` when its end is not there yet.
pub(super) fn request_head(bytes: &[u8]) -> Result<Option<Head>, Fault> {
    let Some(head) = head(bytes)? else { return Ok(None) };
    let [method, target, version] = &head.line;
    ensure(is_token(method), || format!("the method {method:?}"))?;
    ensure(version == "HTTP/1.1", || format!("the version {version:?}: a proxy sends its own"))?;
    let visible = target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    let form = target.starts_with('/') || (target == "*" && method == "OPTIONS");
    ensure(visible && form, || format!("the target {target:?} of {method}"))?;
    let hosts: Vec<_> = head.all("host").collect();
    ensure(hosts.len() == 1, || format!("Host is there {} times", hosts.len()))?;
    ensure(hosts.iter().all(|host| is_authority(host)), || format!("Host: {hosts:?}"))?;
    if let Some(te) = head.all("te").next() {
        ensure(head.connection_names("te"), || format!("TE: {te:?}, and Connection does not name it"))?;
    }
    head.check_shared()?;
    for (name, value) in &head.fields {
        ensure(!is_spoof(name), || format!("{name}: {value:?} passes for another field"))?;
        ensure(!name.starts_with("proxy-auth"), || format!("{name}: {value:?} is for the proxy"))?;
    }
    let body = head.request_framing()?;
    let has_body = !matches!(body, Framing::None | Framing::Length(0));
    ensure(has_body || head.all("expect").next().is_none(), || "Expect without a body".to_owned())?;
    Ok(Some(head))
}

/// The head of a response at the start of these bytes; `None` if its end has not arrived.
pub(super) fn answer_head(bytes: &[u8]) -> Result<Option<Head>, Fault> {
    let Some(head) = head(bytes)? else { return Ok(None) };
    let [version, status, reason] = &head.line;
    ensure(version == "HTTP/1.1", || format!("the version {version:?}"))?;
    let three_digits = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
    ensure(three_digits && status.as_str() >= "100", || format!("the status {status:?}"))?;
    ensure(reason.chars().all(is_text), || format!("the reason {reason:?}"))?;
    head.check_shared()?;
    head.declared()?;
    if status.starts_with('1') || status == "204" {
        let framed = head.fields.iter().find(|(name, _)| is_framing(name));
        ensure(framed.is_none(), || format!("a {status} with {framed:?}"))?;
    }
    Ok(Some(head))
}

/// What there is of a body.
pub(super) fn body(framing: Framing, bytes: &[u8]) -> Result<Body, Fault> {
    match framing {
        Framing::None => Ok(Body { end: Some(0), ..Body::default() }),
        Framing::Close => Ok(Body { bytes: bytes.to_vec(), ..Body::default() }),
        Framing::Length(length) => {
            let end = (bytes.len() >= length).then_some(length);
            Ok(Body { bytes: bytes[..length.min(bytes.len())].to_vec(), end, ..Body::default() })
        }
        Framing::Chunked => chunks(bytes),
    }
}

// === impl Head ===

impl Head {
    /// Every value of a field.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the client waits for a 100 before it sends the body.
    pub(super) fn expects(&self) -> bool {
        self.all("expect").any(|expectation| expectation.eq_ignore_ascii_case("100-continue"))
    }

    /// Whether `Connection` has this option.
    pub(super) fn connection_names(&self, option: &str) -> bool {
        self.all("connection")
            .flat_map(|value| value.split(','))
            .any(|o| o.trim().eq_ignore_ascii_case(option))
    }

    /// How the body of this request is framed.
    pub(super) fn request_framing(&self) -> Result<Framing, Fault> {
        Ok(self.declared()?.unwrap_or(Framing::None))
    }

    /// How the body of this response to a `method` request is framed.
    pub(super) fn answer_framing(&self, method: &str) -> Result<Framing, Fault> {
        let status = self.line[1].as_str();
        if method == "HEAD" || status.starts_with('1') || status == "204" || status == "304" {
            return Ok(Framing::None);
        }
        Ok(self.declared()?.unwrap_or(Framing::Close))
    }

    fn declared(&self) -> Result<Option<Framing>, Fault> {
        let lengths: Vec<_> = self.all("content-length").collect();
        let codings: Vec<_> = self.all("transfer-encoding").collect();
        match (&lengths[..], &codings[..]) {
            ([], []) => Ok(None),
            ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
            ([length], []) if length.len() > 1 && length.starts_with('0') => {
                Err(format!("the length {length:?}"))
            }
            ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
                length.parse().map(|length| Some(Framing::Length(length))).map_err(|_| format!("{length:?}"))
            }
            _ => Err(format!("Content-Length {lengths:?}, Transfer-Encoding {codings:?}")),
        }
    }

    fn check_shared(&self) -> Result<(), Fault> {
        for (name, value) in &self.fields {
            ensure(!HOP.contains(&name.as_str()), || format!("{name}: {value:?} is for one hop"))?;
        }
        let upgrade = self.all("upgrade").next();
        ensure(upgrade.is_none() || self.connection_names("upgrade"), || {
            format!("Upgrade: {upgrade:?} alone")
        })?;
        for option in self.all("connection").flat_map(|value| value.split(',')).map(str::trim) {
            let known =
                ["close", "keep-alive", "te", "upgrade"].iter().any(|k| option.eq_ignore_ascii_case(k));
            ensure(known, || format!("Connection: {option:?}"))?;
        }
        Ok(())
    }
}

fn head(bytes: &[u8]) -> Result<Option<Head>, Fault> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let lines = &bytes[..end.map_or(bytes.len(), |end| end + 4)];
    for (at, byte) in lines.iter().enumerate() {
        let (before, after) = (at.checked_sub(1).map(|at| lines[at]), lines.get(at + 1));
        match byte {
            b'\n' => ensure(before == Some(b'\r'), || format!("a bare LF at {at}"))?,
            b'\r' => ensure(after.is_none_or(|next| *next == b'\n'), || format!("a bare CR at {at}"))?,
            0..=8 | 11..=31 | 127 => return Err(format!("the byte {byte:#x} at {at}")),
            _ => {}
        }
    }
    ensure(!lines.starts_with(b"\r"), || "an empty line before a message".to_owned())?;
    let Some(end) = end else { return Ok(None) };
    let text = latin_1(&lines[..end]);
    let mut lines = text.split("\r\n");
    let first: Vec<_> = lines.next().unwrap_or_default().splitn(3, ' ').map(str::to_owned).collect();
    let line = first.try_into().map_err(|first| format!("the first line {first:?}"))?;
    let fields = lines.map(field).collect::<Result<_, _>>()?;
    Ok(Some(Head { line, fields, length: end + 4 }))
}

fn field(line: &str) -> Result<(String, String), Fault> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("the field {line:?}"))?;
    ensure(is_token(name) && value.chars().all(is_text), || format!("the field {line:?}"))?;
    Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

fn chunks(bytes: &[u8]) -> Result<Body, Fault> {
    let mut body = Body::default();
    let mut at = 0;
    loop {
        let Some(size) = line(bytes, &mut at)? else { return Ok(body) };
        let digits = (1..=8).contains(&size.len()) && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        ensure(digits, || format!("the chunk size {size:?}: extensions and zeros are for one hop"))?;
        let size = usize::from_str_radix(&size, 16).map_err(|_| format!("the chunk size {size:?}"))?;
        if size == 0 {
            break;
        }
        let data = &bytes[at..bytes.len().min(at + size)];
        body.bytes.extend_from_slice(data);
        at += size;
        let Some(end) = bytes.get(at.min(bytes.len())..) else { return Ok(body) };
        let cut = b"\r\n".starts_with(&end[..end.len().min(2)]);
        ensure(cut, || format!("{:?} after a chunk", latin_1(&end[..end.len().min(8)])))?;
        if end.len() < 2 {
            return Ok(body);
        }
        at += 2;
    }
    loop {
        match line(bytes, &mut at)? {
            None => return Ok(body),
            Some(line) if line.is_empty() => break,
            Some(line) => {
                let (name, value) = field(&line)?;
                let forbidden = NOT_TRAILERS.contains(&name.as_str()) || is_spoof(&name);
                ensure(!forbidden, || format!("{name} as a trailer"))?;
                body.trailers.push((name, value));
            }
        }
    }
    body.end = Some(at);
    Ok(body)
}

/// The line that begins there, without its end.
fn line(bytes: &[u8], at: &mut usize) -> Result<Option<String>, Fault> {
    let rest = &bytes[*at..];
    let end = rest.windows(2).position(|window| window == b"\r\n");
    let line = &rest[..end.unwrap_or(rest.len())];
    let bare = line.iter().enumerate().any(|(at, byte)| match byte {
        b'\r' => at + 1 < line.len(),
        byte => *byte == b'\n' || *byte == 0,
    });
    ensure(!bare, || format!("a bare CR, LF or NUL in {:?}", latin_1(line)))?;
    Ok(end.map(|end| {
        *at += end + 2;
        latin_1(line)
    }))
}

fn is_spoof(name: &str) -> bool {
    name.contains('_') && NOT_SPOOFED.contains(&name.replace('_', "-").as_str())
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn is_text(char: char) -> bool {
    char == '\t' || (char >= ' ' && char != '\x7f')
}

/// `uri-host [ ":" port ]`, where the host may be empty (RFC 9110, 7.2; RFC 3986, 3.2.2).
pub(super) fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((literal, port)) if literal.parse::<std::net::Ipv6Addr>().is_ok() => ("", port),
        Some((future, port)) if future.starts_with('v') && future.contains('.') => ("", port),
        Some(_) => return false,
        None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
    };
    let name = |b: u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&b);
    host.bytes().all(name)
        && (port.is_empty()
            || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit())))
}

fn is_framing(name: &str) -> bool {
    name == "content-length" || name == "transfer-encoding"
}

pub(super) fn latin_1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn ensure(holds: bool, fault: impl FnOnce() -> Fault) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(fault()) }
}

#[cfg(test)]
mod samples {
    use super::{Framing, answer_head, body, request_head};

    #[test]
    fn a_strict_reader_takes_what_is_strict() {
        let head = request_head(b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
            .unwrap()
            .unwrap();
        assert_eq!((head.request_framing(), head.line[1].as_str()), (Ok(Framing::Chunked), "/x"));
        let whole = body(Framing::Chunked, b"3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\nmore").unwrap();
        assert_eq!((whole.bytes.as_slice(), whole.end, whole.trailers.len()), (&b"abc"[..], Some(23), 1));
        for part in ["", "3", "3\r", "3\r\n", "3\r\nab", "3\r\nabc\r", "3\r\nabc\r\n0\r\n", "0\r\nx: y\r\n\r"]
        {
            assert_eq!(body(Framing::Chunked, part.as_bytes()).unwrap().end, None, "{part:?}");
        }
        assert!(request_head(b"GET / HTTP/1.1\r\nhost: a\r\n\r").unwrap().is_none());
        assert!(answer_head(b"HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n").unwrap().is_some());
    }

    #[test]
    fn a_strict_reader_forgives_nothing() {
        for text in [
            "GET / HTTP/1.1\nhost: a\n\n",
            "\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.0\r\nhost: a\r\n\r\n",
            "GET * HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a:b\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n x: y\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nkeep-alive: 5\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: x\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\n",
        ] {
            assert!(request_head(text.as_bytes()).is_err(), "{text:?}");
        }
        for text in
            ["HTTP/1.1 204 No\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 20 No\r\n\r\n", "HTTP/1.1 200\r\n\r\n"]
        {
            assert!(answer_head(text.as_bytes()).is_err(), "{text:?}");
        }
        for text in
            ["3\nabc", "3;x\r\n", "3\r\nabcd", "x\r\n", "\r\n", "0\r\nhost: a\r\n", "0\r\n\n", "003\rx"]
        {
            assert!(body(Framing::Chunked, text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
