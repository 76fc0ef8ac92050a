//! The cookies of a request (RFC 6265, 5.4).

use super::RequestHead;

/// What `then` makes of the value of the first cookie of this name. Compares bytes: other cookies may be any.
pub fn cookie<T>(head: &dyn RequestHead, name: &str, then: impl Fn(&[u8]) -> T) -> Option<T> {
    let mut found = None;
    head.each("cookie", &mut |line| {
        if found.is_none() {
            let pairs = line.split(|byte| *byte == b';').filter_map(|pair| {
                let (name, value) = pair.split_at_checked(memchr::memchr(b'=', pair)?)?;
                Some((name.trim_ascii(), value.get(1..)?.trim_ascii()))
            });
            let mut values = pairs.filter(|(known, _)| *known == name.as_bytes()).map(|(_, value)| value);
            found = values.next().map(&then);
        }
    });
    found
}
