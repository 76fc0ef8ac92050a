//! Which data path the balancers of this run use. `EVENKEEL_TEST_LANES` says so: the same tests run over each.

use std::fmt::Write as _;

/// What carries plain HTTP/1.1 in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Lean,
    Pingora,
}

// === impl Lane ===

impl Lane {
    /// As records and metrics call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lean => "lean",
            Self::Pingora => "pingora",
        }
    }
}

/// What carries plain HTTP/1.1 in this run, for a test that expects something else of each on purpose. It knows nothing of
/// a configuration with `lanes` of its own, or of a program that runs without one.
pub(crate) fn lane() -> Lane {
    match asked_for().as_deref() {
        None | Some("auto") => Lane::Lean,
        Some("pingora") => Lane::Pingora,
        Some(other) => panic!("EVENKEEL_TEST_LANES is {other:?}: expected auto or pingora"),
    }
}

/// Adds to a configuration each of these keys that it does not have, and the `lanes` of this run.
pub(crate) fn filled_up(yaml: &str, defaults: &[(&str, &str)]) -> String {
    let mut text = yaml.to_owned();
    let lanes = asked_for();
    let lanes = lanes.as_deref().map(|lanes| ("lanes:", lanes));
    for (key, value) in defaults.iter().copied().chain(lanes) {
        if !yaml.lines().any(|line| line.starts_with(key)) {
            let _ = write!(text, "\n{key} {value}\n");
        }
    }
    text
}

fn asked_for() -> Option<String> {
    let value = std::env::var_os("EVENKEEL_TEST_LANES")?;
    Some(value.into_string().expect("text")).filter(|lanes| !lanes.is_empty())
}

/// Whether listeners that a test does not describe speak TLS in this run, and clients with them.
pub(crate) fn over_tls() -> bool {
    std::env::var_os("EVENKEEL_TEST_TLS").is_some_and(|value| !value.is_empty())
}
