//! What the clients did, counted by all of them together. Knows nothing of how they do it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// The counters, shared by all clients.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Requests of which at least a byte was sent, also those broken off in their head.
    pub(crate) begun: AtomicU64,
    /// Of these, complete responses that were successes.
    pub(crate) successes: AtomicU64,
    /// Complete responses that report a failed backend: 502, 503, 504.
    pub(crate) failures: AtomicU64,
    /// Responses that either side broke off.
    pub(crate) cut: AtomicU64,
    /// Requests that the client broke off before a response, or that got none.
    pub(crate) unanswered: AtomicU64,
    /// Requests on a used connection that was closing at that moment: the client cannot know whether they arrived.
    pub(crate) crossed: AtomicU64,
    /// Connections that failed.
    pub(crate) failed_connections: AtomicU64,
    wrong: AtomicU64,
    /// The first wrong responses, in words.
    examples: Mutex<Vec<String>>,
}

/// How many examples are kept.
const EXAMPLES: usize = 8;

// === impl Ledger ===

impl Ledger {
    /// Counts a response that no fault of a backend explains.
    pub(crate) fn wrong(&self, what: String) {
        self.wrong.fetch_add(1, Relaxed);
        let mut examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
        if examples.len() < EXAMPLES {
            examples.push(what);
        }
    }

    /// How many responses were wrong.
    pub(crate) fn wrongs(&self) -> u64 {
        self.wrong.load(Relaxed)
    }

    /// The first of them.
    pub(crate) fn examples(&self) -> Vec<String> {
        self.examples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        write!(
            f,
            "{} requests: {} successes, {} reported a failed backend, {} responses cut, {} without response, {} crossed a close, \
             {} connections failed, {} wrong",
            of(&self.begun),
            of(&self.successes),
            of(&self.failures),
            of(&self.cut),
            of(&self.unanswered),
            of(&self.crossed),
            of(&self.failed_connections),
            self.wrongs()
        )
    }
}

/// One more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
