//! Whose turn it is: a number that every core advances.

use std::sync::atomic::AtomicUsize;

/// Counts turns, wrapping. On a cache line of its own, so that advancing it slows down no one else's reads.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Cursor(pub(super) AtomicUsize);
