//! Who opens an HTTP/2 connection to a backend: one request at a time, so that those that come meanwhile share it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// The turns of all groups of connections of one worker.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<u64, Arc<tokio::sync::Mutex<()>>>>);

/// A turn: until it is dropped, no other request opens a connection of the group.
pub(super) type Turn = OwnedMutexGuard<()>;

/// From here on, turns that no request has or waits for are forgotten.
const MANY: usize = 256;

// === impl Turns ===

impl Turns {
    /// Waits for a turn in this group, but no longer than a connection may take. `None` if it took longer: the requests before
    /// have a backend that does not respond, and waiting behind all of them would help none.
    pub(super) async fn take(&self, group: u64, limit: Duration) -> Option<Turn> {
        let turn = self.of(group);
        match turn.clone().try_lock_owned() {
            Ok(turn) => Some(turn),
            Err(_) => tokio::time::timeout(limit, turn.lock_owned()).await.ok(),
        }
    }

    fn of(&self, group: u64) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock();
        if turns.len() > MANY {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        turns.entry(group).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, MANY, Turns};

    #[tokio::test(start_paused = true)]
    async fn one_request_at_a_time_opens_a_connection() {
        let (turns, limit) = (Turns::default(), Duration::from_secs(2));
        let first = turns.take(1, limit).await;
        assert!(
            first.is_some() && turns.take(2, limit).await.is_some(),
            "groups do not wait for one another"
        );
        assert!(turns.take(1, limit).await.is_none(), "not forever");
        drop(first);
        assert!(turns.take(1, limit).await.is_some());
    }

    #[tokio::test]
    async fn turns_that_no_request_has_are_forgotten() {
        let turns = Turns::default();
        let held = turns.take(0, Duration::ZERO).await;
        for group in 1..10 * MANY as u64 {
            drop(turns.take(group, Duration::ZERO).await);
        }
        assert!(turns.0.lock().len() <= MANY + 1);
        assert!(turns.take(0, Duration::ZERO).await.is_none());
        drop(held);
    }
}
