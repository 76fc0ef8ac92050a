//! How much of what a client sends belongs to the request that a data path has: the next request's bytes are not its own.

/// What is left of a request, as the bytes that a data path may still have.
#[derive(Debug)]
pub(super) enum Grant {
    /// This many bytes.
    Bytes(u64),
    /// What is left of the head, and then a chunked body to its end.
    Chunked { head: u64, body: Chunks },
    /// Whatever comes: the connection has left HTTP behind.
    All,
}

/// Finds the end of a chunked body (RFC 9112, 7.1) as it passes by. It neither copies nor judges: a body that is malformed
/// has no end, and the data path, which sees all of it, refuses it.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    state: State,
    /// Of the size that is being read, or of the data that is still to come.
    size: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    SizeStart,
    Size,
    Extension,
    SizeEnd,
    Data,
    DataEnd,
    DataEndFeed,
    TrailerStart,
    Trailer,
    LastFeed,
    Done,
    Malformed,
}

// === impl Grant ===

impl Grant {
    /// Whether the data path has had all of the request.
    pub(super) fn is_spent(&self) -> bool {
        match self {
            Self::Bytes(left) => *left == 0,
            Self::Chunked { head, body } => *head == 0 && body.state == State::Done,
            Self::All => false,
        }
    }

    /// The most that may be read at once without looking at it.
    pub(super) fn at_most(&self) -> usize {
        match self {
            Self::Bytes(left) => usize::try_from(*left).unwrap_or(usize::MAX),
            Self::Chunked { .. } | Self::All => usize::MAX,
        }
    }

    /// How many of these bytes, which come next, belong to the request; takes them off the grant.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::All => bytes.len(),
            Self::Bytes(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= count as u64;
                count
            }
            Self::Chunked { head, body } => {
                let of_head = usize::try_from(*head).unwrap_or(usize::MAX).min(bytes.len());
                *head -= of_head as u64;
                of_head + body.pass(bytes.get(of_head..).unwrap_or_default())
            }
        }
    }
}

// === impl Chunks ===

impl Chunks {
    /// How many of these bytes belong to the body.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match self.state {
                State::Done => break,
                State::Malformed => return bytes.len(),
                State::Data => {
                    let count = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len() - at);
                    self.size -= count as u64;
                    at += count;
                    if self.size == 0 {
                        self.state = State::DataEnd;
                    }
                    continue;
                }
                state => self.state = self.step(state, byte),
            }
            at += 1;
        }
        at
    }

    fn step(&mut self, state: State, byte: u8) -> State {
        match (state, byte) {
            (State::SizeStart | State::Size, byte) if byte.is_ascii_hexdigit() => self.digit(byte),
            (State::Size, b'\r') => State::SizeEnd,
            (State::Size, b';' | b' ' | b'\t') => State::Extension,
            (State::Extension, b'\r') => State::SizeEnd,
            (State::Extension, byte) if byte != b'\n' => State::Extension,
            (State::SizeEnd, b'\n') if self.size > 0 => State::Data,
            (State::SizeEnd, b'\n') => State::TrailerStart,
            (State::DataEnd, b'\r') => State::DataEndFeed,
            (State::DataEndFeed, b'\n') => State::SizeStart,
            (State::TrailerStart, b'\r') => State::LastFeed,
            (State::TrailerStart | State::Trailer, b'\n') if state == State::Trailer => State::TrailerStart,
            (State::TrailerStart | State::Trailer, byte) if byte != b'\n' => State::Trailer,
            (State::LastFeed, b'\n') => State::Done,
            _ => State::Malformed,
        }
    }

    fn digit(&mut self, byte: u8) -> State {
        let digit = char::from(byte).to_digit(16).unwrap_or_default();
        match self.size.checked_mul(16) {
            Some(size) => {
                self.size = size + u64::from(digit);
                State::Size
            }
            None => State::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Chunks, Grant};

    fn chunked(head: u64) -> Grant {
        Grant::Chunked { head, body: Chunks::default() }
    }

    #[test]
    fn the_end_is_found_however_the_bytes_come() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "5;ext=\"x\"\r\nhello\r\n00\r\nTrailer: x\r\nOther: y\r\n\r\n",
            "a\r\n0\r\n\r\n0\r\n\r\n\r\n1F\r\n0123456789012345678901234567890\r\n0\r\n\r\n",
        ] {
            let text = format!("HEAD{body}GET /next");
            for step in 1..text.len() {
                let mut grant = chunked(4);
                let mut taken = 0;
                for piece in text.as_bytes().chunks(step) {
                    let count = grant.take(piece);
                    taken += count;
                    if count < piece.len() {
                        break;
                    }
                }
                assert_eq!(&text[taken..], "GET /next", "{body:?} by {step}");
                assert!(grant.is_spent());
            }
        }
    }

    #[test]
    fn what_is_malformed_has_no_end() {
        for body in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "5\nhello",
            "5\r\nhello0\r\n\r\n",
            "1\r\nab\r\n0\r\n\r\n",
            "10000000000000000\r\n",
            "5;x\nhello\r\n0\r\n\r\n",
            "0\r\n\n",
            "0\r\n\r\r\n",
        ] {
            let text = format!("{body}GET / HTTP/1.1\r\n\r\n0\r\n\r\n");
            let mut grant = chunked(0);
            assert_eq!(grant.take(text.as_bytes()), text.len(), "{body:?}");
            assert!(!grant.is_spent(), "{body:?}");
        }
    }

    #[test]
    fn a_length_is_kept_to() {
        let mut grant = Grant::Bytes(5);
        assert_eq!((grant.take(b"abc"), grant.take(b"defg"), grant.is_spent()), (3, 2, true));
        let mut grant = Grant::All;
        assert_eq!((grant.take(b"abc"), grant.is_spent()), (3, false));
    }
}
