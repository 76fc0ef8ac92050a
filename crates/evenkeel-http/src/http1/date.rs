//! `Date`, made once a second.

use std::cell::RefCell;

use http::HeaderValue;
use rustix::time::{ClockId, clock_gettime};

use super::Buffer;
use super::fields::write_field;

thread_local! {
    static DATE: RefCell<(i64, String)> = const { RefCell::new((0, String::new())) };
}

/// Writes the field (RFC 9110, 6.6.1).
pub(super) fn write_date(out: &mut Buffer) {
    with_date(|date| write_field(out, b"date", date.as_bytes()));
}

/// The value of the field, now.
pub fn date() -> HeaderValue {
    with_date(|date| HeaderValue::from_str(date).unwrap_or(HeaderValue::from_static("")))
}

/// Calls `then` with the time as the field has it (RFC 9110, 5.6.7).
fn with_date<T>(then: impl FnOnce(&str) -> T) -> T {
    // Coarse is fine enough for seconds, and costs a fifth.
    let now = clock_gettime(ClockId::RealtimeCoarse).tv_sec;
    DATE.with_borrow_mut(|(second, text)| {
        if *second != now {
            *second = now;
            let moment = jiff::Timestamp::from_second(now).unwrap_or_default();
            *text = moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        }
        then(text)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_date_is_as_rfc_9110_has_it() {
        let text = super::with_date(str::to_owned);
        let then = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(&text).unwrap();
        assert!(jiff::Timestamp::now().duration_since(then).as_secs() < 5, "{text}");
        assert_eq!((text.len(), text.ends_with(" GMT")), (29, true), "{text}");
    }
}
