//! Why a command failed, and the exit code for it.

use std::fmt;
use std::process::ExitCode;

use evenkeel::ServerError;
use evenkeel::config::ConfigError;
use evenkeel::error::{PlanError, StartError};

/// Why a command failed; `Display` is what the user reads.
#[derive(Debug)]
pub(super) enum Failure {
    /// The configuration or the request was rejected.
    Refused(String),
    /// The arguments are invalid.
    Usage(String),
    /// The system did not provide what a valid configuration needs.
    Start(String),
}

impl Failure {
    /// A rejection; `what` follows `error: `.
    pub(super) fn refused(what: impl fmt::Display) -> Self {
        Self::Refused(format!("error: {what}"))
    }

    /// Bad usage; `what` follows `error: `.
    pub(super) fn usage(what: impl fmt::Display) -> Self {
        Self::Usage(format!("error: {what}"))
    }

    /// A failure to start; `what` follows `error: `.
    pub(super) fn start(what: impl fmt::Display) -> Self {
        Self::Start(format!("error: {what}"))
    }

    /// The exit code.
    pub(super) fn code(&self) -> ExitCode {
        match self {
            Self::Refused(_) => ExitCode::from(1),
            // The same code as the argument parser.
            Self::Usage(_) => ExitCode::from(2),
            Self::Start(_) => ExitCode::from(3),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Refused(text) | Self::Usage(text) | Self::Start(text)) = self;
        f.write_str(text)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        // Each of its diagnostics starts with `error: `.
        Self::Refused(error.to_string())
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Config(error) => error.into(),
            PlanError::Authorities { .. } | PlanError::Tls { .. } => Self::refused(error),
            error => Self::start(error),
        }
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Config(error) | ServerError::Start(StartError::Config(error)) => error.into(),
            ServerError::Start(StartError::Plan(error)) => error.into(),
            error => Self::start(error),
        }
    }
}
