//! Numbers as people read them.

use std::time::Duration;

use evenkeel_sim::{Fault, Recovery};

/// A latency to three digits: `850 µs`, `12.3 ms`, `1.05 s`.
pub(super) fn latency(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        micros if micros < 999.5 => format!("{micros:.0} µs"),
        micros if micros < 999_500.0 => format!("{} ms", three(micros / 1e3)),
        micros => format!("{} s", three(micros / 1e6)),
    }
}

/// A point in time or a length of it, as short as it is exact to a millisecond: `10 s`, `2.5 s`.
pub(super) fn seconds(time: Duration) -> String {
    let text = format!("{:.3}", time.as_secs_f64());
    format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A part of one, in percent to three digits at most.
pub(super) fn percent(part: f64) -> String {
    match part * 100.0 {
        0.0 => "0".to_owned(),
        percent if percent < 0.001 => "<0.001%".to_owned(),
        percent if percent < 1.0 => format!("{percent:.3}%"),
        percent => format!("{}%", three(percent)),
    }
}

/// A whole number with its thousands set apart: `12,345`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let comma = |(index, digit): (usize, char)| {
        let parted = index > 0 && (digits.len() - index).is_multiple_of(3);
        parted.then_some(',').into_iter().chain([digit])
    };
    digits.chars().enumerate().flat_map(comma).collect()
}

/// The recovery time; `-` if there is none.
pub(super) fn recovery(recovery: Option<Recovery>) -> String {
    match recovery {
        Some(Recovery::After(time)) => seconds(time),
        Some(Recovery::Never) => "never".to_owned(),
        None => "-".to_owned(),
    }
}

/// A fault as text: `slow 10x from 10 s to 20 s`.
pub(super) fn fault(fault: &Fault) -> String {
    let what = match fault {
        Fault::Slow { factor, .. } => format!("slow {factor}x"),
        Fault::Errors { share, .. } => format!("errors {}", percent(*share)),
        Fault::Down { .. } => "down".to_owned(),
        _ => "at fault".to_owned(),
    };
    let span = fault.span();
    match span.end {
        Duration::MAX if span.start.is_zero() => what,
        Duration::MAX => format!("{what} from {}", seconds(span.start)),
        end => format!("{what} from {} to {}", seconds(span.start), seconds(end)),
    }
}

/// Three digits, or as many as are before the decimal point.
fn three(number: f64) -> String {
    match number {
        number if number < 9.995 => format!("{number:.2}"),
        number if number < 99.95 => format!("{number:.1}"),
        number => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        for (micros, text) in [
            (0, "0 µs"),
            (850, "850 µs"),
            (1_000, "1.00 ms"),
            (9_996, "10.0 ms"),
            (12_345, "12.3 ms"),
            (99_960, "100 ms"),
            (999_600, "1.00 s"),
            (61_500_000, "61.5 s"),
        ] {
            assert_eq!(latency(Duration::from_micros(micros)), text);
        }
        for (part, text) in
            [(0.0, "0"), (0.000_001, "<0.001%"), (0.000_5, "0.050%"), (0.012_3, "1.23%"), (1.0, "100%")]
        {
            assert_eq!(percent(part), text);
        }
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([500, 10_000].map(|time| seconds(Duration::from_millis(time))), ["0.5 s", "10 s"]);
    }
}
