//! Backends as a user describes them: `lognormal(10ms, 0.5)x9, capacity=8, slow=10x@20s..40s`.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use evenkeel::config::parse_duration;
use evenkeel::core::backend::Weight;
use evenkeel_sim::{BackendModel, Fault, Law};

/// One or more equal backends.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Description {
    pub(super) backend: Backend,
    pub(super) count: NonZeroU32,
}

/// The changes to one of the backends.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    /// Its number, from one, or its name.
    pub(super) which: String,
    details: Details,
}

/// A backend, with the name of its law.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Backend {
    pub(super) law: Law,
    pub(super) law_text: String,
    details: Details,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Details {
    capacity: Option<NonZeroU32>,
    weight: Option<Weight>,
    faults: Vec<Fault>,
    /// As written.
    texts: Vec<String>,
}

// === impl Description ===

impl FromStr for Description {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (head, details) = text.split_at(end_of_head(text));
        let (law_text, count) = match head.rsplit_once('x') {
            Some((law, count)) if is_number(count.trim()) => (
                law.trim(),
                count.trim().parse().map_err(|_| format!("`{count}` is not a number of backends"))?,
            ),
            _ => (head.trim(), NonZeroU32::MIN),
        };
        let (law, details) = (law(law_text)?, details.parse()?);
        Ok(Self { backend: Backend { law, law_text: law_text.to_owned(), details }, count })
    }
}

// === impl Change ===

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (which, details) = text.split_at(end_of_head(text));
        let details: Details = details.parse()?;
        if details == Details::default() {
            return Err("is empty: expected a backend and its changes, like `3, slow=10x@20s..40s`".into());
        }
        Ok(Self { which: which.trim().to_owned(), details })
    }
}

// === impl Backend ===

impl Backend {
    /// A backend with only its law.
    pub(super) fn new(law: Law, law_text: String) -> Self {
        Self { law, law_text, details: Details::default() }
    }

    /// The same with a fault.
    pub(super) fn fault(mut self, fault: Fault, text: String) -> Self {
        self.details.faults.push(fault);
        self.details.texts.push(text);
        self
    }

    /// Sets its weight, unless the description has one.
    pub(super) fn weight_or(mut self, weight: Weight) -> Self {
        if weight != Weight::ONE && self.details.weight.is_none() {
            self.details.weight = Some(weight);
            self.details.texts.insert(0, format!("weight={}", weight.get()));
        }
        self
    }

    /// Makes it different.
    pub(super) fn change(&mut self, change: &Change) {
        let Details { capacity, weight, faults, texts } = change.details.clone();
        self.details.capacity = capacity.or(self.details.capacity);
        self.details.weight = weight.or(self.details.weight);
        self.details.faults.extend(faults);
        let replaced = |text: &String| {
            let key = |text: &str| text.split_once('=').map(|(key, _)| key.to_owned());
            ["capacity", "weight"].map(|key| Some(key.to_owned())).contains(&key(text))
                && texts.iter().any(|new| key(new) == key(text))
        };
        self.details.texts.retain(|text| !replaced(text));
        self.details.texts.extend(texts);
    }

    /// The backend for the simulation.
    pub(super) fn model(&self, name: &str) -> BackendModel {
        let mut model = BackendModel::new(self.law.clone()).name(name);
        if let Some(capacity) = self.details.capacity {
            model = model.capacity(capacity);
        }
        if let Some(weight) = self.details.weight {
            model = model.weight(weight);
        }
        self.details.faults.iter().fold(model, |model, &fault| model.fault(fault))
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.law_text)?;
        self.details.texts.iter().try_for_each(|text| write!(f, ", {text}"))
    }
}

// === impl Details ===

impl FromStr for Details {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut details = Self::default();
        for detail in text.split(',').map(str::trim).filter(|detail| !detail.is_empty()) {
            let (key, value) =
                detail.split_once('=').map_or((detail, ""), |(key, value)| (key.trim(), value.trim()));
            match key {
                "capacity" => details.capacity = Some(number(key, value)?),
                "weight" => details.weight = Weight::new(number(key, value)?.get()),
                "slow" | "down" | "errors" => details.faults.push(fault(key, value)?),
                _ => {
                    return Err(format!(
                        "`{detail}` is not known: expected capacity=N, weight=N, slow=10x@20s..40s, down=20s..25s or errors=5%@10s.."
                    ));
                }
            }
            details.texts.push(format!("{key}={value}"));
        }
        Ok(details)
    }
}

/// The position of the first comma outside parentheses.
fn end_of_head(text: &str) -> usize {
    let mut depth = 0_i32;
    let ends = |c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth <= 0
    };
    text.find(ends).unwrap_or(text.len())
}

fn law(text: &str) -> Result<Law, String> {
    let refused = || {
        format!(
            "`{text}` is not a law: expected constant(10ms), exponential(10ms), lognormal(10ms, 0.5) or pareto(5ms, 1.5)"
        )
    };
    let Some((name, rest)) = text.split_once('(') else {
        return duration(text).map(Law::Constant).map_err(|_| refused());
    };
    let rest = rest.strip_suffix(')').ok_or_else(refused)?;
    let (time, number) = match rest.split_once(',') {
        Some((time, number)) => (time.trim(), Some(number.trim().parse::<f64>().map_err(|_| refused())?)),
        None => (rest.trim(), None),
    };
    let time = duration(time)?;
    match (name.trim(), number) {
        ("constant", None) => Ok(Law::Constant(time)),
        ("exponential", None) => Ok(Law::Exponential { mean: time }),
        ("lognormal", Some(sigma)) if sigma.is_finite() && sigma >= 0.0 => {
            Ok(Law::LogNormal { median: time, sigma })
        }
        ("pareto", Some(shape)) if shape.is_finite() && shape > 0.0 => {
            Ok(Law::Pareto { minimum: time, shape })
        }
        _ => Err(refused()),
    }
}

