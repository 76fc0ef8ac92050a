//! Fields on their way through: which ones end here, and how the others are written.

use std::ops::Range;

use http::{HeaderName, header};

use super::Buffer;
use crate::filter::HeaderEdit;

/// Hop-by-hop fields (RFC 9110, 7.6.1), and those that frame the message, which are written again.
pub(super) fn is_for_one_hop(name: &[u8]) -> bool {
    match name.len() {
        2 => name.eq_ignore_ascii_case(b"te"),
        7 => name.eq_ignore_ascii_case(b"upgrade"),
        10 => name.eq_ignore_ascii_case(b"connection") || name.eq_ignore_ascii_case(b"keep-alive"),
        14 => name.eq_ignore_ascii_case(b"http2-settings"),
        16 => name.eq_ignore_ascii_case(b"proxy-connection"),
        17 => name.eq_ignore_ascii_case(b"transfer-encoding"),
        _ => false,
    }
}

/// Whether a field may not be edited, since it frames the message or is for one hop only. The built-in filters refuse such
/// edits at start; a filter of a user's own could still ask.
pub(super) fn is_framing(name: &HeaderName) -> bool {
    *name == header::CONTENT_LENGTH || is_for_one_hop(name.as_str().as_bytes())
}

/// What a `Connection` field says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ConnectionOptions {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    /// Whether it names fields besides those that never pass anyway.
    pub(super) nominates: bool,
}

impl ConnectionOptions {
    /// Takes in one value of the field.
    pub(super) fn read(&mut self, value: &[u8]) {
        for option in options(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else if !option.is_empty() && !is_for_one_hop(option) {
                self.nominates = true;
            }
        }
    }
}

fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Fields on their way through, with changes.
#[derive(Debug)]
pub(super) struct Passing<'a> {
    /// The bytes in which the fields lie.
    pub(super) head: &'a [u8],
    pub(super) fields: &'a [httparse::Header<'a>],
    pub(super) edits: &'a [HeaderEdit],
    /// Whether a `Connection` among the fields names others.
    pub(super) nominates: bool,
    /// Whether there must be no `Content-Length` (RFC 9110, 8.6).
    pub(super) lengthless: bool,
}

impl Passing<'_> {
    /// Writes the fields that pass, and then what the edits add.
    pub(super) fn write(&self, out: &mut Buffer) {
        let edited = self.edited_lengths();
        // Fields that pass as they are leave together: most do.
        let mut run = 0..0;
        for field in self.fields {
            let name = field.name.as_bytes();
            if is_for_one_hop(name)
                || self.lengthless && name.eq_ignore_ascii_case(b"content-length")
                || edited & length_bit(name.len()) != 0 && self.is_replaced(name)
                || self.nominates && self.is_nominated(name)
            {
                continue;
            }
            match self.place(field) {
                Some(place) if place.start == run.end => run.end = place.end,
                Some(place) => out.push(self.bytes(std::mem::replace(&mut run, place))),
                None => {
                    out.push(self.bytes(std::mem::take(&mut run)));
                    write_field(out, name, field.value);
                }
            }
        }
        out.push(self.bytes(run));
        for (at, edit) in self.edits.iter().enumerate() {
            let (HeaderEdit::Set(name, value) | HeaderEdit::Add(name, value)) = edit else { continue };
            let later = self.edits.get(at + 1..).unwrap_or_default();
            if !is_framing(name) && !later.iter().any(|edit| replaces(edit, name.as_str().as_bytes())) {
                write_field(out, name.as_str().as_bytes(), value.as_bytes());
            }
        }
    }

    /// Where a field lies, with the end of its line, if it is written there as we would write it: with one space after the
    /// colon, and none before the line's end.
    fn place(&self, field: &httparse::Header<'_>) -> Option<Range<usize>> {
        let start = field.name.as_ptr().addr().checked_sub(self.head.as_ptr().addr())?;
        let value = start + field.name.len() + b": ".len();
        let end = value + field.value.len() + b"\r\n".len();
        // A value that is empty may lie anywhere behind its colon.
        let as_written = field.value.as_ptr().addr() == self.head.as_ptr().addr() + value
            && !field.value.is_empty()
            && self.head.get(value - 1) == Some(&b' ')
            && self.head.get(end - 2..end) == Some(b"\r\n");
        as_written.then_some(start..end)
    }

    fn bytes(&self, run: Range<usize>) -> &[u8] {
        self.head.get(run).unwrap_or_default()
    }

    /// One bit for each length of a name that is edited: most fields need no closer look.
    fn edited_lengths(&self) -> u64 {
        self.edits.iter().fold(0, |bits, edit| match edit {
            HeaderEdit::Set(name, _) | HeaderEdit::Remove(name) => bits | length_bit(name.as_str().len()),
            HeaderEdit::Add(..) => bits,
        })
    }

    fn is_replaced(&self, name: &[u8]) -> bool {
        // What frames the message stays whatever an edit says.
        !name.eq_ignore_ascii_case(b"content-length") && self.edits.iter().any(|edit| replaces(edit, name))
    }

    fn is_nominated(&self, name: &[u8]) -> bool {
        // No one can hide the framing and the host.
        if name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"host") {
            return false;
        }
        self.fields
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case("connection"))
            .any(|field| options(field.value).any(|option| option.eq_ignore_ascii_case(name)))
    }
}

