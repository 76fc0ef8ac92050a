//! Percent-encoding of what becomes a part of a URL (RFC 3986).

/// Percent-encoded, except for what never needs it (RFC 3986, 2.3).
pub fn percent_encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// What a segment of a path stands for; `None` if a `%` is not followed by two hexadecimal digits, or if the result is no text.
pub fn percent_decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                bytes.push(u8::try_from(digit()? << 4 | digit()?).ok()?);
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::{percent_decoded, percent_encoded};

    #[test]
    fn what_is_encoded_can_be_decoded() {
        for text in ["", "web", "http://[::1]:80", "http+unix:/run/a b%.sock", "größe"] {
            assert_eq!(percent_decoded(&percent_encoded(text.as_bytes())).as_deref(), Some(text));
        }
        assert_eq!(percent_encoded(b"a/b"), "a%2Fb");
        for wrong in ["%", "%4", "%zz", "%ff", "%+1"] {
            assert_eq!(percent_decoded(wrong), None, "{wrong}");
        }
    }
}
