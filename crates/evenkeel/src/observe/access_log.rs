//! The access log: records gathered per worker, written by a thread of their own, never waited for by a request.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use evenkeel_config::model::ACCESS_LOG_PLACEHOLDERS;
use evenkeel_config::{Format, FormatPart, LogFormat, LogHeaders};
use parking_lot::Mutex;

use super::fields::{self, Entry, Field, Message, Value};
use super::sink::{Lost, Sink};

/// The access log. Closing or dropping it writes what is left and ends its thread.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    line: Line,
    headers: LogHeaders,
    /// The share of successful requests that are recorded.
    sample: f64,
    writer: Mutex<Option<Writer>>,
}

/// The form of a record.
#[derive(Clone, Debug)]
pub enum Line {
    /// One JSON object.
    Json,
    /// The combined log format.
    Combined,
    /// Text and fields.
    Template(Vec<Piece>),
}

/// A piece of a template.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Text as it stands.
    Text(Box<str>),
    /// The value of a field.
    Field(Field),
    /// The value of a header, by its place in the list of those that are recorded.
    Header(Message, usize),
}

/// Why an access log could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessLogError {
    /// The file could not be opened for appending.
    #[error("access log {path}: {source}")]
    Open {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The system gave no thread.
    #[error("access log: cannot start its thread: {0}")]
    Thread(io::Error),
}

/// The thread that writes.
#[derive(Debug)]
struct Writer {
    thread: JoinHandle<()>,
    /// Disconnected once the thread has nothing more to do.
    ended: Receiver<()>,
}

#[derive(Debug)]
struct Shared {
    /// One for each worker. The lock is held for one record, or for a swap by the writer: a worker never waits for I/O.
    buffers: Box<[Mutex<String>]>,
    dropped: Arc<AtomicU64>,
    pending: AtomicBool,
    reopen: AtomicBool,
    stop: AtomicBool,
    writer: std::sync::OnceLock<Thread>,
}

/// How much a worker may be ahead of the writer before its records are dropped.
const BUFFER_LIMIT: usize = 1 << 20;
/// How long records are gathered before they are written: one system call for many.
const GATHER: Duration = Duration::from_millis(10);
/// How long the end waits for the last records to be written.
const PATIENCE: Duration = Duration::from_secs(1);

// === impl AccessLog ===

impl AccessLog {
    /// Opens the log and starts its thread. Records that are dropped are counted in `dropped`.
    ///
    /// # Errors
    /// When the file cannot be opened, or no thread started.
    pub fn open(
        log: &evenkeel_config::AccessLog,
        workers: usize,
        dropped: Arc<AtomicU64>,
    ) -> Result<Self, AccessLogError> {
        let sink = Sink::open(&log.to)?;
        let shared = Arc::new(Shared {
            buffers: (0..workers.max(1)).map(|_| Mutex::default()).collect(),
            dropped,
            pending: AtomicBool::new(false),
            reopen: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            writer: std::sync::OnceLock::new(),
        });
        let (running, ended) = sync_channel(0);
        let thread = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn({
                let shared = shared.clone();
                move || {
                    shared.write_until_stopped(sink);
                    drop(running);
                }
            })
            .map_err(AccessLogError::Thread)?;
        let _ = shared.writer.set(thread.thread().clone());
        let (line, headers) = (Line::new(&log.format, &log.headers), log.headers.clone());
        Ok(Self {
            shared,
            line,
            headers,
            sample: log.sample,
            writer: Mutex::new(Some(Writer { thread, ended })),
        })
    }

    /// The headers that records have.
    pub fn headers(&self) -> &LogHeaders {
        &self.headers
    }

    /// Whether this request is recorded: always if it failed, otherwise by chance.
    pub fn takes(&self, failed: bool) -> bool {
        failed || self.sample >= 1.0 || fastrand::f64() < self.sample
    }

    /// Writes a record, or drops and counts it when the writer is a mebibyte behind.
    pub fn record(&self, worker: usize, entry: &impl Entry) {
        let buffers = &self.shared.buffers;
        let Some(buffer) = buffers.get(worker).or_else(|| buffers.first()) else { return };
        let mut buffer = buffer.lock();
        if buffer.len() >= BUFFER_LIMIT {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.line.write(&mut buffer, entry, &self.headers);
        buffer.push('\n');
        drop(buffer);
        // Almost always the writer was told before, and is yet to take this buffer: it forgets that it was told, and then takes
        // the lock that was just let go of.
        if !self.shared.pending.load(Ordering::Acquire) {
            self.shared.wake();
        }
    }

    /// Opens the file again, after a rotation. Standard streams are left alone.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        self.shared.wake();
    }

