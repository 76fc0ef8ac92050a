//! What tells one state of a file from another, for everything that looks whether a file has changed.
//!
//! This file never reads what is in a file.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The state of a file: two stamps of a path are equal only if the file was not written, replaced, or given
/// another mode or owner in between.
///
/// Links are followed, so a link that leads to another file is a change too. Costs one system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    /// Device and inode: a file that is renamed over another one is another file.
    file: (u64, u64),
    size: u64,
    /// When it was written, in seconds and nanoseconds.
    modified: (i64, i64),
    /// When it was written, or its mode or owner changed.
    changed: (i64, i64),
}

// === impl FileStamp ===

impl FileStamp {
    /// The state of a file now.
    ///
    /// # Errors
    /// The system's: there is no such file, or it may not be looked at.
    pub fn of(path: &Path) -> io::Result<Self> {
        let file = path.metadata()?;
        Ok(Self {
            file: (file.dev(), file.ino()),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}
