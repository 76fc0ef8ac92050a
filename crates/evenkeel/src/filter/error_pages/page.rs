//! A page with the placeholders that are replaced in it.

use std::path::Path;

use bytes::Bytes;
use evenkeel_http::message::{Escape, Phase, Scope, Template};

use crate::filter::{Request, Response};

/// A page, taken apart once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    pieces: Vec<Piece>,
    escape: Escape,
    needs_request: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(Bytes),
    /// One placeholder.
    Value(Template),
    Cause,
    Message,
}

/// What is known of an error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Error<'a> {
    pub(super) cause: &'a str,
    pub(super) message: &'a str,
}

/// The largest page, in bytes.
const LARGEST: usize = 1 << 20;

// === impl Page ===

impl Page {
    /// Reads a page from a file.
    pub(super) fn read(path: &Path, escape: Escape) -> Result<Self, String> {
        let shown = path.display();
        let text = std::fs::read(path).map_err(|error| format!("{shown}: {error}"))?;
        if text.len() > LARGEST {
            return Err(format!("{shown}: it is larger than 1 MiB"));
        }
        let text = String::from_utf8(text).map_err(|_| format!("{shown}: it is not UTF-8"))?;
        Self::parse(&text, escape).map_err(|problem| format!("{shown}: it {problem}"))
    }

    /// Takes a page apart. Braces that do not hold a name stay: style sheets have many.
    pub(super) fn parse(text: &str, escape: Escape) -> Result<Self, String> {
        let (mut pieces, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some((before, from)) = rest.find('{').and_then(|at| rest.split_at_checked(at)) {
            literal.push_str(before);
            let end = end_of_braces(from);
            let (braces, after) = from.split_at(end);
            rest = after;
            let piece = match braces {
                "{cause}" => Some(Piece::Cause),
                "{message}" => Some(Piece::Message),
                braces => {
                    let template = Template::parse(braces, escape, Phase::Response, Scope::default());
                    let template = template.map_err(|error| error.to_string())?;
                    match template.constant().map(String::from_utf8_lossy) {
                        Some(text) => {
                            literal.push_str(&text);
                            None
                        }
                        None => Some(Piece::Value(template)),
                    }
                }
            };
            if let Some(piece) = piece {
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal).into()));
                }
                pieces.push(piece);
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal.into()));
        }
        let needs_request = pieces.iter().any(|piece| piece.of_request().is_some());
        Ok(Self { pieces, escape, needs_request })
    }

    /// Whether values of the request are in it.
    pub(super) fn needs_request(&self) -> bool {
        self.needs_request
    }

    /// The values of the request that are in it, in order.
    pub(super) fn keep(&self, request: &Request<'_>) -> Vec<String> {
        self.pieces.iter().filter_map(Piece::of_request).map(|template| request.text(template)).collect()
    }

    /// The page of an error, with the values of the request that were kept. A page without placeholders is not copied.
    pub(super) fn render(&self, error: Error<'_>, kept: &[String], response: &Response<'_>) -> Bytes {
        if let [Piece::Text(text)] = self.pieces.as_slice() {
            return text.clone();
        }
        let mut kept = kept.iter();
        let mut page = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => page.extend_from_slice(text),
                Piece::Value(template) if template.needs_response() => {
                    page.extend_from_slice(response.text(template).as_bytes());
                }
                // A request that ended before its filters ran has no values.
                Piece::Value(_) => page.extend_from_slice(kept.next().map_or("", String::as_str).as_bytes()),
                Piece::Cause => self.escape.write_text(error.cause, &mut page),
                Piece::Message => self.escape.write_text(error.message, &mut page),
            }
        }
        page.into()
    }
}

/// Where the braces end that a text begins with: `{name}`, `{{name}}`, or a brace that holds no name.
fn end_of_braces(from: &str) -> usize {
    if let Some(inner) =
        from.strip_prefix("{{").and_then(|rest| rest.split_once("}}")).map(|(inner, _)| inner)
        && !inner.contains(['{', '}'])
    {
        return inner.len() + 4;
    }
    let end = from.find('}').map_or(from.len(), |at| at + 1);
    // Of `{ a { b }` the second brace may begin a name.
    from.get(1..end).and_then(|inner| inner.rfind('{')).map_or(end, |at| at + 1)
}

// === impl Piece ===

impl Piece {
    /// The placeholder, if its value is known with the request.
    fn of_request(&self) -> Option<&Template> {
        match self {
            Self::Value(template) if !template.needs_response() => Some(template),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Page};
    use crate::filter::{Answer, Edits, Escape, Response, State};

    fn rendered(text: &str, escape: Escape) -> String {
        let error = Error { cause: "no_backend", message: "a <b> & \"c\" 'd' \\ \n é" };
        let (head, mut edits, mut state) = (Answer::new(503), Edits::default(), State::default());
        let response = Response::new(&head, &mut edits, &mut state);
        let page = Page::parse(text, escape).unwrap().render(error, &["<1>".to_owned()], &response);
        String::from_utf8(page.to_vec()).unwrap()
    }

    #[test]
    fn only_names_are_replaced() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("{status}{cause}", "503no_backend"),
            ("p { color: red } {status} {", "p { color: red } 503 {"),
            ("a { b: {status} }", "a { b: 503 }"),
            ("{ {status}", "{ 503"),
            ("{status", "{status"),
            ("é{status}é", "é503é"),
            ("{{status}} {{ a }} {{status}", "{status} {{ a }} {503"),
            ("{request_id}{status}", "<1>503"),
        ] {
            assert_eq!(rendered(text, Escape::Html), expected, "{text}");
        }
        let problem = Page::parse("{statsu}", Escape::Html).unwrap_err();
        assert!(problem.contains("has {statsu}, which is not a placeholder"), "{problem}");
    }

    #[test]
    fn a_message_stays_a_text() {
        assert_eq!(
            rendered("{message}", Escape::Html),
            "a &lt;b&gt; &amp; &quot;c&quot; &#39;d&#39; \\ \n é"
        );
        let json = rendered("{\"m\":\"{message}\"}", Escape::Json);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["m"], "a <b> & \"c\" 'd' \\ \n é");
    }
}
