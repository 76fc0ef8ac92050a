//! HTTP/1.1 as it is on the wire, for both ends of the tests: read strictly, and kept as it came.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The raw head and body of a request or a response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// The head's bytes, with the empty line that ends it.
    pub(crate) raw: Vec<u8>,
    /// The request line or the status line.
    pub(crate) first_line: String,
    /// The fields, in order, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, without its framing; only its start when it is larger than [`KEPT`].
    pub(crate) body: Vec<u8>,
    /// How long the body was.
    pub(crate) body_length: u64,
    /// The fields after a chunked body.
    pub(crate) trailers: Vec<(String, String)>,
    /// Whether the body ended as its framing says, rather than by the end of the connection.
    pub(crate) complete: bool,
}

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, and the last one is empty.
    Chunked,
    /// Until the connection ends.
    Close,
}

/// How much of a body is kept; of what is larger, the bytes are only counted.
pub(crate) const KEPT: usize = 1024 * 1024;

/// Reads messages from a stream, and keeps what belongs to the next one.
pub(crate) struct Reader<R> {
    pub(crate) stream: R,
    pub(crate) buffer: Vec<u8>,
}

// === impl Message ===

impl Message {
    fn parse(raw: Vec<u8>) -> Self {
        let text = String::from_utf8_lossy(&raw).into_owned();
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let first_line = lines.next().unwrap_or_default().to_owned();
        let headers = lines.map(field).collect();
        Self { raw, first_line, headers, ..Self::default() }
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> u16 {
        let status = self.first_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("no status in {:?}", self.first_line))
    }

    /// The method of a request.
    pub(crate) fn method(&self) -> &str {
        self.first_line.split(' ').next().unwrap_or_default()
    }

    /// The target of a request.
    pub(crate) fn target(&self) -> &str {
        self.first_line.split(' ').nth(1).unwrap_or_default()
    }

    /// The one value of a field, by its lower-case name. Fails when there are several.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} is there {} times: {all:?}", all.len());
        all.first().copied()
    }

    /// Whether it says that its connection ends with it.
    pub(crate) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// Every value of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.headers.iter().filter(|(known, _)| known == name);
        fields.map(|(_, value)| value.as_str()).collect()
    }

    /// The names of the fields as they were spelled, in order.
    pub(crate) fn spellings(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.raw).into_owned();
        text.split("\r\n").skip(1).filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// How the body of this request is framed.
    pub(crate) fn request_framing(&self) -> Framing {
        self.declared().unwrap_or(Framing::None)
    }

    /// How the body of this response to a `method` request is framed (RFC 9112, 6.3).
    pub(crate) fn response_framing(&self, method: &str) -> Framing {
        let status = self.status();
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Framing::None;
        }
        self.declared().unwrap_or(Framing::Close)
    }

    fn declared(&self) -> Option<Framing> {
        let (length, coding) = (self.header("content-length"), self.header("transfer-encoding"));
        assert!(length.is_none() || coding.is_none(), "two framings: {:?}", self.headers);
        match (length, coding) {
            (Some(length), _) => Some(Framing::Length(length.parse().expect("a length in digits"))),
            (_, Some(coding)) => {
                assert!(coding.eq_ignore_ascii_case("chunked"), "an unknown coding: {coding}");
                Some(Framing::Chunked)
            }
            _ => None,
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.body_length += bytes.len() as u64;
        let room = KEPT.saturating_sub(self.body.len()).min(bytes.len());
        self.body.extend_from_slice(&bytes[..room]);
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a field: {line:?}"));
    (name.to_ascii_lowercase(), value.trim().to_owned())
}

// === impl Reader ===

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Reads some more. False at the end of the stream.
    pub(crate) async fn fill(&mut self) -> io::Result<bool> {
        self.buffer.reserve(64 * 1024);
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    /// The next head. `None` when the stream ends before its first byte.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.buffer.split_off(at + 4);
                let raw = std::mem::replace(&mut self.buffer, rest);
                return Ok(Some(Message::parse(raw)));
            }
            if !self.fill().await? {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    /// Reads the body of a message. A body that is broken off leaves `complete` false.
    pub(crate) async fn body(&mut self, message: &mut Message, framing: Framing) -> io::Result<()> {
        match framing {
            Framing::None => message.complete = true,
            Framing::Length(length) => message.complete = self.exactly(message, length).await?,
            Framing::Chunked => message.complete = self.chunks(message).await?,
            Framing::Close => {
                while self.exactly(message, u64::MAX).await? {}
                message.complete = true;
            }
        }
        Ok(())
    }

    async fn exactly(&mut self, message: &mut Message, mut length: u64) -> io::Result<bool> {
        while length > 0 {
            if self.buffer.is_empty() && !self.fill().await? {
                return Ok(false);
            }
            let most = usize::try_from(length).unwrap_or(usize::MAX).min(self.buffer.len());
            message.keep(&self.buffer[..most]);
            self.buffer.drain(..most);
            length -= most as u64;
        }
        Ok(true)
    }

    async fn chunks(&mut self, message: &mut Message) -> io::Result<bool> {
        loop {
            let Some(line) = self.line().await? else { return Ok(false) };
            let size = line.split(';').next().unwrap_or_default().trim();
            let size =
                u64::from_str_radix(size, 16).map_err(|_| io::Error::other(format!("chunk {line:?}")))?;
            if size == 0 {
                break;
            }
            if !self.exactly(message, size).await? {
                return Ok(false);
            }
            match self.line().await? {
                Some(line) => assert_eq!(line, "", "a chunk is longer than it says"),
                None => return Ok(false),
            }
        }
        loop {
            match self.line().await? {
                None => return Ok(false),
                Some(line) if line.is_empty() => return Ok(true),
                Some(line) => message.trailers.push(field(&line)),
            }
        }
    }

    async fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..at]).into_owned();
                self.buffer.drain(..at + 2);
                return Ok(Some(line));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }
}
