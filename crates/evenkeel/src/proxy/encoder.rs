//! Compresses a body on its way to the client, piece by piece.
//!
//! It never decides what is compressed: a filter did.

use std::fmt;
use std::io::{self, Write};

use brotli::CompressorWriter;
use bytes::Bytes;
use evenkeel_http::message::{Coding, Compression};
use flate2::write::GzEncoder;

/// Compresses one body.
pub(super) struct Encoder {
    writer: Writer,
    flushes: bool,
}

enum Writer {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    /// The end was written.
    Done,
}

/// The buffer of Brotli, and the size of its window as a power of two: 4 MiB would be a lot for each response.
const BROTLI: (usize, u32) = (4096, 19);

// === impl Encoder ===

impl Encoder {
    pub(super) fn new(compression: Compression) -> io::Result<Self> {
        let Compression { coding, level, flushes } = compression;
        let writer = match coding {
            Coding::Gzip => Writer::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(level))),
            Coding::Brotli => {
                Writer::Brotli(Box::new(CompressorWriter::new(Vec::new(), BROTLI.0, level, BROTLI.1)))
            }
            _ => Writer::Zstd(zstd::stream::write::Encoder::new(
                Vec::new(),
                i32::try_from(level).unwrap_or(3),
            )?),
        };
        Ok(Self { writer, flushes })
    }

    /// Compresses a piece, and gives what there is to send so far; all of it at the end.
    pub(super) fn encode(&mut self, piece: &[u8], end: bool) -> io::Result<Bytes> {
        let flushes = self.flushes && !piece.is_empty();
        let out = match &mut self.writer {
            Writer::Gzip(writer) => {
                writer.write_all(piece)?;
                if flushes && !end {
                    writer.flush()?;
                }
                std::mem::take(writer.get_mut())
            }
            Writer::Brotli(writer) => {
                writer.write_all(piece)?;
                if flushes && !end {
                    writer.flush()?;
                }
                std::mem::take(writer.get_mut())
            }
            Writer::Zstd(writer) => {
                writer.write_all(piece)?;
                if flushes && !end {
                    writer.flush()?;
                }
                std::mem::take(writer.get_mut())
            }
            Writer::Done => Vec::new(),
        };
        if end { self.finish(out) } else { Ok(out.into()) }
    }

    fn finish(&mut self, mut out: Vec<u8>) -> io::Result<Bytes> {
        let rest = match std::mem::replace(&mut self.writer, Writer::Done) {
            Writer::Gzip(writer) => writer.finish()?,
            Writer::Brotli(writer) => writer.into_inner(),
            Writer::Zstd(writer) => writer.finish()?,
            Writer::Done => Vec::new(),
        };
        out.extend_from_slice(&rest);
        Ok(out.into())
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encoder")
    }
}

#[cfg(test)]
mod tests {
    use super::{Coding, Compression, Encoder};
    use std::io::Read;

    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
            Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
            _ => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut out),
        }
        .unwrap();
        out
    }

    #[test]
    fn a_body_comes_out_as_it_went_in() {
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            for flushes in [false, true] {
                for pieces in [vec![], vec![0], vec![1, 0, 5], vec![70_000; 5]] {
                    let mut encoder = Encoder::new(Compression { coding, level: 4, flushes }).unwrap();
                    let (mut body, mut out) = (Vec::new(), Vec::new());
                    for size in &pieces {
                        let piece: Vec<u8> = (0..*size).map(|_| fastrand::u8(b'a'..=b'f')).collect();
                        body.extend_from_slice(&piece);
                        out.extend_from_slice(&encoder.encode(&piece, false).unwrap());
                    }
                    out.extend_from_slice(&encoder.encode(b"", true).unwrap());
                    assert_eq!(decoded(coding, &out), body, "{coding:?} {flushes} {pieces:?}");
                    assert!(encoder.encode(b"", true).unwrap().is_empty(), "the end is written once");
                    assert!(pieces != [70_000; 5] || out.len() < body.len() / 2);
                }
            }
        }
    }

    #[test]
    fn a_piece_that_is_flushed_can_be_read() {
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            let mut encoder = Encoder::new(Compression { coding, level: 4, flushes: true }).unwrap();
            let sent = encoder.encode(b"data: one\n\n", false).unwrap();
            let mut read = [0; 11];
            let complete = match coding {
                Coding::Gzip => flate2::read::GzDecoder::new(&sent[..]).read_exact(&mut read),
                Coding::Brotli => brotli::Decompressor::new(&sent[..], 4096).read_exact(&mut read),
                _ => zstd::stream::read::Decoder::new(&sent[..]).unwrap().read_exact(&mut read),
            };
            assert!(complete.is_ok() && &read == b"data: one\n\n", "{coding:?}");
        }
    }
}
