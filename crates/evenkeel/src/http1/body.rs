//! Bodies: where they end, and how they are written on.

use super::Buffer;
use super::Malformed;
use super::chunked::{Chunked, Piece, write_chunk};
use crate::exchange::HeadFacts;

/// What is left of a body that is being read.
#[derive(Debug)]
pub enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks to their end.
    Chunked(Chunked),
    /// Whatever comes until the connection ends; only of answers.
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

    /// Copies as much of these bytes, which come next, as chunks, and says how many bytes that took, and how many of those
    /// were data. Stops when there is no more than `most` in `out`, or the body has ended: its end is written, too.
    ///
    /// # Errors
    /// When they are no such body.
    pub fn copy_as_chunks(
        &mut self,
        bytes: &[u8],
        most: usize,
        out: &mut Buffer,
    ) -> Result<(usize, usize), Malformed> {
        let (mut read, mut data) = (0, 0);
        while out.len() < most && !self.is_done() {
            let rest = bytes.get(read..).filter(|rest| !rest.is_empty());
            let Some(rest) = rest else { break };
            let piece = self.next(rest)?;
            if piece.data > 0 {
                write_chunk(out, rest.get(piece.skip..piece.skip + piece.data).unwrap_or_default());
            }
            read += piece.skip + piece.data;
            data += piece.data;
            if let Self::Chunked(chunked) = self
                && chunked.is_done()
            {
                chunked.write_end(out)?;
            }
        }
        Ok((read, data))
    }

    /// Copies the data of these bytes, which come next; says as [`Body::copy_as_chunks`].
    ///
    /// # Errors
    /// When they are no such body.
    pub fn copy_plain(&mut self, bytes: &[u8], out: &mut Buffer) -> Result<(usize, usize), Malformed> {
        let (mut read, mut data) = (0, 0);
        while !self.is_done() {
            let rest = bytes.get(read..).filter(|rest| !rest.is_empty());
            let Some(rest) = rest else { break };
            let piece = self.next(rest)?;
            out.push(rest.get(piece.skip..piece.skip + piece.data).unwrap_or_default());
            read += piece.skip + piece.data;
            data += piece.data;
        }
        Ok((read, data))
    }
}
