//! What the clients did, counted by all of them at once. Knows nothing of how they do it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// The counters, shared by all clients.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Requests of which at least a byte was sent, also those that were broken off in their head.
    pub(crate) begun: AtomicU64,
    /// Of these, whole answers that were successes.
    pub(crate) successes: AtomicU64,
    /// Whole answers that told of a backend's failure: 502, 503, 504.
    pub(crate) failures: AtomicU64,
    /// Answers that were broken off, by whichever side.
    pub(crate) cut: AtomicU64,
    /// Requests that the client broke off before there was an answer, or that got none.
    pub(crate) unanswered: AtomicU64,
    /// Requests on a used connection that was just being closed: whether they arrived cannot be known.
    pub(crate) crossed: AtomicU64,
    /// Connections that could not be had.
    pub(crate) refused: AtomicU64,
    wrong: AtomicU64,
    /// The first of what was wrong, in words.
    examples: Mutex<Vec<String>>,
}

/// How many examples are kept.
const EXAMPLES: usize = 8;

// === impl Ledger ===

impl Ledger {
    /// Counts an answer that no fault of a backend explains.
    pub(crate) fn wrong(&self, what: String) {
        self.wrong.fetch_add(1, Relaxed);
        let mut examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
        if examples.len() < EXAMPLES {
            examples.push(what);
        }
    }

    /// How many answers were wrong.
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
            "{} requests: {} answered, {} told of a failed backend, {} answers cut, {} without answer, {} crossed a close, \
             {} connections refused, {} wrong",
            of(&self.begun),
            of(&self.successes),
            of(&self.failures),
            of(&self.cut),
            of(&self.unanswered),
            of(&self.crossed),
            of(&self.refused),
            self.wrongs()
        )
    }
}

/// One more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
