//! The error log: standard error, with our messages only. Pingora's messages are off: any scanner could fill a disk
//! with them.

use std::thread;

use clap::ValueEnum;

use super::environment;

/// The log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(super) enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// The option for the log level.
#[derive(Debug, clap::Args)]
pub(super) struct Logging {
    /// The log level on standard error: off, error, warn, info, debug or trace; EVENKEEL_LOG takes finer filters, like
    /// `warn,evenkeel::control=debug` [default: info, for the demo warn]
    #[arg(long, value_name = "LEVEL", hide_possible_values = true)]
    log_level: Option<Level>,
}

/// The variable that takes a filter.
const VARIABLE: &str = "EVENKEEL_LOG";

impl Logging {
    /// Starts the error log, and logs panics there. `default` is the level if none was given.
    pub(super) fn start(&self, default: Level) {
        let filter = match self.log_level {
            Some(level) => level.filter(),
            None => environment(VARIABLE).unwrap_or_else(|| default.filter()),
        };
        env_logger::Builder::new().parse_filters(&filter).init();
        std::panic::set_hook(Box::new(|panic| {
            let message = panic.payload_as_str().unwrap_or("of an unknown kind");
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let thread = thread::current();
            let thread = thread.name().unwrap_or("unnamed");
            log::error!("panic in thread {thread} at {place}: {message}");
        }));
    }
}

impl Level {
    /// Our messages at this level, errors of other crates, nothing of Pingora: clients can trigger its messages.
    fn filter(self) -> String {
        let level = format!("{self:?}").to_lowercase();
        format!("error,evenkeel={level},pingora=off")
    }
}
