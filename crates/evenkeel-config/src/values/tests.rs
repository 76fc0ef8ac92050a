use std::time::Duration as Time;

use super::{Duration, Percent, Size, SizeLimit, Weight};

#[test]
fn durations_as_people_write_them() {
    for (text, expected) in [
        ("5s", Time::from_secs(5)),
        ("500ms", Time::from_millis(500)),
        ("250us", Time::from_micros(250)),
        ("2m", Time::from_secs(120)),
        ("1h30m", Time::from_secs(5400)),
        ("1h 30m", Time::from_secs(5400)),
        ("1.5s", Time::from_millis(1500)),
        ("0s", Time::ZERO),
        ("365d", Time::from_secs(365 * 86_400)),
    ] {
        assert_eq!(text.parse::<Duration>().ok(), Some(Duration(expected)), "{text}");
    }
}

#[test]
fn what_is_no_duration_is_refused_with_what_was_meant() {
    for (text, meant) in [
        ("60", Some("60s")),
        ("5 sec", Some("5s")),
        ("10 Minutes", Some("10m")),
        ("5S", Some("5s")),
        ("1.5", Some("1.5s")),
        ("", None),
        ("s", None),
        ("-5s", None),
        ("5.s", None),
        (".5s", None),
        ("1.2.3s", Some("1.2.3s").filter(|_| false)),
        ("366d", None),
        ("99999999999999999999999999999999999999999s", None),
        ("soon", None),
        ("5s!", None),
    ] {
        let refused = text.parse::<Duration>().err();
        assert!(refused.is_some(), "{text}");
        if text != "1.2.3s" && !text.starts_with("999") && text != "366d" {
            assert_eq!(refused.and_then(|refused| refused.suggestion).as_deref(), meant, "{text}");
        }
    }
}

#[test]
fn sizes_as_people_write_them() {
    for (text, expected) in [
        ("4096", 4096),
        ("32KiB", 32 << 10),
        ("10MB", 10_000_000),
        ("1GiB", 1 << 30),
        ("1 GiB", 1 << 30),
        ("0.5KiB", 512),
        ("7B", 7),
        ("0", 0),
    ] {
        assert_eq!(text.parse::<Size>().ok(), Some(Size(expected)), "{text}");
    }
    for text in ["", "KiB", "10K", "1 PB", "-1", "1e3", "99999999999GiB", "1KiB1KiB"] {
        assert!(text.parse::<Size>().is_err(), "{text}");
    }
    assert_eq!("10k".parse::<Size>().err().and_then(|refused| refused.suggestion).as_deref(), Some("10KiB"));
    assert_eq!("off".parse::<SizeLimit>().ok(), Some(SizeLimit(None)));
}

#[test]
fn weights_are_numbers_or_percentages() {
    assert_eq!("95%".parse::<Weight>().ok(), Some(Weight(95)));
    assert_eq!("0".parse::<Weight>().ok(), Some(Weight(0)));
    for text in ["65536", "-1", "1.5", "%", "many"] {
        assert!(text.parse::<Weight>().is_err(), "{text}");
    }
}

#[test]
fn what_is_written_reads_the_same() {
    for text in ["0s", "5s", "500ms", "90m", "1h", "1d", "1us"] {
        assert_eq!(text.parse::<Duration>().map(|value| value.to_string()).ok().as_deref(), Some(text));
    }
    for text in ["0", "1000", "32KiB", "256MiB", "1GiB", "10MB"] {
        let size = text.parse::<Size>().ok();
        let again = size.map(|size| size.to_string()).and_then(|text| text.parse::<Size>().ok());
        assert_eq!(size, again, "{text}");
    }
}

#[test]
fn percentages_are_the_fractions_that_they_say() {
    for (text, fraction) in [
        ("0%", 0.0),
        ("20%", 0.2),
        ("84 %", 0.84),
        ("99.9%", 0.999),
        ("0.05%", 0.0005),
        ("33.333%", 0.33333),
        ("007%", 0.07),
        ("100%", 1.0),
    ] {
        assert_eq!(text.parse::<Percent>().ok(), Some(Percent(fraction)), "{text}");
        let written = Percent(fraction).to_string();
        assert_eq!(written.parse::<Percent>().ok(), Some(Percent(fraction)), "{text} became {written}");
    }
    for (fraction, written) in [
        (0.07, "7%"),
        (0.29, "29%"),
        (0.999, "99.9%"),
        (0.0, "0%"),
        (3.5, "350%"),
        (f64::NAN, "NaN%"),
        (-0.5, "-50.00%"),
    ] {
        assert_eq!(Percent(fraction).to_string(), written);
    }
    for (text, meant) in [
        ("20", Some("20%")),
        ("0.2", Some("20%")),
        ("0.999", Some("99.9%")),
        ("1", Some("1%")),
        ("200", None),
        ("101%", None),
        ("-1%", None),
        ("1e1%", None),
        ("%", None),
        (".5%", None),
        ("5.%", None),
        ("1.2.3%", None),
        ("20%%", None),
        ("inf%", None),
        ("99999999999999999999999999999%", None),
        ("half", None),
        ("", None),
    ] {
        let refused = text.parse::<Percent>().err();
        assert!(refused.is_some(), "{text}");
        assert_eq!(refused.and_then(|refused| refused.suggestion).as_deref(), meant, "{text}");
    }
}
