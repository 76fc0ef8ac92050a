//! The access log: records gathered per worker, written by a thread of their own, never waited for by a request.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use evenkeel_config::{LogFormat, LogTarget, Part, Template};
use parking_lot::Mutex;

use super::fields::{self, Entry, Field};

/// The access log. Closing or dropping it writes what is left and ends its thread.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    line: Line,
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

#[derive(Debug)]
enum Sink {
    Stdout,
    Stderr,
    File(PathBuf, File),
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
        target: &LogTarget,
        format: &LogFormat,
        workers: usize,
        dropped: Arc<AtomicU64>,
    ) -> Result<Self, AccessLogError> {
        let sink = Sink::open(target)?;
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
        Ok(Self { shared, line: Line::new(format), writer: Mutex::new(Some(Writer { thread, ended })) })
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
        self.line.write(&mut buffer, entry);
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
    fn new(format: &LogFormat) -> Self {
        match format {
            LogFormat::Combined => Self::Combined,
            LogFormat::Template(template) => Self::Template(pieces(template)),
            _ => Self::Json,
        }
    }

    fn write(&self, out: &mut String, entry: &impl Entry) {
        match self {
            Self::Json => fields::json(out, entry),
            Self::Combined => fields::combined(out, entry),
            Self::Template(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => out.push_str(text),
                        Piece::Field(field) => fields::escaped(out, entry.field(*field)),
                    }
                }
            }
        }
    }
}

fn pieces(template: &Template) -> Vec<Piece> {
    let piece = |part: &Part| match part {
        Part::Text(text) => Some(Piece::Text(text.clone())),
        Part::Name(name) => Field::named(name).map(Piece::Field),
    };
    template.parts().iter().filter_map(piece).collect()
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
                    if written.is_err() {
                        let lost = memchr::memchr_iter(b'\n', taken.as_bytes()).count();
                        self.dropped.fetch_add(lost as u64, Ordering::Relaxed);
                    }
                    taken.clear();
                    if let (Err(error), false) = (&written, failing) {
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

// === impl Sink ===

impl Sink {
    fn open(target: &LogTarget) -> Result<Self, AccessLogError> {
        match target {
            LogTarget::Stderr => Ok(Self::Stderr),
            LogTarget::File(path) => {
                let file = append(path)
                    .map_err(|source| AccessLogError::Open { path: path.display().to_string(), source })?;
                Ok(Self::File(path.clone(), file))
            }
            _ => Ok(Self::Stdout),
        }
    }

    fn reopen(&mut self) {
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

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
            Self::Stderr => io::stderr().write_all(bytes),
            Self::File(_, file) => file.write_all(bytes),
        }
    }
}

fn append(path: &PathBuf) -> io::Result<File> {
    let is_pipe = std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    // Opening a pipe for writing alone would wait for a reader, and a balancer does not wait for its log's reader.
    OpenOptions::new().read(is_pipe).write(is_pipe).create(!is_pipe).append(!is_pipe).open(path)
}

#[cfg(test)]
mod tests {
    use super::{AccessLog, Entry, Field};
    use crate::observe::Value;
    use evenkeel_config::{LogFormat, LogTarget};

    struct Nothing;

    impl Entry for Nothing {
        fn field(&self, _: Field) -> Value<'_> {
            Value::Absent
        }
    }

    #[test]
    fn records_that_cannot_be_written_are_counted() {
        // Writing to it always fails, for want of space.
        let log = AccessLog::open(
            &LogTarget::File("/dev/full".into()),
            &LogFormat::Combined,
            1,
            std::sync::Arc::default(),
        )
        .unwrap();
        for _ in 0..3 {
            log.record(0, &Nothing);
        }
        log.close();
        assert_eq!(log.dropped(), 3);
    }
}
