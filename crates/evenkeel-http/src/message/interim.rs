//! How many interim (1xx) responses a backend may send before its final one.

use super::Malformed;

/// Most interim responses before a final one.
const MOST: u32 = 32;
/// Most bytes of them.
const MOST_BYTES: usize = 64 * 1024;

/// The interim responses of one attempt so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interim {
    count: u32,
    bytes: usize,
}

// === impl Interim ===

impl Interim {
    /// Counts one more interim response, with a head of this many bytes.
    ///
    /// # Errors
    /// When they are too many, or too large together: the attempt has failed.
    pub fn admit(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.count = self.count.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        match self.count <= MOST && self.bytes <= MOST_BYTES {
            true => Ok(()),
            false => Err(Malformed::TooManyInterim),
        }
    }
}
