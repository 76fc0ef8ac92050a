//! The error log: standard error, with our messages only. Pingora's messages are off: any scanner could fill a disk
//! with them.

use std::io::{self, Write};
use std::thread;

use clap::ValueEnum;
use env_logger::fmt::Formatter;
use log::Record;

use super::environment;
use super::printable::one_line;

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
    /// How much is logged to standard error: off, error, warn, info, debug or trace. Without this option, the environment
    /// variable EVENKEEL_LOG decides, else RUST_LOG; both take a level, or a filter like `warn,evenkeel::control=debug`
    /// [default: info; for demo: warn]
    #[arg(long, value_name = "LEVEL", hide_possible_values = true)]
    log_level: Option<Level>,
}

/// The variables that take a filter. The first that is set and not empty decides.
const VARIABLES: [&str; 2] = ["EVENKEEL_LOG", "RUST_LOG"];

/// Pingora logs nothing unless a filter names it: what it logs, clients can make it log without end.
const QUIET: &str = "pingora=off";

impl Logging {
    /// Starts the error log, which also gets panics. `default` is the level when no other was asked for.
    pub(super) fn start(&self, default: Level) {
        let filter = match self.log_level {
            Some(level) => level.filter(),
            None => given().unwrap_or_else(|| default.filter()),
        };
        env_logger::Builder::new().parse_filters(&filter).format(line).init();
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
    /// This level for evenkeel, errors of its dependencies, nothing of Pingora.
    fn filter(self) -> String {
        let level = format!("{self:?}").to_lowercase();
        format!("error,evenkeel={level},{QUIET}")
    }
}

/// The filter of the environment. What it says of Pingora has precedence over ours, as it comes later.
fn given() -> Option<String> {
    let filter = VARIABLES.iter().find_map(|name| environment(name).filter(|filter| !filter.is_empty()))?;
    Some(format!("{QUIET},{filter}"))
}

/// One line for each record, whatever is in it.
fn line(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let (time, message) = (out.timestamp(), record.args().to_string());
    writeln!(out, "[{time} {:<5} {}] {}", record.level(), record.target(), one_line(&message))
}
