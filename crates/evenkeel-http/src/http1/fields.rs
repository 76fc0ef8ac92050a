//! Fields on their way through: which ones end here, and how the others are written.

use std::ops::Range;

use super::Buffer;
use crate::message::{HeaderEdit, can_be_nominated, is_for_one_hop};
use crate::message::{is_claim, is_spoof, same};

/// Fields of a request that are for the proxy that it is sent to (RFC 9110, 11.7), which is us.
pub(crate) fn is_for_the_proxy(name: &[u8]) -> bool {
    match name.len() {
        18 => name.eq_ignore_ascii_case(b"proxy-authenticate"),
        19 => name.eq_ignore_ascii_case(b"proxy-authorization"),
        _ => false,
    }
}

/// Whether a length is written with more digits than it has.
pub(super) fn has_leading_zero(value: &[u8]) -> bool {
    matches!(value, [b'0', _, ..])
}

/// The digits that a length has; one at least.
fn without_leading_zeros(value: &[u8]) -> &[u8] {
    let zeros = value.iter().take_while(|byte| **byte == b'0').count();
    value.get(zeros.min(value.len().saturating_sub(1))..).unwrap_or_default()
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
pub(super) struct ForwardedFields<'a> {
    /// The bytes in which the fields lie.
    pub(super) head: &'a [u8],
    pub(super) fields: &'a [httparse::Header<'a>],
    pub(super) edits: &'a [HeaderEdit],
    /// Whether a `Connection` among the fields names others.
    pub(super) nominates: bool,
    /// Whether any of the fields is not passed on as it is, other than those for one hop.
    pub(super) has_odd: bool,
    pub(super) of: MessageKind,
}

/// MessageKind fields they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageKind {
    /// A request's.
    Request {
        /// Whether the client waits for `100 Continue` before it sends the body.
        expects: bool,
        /// Whether what the fields say of who the client is must not pass.
        hides_claims: bool,
    },
    /// A response's.
    Response {
        /// Whether there must be no `Content-Length` (RFC 9110, 8.6).
        lengthless: bool,
        /// Whether the protocols that it names are for the client to know (RFC 9110, 15.5.22).
        offers_upgrade: bool,
    },
}

impl ForwardedFields<'_> {
    /// Writes the fields that pass, and then what the edits add.
    pub(super) fn write(&self, out: &mut Buffer) {
        let edited = self.edited_lengths();
        // Fields that pass as they are leave together: most do.
        let mut run = 0..0;
        for field in self.fields {
            let name = field.name.as_bytes();
            if self.is_dropped(name)
                || edited & length_bit(name.len()) != 0 && self.is_replaced(name)
                || self.nominates && self.is_nominated(name)
            {
                continue;
            }
            if self.has_odd && name.eq_ignore_ascii_case(b"content-length") {
                out.push(self.bytes(std::mem::take(&mut run)));
                write_field(out, name, without_leading_zeros(field.value));
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
            let mut later = self.edits.get(at + 1..).unwrap_or_default().iter();
            if !later.any(|edit| replaced(edit) == Some(name.as_str().as_bytes())) {
                write_field(out, name.as_str().as_bytes(), value.as_bytes());
            }
        }
    }

    /// Whether a field ends here, whatever the edits say.
    fn is_dropped(&self, name: &[u8]) -> bool {
        match self.of {
            MessageKind::Request { expects, hides_claims } => {
                is_for_one_hop(name)
                    || is_for_the_proxy(name)
                    || hides_claims && is_claim(name)
                    || self.has_odd && (is_spoof(name) || !expects && name.eq_ignore_ascii_case(b"expect"))
            }
            MessageKind::Response { lengthless, offers_upgrade } => {
                is_for_one_hop(name) && !(offers_upgrade && name.eq_ignore_ascii_case(b"upgrade"))
                    || lengthless && name.eq_ignore_ascii_case(b"content-length")
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
        let is = match self.of {
            // CGI-style servers make one variable of `X-User` and `X_User`.
            MessageKind::Request { .. } => same,
            MessageKind::Response { .. } => <[u8]>::eq_ignore_ascii_case,
        };
        self.edits.iter().any(|edit| replaced(edit).is_some_and(|known| is(name, known)))
    }

    fn is_nominated(&self, name: &[u8]) -> bool {
        if !can_be_nominated(name) {
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

/// The name, in lower case, of the fields whose place an edit takes.
fn replaced(edit: &HeaderEdit) -> Option<&[u8]> {
    match edit {
        HeaderEdit::Set(name, _) | HeaderEdit::Remove(name) => Some(name.as_str().as_bytes()),
        HeaderEdit::Add(..) => None,
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

/// Writes `Connection`. It must name an `Upgrade` that the message has (RFC 9110, 7.8).
pub(super) fn write_connection(out: &mut Buffer, option: Option<&str>, upgrade: bool) {
    match (option, upgrade) {
        (None, false) => {}
        (None, true) => write_field(out, b"connection", b"upgrade"),
        (Some(option), false) => write_field(out, b"connection", option.as_bytes()),
        (Some(option), true) => out.push_all([b"connection: upgrade, ", option.as_bytes(), b"\r\n"]),
    }
}

pub(super) fn write_field(out: &mut Buffer, name: &[u8], value: &[u8]) {
    out.push_all([name, b": ", value, b"\r\n"]);
}

pub(super) fn starts_with(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::http1::{Buffer, Reader, with_request};
    use crate::message::Edits;

    /// What passes unchanged is copied in runs; that must not show.
    #[test]
    fn however_fields_are_written_each_passes_alike() {
        let names = ["X", "Accept", "TE", "Keep-Alive", "X-Gone", "Cookie", "X-Edited", "Via"];
        let values = ["", "1", "a  b", "x:y", "long ".repeat(40).leak().trim_end()];
        let before = [" ", "", "  ", "\t", " \t "];
        let after = ["", "", "", " ", "\t", "   "];
        let mut edits = Edits::default();
        edits.remove(http::HeaderName::from_static("x-edited")).unwrap();
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
                request.write(&edits, Reader::Backend, &mut out);
            });
            assert!(matches!(read, Ok(Some(()))), "round {round}: {text:?}");
            let written = std::str::from_utf8(out.filled()).unwrap();
            assert_eq!(written, format!("{expected}\r\n"), "round {round}: {text:?}");
        }
    }
}
