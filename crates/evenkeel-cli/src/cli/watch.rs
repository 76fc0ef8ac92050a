//! `run --watch`: reloads when a file of the configuration changes. It never knows what a reload does.
//!
//! The files are looked at twice a second. So a file that is replaced by a rename, written in place, or reached by a symbolic
//! link that is switched (as Kubernetes does) is the same case, also on file systems that report no events. It costs one
//! system call a file. See docs/decisions/0019.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evenkeel::config::{Config, FileStamp};
use evenkeel::{Handle, ReloadError};

use super::file::load;

/// How often the files are looked at. A change is reloaded when the next look finds it unchanged: it is written whole then.
const EVERY: Duration = Duration::from_millis(500);

/// The state of a file. `None` if it is not there.
type Stamp = Option<FileStamp>;

/// The files of a configuration, each with its state when it was read last.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    known: HashMap<PathBuf, Stamp>,
}

// === impl Watch ===

impl Watch {
    /// Watches the files of a configuration that was read from this path a moment ago.
    pub(super) fn new(path: PathBuf, config: &Config) -> Self {
        let mut watch = Self { path, known: HashMap::new() };
        watch.take_files(config);
        watch
    }

    /// Reloads at each change, until the server has ended.
    pub(super) async fn run(mut self, handle: Handle) {
        let mut changed = None;
        loop {
            tokio::time::sleep(EVERY).await;
            let now = self.looked_at().await;
            if now == self.known {
                changed = None;
            } else if changed.as_ref() == Some(&now) {
                (self.known, changed) = (now, None);
                if let Err(ReloadError::Stopped | ReloadError::Draining) = handle.reload_again(false).await {
                    return;
                }
                self.read_files().await;
            } else {
                changed = Some(now);
            }
        }
    }

    /// The files as they are now. A file system that hangs must hold up nothing else.
    async fn looked_at(&self) -> HashMap<PathBuf, Stamp> {
        let files: Vec<PathBuf> = self.known.keys().cloned().collect();
        let look = move || {
            let stamps: Vec<Stamp> = files.iter().map(|file| stamp(file)).collect();
            files.into_iter().zip(stamps).collect()
        };
        tokio::task::spawn_blocking(look).await.unwrap_or_else(|_| self.known.clone())
    }

    /// The configuration may name other files now. If it is wrong, the same ones are watched.
    async fn read_files(&mut self) {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || load(&path).ok()).await;
        if let Ok(Some(config)) = read {
            self.take_files(&config);
        }
    }

    /// Watches what a configuration was read from and what it names. What was known keeps its state: a change since then is
    /// still to be seen.
    fn take_files(&mut self, config: &Config) {
        let included = config.files().iter().skip(1);
        // A pattern may match a new file in the folder of those that it matched.
        let folders = included.filter_map(|file| file.parent()).map(folder);
        let named = config.model().map(|model| model.files()).unwrap_or_default();
        let files = config.files().iter().cloned().chain(folders).chain(named).chain([self.path.clone()]);
        let known = std::mem::take(&mut self.known);
        let with_stamp = |file: PathBuf| {
            let stamp = known.get(&file).copied().unwrap_or_else(|| stamp(&file));
            (file, stamp)
        };
        self.known = files.map(with_stamp).collect();
    }
}

fn folder(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() }
}

fn stamp(path: &Path) -> Stamp {
    FileStamp::of(path).ok()
}
