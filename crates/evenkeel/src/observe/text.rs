//! How values are written to the access log: by hand, since formatters would cost more than all else of a record.

use std::cell::RefCell;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

thread_local! {
    /// The last second that was written, and how.
    static SECOND: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
}

/// As 32 hexadecimal digits.
pub fn hexadecimal(number: u128) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        let digits = [byte >> 4, byte & 0xf].map(|digit| DIGITS.get(usize::from(digit)).copied());
        pair.copy_from_slice(&digits.map(Option::unwrap_or_default));
    }
    text
}

pub(super) fn number(out: &mut String, number: u64) {
    out.push_str(itoa::Buffer::new().format(number));
}

/// In milliseconds, to the microsecond.
pub(super) fn span(out: &mut String, span: Duration) {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    number(out, micros / 1000);
    thousandths(out, micros % 1000);
}

pub(super) fn id(out: &mut String, id: u128) {
    out.push_str(str::from_utf8(&hexadecimal(id)).unwrap_or_default());
}

pub(super) fn address(out: &mut String, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        let _ = write!(out, "{address}");
        return;
    };
    let [first, rest @ ..] = address.octets();
    number(out, first.into());
    for octet in rest {
        out.push('.');
        number(out, octet.into());
    }
}

/// By RFC 3339, in UTC, to the millisecond. All but the fraction is made once a second.
pub(super) fn moment(out: &mut String, moment: Timestamp) {
    let (second, Ok(fraction)) = (moment.as_second(), u64::try_from(moment.subsec_millisecond())) else {
        // A clock that is set before 1970.
        let _ = write!(out, "{moment:.3}");
        return;
    };
    SECOND.with_borrow_mut(|(known, text)| {
        if *known != second {
            *known = second;
            text.clear();
            let whole = Timestamp::from_second(second).unwrap_or(moment);
            let _ = write!(text, "{}", whole.strftime("%Y-%m-%dT%H:%M:%S"));
        }
        out.push_str(text);
    });
    thousandths(out, fraction);
    out.push('Z');
}

/// As a string of JSON.
pub(super) fn json(out: &mut String, text: &str) {
    out.push('"');
    spell(out, text, |out, c| {
        if matches!(c, '"' | '\\') {
            out.push('\\');
            out.push(c);
            return;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    });
    out.push('"');
}

/// So that nothing in it can end the line or a quoted string, or change how the line is shown: byte by byte, as nginx does.
pub(super) fn escaped(out: &mut String, text: &str) {
    spell(out, text, |out, c| {
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            let _ = write!(out, "\\x{byte:02X}");
        }
    });
}

/// Copies text, and lets `escape` write what could end a string or a line, or change how it is shown.
fn spell(out: &mut String, text: &str, escape: impl Fn(&mut String, char)) {
    if is_plain(text) {
        return out.push_str(text);
    }
    for c in text.chars() {
        if matches!(c, '"' | '\\') || c.is_control() || is_invisible(c) {
            escape(out, c);
        } else {
            out.push(c);
        }
    }
}

/// What is not seen itself and changes what is seen: it turns the direction of text (UAX #9), ends lines for some programs
/// (U+2028, U+2029), or hides text.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

/// Whether nothing in it needs another look: almost all text is so.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'))
}

fn thousandths(out: &mut String, number: u64) {
    out.push('.');
    for digit in [number / 100, number / 10, number] {
        out.push(char::from(b'0' + (digit % 10) as u8));
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use jiff::Timestamp;

    fn written(write: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        out
    }

    /// What formatters say is what we say.
    #[test]
    fn by_hand_is_as_by_formatter() {
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..5_000 {
            let micros = rng.i64(-2_000_000_000_000..4_000_000_000_000_000);
            for micros in [micros, micros / 1_000_000 * 1_000_000, micros + 1] {
                let moment = Timestamp::from_microsecond(micros).unwrap();
                assert_eq!(written(|out| super::moment(out, moment)), format!("{moment:.3}"));
            }
            let id = rng.u128(..) >> rng.u32(..128);
            assert_eq!(written(|out| super::id(out, id)), format!("{id:032x}"));
            let address = IpAddr::from(rng.u32(..).to_be_bytes());
            assert_eq!(written(|out| super::address(out, address)), address.to_string());
            let address = IpAddr::from(rng.u128(..).to_be_bytes());
            assert_eq!(written(|out| super::address(out, address)), address.to_string());
            let span = Duration::from_micros(rng.u64(..) >> rng.u32(..64));
            let micros = span.as_micros();
            let expected = format!("{}.{:03}", micros / 1000, micros % 1000);
            assert_eq!(written(|out| super::span(out, span)), expected);
        }
    }

    #[test]
    fn no_character_ends_a_string_or_turns_the_line() {
        let all = (0..0x300).chain(0x2000..0x2070).chain(0xfe00..0x1_0000).chain(0xe_0000..0xe_0080);
        let all: Vec<char> = all.filter_map(char::from_u32).collect();
        for c in all {
            let text = format!("a{c}b");
            let json = written(|out| super::json(out, &text));
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
            assert!(!json.chars().any(|c| c.is_control() || super::is_invisible(c)), "{json:?}");
            let escaped = written(|out| super::escaped(out, &text));
            assert!(!escaped.contains('"'), "{escaped:?}");
            assert!(!escaped.chars().any(|c| c.is_control() || super::is_invisible(c)), "{escaped:?}");
        }
    }
}
