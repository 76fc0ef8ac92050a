//! The chunked coding (RFC 9112, 7.1), read strictly and written again.

use super::fields::write_field;
use super::{Buffer, Malformed};
use crate::message::is_forbidden_in_trailers;

/// A chunked body that is being read.
#[derive(Debug, Default)]
pub struct Chunked {
    state: State,
    /// Of the size that is being read, or of the data that is still to come.
    size: u64,
    /// How long the line is that is being read, without chunk data.
    line: usize,
    /// The trailers so far, as they came.
    trailers: Vec<u8>,
    /// Whether no trailer is written on.
    drops_trailers: bool,
}

/// What comes next in the bytes of a body: framing to be dropped, and then data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Bytes of framing.
    pub skip: usize,
    /// Bytes of data that follow them.
    pub data: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    SizeStart,
    Size,
    /// After a blank behind the size: only more of them, an extension, or the line's end.
    Blank,
    Extension,
    SizeEnd,
    Data,
    DataEnd,
    DataEndFeed,
    TrailerStart,
    Trailer,
    TrailerFeed,
    LastFeed,
    Done,
}

/// Longest line of a chunk size with its extensions, which are not used.
const LONGEST_LINE: usize = 1024;
/// Most bytes of trailers.
const LARGEST_TRAILERS: usize = 8 * 1024;
const MOST_TRAILERS: usize = 32;

impl Chunked {
    /// Whether the body is read to its end.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// What these bytes, which come next, begin with. Both parts of it count as read. A piece without data means that more
    /// bytes are wanted, or that the body has ended.
    ///
    /// # Errors
    /// When the bytes are no chunked body.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Piece, Malformed> {
        let mut skip = 0;
        while let Some(&byte) = bytes.get(skip) {
            match self.state {
                State::Done => break,
                State::Data => {
                    let data = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len() - skip);
                    self.size -= data as u64;
                    if self.size == 0 {
                        self.state = State::DataEnd;
                    }
                    return Ok(Piece { skip, data });
                }
                State::TrailerStart | State::Trailer | State::TrailerFeed => self.keep(byte)?,
                _ => {}
            }
            self.state = self.step(byte)?;
            skip += 1;
        }
        Ok(Piece { skip, data: 0 })
    }

    /// The same chunks; their trailers are read, and not written on.
    pub(super) fn without_trailers(self) -> Self {
        Self { drops_trailers: true, ..self }
    }

    /// Writes the end of the body, with the trailers that may pass.
    ///
    /// # Errors
    /// When a trailer is no field.
    pub fn write_end(&self, out: &mut Buffer) -> Result<(), Malformed> {
        out.push(b"0\r\n");
        if !self.trailers.is_empty() {
            let mut fields = [httparse::EMPTY_HEADER; MOST_TRAILERS];
            let mut section = self.trailers.clone();
            section.extend_from_slice(b"\r\n");
            let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(&section, &mut fields)
            else {
                return Err(Malformed::Trailer);
            };
            let passes = |name: &str| !self.drops_trailers && !is_forbidden_in_trailers(name.as_bytes());
            for field in fields.iter().filter(|field| passes(field.name)) {
                write_field(out, field.name.as_bytes(), field.value);
            }
        }
        out.push(b"\r\n");
        Ok(())
    }

    /// Whether what came as trailers is fields.
    ///
    /// # Errors
    /// When a trailer is no field.
    pub fn check_end(&self) -> Result<(), Malformed> {
        self.write_end(&mut Buffer::default())
    }

    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        self.line += 1;
        if self.line > LONGEST_LINE && self.state != State::Trailer {
            return Err(Malformed::ChunkLine);
        }
        let next = match (self.state, byte) {
            (State::SizeStart | State::Size, byte) if byte.is_ascii_hexdigit() => return self.digit(byte),
            (State::Size | State::Blank, b' ' | b'\t') => State::Blank,
            (State::Size | State::Blank, b';') => State::Extension,
            (State::Size | State::Blank | State::Extension, b'\r') => State::SizeEnd,
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => State::Extension,
            (State::SizeEnd, b'\n') if self.size > 0 => State::Data,
            (State::SizeEnd, b'\n') => State::TrailerStart,
            (State::DataEnd, b'\r') => State::DataEndFeed,
            (State::DataEndFeed, b'\n') => State::SizeStart,
            (State::TrailerStart, b'\r') => State::LastFeed,
            (State::TrailerStart | State::Trailer, b'\t' | b' '..=b'~' | 0x80..) => State::Trailer,
            (State::Trailer, b'\r') => State::TrailerFeed,
            (State::TrailerFeed, b'\n') => State::TrailerStart,
            (State::LastFeed, b'\n') => State::Done,
            _ => return Err(Malformed::Chunk),
        };
        if matches!(next, State::Data | State::SizeStart | State::TrailerStart) {
            self.line = 0;
        }
        if next == State::SizeStart {
            self.size = 0;
        }
        Ok(next)
    }

    fn digit(&mut self, byte: u8) -> Result<State, Malformed> {
        let digit = u64::from(char::from(byte).to_digit(16).unwrap_or_default());
        let size = self.size.checked_mul(16).ok_or(Malformed::ChunkSize)?;
        self.size = size + digit;
        // Leading zeros say nothing, but some servers count digits.
        if self.line > 16 { Err(Malformed::ChunkSize) } else { Ok(State::Size) }
    }

    /// Keeps a byte of a trailer: not the line end that closes them all.
    fn keep(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.state == State::TrailerStart && byte == b'\r' {
            return Ok(());
        }
        if self.trailers.len() >= LARGEST_TRAILERS {
            return Err(Malformed::TrailersTooLarge);
        }
        self.trailers.push(byte);
        Ok(())
    }
}

