//! Why a task failed, in words for the person who ran it. Knows nothing of any task.

use std::fmt;
use std::process::ExitCode;

/// A task's failure.
#[derive(Debug)]
pub struct Failure {
    message: String,
    usage: bool,
}

// === impl Failure ===

impl Failure {
    /// The task could not be done.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), usage: false }
    }

    /// An unknown option.
    pub fn unknown_option(option: &str) -> Self {
        Self::usage(format!("there is no option {option:?}; see `cargo xtask help`"))
    }

    /// An option without the value that it needs.
    pub fn without_value(option: &str) -> Self {
        Self::usage(format!("{option:?} wants a value"))
    }

    /// The task was asked for wrongly.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), usage: true }
    }

    /// 2 for bad usage, else 1.
    pub fn code(&self) -> ExitCode {
        if self.usage { ExitCode::from(2) } else { ExitCode::FAILURE }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
