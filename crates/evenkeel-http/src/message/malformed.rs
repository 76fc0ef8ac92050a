//! What may be wrong with a response, or with the chunks of any body, and its text for the log.

use std::fmt;

/// What is wrong with a response, or with a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// The head of a response is too large.
    HeadTooLarge,
    /// The head of a response has too many fields.
    TooManyFields,
    /// A line of a response's head ends without a carriage return.
    LineEnd,
    /// The first line of a response is no status line.
    StatusLine,
    /// The version of a response is neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// The status of a response is no number from 100 to 599.
    Status,
    /// A field of a response has a malformed name.
    FieldName,
    /// A field of a response has a malformed value.
    FieldValue,
    /// The head of a response is malformed otherwise.
    Head,
    /// The `Content-Length` of a response is no number.
    ContentLength,
    /// A response has more than one `Content-Length`.
    TwoContentLengths,
    /// A response has a transfer coding that is not known.
    TransferEncoding,
    /// A response has both `Content-Length` and `Transfer-Encoding`.
    BothLengths,
    /// A response in HTTP/1.0 has `Transfer-Encoding`.
    ChunkedHttp10,
    /// A response is a 101 that the client did not request.
    UnexpectedUpgrade,
    /// A response in HTTP/1.0 is a 101.
    UpgradeHttp10,
    /// A backend sends too many interim responses, or too large ones.
    TooManyInterim,
    /// A chunk is malformed.
    Chunk,
    /// The size of a chunk is too large.
    ChunkSize,
    /// The line of a chunk's size is too long.
    ChunkLine,
    /// A trailer is malformed.
    Trailer,
    /// The trailers are too large.
    TrailersTooLarge,
}

// === impl Malformed ===

impl Malformed {
    /// What the log says. The only place that has these words.
    pub fn text(self) -> &'static str {
        match self {
            Self::HeadTooLarge => "response head is too large",
            Self::TooManyFields => "response has too many headers",
            Self::LineEnd => "response has a line that does not end with CR LF",
            Self::StatusLine => "response has a malformed status line",
            Self::Version => "response has an unknown HTTP version",
            Self::Status => "response has a status out of range",
            Self::FieldName => "response has a malformed header name",
            Self::FieldValue => "response has a malformed header value",
            Self::Head => "response head is malformed",
            Self::ContentLength => "response has a malformed Content-Length header",
            Self::TwoContentLengths => "response has two Content-Length headers",
            Self::TransferEncoding => "response has a Transfer-Encoding other than chunked",
            Self::BothLengths => "response has both Content-Length and Transfer-Encoding headers",
            Self::ChunkedHttp10 => "response in HTTP/1.0 has a Transfer-Encoding header",
            Self::UnexpectedUpgrade => "response has status 101 without a request to upgrade",
            Self::UpgradeHttp10 => "response in HTTP/1.0 has status 101",
            Self::TooManyInterim => "interim (1xx) responses are too many or too large",
            Self::Chunk => "body has a malformed chunk",
            Self::ChunkSize => "body has a chunk size that is too large",
            Self::ChunkLine => "body has a chunk with extensions that are too long",
            Self::Trailer => "body has a malformed trailer",
            Self::TrailersTooLarge => "body has trailers that are too large",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Malformed {}
