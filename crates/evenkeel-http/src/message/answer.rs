//! A response that the balancer generates itself, ready for any transport.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};

use super::{Replacement, ResponseHead};

/// A whole response: status, fields, body. The transport adds `Content-Length`, `Date` and `Connection`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// Its status, 200 to 599.
    pub status: u16,
    /// Its fields.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub body: Bytes,
}

/// The format of a rejection, as the client accepts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerFormat {
    /// Plain text: for clients without a preference.
    #[default]
    Text,
    /// A page for a browser.
    Html,
    /// An object for a program.
    Json,
    /// A status in the fields and no body, as gRPC requires.
    Grpc,
}

// === impl Answer ===

impl Answer {
    /// A response with this status and nothing else.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// With this field added.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// With this body, of this type.
    #[must_use]
    pub fn content(self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.header(header::CONTENT_TYPE, HeaderValue::from_static(content_type)).body(body)
    }

    /// This body in place of that of an error of a backend, with what clients need of its head.
    pub fn replacing(head: &dyn ResponseHead, replacement: Replacement) -> Self {
        let mut answer = Self::new(head.status()).header(header::CONTENT_TYPE, replacement.content_type);
        answer.body = replacement.body;
        for name in [header::ALLOW, header::RETRY_AFTER, header::SET_COOKIE, header::WWW_AUTHENTICATE] {
            head.each(name.as_str(), &mut |value| {
                if let Ok(value) = HeaderValue::from_bytes(value) {
                    answer.headers.push((name.clone(), value));
                }
            });
        }
        answer
    }

    /// With another body.
    pub fn replace(&mut self, replacement: Replacement) {
        self.headers.retain(|(name, _)| *name != header::CONTENT_TYPE && *name != header::CONTENT_ENCODING);
        self.headers.push((header::CONTENT_TYPE, replacement.content_type));
        self.body = replacement.body;
    }
}

impl ResponseHead for Answer {
    fn status(&self) -> u16 {
        self.status
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_bytes())
    }

    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        self.headers.iter().filter(|(known, _)| known == name).for_each(|(_, value)| visit(value.as_bytes()));
    }
}

// === impl AnswerFormat ===

impl AnswerFormat {
    /// The format for a request with these `Accept` and `Content-Type` fields. gRPC if the request is gRPC. Else HTML
    /// or JSON, whichever the client lists first. Else text.
    pub fn of(accept: Option<&[u8]>, content_type: Option<&[u8]>) -> Self {
        if content_type.is_some_and(is_grpc) {
            return Self::Grpc;
        }
        // Most requests are those of a program that takes anything, or that does not say.
        let Some(accept) = accept.filter(|accept| *accept != b"*/*") else { return Self::Text };
        let accept = String::from_utf8_lossy(accept);
        let media = accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
        for media in media {
            match media {
                "text/html" | "application/xhtml+xml" => return Self::Html,
                "application/json" => return Self::Json,
                media if media.starts_with("application/") && media.ends_with("+json") => return Self::Json,
                "text/plain" => return Self::Text,
                _ => {}
            }
        }
        Self::Text
    }
}

/// Whether a content type is that of gRPC, and not of gRPC-Web, whose clients map the HTTP status themselves.
fn is_grpc(content_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let Some((start, rest)) = content_type.split_at_checked(GRPC.len()) else { return false };
    start.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'))
}

#[cfg(test)]
mod tests {
    use super::AnswerFormat;

    #[test]
    fn the_form_follows_what_the_client_names_first() {
        let of = |accept: &str| AnswerFormat::of(Some(accept.as_bytes()), None);
        assert_eq!(of("text/html,application/xhtml+xml,*/*;q=0.8"), AnswerFormat::Html);
        assert_eq!(of("application/json, text/plain, */*"), AnswerFormat::Json);
        assert_eq!(of("application/problem+json"), AnswerFormat::Json);
        assert_eq!(of("*/*"), AnswerFormat::Text);
        assert_eq!(AnswerFormat::of(None, None), AnswerFormat::Text);
        for grpc in ["application/grpc", "application/grpc+proto", "Application/gRPC;x=y"] {
            assert_eq!(AnswerFormat::of(None, Some(grpc.as_bytes())), AnswerFormat::Grpc, "{grpc}");
        }
        for web in ["application/grpc-web", "application/grpc-web-text+proto", "application/grpc-web+proto"] {
            assert_eq!(AnswerFormat::of(None, Some(web.as_bytes())), AnswerFormat::Text, "{web}");
        }
    }
}
