//! A file that is read again when it changes. It never knows what is in the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use evenkeel_config::FileStamp;

use super::{BuildContext, Task};

/// What a file says, or what never changes.
#[derive(Debug)]
pub(super) struct Watched<T> {
    value: Arc<ArcSwap<T>>,
    /// Reads the file again.
    _watch: Option<Task>,
}

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

// === impl Watched ===

impl<T: Send + Sync + 'static> Watched<T> {
    /// What never changes.
    pub(super) fn fixed(value: T) -> Self {
        Self { value: Arc::new(ArcSwap::from_pointee(value)), _watch: None }
    }

    /// What `read` makes of a file, now and whenever the file changes. `what` is in the log, in the plural: networks, users. If
    /// the file cannot be used later, the value stays and a warning is logged.
    ///
    /// # Errors
    /// What `read` says of the file now.
    pub(super) fn file(
        path: PathBuf,
        what: &'static str,
        context: &BuildContext<'_>,
        read: impl Fn(&Path) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        // Before the file is read: if it changes meanwhile, it is read again.
        let stamp = FileStamp::of(&path).ok();
        let value = Arc::new(ArcSwap::from_pointee(read(&path)?));
        let watch = context.spawn(watch(path, what, Arc::new(read), value.clone(), stamp));
        Ok(Self { value, _watch: Some(watch) })
    }

    /// The value now.
    #[inline]
    pub(super) fn load(&self) -> Guard<Arc<T>> {
        self.value.load()
    }

    /// The value now, to be kept for longer.
    pub(super) fn load_full(&self) -> Arc<T> {
        self.value.load_full()
    }
}

/// Puts what the file says in force when it changes.
async fn watch<T: Send + Sync + 'static>(
    path: PathBuf,
    what: &'static str,
    read: Arc<impl Fn(&Path) -> Result<T, String> + Send + Sync + 'static>,
    value: Arc<ArcSwap<T>>,
    mut seen: Option<FileStamp>,
) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let (file, read, before) = (path.clone(), read.clone(), seen);
        let look = move || {
            let now = FileStamp::of(&file).ok();
            (now != before).then(|| (now, read(&file)))
        };
        // A million lines take a while: not where other tasks wait.
        let Ok(Some((now, read))) = tokio::task::spawn_blocking(look).await else { continue };
        seen = now;
        match read {
            Ok(read) => {
                value.store(Arc::new(read));
                log::info!("{what} of {}: read again", path.display());
            }
            Err(problem) => {
                log::warn!("{what} of {}: {problem}: the {what} stay as they were", path.display());
            }
        }
    }
}
