//! What is learned of a request while the framing of its head is checked.

use super::AnswerFormat;

/// What is learned of a request while the framing of its head is checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadFacts {
    /// The length of the body, if it was said.
    pub content_length: Option<u64>,
    /// Whether the body is chunked.
    pub chunked: bool,
    /// Whether there is a field of the kind of `X-Forwarded-For`.
    pub claims: bool,
    /// Whether a header has an underscore in its name and would be guarded with a hyphen there: see docs/headers.md.
    pub spoofed: bool,
    /// Whether the client asks for another protocol than HTTP. HTTP/2 does not count: a request that names it, alone or among
    /// others, asks for no upgrade at all, since a backend could choose it.
    pub upgrade: bool,
    /// Whether the response has no body, because the request is a HEAD.
    pub head_only: bool,
    /// In which form the client wants to read a refusal.
    pub format: AnswerFormat,
}

// === impl HeadFacts ===

impl HeadFacts {
    /// Whether a body was said to follow.
    pub fn has_body(&self) -> bool {
        self.chunked || self.content_length.is_some_and(|length| length > 0)
    }
}
