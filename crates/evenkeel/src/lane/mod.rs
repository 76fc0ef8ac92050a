//! The lean lane: HTTP/1.1 in and out, and what it is upgraded to, over the same exchange as Pingora's lane.
//!
//! Heads stay the bytes that they came as, edits are applied while a head is written on, bodies pass through buffers that are
//! held only while they have bytes. What this lane does not do (TLS to backends) it never begins: the listener hands that to
//! `proxy/`. It never decides: every decision is the exchange's.

mod answer;
mod backend;
mod copy;
mod download;
mod hedge;
mod pool;
mod pump;
mod request;
mod tunnel;
mod upload;
mod waiting;

use std::sync::Arc;
use std::time::Instant;

pub use request::{Dispatch, Request};
pub use waiting::WaitingRequest;

use self::pool::Pool;
use crate::exchange::Environment;
use crate::stream::Link;
use evenkeel_http::http1::give_back_spares;

/// The lean lane of one worker.
#[derive(Debug)]
pub struct Lane {
    environment: Arc<Environment>,
    pool: Pool,
}

/// What is done with a client's connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Serve the next request.
    Request,
    /// Close; the client may still be sending data that is not read.
    Linger,
    /// Close.
    Close,
}

/// From here on, passing a body on waits instead of gathering.
const GATHER_LIMIT: usize = 64 * 1024;

// === impl Next ===

impl Next {
    /// How a connection ends that can carry no more requests; `unread` if its client may still be sending the last one.
    pub fn end(link: &Link, unread: bool) -> Self {
        if unread || link.pending_input() > 0 { Self::Linger } else { Self::Close }
    }
}

// === impl Lane ===

impl Lane {
    /// A lane with no connections to backends yet.
    pub fn new(environment: Arc<Environment>) -> Self {
        Self { environment, pool: Pool::default() }
    }

    /// Maintenance, on the lane's thread: closes connections that have been idle for too long, or whose backend was removed,
    /// and gives memory back that is not needed. To be called about once a second.
    pub fn maintain(&self) {
        self.pool.sweep(Instant::now());
        give_back_spares();
    }
}
