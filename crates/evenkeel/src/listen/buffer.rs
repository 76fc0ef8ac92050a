//! Bytes between a socket and a data path, in memory that is given back as soon as there are none.

use std::cell::RefCell;

/// Bytes that come in at one end and leave at the other. Empty, it holds no memory: that comes from, and returns to, a
/// store of the thread.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    /// All of it is initialised, so that it need not be again for each read.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// Size of a buffer that is new, and least room for a read.
const CHUNK: usize = 4 * 1024;
/// Larger buffers are not kept.
const LARGEST_KEPT: usize = 32 * 1024;
/// Enough for the requests that one core works on at a time; a burst's buffers are not kept.
const MOST_KEPT: usize = 64;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

impl Buffer {
    /// The bytes that are there.
    pub(super) fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// How many bytes are there.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Room for at least [`CHUNK`] more bytes; see [`Buffer::add`].
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.make_room(CHUNK);
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Takes over bytes that were written to [`Buffer::room`].
    pub(super) fn add(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// Copies bytes in.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        if let Some(room) = self.bytes.get_mut(self.end..self.end + bytes.len()) {
            room.copy_from_slice(bytes);
            self.end += bytes.len();
        }
    }

    /// Drops bytes that have left.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        self.release();
    }

    /// Drops all bytes.
    pub(super) fn clear(&mut self) {
        self.start = self.end;
        self.release();
    }

    /// Gives the memory back if there is nothing in it.
    pub(super) fn release(&mut self) {
        if self.start < self.end {
            return;
        }
        (self.start, self.end) = (0, 0);
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.is_empty() || bytes.len() > LARGEST_KEPT {
            return;
        }
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < MOST_KEPT {
                spare.push(bytes);
            }
        });
    }

    fn make_room(&mut self, count: usize) {
        if self.bytes.is_empty() {
            self.bytes = SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; CHUNK]);
        }
        if self.bytes.len() - self.end >= count {
            return;
        }
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.len());
        if self.bytes.len() - self.end < count {
            let wanted = (self.end + count).max(2 * self.bytes.len());
            self.bytes.resize(wanted, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Buffer;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut buffer = Buffer::default();
        let (mut sent, mut got) = (Vec::new(), Vec::new());
        let mut rng = fastrand::Rng::with_seed(7);
        for step in 0..10_000_u32 {
            if rng.bool() {
                let piece: Vec<u8> = (0..rng.usize(..9000)).map(|at| (at as u32 ^ step) as u8).collect();
                if rng.bool() {
                    buffer.push(&piece);
                    sent.extend_from_slice(&piece);
                } else {
                    let room = buffer.room();
                    let count = piece.len().min(room.len());
                    room[..count].copy_from_slice(&piece[..count]);
                    buffer.add(count);
                    sent.extend_from_slice(&piece[..count]);
                }
            } else {
                let count = rng.usize(..=buffer.len());
                got.extend_from_slice(&buffer.filled()[..count]);
                buffer.consume(count);
            }
        }
        got.extend_from_slice(buffer.filled());
        assert!(sent == got);
        buffer.clear();
        assert_eq!((buffer.len(), buffer.bytes.capacity()), (0, 0), "empty, it holds no memory");
    }
}