/// Writes one chunk.
pub(super) fn write_chunk(out: &mut Buffer, data: &[u8]) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut line = *b"----------------\r\n";
    let mut at = 16;
    let mut left = data.len();
    while left > 0 && at > 0 {
        at -= 1;
        if let (Some(place), Some(digit)) = (line.get_mut(at), DIGITS.get(left & 15)) {
            *place = *digit;
        }
        left >>= 4;
    }
    out.push(line.get(at..).unwrap_or_default());
    out.push(data);
    out.push(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::{Buffer, Chunked, Malformed, write_chunk};

    /// The data and the re-framed trailers, and what is left of the bytes.
    fn read(text: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>, usize), Malformed> {
        let (mut chunked, mut data, mut read) = (Chunked::default(), Vec::new(), 0);
        for bytes in text.chunks(step) {
            let mut at = 0;
            while at < bytes.len() && !chunked.is_done() {
                let piece = chunked.next(&bytes[at..])?;
                data.extend_from_slice(&bytes[at + piece.skip..][..piece.data]);
                at += piece.skip + piece.data;
            }
            read += at;
        }
        let mut out = Buffer::default();
        chunked.write_end(&mut out)?;
        assert!(chunked.is_done(), "the body has an end");
        Ok((data, out.filled().to_vec(), text.len() - read))
    }

    #[test]
    fn a_body_is_the_same_however_its_bytes_come() {
        for (text, data, end) in [
            ("0\r\n\r\n", "", "0\r\n\r\n"),
            ("5\r\nhello\r\n0\r\n\r\n", "hello", "0\r\n\r\n"),
            ("5 ;ext=\"x\"\r\nhello\r\n1\t\r\n!\r\n00\r\n\r\n", "hello!", "0\r\n\r\n"),
            (
                "A\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\nX-Sum:  7 \r\nContent-Length: 5\r\nY: z\r\n\r\n",
                "0\r\n\r\n0\r\n\r\n",
                "0\r\nX-Sum: 7\r\nY: z\r\n\r\n",
            ),
        ] {
            let whole = format!("{text}GET /next");
            for step in 1..whole.len() {
                let (got, got_end, left) = read(whole.as_bytes(), step).unwrap();
                assert_eq!((got, got_end, left), (data.into(), end.into(), 9), "{text:?} by {step}");
            }
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for text in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "+1\r\na\r\n0\r\n\r\n",
            "0x1\r\na\r\n0\r\n\r\n",
            "1_0\r\n",
            " 1\r\na\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "1\r\nab\r\n0\r\n\r\n",
            "10000000000000000\r\n",
            "00000000000000005\r\nhello\r\n0\r\n\r\n",
            "5;x\nhello\r\n0\r\n\r\n",
            "5;a\0b\r\nhello\r\n0\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "5 5\r\nhello\r\n0\r\n\r\n",
            "0\r\n\n",
            "0\r\n\r\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\nA : b\r\n\r\n",
            "0\r\n folded: b\r\n\r\n",
            "0\r\nA: b\r\n folded\r\n\r\n",
            "0\r\nA: b\n\r\n",
        ] {
            for step in [1, 3, text.len()] {
                assert!(read(text.as_bytes(), step).is_err(), "{text:?} by {step}");
            }
        }
        let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(2000));
        assert!(read(long.as_bytes(), 100).is_err());
        let long = format!("0\r\n{}\r\n", "X: y\r\n".repeat(2000));
        assert!(read(long.as_bytes(), 100).is_err());
    }

    #[test]
    fn a_chunk_is_written_as_it_is_read() {
        for size in [1, 15, 16, 255, 4096, 70_000] {
            let mut out = Buffer::default();
            write_chunk(&mut out, &vec![b'x'; size]);
            out.push(b"0\r\n\r\n");
            assert!(out.filled().starts_with(format!("{size:x}\r\n").as_bytes()));
            assert_eq!(read(out.filled(), 1000).unwrap().0.len(), size);
        }
    }
}
