//! A page with the names that are replaced in it.

use std::path::Path;

use bytes::Bytes;
use evenkeel_http::message::AnswerFormat;

/// A page, taken apart once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page(Vec<Piece>);

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(Bytes),
    Status,
    Cause,
    Message,
}

/// What is known of an error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Error<'a> {
    pub(super) status: u16,
    pub(super) cause: &'a str,
    pub(super) message: &'a str,
}

/// The largest page, in bytes.
const LARGEST: usize = 1 << 20;
const NAMES: [(&str, Piece); 3] =
    [("{status}", Piece::Status), ("{cause}", Piece::Cause), ("{message}", Piece::Message)];

// === impl Page ===

impl Page {
    /// Reads a page from a file.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let text = std::fs::read(path).map_err(|error| format!("{shown}: {error}"))?;
        if text.len() > LARGEST {
            return Err(format!("{shown}: it is larger than 1 MiB"));
        }
        let text = String::from_utf8(text).map_err(|_| format!("{shown}: it is not UTF-8"))?;
        Ok(Self::parse(&text))
    }

    /// Takes a page apart. Braces that are not around a known name stay: style sheets have many.
    pub(super) fn parse(text: &str) -> Self {
        let mut pieces = Vec::new();
        let (mut rest, mut from) = (text, 0);
        while let Some(at) = rest.get(from..).and_then(|rest| rest.find('{')).map(|at| at + from) {
            let (before, after) = rest.split_at(at);
            let known = NAMES.into_iter().find(|(name, _)| after.starts_with(name));
            match known {
                Some((name, piece)) => {
                    if !before.is_empty() {
                        pieces.push(Piece::Text(Bytes::copy_from_slice(before.as_bytes())));
                    }
                    pieces.push(piece);
                    (rest, from) = (after.get(name.len()..).unwrap_or_default(), 0);
                }
                None => from = at + 1,
            }
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(Bytes::copy_from_slice(rest.as_bytes())));
        }
        Self(pieces)
    }

    /// The page of an error, in this format. A page without names is not copied.
    pub(super) fn render(&self, error: Error<'_>, format: AnswerFormat) -> Bytes {
        if let [Piece::Text(text)] = self.0.as_slice() {
            return text.clone();
        }
        let mut page = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => page.extend_from_slice(text),
                Piece::Status => page.extend_from_slice(error.status.to_string().as_bytes()),
                Piece::Cause => escape(error.cause, format, &mut page),
                Piece::Message => escape(error.message, format, &mut page),
            }
        }
        page.into()
    }
}

/// Writes a text so that it stays a text in a page of this format.
fn escape(text: &str, format: AnswerFormat, page: &mut Vec<u8>) {
    for c in text.chars() {
        match (format, c) {
            (AnswerFormat::Html, '<') => page.extend_from_slice(b"&lt;"),
            (AnswerFormat::Html, '>') => page.extend_from_slice(b"&gt;"),
            (AnswerFormat::Html, '&') => page.extend_from_slice(b"&amp;"),
            (AnswerFormat::Html, '"') => page.extend_from_slice(b"&quot;"),
            (AnswerFormat::Html, '\'') => page.extend_from_slice(b"&#39;"),
            (AnswerFormat::Json, '"' | '\\') => page.extend_from_slice(&[b'\\', c as u8]),
            (AnswerFormat::Json, c) if c < ' ' => page.push(b' '),
            (_, c) => page.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Page};
    use evenkeel_http::message::AnswerFormat;

    fn rendered(text: &str, format: AnswerFormat) -> String {
        let error = Error { status: 503, cause: "no_backend", message: "a <b> & \"c\" 'd' \\ \n é" };
        String::from_utf8(Page::parse(text).render(error, format).to_vec()).unwrap()
    }

    #[test]
    fn only_known_names_are_replaced() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("{status}{cause}", "503no_backend"),
            ("p { color: red } {status} {other} {", "p { color: red } 503 {other} {"),
            ("{{status}}", "{503}"),
            ("{status", "{status"),
            ("é{status}é", "é503é"),
        ] {
            assert_eq!(rendered(text, AnswerFormat::Html), expected, "{text}");
        }
    }

    #[test]
    fn a_message_stays_a_text() {
        assert_eq!(
            rendered("{message}", AnswerFormat::Html),
            "a &lt;b&gt; &amp; &quot;c&quot; &#39;d&#39; \\ \n é"
        );
        let json = rendered("{\"m\":\"{message}\"}", AnswerFormat::Json);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["m"], "a <b> & \"c\" 'd' \\   é");
    }
}
