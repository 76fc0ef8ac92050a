//! How the values of a request are written into a text, by the use of that text.
//!
//! Never knows which request the values are of.

use super::Placeholder;

/// What a text is used for, which decides how the values in it are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Escape {
    /// The value of a header. Control characters become `%XX`.
    Header,
    /// The value of `Set-Cookie`. What cannot be in the value of a cookie (RFC 6265, 4.1.1) becomes `%XX`.
    Cookie,
    /// The location of a redirect. A path, a query and the host are written as they are. Everything else becomes part of one
    /// segment: what is not a letter, a digit, `-`, `.`, `_` or `~` becomes `%XX`.
    Location,
    /// A path. A path and parts of it are written as they are. Everything else becomes part of one segment.
    Path,
    /// Plain text. Values are written as they are.
    Text,
    /// JSON, where the placeholder is in a string. Values are written as in a string, without its quotes.
    Json,
    /// HTML. `&`, `<`, `>`, `"` and `'` become entities.
    Html,
}

// === impl Escape ===

impl Escape {
    /// Whether braces have no other use than to hold placeholders. Then every `{` must be a placeholder or `{{`. Otherwise
    /// braces that do not hold a name are text, as in JSON.
    pub fn is_strict(self) -> bool {
        matches!(self, Self::Location | Self::Path)
    }

    /// How values are written into a header of this (lower-case) name. `None` if its value cannot depend on a request.
    pub fn of_header(name: &str) -> Option<Self> {
        match name {
            "location" | "content-location" => Some(Self::Location),
            "set-cookie" => Some(Self::Cookie),
            // The type of a body decides how values are written into it, and a refresh is a redirect of another form.
            "content-type" | "refresh" => None,
            _ => Some(Self::Header),
        }
    }

    /// How values are written into a body of this media type.
    pub fn of_media_type(media_type: &str) -> Self {
        let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Self::Json,
            essence if essence.ends_with("+json") => Self::Json,
            "text/html" | "text/xml" | "application/xml" => Self::Html,
            essence if essence.ends_with("+xml") => Self::Html,
            _ => Self::Text,
        }
    }

    /// Adds a text that is not of a request, such as a message.
    pub fn write_text(self, text: &str, out: &mut Vec<u8>) {
        match self {
            Self::Json => json(text, out),
            Self::Html => html(text, out),
            _ => out.extend_from_slice(text.as_bytes()),
        }
    }

    /// Adds a value.
    pub(super) fn write(self, placeholder: &Placeholder, value: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Text => out.extend_from_slice(value),
            Self::Header => encode(value, out, |byte| byte == b'\t' || byte >= b' ' && byte != 0x7f),
            Self::Cookie => encode(value, out, |byte| {
                byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
            }),
            Self::Location if placeholder.is_part_of_a_url() => {
                encode(value, out, |byte| byte.is_ascii_graphic() && byte != b'\\');
            }
            Self::Location | Self::Path if placeholder.is_part_of_a_path() => encode(value, out, |byte| {
                byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'?' | b'#' | b'"' | b'<' | b'>')
            }),
            Self::Location | Self::Path => encode(value, out, |byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
            }),
            Self::Json => json(&String::from_utf8_lossy(value), out),
            Self::Html => html(&String::from_utf8_lossy(value), out),
        }
    }
}

/// Adds the bytes that `is_plain` takes as they are, and the others as `%XX`.
fn encode(value: &[u8], out: &mut Vec<u8>, is_plain: impl Fn(u8) -> bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    for &byte in value {
        if is_plain(byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
}

fn json(value: &str, out: &mut Vec<u8>) {
    let quoted = serde_json::Value::from(value).to_string();
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
    out.extend_from_slice(inner.as_bytes());
}

fn html(value: &str, out: &mut Vec<u8>) {
    for byte in value.bytes() {
        match byte {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            b'\'' => out.extend_from_slice(b"&#39;"),
            byte => out.push(byte),
        }
    }
}
