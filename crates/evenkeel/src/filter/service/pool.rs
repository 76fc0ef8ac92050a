//! Connections that wait for their next request, for each worker apart: a connection lives on the thread of its worker.

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Sender;

/// Connections that wait for their next request.
pub(super) struct Pool(Box<[Mutex<Kept>]>);

/// Connections of one worker, each with when it was used last.
type Kept = Vec<(Instant, Sender)>;

/// How many connections a worker keeps.
const MOST: usize = 32;
/// For how long a connection is kept: less than most servers keep theirs.
const IDLE: Duration = Duration::from_secs(15);

// === impl Pool ===

impl Pool {
    pub(super) fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| Mutex::default()).collect())
    }

    /// The connection that was used last.
    pub(super) fn take(&self, worker: usize) -> Option<Sender> {
        let mut kept = self.0.get(worker)?.lock();
        let now = Instant::now();
        kept.retain(|(since, sender)| now.duration_since(*since) < IDLE && !sender.is_closed());
        kept.pop().map(|(_, sender)| sender)
    }

    pub(super) fn keep(&self, worker: usize, sender: Sender) {
        if let Some(kept) = self.0.get(worker) {
            let mut kept = kept.lock();
            if kept.len() < MOST {
                kept.push((Instant::now(), sender));
            }
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|kept| kept.lock().len())).finish()
    }
}