    /// Writes what is left and ends the log's thread. Records that come later are lost. A reader that takes nothing for a
    /// second is not waited for any longer.
    pub fn close(&self) {
        self.shared.stop.store(true, Ordering::Release);
        let Some(Writer { thread, ended }) = self.writer.lock().take() else { return };
        thread.thread().unpark();
        // A pipe that no one reads must not keep the process from ending.
        if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            log::warn!("access log: the last records were lost: the output is not being read");
        } else {
            let _ = thread.join();
        }
    }

    /// How many records were dropped.
    #[cfg(test)]
    fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close();
    }
}

// === impl Line ===

impl Line {
    fn new(format: &LogFormat, headers: &LogHeaders) -> Self {
        match format {
            LogFormat::Combined => Self::Combined,
            LogFormat::Template(format) => Self::Template(pieces(format, headers)),
            _ => Self::Json,
        }
    }

    fn write(&self, out: &mut String, entry: &impl Entry, headers: &LogHeaders) {
        match self {
            Self::Json => fields::json(out, entry, headers),
            Self::Combined => fields::combined(out, entry),
            Self::Template(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => out.push_str(text),
                        Piece::Field(field) => fields::escaped(out, entry.field(*field)),
                        Piece::Header(of, place) => {
                            let value = entry.header(*of, *place).map_or(Value::Absent, Value::Text);
                            fields::escaped(out, value);
                        }
                    }
                }
            }
        }
    }
}

fn pieces(format: &Format, headers: &LogHeaders) -> Vec<Piece> {
    let place = |list: &[Box<str>], name: &str| list.iter().position(|known| **known == *name);
    let piece = |part: &FormatPart| match part {
        FormatPart::Text(text) => Some(Piece::Text(text.clone())),
        FormatPart::Name(name) => {
            if let Some(name) = name.strip_prefix("header.") {
                return place(&headers.request, name).map(|at| Piece::Header(Message::Request, at));
            }
            if let Some(name) = name.strip_prefix("response.header.") {
                return place(&headers.response, name).map(|at| Piece::Header(Message::Response, at));
            }
            let alias = ACCESS_LOG_PLACEHOLDERS.iter().find(|(alias, _)| *alias == &**name);
            Field::named(alias.map_or(name, |(_, field)| field)).map(Piece::Field)
        }
    };
    format.parts().iter().filter_map(piece).collect()
}

// === impl Shared ===

impl Shared {
    fn wake(&self) {
        if !self.pending.swap(true, Ordering::AcqRel)
            && let Some(writer) = self.writer.get()
        {
            writer.unpark();
        }
    }

    fn write_until_stopped(&self, mut sink: Sink) {
        let mut taken = String::new();
        let mut failing = false;
        loop {
            let stopping = self.stop.load(Ordering::Acquire);
            if !stopping && !self.pending.load(Ordering::Acquire) {
                thread::park();
                if !self.stop.load(Ordering::Acquire) {
                    thread::park_timeout(GATHER);
                }
                continue;
            }
            self.pending.store(false, Ordering::Release);
            if self.reopen.swap(false, Ordering::AcqRel) {
                sink.reopen();
            }
            for buffer in &self.buffers {
                std::mem::swap(&mut taken, &mut *buffer.lock());
                if !taken.is_empty() {
                    let written = sink.write(taken.as_bytes());
                    if let Err(lost) = &written {
                        self.dropped.fetch_add(lost.records, Ordering::Relaxed);
                    }
                    taken.clear();
                    if let (Err(Lost { error, .. }), false) = (&written, failing) {
                        // Once: a pipe whose reader has gone fails for each batch from then on.
                        log::warn!("access log: losing records: {error}");
                    }
                    failing = written.is_err();
                }
            }
            if stopping {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AccessLog, Entry, Field, Message};
    use crate::observe::Value;
    use evenkeel_config::Config;

    struct Nothing;

    impl Entry for Nothing {
        fn field(&self, _: Field) -> Value<'_> {
            Value::Absent
        }

        fn header(&self, _: Message, _: usize) -> Option<&str> {
            None
        }
    }

    #[test]
    fn records_that_cannot_be_written_are_counted() {
        // Writing to it always fails, for want of space.
        let yaml = "{ listeners: [{ address: 127.0.0.1:0 }], routes: [{ name: all, respond: {} }], \
                    access_log: { to: /dev/full, format: combined } }";
        let config = Config::from_yaml(yaml, "test", &|_| None).unwrap();
        let log = config.model().unwrap().access_log.clone().unwrap();
        let log = AccessLog::open(&log, 1, std::sync::Arc::default()).unwrap();
        for _ in 0..3 {
            log.record(0, &Nothing);
        }
        log.close();
        assert_eq!(log.dropped(), 3);
    }
}