fn fault(key: &str, value: &str) -> Result<Fault, String> {
    if key == "down" {
        let Range { start: from, end: to } = span(value)?;
        return Ok(Fault::Down { from, to });
    }
    let (how, when) = value.split_once('@').unwrap_or((value, ".."));
    let Range { start: from, end: to } = span(when)?;
    let amount =
        |unit: char| how.trim().strip_suffix(unit).and_then(|number| number.trim().parse::<f64>().ok());
    match key {
        "slow" => {
            let factor = amount('x').filter(|factor| factor.is_finite() && *factor > 0.0);
            let factor = factor.ok_or_else(|| format!("`{how}` is not a factor: expected 10x"))?;
            Ok(Fault::Slow { from, to, factor })
        }
        _ => {
            let percent = amount('%').filter(|percent| (0.0..=100.0).contains(percent));
            let percent = percent.ok_or_else(|| format!("`{how}` is not a share: expected 0% to 100%"))?;
            Ok(Fault::Errors { from, to, share: percent / 100.0 })
        }
    }
}

/// The start and the end: `20s..40s`, `20s..`, `..40s` or `..`.
fn span(text: &str) -> Result<Range<Duration>, String> {
    let refused = || format!("`{text}` is not a time range: expected 20s..40s, 20s.. or ..40s");
    let (from, to) = text.split_once("..").ok_or_else(refused)?;
    let end = |text: &str, missing| if text.trim().is_empty() { Ok(missing) } else { duration(text.trim()) };
    let span = end(from, Duration::ZERO)?..end(to, Duration::MAX)?;
    if span.is_empty() { Err(format!("`{text}` ends before it starts")) } else { Ok(span) }
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|refused| format!("`{text}` {refused}"))
}

fn number(key: &str, value: &str) -> Result<NonZeroU32, String> {
    value.parse().map_err(|_| format!("`{key}={value}`: expected a whole number, at least 1"))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(text: &str) -> (u32, BackendModel, String) {
        let Description { backend, count } = text.parse().expect(text);
        (count.get(), backend.model("a"), backend.to_string())
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn backends_are_read_as_they_are_written() {
        let plain = |law| BackendModel::new(law).name("a");
        let constant = || plain(Law::Constant(ms(10)));
        let number = |n| NonZeroU32::new(n).unwrap();
        let slow = Fault::Slow { from: ms(20_000), to: ms(40_000), factor: 10.0 };
        let errors = Fault::Errors { from: ms(10_000), to: Duration::MAX, share: 0.05 };
        let down = Fault::Down { from: Duration::ZERO, to: ms(25_000) };
        let cases = [
            ("10ms", 1, constant()),
            ("10msx9", 9, constant()),
            ("constant( 10ms ) x 9", 9, constant()),
            ("exponential(1.5s)x12", 12, plain(Law::Exponential { mean: ms(1_500) })),
            ("lognormal(10ms, 0.5)x9", 9, plain(Law::LogNormal { median: ms(10), sigma: 0.5 })),
            ("pareto(5ms,1.5)", 1, plain(Law::Pareto { minimum: ms(5), shape: 1.5 })),
            ("10ms, capacity=8, weight=3", 1, constant().capacity(number(8)).weight(Weight::new(3).unwrap())),
            ("10ms, slow=10x@20s..40s", 1, constant().fault(slow)),
            ("10msx2, errors=5%@10s.., down=..25s", 2, constant().fault(errors).fault(down)),
            (
                "10ms,errors=100%",
                1,
                constant().fault(Fault::Errors { from: ms(0), to: Duration::MAX, share: 1.0 }),
            ),
        ];
        for (text, count, model) in cases {
            let (found, described, _) = described(text);
            assert_eq!((found, described), (count, model), "{text}");
        }
        assert_eq!(described("lognormal(10ms, 0.5) x9 ,capacity = 8").2, "lognormal(10ms, 0.5), capacity=8");
    }

    #[test]
    fn what_is_no_backend_is_refused() {
        for (text, told) in [
            ("", "`` is not a law"),
            ("fast", "`fast` is not a law"),
            ("normal(10ms)", "`normal(10ms)` is not a law"),
            ("constant(10)", "`10` is not a duration"),
            ("constant(10ms", "is not a law"),
            ("lognormal(10ms)", "is not a law"),
            ("lognormal(10ms, -1)", "is not a law"),
            ("constant(10ms, 1)", "is not a law"),
            ("10msx0", "is not a number of backends"),
            ("10ms, capacity=0", "`capacity=0`: expected a whole number"),
            ("10ms, size=3", "`size=3` is not known"),
            ("10ms, slow=10@1s..", "`10` is not a factor"),
            ("10ms, slow=10x@1s", "`1s` is not a time"),
            ("10ms, down=5s..5s", "ends before it starts"),
            ("10ms, down", "`` is not a time"),
            ("10ms, errors=101%", "`101%` is not a share"),
        ] {
            let error = text.parse::<Description>().expect_err(text);
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn a_change_adds_faults_and_replaces_numbers() {
        let mut backend = "10ms, weight=2, slow=2x".parse::<Description>().unwrap().backend;
        let change: Change = "http://a:1, weight=5, down=1s..2s".parse().unwrap();
        assert_eq!(change.which, "http://a:1");
        backend.change(&change);
        assert_eq!(backend.to_string(), "10ms, slow=2x, weight=5, down=1s..2s");
        assert!("3".parse::<Change>().unwrap_err().contains("is empty"));
    }
}
