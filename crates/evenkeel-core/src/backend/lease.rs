//! What a request holds while it uses a backend; dropping it records how the attempt ended.

use std::sync::Arc;

use super::Backend;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The backend responded.
    Answered,
    /// The backend could not be reached, broke off, was too slow, or reported that it cannot serve the request.
    Failed,
    /// The client disconnected, or the request was given up for a reason that says nothing about the backend.
    Abandoned,
}

/// One attempt's hold on a backend: counted as in flight from [`Lease::new`] until it is dropped, on whatever path.
///
/// A lease that is dropped without [`Lease::end`] counts as [`Outcome::Abandoned`].
#[derive(Debug)]
#[must_use = "dropping a lease ends the attempt"]
pub struct Lease {
    backend: Arc<Backend>,
    outcome: Outcome,
    in_total: bool,
}

impl Lease {
    /// Begins an attempt.
    pub fn new(backend: Arc<Backend>) -> Self {
        let in_total = backend.counters.begin();
        Self { backend, outcome: Outcome::Abandoned, in_total }
    }

    /// Begins an attempt unless so many are in flight already: never more, however many begin at the same time.
    pub fn within(backend: Arc<Backend>, most: u32) -> Option<Self> {
        let in_total = backend.counters.begin_within(most)?;
        Some(Self { backend, outcome: Outcome::Abandoned, in_total })
    }

    /// The backend in use.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// Ends the attempt and records how.
    pub fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.backend.counters.end(self.outcome, self.in_total);
    }
}
