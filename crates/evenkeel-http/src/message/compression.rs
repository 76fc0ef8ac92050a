//! How the body of a response is compressed on its way to the client.

/// A content coding (RFC 9110, 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Coding {
    /// gzip.
    Gzip,
    /// Brotli.
    Brotli,
    /// Zstandard.
    Zstd,
}

/// How the body of a response is compressed on its way to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// The coding.
    pub coding: Coding,
    /// How much effort it takes: 1 to 9 for gzip, 1 to 11 for Brotli, 1 to 19 for Zstandard.
    pub level: u32,
    /// Whether each piece that comes is sent at once, at the cost of a few bytes.
    pub flushes: bool,
}

// === impl Coding ===

impl Coding {
    /// Its name in `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}