fn length_bit(length: usize) -> u64 {
    1 << (length & 63)
}

fn replaces(edit: &HeaderEdit, name: &[u8]) -> bool {
    match edit {
        HeaderEdit::Set(known, _) | HeaderEdit::Remove(known) => {
            known.as_str().as_bytes().eq_ignore_ascii_case(name)
        }
        HeaderEdit::Add(..) => false,
    }
}

/// Writes which protocols are requested, or which one follows, and that this is only for the other end of the
/// connection.
pub(super) fn write_upgrade(out: &mut Buffer, fields: &[httparse::Header<'_>]) {
    for field in fields.iter().filter(|field| field.name.eq_ignore_ascii_case("upgrade")) {
        write_field(out, b"upgrade", field.value);
    }
    write_field(out, b"connection", b"upgrade");
}

/// Whether one of the protocols of an `Upgrade` field is HTTP/2, which would be a way to speak to the backend past us.
pub(super) fn names_http_2(value: &[u8]) -> bool {
    options(value).any(|protocol| starts_with(protocol, b"h2"))
}

pub(super) fn write_field(out: &mut Buffer, name: &[u8], value: &[u8]) {
    out.push_all([name, b": ", value, b"\r\n"]);
}

/// Whether a field says something about who the client is, or what the request is called.
pub(super) fn is_claim(name: &[u8]) -> bool {
    starts_with(name, b"x-forwarded")
        || name.eq_ignore_ascii_case(b"forwarded")
        || name.eq_ignore_ascii_case(b"x-real-ip")
}

pub(super) fn starts_with(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Whether a trailer may not pass: what frames, routes or authorises a message, or says who sent it, belongs into its head
/// (RFC 9110, 6.5.1).
pub(super) fn is_forbidden_in_trailers(name: &[u8]) -> bool {
    const FORBIDDEN: [&[u8]; 13] = [
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"host",
        b"proxy-authorization",
        b"set-cookie",
        b"trailer",
        b"x-request-id",
    ];
    is_claim(name)
        || is_for_one_hop(name)
        || FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::filter::Edits;
    use crate::http1::{Buffer, with_request};

    /// What passes unchanged is copied in runs; that must not show.
    #[test]
    fn however_fields_are_written_each_passes_alike() {
        let names = ["X", "Accept", "TE", "Keep-Alive", "X-Gone", "Cookie", "X-Edited", "Via"];
        let values = ["", "1", "a  b", "x:y", "long ".repeat(40).leak().trim_end()];
        let before = [" ", "", "  ", "\t", " \t "];
        let after = ["", "", "", " ", "\t", "   "];
        let mut edits = Edits::default();
        edits.remove(http::HeaderName::from_static("x-edited"));
        let mut rng = fastrand::Rng::with_seed(11);
        for round in 0..2_000 {
            let mut text = String::from("GET / HTTP/1.1\r\nHost: a\r\nConnection: x-gone\r\n");
            let mut expected = String::from("GET / HTTP/1.1\r\nHost: a\r\n");
            for _ in 0..rng.usize(..8) {
                let mut choice = |from: &[&'static str]| from[rng.usize(..from.len())];
                let (name, value) = (choice(&names), choice(&values));
                write!(text, "{name}:{}{value}{}\r\n", choice(&before), choice(&after)).unwrap();
                if !["TE", "Keep-Alive", "X-Gone", "X-Edited"].contains(&name) {
                    write!(expected, "{name}: {value}\r\n").unwrap();
                }
            }
            let mut out = Buffer::default();
            let read = with_request(format!("{text}\r\nrest").as_bytes(), &mut 0, 100, |request| {
                request.write(&edits, &mut out);
            });
            assert!(matches!(read, Ok(Some(()))), "round {round}: {text:?}");
            let written = std::str::from_utf8(out.filled()).unwrap();
            assert_eq!(written, format!("{expected}\r\n"), "round {round}: {text:?}");
        }
    }
}
