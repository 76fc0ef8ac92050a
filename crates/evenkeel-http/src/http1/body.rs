//! Bodies: where they end, and how they are written on.

use super::chunked::{Chunked, Piece, write_chunk};
use super::{Buffer, Malformed};
use crate::message::HeadFacts;

/// What is left of a body that is being read.
#[derive(Debug)]
pub enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks to their end.
    Chunked(Chunked),
    /// Everything until the connection ends; only for responses.
    UntilClose,
}

impl Body {
    /// No body.
    pub const NONE: Self = Self::Length(0);

    /// The body of a request.
    pub fn of_request(facts: &HeadFacts) -> Self {
        match facts.chunked {
            true => Self::Chunked(Chunked::default()),
            false => Self::Length(facts.content_length.unwrap_or_default()),
        }
    }

    /// The same body; trailers at its end are not written on.
    #[must_use]
    pub fn without_trailers(self) -> Self {
        match self {
            Self::Chunked(chunked) => Self::Chunked(chunked.without_trailers()),
            other => other,
        }
    }

    /// Whether it is read to its end.
    #[inline]
    pub fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.is_done(),
            Self::UntilClose => false,
        }
    }

    /// What these bytes, which come next, begin with; see [`Chunked::next`].
    ///
    /// # Errors
    /// When they are no such body.
    #[inline]
    pub fn next(&mut self, bytes: &[u8]) -> Result<Piece, Malformed> {
        match self {
            Self::Length(left) => {
                let data = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= data as u64;
                Ok(Piece { skip: 0, data })
            }
            Self::Chunked(chunked) => chunked.next(bytes),
            Self::UntilClose => Ok(Piece { skip: 0, data: bytes.len() }),
        }
    }

    /// Copies the data of these bytes, which come next, `as_chunks` or bare; says how many bytes that took, and how many of
    /// those were data. Stops once there are `most` in `out`, or the body has ended: the end of chunks is written, too.
    ///
    /// # Errors
    /// When they are no such body.
    pub fn copy(
        &mut self,
        bytes: &[u8],
        as_chunks: bool,
        most: usize,
        out: &mut Buffer,
    ) -> Result<(usize, usize), Malformed> {
        let (mut read, mut data) = (0, 0);
        while out.len() < most && !self.is_done() {
            let rest = bytes.get(read..).filter(|rest| !rest.is_empty());
            let Some(rest) = rest else { break };
            let piece = self.next(rest)?;
            let found = rest.get(piece.skip..piece.skip + piece.data).unwrap_or_default();
            match as_chunks {
                true if !found.is_empty() => write_chunk(out, found),
                _ => out.push(found),
            }
            read += piece.skip + piece.data;
            data += piece.data;
            match self {
                Self::Chunked(chunked) if as_chunks && chunked.is_done() => chunked.write_end(out)?,
                _ => {}
            }
        }
        Ok((read, data))
    }
}
