//! Where the access log goes: a standard stream, a file, or syslog.
//!
//! Never knows what a record is, except that each is a line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use evenkeel_config::LogTarget;

use super::access_log::AccessLogError;
use super::syslog::Syslog;

/// Where records are written.
#[derive(Debug)]
pub(super) enum Sink {
    Stdout,
    Stderr,
    File(PathBuf, File),
    Syslog(Box<Syslog>),
}

/// Records that could not be written.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) records: u64,
    /// Why the last one could not be.
    pub(super) error: io::Error,
}

// === impl Sink ===

impl Sink {
    pub(super) fn open(target: &LogTarget) -> Result<Self, AccessLogError> {
        match target {
            LogTarget::Stderr => Ok(Self::Stderr),
            LogTarget::File(path) => {
                let file = append(path)
                    .map_err(|source| AccessLogError::Open { path: path.display().to_string(), source })?;
                Ok(Self::File(path.clone(), file))
            }
            LogTarget::Syslog(syslog) => Ok(Self::Syslog(Box::new(Syslog::new(syslog)))),
            _ => Ok(Self::Stdout),
        }
    }

    pub(super) fn reopen(&mut self) {
        if let Self::File(path, file) = self {
            match append(path) {
                Ok(fresh) => *file = fresh,
                Err(error) => log::error!(
                    "access log {}: cannot reopen, still writing to the old file: {error}",
                    path.display()
                ),
            }
        }
    }

    /// Writes records, each with a line end.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        let written = match self {
            Self::Stdout => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
            Self::Stderr => io::stderr().write_all(bytes),
            Self::File(_, file) => file.write_all(bytes),
            Self::Syslog(syslog) => return syslog.write(bytes),
        };
        let records = || memchr::memchr_iter(b'\n', bytes).count() as u64;
        written.map_err(|error| Lost { records: records(), error })
    }
}

fn append(path: &PathBuf) -> io::Result<File> {
    let is_pipe = std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    // Opening a pipe for writing alone would wait for a reader, and a balancer does not wait for its log's reader.
    OpenOptions::new().read(is_pipe).write(is_pipe).create(!is_pipe).append(!is_pipe).open(path)
}
