//! The lean lane: plain HTTP/1.1 in and out, over the same exchange as Pingora's lane.
//!
//! Heads stay the bytes that they came as, edits are applied while a head is written on, bodies pass through buffers that
//! nobody holds while waiting. What this lane does not do (another protocol than HTTP/1.1, TLS to backends) it never
//! begins: the listener hands that to `proxy/`. It never decides: every decision is the exchange's.

mod answer;
mod backend;
mod download;
mod pool;
mod pump;
mod request;
mod upload;

use std::sync::Arc;

pub use pool::Pool;
pub use request::Request;

use crate::exchange::Environment;

/// The lean lane of one worker.
#[derive(Debug)]
pub struct Lane {
    environment: Arc<Environment>,
    pool: Pool,
}

/// What is done with a client's connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Another request may follow.
    Next,
    /// Close; the client may still be sending what nobody will read.
    Linger,
    /// Close.
    Close,
}

impl Lane {
    /// A lane with no connections to backends yet.
    pub fn new(environment: Arc<Environment>) -> Self {
        Self { environment, pool: Pool::default() }
    }

    /// The connections to backends that are kept for later requests.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}
