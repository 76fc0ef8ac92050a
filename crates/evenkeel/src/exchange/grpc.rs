//! The deadline of a gRPC call, in the field `grpc-timeout`.
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests>

use std::time::Duration;

use http::HeaderValue;

/// Most digits of a timeout.
const DIGITS: usize = 8;

/// What a value means; `None` if it is none.
pub(super) fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// A time as a value, in milliseconds where these have few enough digits.
pub(super) fn value(time: Duration) -> Option<HeaderValue> {
    let millis = time.as_millis();
    let text = if millis < 10_u128.pow(DIGITS as u32) {
        format!("{millis}m")
    } else {
        format!("{}S", time.as_secs())
    };
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::{Duration, parse, value};

    #[test]
    fn a_timeout_has_a_number_and_a_unit() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("250m", Some(Duration::from_millis(250))),
            ("5u", Some(Duration::from_micros(5))),
            ("0n", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("1.5S", None),
            ("123456789S", None),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        for time in [Duration::ZERO, Duration::from_millis(99_999_999), Duration::from_secs(100_000)] {
            let value = value(time).unwrap();
            assert_eq!(parse(value.as_bytes()), Some(time), "{value:?}");
        }
    }
}
