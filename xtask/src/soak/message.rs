//! As much of HTTP/1.1 as the two ends of a soak need: heads, and bodies that hold nothing but the letter `x`.

use std::io::{self, Read};
use std::net::TcpStream;

/// The head of a request or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The first line.
    pub(crate) start: String,
    /// How its body is framed, if it says so.
    pub(crate) body: Option<Body>,
    /// Whether it is the last on its connection.
    pub(crate) close: bool,
    /// What `x-soak` holds.
    pub(crate) tag: Option<String>,
}

/// How a body is framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Length(usize),
    Chunked,
}

/// A head larger than this is none.
const MAX_HEAD: usize = 64 * 1024;

/// A read is this large at most.
const CHUNK: usize = 16 * 1024;

/// Reads once, appending to `received`.
///
/// # Errors
/// When nothing comes in time, and at the end of the stream.
pub(crate) fn read(stream: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; CHUNK];
    let read = stream.read(&mut chunk)?;
    received.extend_from_slice(chunk.get(..read).unwrap_or_default());
    if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// Takes a head off `received`, with `more` to get more.
pub(crate) fn head(
    received: &mut Vec<u8>,
    more: &mut dyn FnMut(&mut Vec<u8>) -> io::Result<()>,
) -> io::Result<Head> {
    loop {
        if let Some(end) = received.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = Head::parse(&String::from_utf8_lossy(received.get(..end).unwrap_or_default()));
            received.drain(..end + 4);
            return Ok(head);
        }
        if received.len() > MAX_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        more(received)?;
    }
}

/// Takes a body off `received`, with `more` to get more. Gives how many `x` it held: the framing of chunks has none.
pub(crate) fn body(
    body: &Body,
    received: &mut Vec<u8>,
    more: &mut dyn FnMut(&mut Vec<u8>) -> io::Result<()>,
) -> io::Result<usize> {
    const END: &[u8] = b"0\r\n\r\n";
    let (mut taken, mut count) = (0, 0);
    loop {
        let ended = match body {
            Body::Length(length) => taken + received.len() >= *length,
            // No chunk is so small that its end could look like this, and nobody pipelines.
            Body::Chunked => received.ends_with(END),
        };
        // The end of the chunks may come in pieces: leave what may be a part of it.
        let here = match body {
            Body::Length(length) => received.len().min(length - taken),
            Body::Chunked if ended => received.len(),
            Body::Chunked => received.len().saturating_sub(END.len()),
        };
        count += received.drain(..here).filter(|byte| *byte == b'x').count();
        taken += here;
        if ended {
            return Ok(count);
        }
        more(received)?;
    }
}

// === impl Head ===

impl Head {
    fn parse(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let mut head = Self { start, body: None, close: false, tag: None };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.body = value.parse().ok().map(Body::Length),
                "transfer-encoding" => head.body = Some(Body::Chunked),
                "connection" => head.close = value.eq_ignore_ascii_case("close"),
                "x-soak" => head.tag = Some(value.to_owned()),
                _ => {}
            }
        }
        head
    }

    /// The status of an answer.
    pub(crate) fn status(&self) -> Option<u16> {
        self.start.split(' ').nth(1)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the text in pieces of this size.
    fn pieces(text: &str, size: usize) -> impl FnMut(&mut Vec<u8>) -> io::Result<()> {
        let mut left = text.as_bytes().to_vec();
        move |received| {
            if left.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            received.extend(left.drain(..size.min(left.len())));
            Ok(())
        }
    }

    #[test]
    fn an_answer_is_read_whatever_pieces_it_comes_in() {
        let answers = [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Soak: 7\r\nConnection: Close\r\n\r\nxxx",
                Body::Length(3),
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-soak: 7\r\nconnection: close\r\n\r\n\
                 2\r\nxx\r\n1\r\nx\r\n0\r\n\r\n",
                Body::Chunked,
            ),
        ];
        for (text, framing) in answers {
            for size in 1..text.len() {
                let (mut more, mut received) = (pieces(text, size), Vec::new());
                let head = head(&mut received, &mut more).unwrap();
                assert_eq!((head.status(), head.close, head.tag.as_deref()), (Some(200), true, Some("7")));
                assert_eq!(head.body.as_ref(), Some(&framing));
                assert_eq!(body(&framing, &mut received, &mut more).unwrap(), 3);
                assert!(received.is_empty());
            }
        }
    }

    #[test]
    fn a_body_that_ends_early_is_an_error() {
        for framing in [Body::Length(3), Body::Chunked] {
            let (mut more, mut received) = (pieces("xx", 1), Vec::new());
            assert!(body(&framing, &mut received, &mut more).is_err());
        }
    }
}
