//! How much of what a client sends belongs to the request that a data path has: the next request's bytes are not its own.

use evenkeel_http::http1::Chunked;
use evenkeel_http::message::Malformed;

/// What is left of a request, as the bytes that a data path may still have.
#[derive(Debug)]
pub enum Grant {
    /// This many bytes.
    Bytes(u64),
    /// What is left of the head, and then a chunked body to its end.
    Chunked {
        /// Bytes of the head.
        head: u64,
        /// Where the body is.
        body: Box<Chunked>,
        /// Why it is no chunked body, if it is none: then a data path gets nothing more.
        broken: Option<Malformed>,
    },
    /// Whatever comes: the connection has left HTTP behind.
    All,
}

// === impl Grant ===

impl Grant {
    /// Whether the data path has had all of the request.
    pub fn is_spent(&self) -> bool {
        match self {
            Self::Bytes(left) => *left == 0,
            Self::Chunked { head, body, .. } => *head == 0 && body.is_done(),
            Self::All => false,
        }
    }

    /// Why what came is not what was granted, if it is not.
    pub fn broken(&self) -> Option<Malformed> {
        match self {
            Self::Chunked { broken, .. } => *broken,
            Self::Bytes(_) | Self::All => None,
        }
    }

    /// The most that may be read at once without looking at it.
    pub fn at_most(&self) -> usize {
        match self {
            Self::Bytes(left) => usize::try_from(*left).unwrap_or(usize::MAX),
            Self::Chunked { .. } | Self::All => usize::MAX,
        }
    }

    /// How many of these bytes, which come next, belong to the request; takes them off the grant.
    pub fn take(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::All => bytes.len(),
            Self::Bytes(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= count as u64;
                count
            }
            Self::Chunked { head, body, broken } => {
                let mut count = usize::try_from(*head).unwrap_or(usize::MAX).min(bytes.len());
                *head -= count as u64;
                while !body.is_done() && broken.is_none() && count < bytes.len() {
                    match body.next(bytes.get(count..).unwrap_or_default()) {
                        Ok(piece) => count += piece.skip + piece.data,
                        Err(malformed) => *broken = Some(malformed),
                    }
                }
                if body.is_done() {
                    *broken = broken.or(body.check_end().err());
                }
                count
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Grant;

    fn chunked(head: u64) -> Grant {
        Grant::Chunked { head, body: Box::default(), broken: None }
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
                assert!(grant.is_spent() && grant.broken().is_none());
            }
        }
    }

    #[test]
    fn what_is_malformed_is_never_spent() {
        for body in ["\r\n", "x\r\n", "5\nhello", "5\r\nhello0\r\n\r\n", "0\r\n\n"] {
            let text = format!("HEAD{body}GET / HTTP/1.1\r\n\r\n0\r\n\r\n");
            let mut grant = chunked(4);
            assert!(grant.take(text.as_bytes()) < text.len(), "{body:?}");
            assert!(grant.broken().is_some() && !grant.is_spent(), "{body:?}");
        }
        let mut grant = chunked(0);
        grant.take(b"0\r\nno colon\r\n\r\n");
        assert!(grant.broken().is_some());
    }

    #[test]
    fn a_length_is_kept_to() {
        let mut grant = Grant::Bytes(5);
        assert_eq!((grant.take(b"abc"), grant.take(b"defg"), grant.is_spent()), (3, 2, true));
        let mut grant = Grant::All;
        assert_eq!((grant.take(b"abc"), grant.is_spent()), (3, false));
    }
}
