//! A list of backends in a file, which is looked at several times a second.
//!
//! A look is one system call, works on every file system, and sees a file that is replaced as a whole (`mv new.yaml web.yaml`,
//! or the symbolic links of a Kubernetes volume), which is the right way to change it. A file that is still being written is
//! not read: it must not have changed for a moment.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use evenkeel_config::{FileSource, FileStamp, Scheme, backend_list};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::{BackendSet, Discovery, DiscoveryError};

/// A list of backends in a file.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    scheme: Scheme,
    /// What was read last, and of which file; nothing at the start and after an error.
    known: Option<(FileStamp, BackendSet)>,
}

/// How often the file is looked at.
const EVERY: Duration = Duration::from_millis(200);
/// How long a file that has changed must stay the same before it is read.
const SETTLED: Duration = Duration::from_millis(50);
/// How often that is waited for: a file that changes all the time is read in the end.
const WAITS: usize = 10;
/// Largest file, in bytes.
const LARGEST: u64 = 8 << 20;

// === impl File ===

impl File {
    /// The file that the configuration names; `scheme` is for backends without one.
    pub fn new(source: &FileSource, scheme: Scheme) -> Self {
        Self { path: source.path.clone(), scheme, known: None }
    }

    async fn read(&mut self) -> Result<BackendSet, DiscoveryError> {
        let Some((before, set)) = self.known.take() else {
            return self.read_whole(None).await;
        };
        sleep(EVERY).await;
        let stamp = self.stamp().await?;
        if stamp == before {
            self.known = Some((before, set.clone()));
            return Ok(set);
        }
        self.read_whole(Some(stamp)).await
    }

    /// Reads the file, once it has not changed for a moment. Without a stamp it is read at once: a start must not wait.
    async fn read_whole(&mut self, changed: Option<FileStamp>) -> Result<BackendSet, DiscoveryError> {
        let mut stamp = match changed {
            Some(stamp) => stamp,
            None => self.stamp().await?,
        };
        if changed.is_some() {
            for _ in 0..WAITS {
                sleep(SETTLED).await;
                let now = self.stamp().await?;
                if std::mem::replace(&mut stamp, now) == now {
                    break;
                }
            }
        }
        let (path, scheme) = (self.path.clone(), self.scheme);
        let set = blocking(move || {
            let name = path.display().to_string();
            let size = std::fs::metadata(&path).map_err(|error| unreadable(&error))?.len();
            if size > LARGEST {
                return Err(DiscoveryError::Invalid(format!("is larger than {} MiB", LARGEST >> 20)));
            }
            let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&error))?;
            backend_list(&text, &name, scheme)
                .map(BackendSet::new)
                .map_err(|error| DiscoveryError::invalid_list(&error))
        });
        let set = set.await?;
        self.known = Some((stamp, set.clone()));
        Ok(set)
    }

    async fn stamp(&self) -> Result<FileStamp, DiscoveryError> {
        let path = self.path.clone();
        blocking(move || FileStamp::of(&path).map_err(|error| unreadable(&error))).await
    }
}

impl Discovery for File {
    fn name(&self) -> String {
        format!("file {}", self.path.display())
    }

    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<BackendSet, DiscoveryError>> + Send + '_>> {
        Box::pin(self.read())
    }
}

/// Runs what can block on a thread for that: a network file system that hangs must not stop the balancer.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DiscoveryError> + Send + 'static,
) -> Result<T, DiscoveryError> {
    spawn_blocking(work).await.unwrap_or(Err(DiscoveryError::Panicked))
}

fn unreadable(error: &io::Error) -> DiscoveryError {
    match error.kind() {
        io::ErrorKind::InvalidData => DiscoveryError::Invalid("is not UTF-8".to_owned()),
        io::ErrorKind::NotFound => DiscoveryError::Unreachable("there is no such file".to_owned()),
        _ => DiscoveryError::Unreachable(format!("cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::time::timeout;

    use super::*;

    async fn next(file: &mut File) -> Result<Vec<String>, String> {
        let set = timeout(Duration::from_secs(5), file.next()).await.expect("no set in time");
        let urls = |set: BackendSet| set.iter().map(|one| one.url.text.clone()).collect();
        set.map(urls).map_err(|error| error.to_string())
    }

    /// Waits until the file has these backends; gives how long that took.
    async fn until(file: &mut File, expected: &[&str]) -> Duration {
        let begun = Instant::now();
        while next(file).await.as_deref()
            != Ok(expected.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>().as_slice())
        {
            assert!(begun.elapsed() < Duration::from_secs(5), "not {expected:?}");
        }
        begun.elapsed()
    }

    #[tokio::test]
    async fn a_change_is_seen_within_a_second_however_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yaml");
        std::fs::write(&path, "- http://10.0.0.1:80\n").unwrap();
        let mut file = File::new(&FileSource::new(&path), Scheme::Http);
        assert_eq!(next(&mut file).await.unwrap(), ["http://10.0.0.1:80"]);
        // Replaced as a whole, by a file of the same size.
        let other = folder.path().join("web.new");
        std::fs::write(&other, "- http://10.0.0.2:80\n").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(until(&mut file, &["http://10.0.0.2:80"]).await < Duration::from_secs(1));
        // Written in place, by as many bytes.
        std::fs::write(&path, "- http://10.0.0.3:80\n").unwrap();
        assert!(until(&mut file, &["http://10.0.0.3:80"]).await < Duration::from_secs(1));
        // A symbolic link that is replaced, as in Kubernetes.
        std::fs::write(&other, "- http://10.0.0.4:80\n").unwrap();
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(until(&mut file, &["http://10.0.0.4:80"]).await < Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_file_that_is_gone_or_wrong_is_an_error_until_it_is_right_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yaml");
        let mut file = File::new(&FileSource::new(&path), Scheme::Http);
        assert_eq!(next(&mut file).await.unwrap_err(), "there is no such file");
        std::fs::write(&path, "- ftp://10.0.0.1\n").unwrap();
        let message = next(&mut file).await.unwrap_err();
        assert!(message.contains("web.yaml:1:3") && message.contains("the scheme ftp"), "{message}");
        std::fs::write(&path, b"- \xff\n").unwrap();
        assert_eq!(next(&mut file).await.unwrap_err(), "is not UTF-8");
        std::fs::write(&path, "[\"http://10.0.0.1:80\"]").unwrap();
        assert_eq!(next(&mut file).await.unwrap(), ["http://10.0.0.1:80"]);
    }
}
