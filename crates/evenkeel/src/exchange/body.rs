//! The body of a request: how long it can be, and whether the rest of a body that no backend reads is discarded.
//!
//! It never sees the bytes.

use evenkeel_http::message::Refusal;

use super::Exchange;

/// Largest rest of a body that is read and discarded, so that its connection can be kept.
pub const DISCARD_LIMIT: u64 = 64 * 1024;

impl Exchange {
    /// Counts bytes of the body that came from the client.
    ///
    /// # Errors
    /// When the body is larger than it can be.
    pub fn receive_body(&mut self, bytes: u64) -> Result<(), Refusal> {
        let received = self.count_received(bytes);
        // What follows an upgrade is no body.
        if self.in_flight().is_upgraded() { Ok(()) } else { self.admit_body(received) }
    }

    /// Whether a body can have this length. The only place that decides it, for both lanes, and for bodies whose length is known
    /// from the head as for those whose length is not.
    pub(super) fn admit_body(&self, length: u64) -> Result<(), Refusal> {
        match self.max_body() {
            Some(max) if length > max => Err(Refusal::BodyTooLarge),
            _ => Ok(()),
        }
    }

    /// Whether the rest of a body, of this length if that is known, is read and discarded after a response that did not need it:
    /// the next request on the connection can follow then. `withheld` is whether the client waits for `100 Continue` and may
    /// never send it.
    pub fn discards(rest: Option<u64>, withheld: bool) -> bool {
        match rest {
            Some(0) => true,
            Some(rest) => rest <= DISCARD_LIMIT && !withheld,
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DISCARD_LIMIT, Exchange};

    #[test]
    fn a_short_rest_is_discarded_and_a_long_one_ends_the_connection() {
        assert!(Exchange::discards(Some(0), true), "there is nothing to wait for");
        assert!(Exchange::discards(Some(DISCARD_LIMIT), false));
        assert!(!Exchange::discards(Some(DISCARD_LIMIT + 1), false));
        assert!(!Exchange::discards(Some(1), true), "the client may never send it");
        assert!(!Exchange::discards(None, false), "chunks can go on for any time");
    }
}
