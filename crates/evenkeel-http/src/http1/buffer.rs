//! Bytes between a socket and a data path, in memory that is given back as soon as there are none.

use std::cell::RefCell;

/// Bytes that enter at one end and leave at the other. An empty buffer holds no memory: memory comes from, and returns
/// to, a store of the thread. So a connection that waits for a socket has no buffer, and a core needs about as many as
/// it uses at one moment, whatever the number of its connections.
#[derive(Debug, Default)]
pub struct Buffer {
    /// All of it is initialized, so that this is not repeated for each read.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// Size of a working buffer: what one read or write can move at best. A body of 64 KiB, which many are, and its head.
const LARGE: usize = 72 * 1024;
/// Least room for a read.
const LEAST_ROOM: usize = 4 * 1024;
/// What is left over and waits with its connection is moved to memory of its own size, up to this.
const SMALL: usize = 8 * 1024;
/// Enough for what one core works on at one moment; a burst's buffers are not kept.
const MOST_KEPT: usize = 16;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

impl Buffer {
    /// The bytes that are there.
    #[inline]
    pub fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// The same, to be changed where they are.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// How many bytes are there.
    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Room for more bytes: at most so many, and a few thousand at least if that is no less; see [`Buffer::add`].
    pub fn room(&mut self, most: usize) -> &mut [u8] {
        self.make_room(most.min(LEAST_ROOM));
        let end = self.bytes.len().min(self.end.saturating_add(most));
        self.bytes.get_mut(self.end..end).unwrap_or_default()
    }

    /// Room for at least so many bytes; see [`Buffer::add`].
    pub fn reserve(&mut self, count: usize) -> &mut [u8] {
        self.make_room(count);
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Takes over bytes that were written to [`Buffer::room`].
    pub fn add(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// Copies bytes in.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        self.push_all([bytes]);
    }

    /// Copies several pieces in, one after the other, having looked for room once.
    #[inline]
    pub fn push_all<const N: usize>(&mut self, pieces: [&[u8]; N]) {
        let count = pieces.iter().map(|piece| piece.len()).sum();
        if self.bytes.len() - self.end < count {
            self.make_room(count);
        }
        let Some(mut room) = self.bytes.get_mut(self.end..self.end + count) else { return };
        for piece in pieces {
            let Some((place, rest)) = room.split_at_mut_checked(piece.len()) else { return };
            place.copy_from_slice(piece);
            room = rest;
        }
        self.end += count;
    }

    /// Drops bytes that have left.
    pub fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        if self.is_empty() {
            self.settle();
        }
    }

    /// Drops all bytes.
    pub fn clear(&mut self) {
        self.start = self.end;
        self.settle();
    }

    /// Gives back what memory is not needed while nothing happens: all of it if the buffer is empty, most of it if there is
    /// little in it.
    pub fn settle(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        let left = if self.is_empty() {
            Vec::new()
        } else if self.bytes.len() >= LARGE && self.len() <= SMALL {
            self.filled().to_vec()
        } else {
            return;
        };
        (self.start, self.end) = (0, left.len());
        give_back(std::mem::replace(&mut self.bytes, left));
    }

    fn make_room(&mut self, count: usize) {
        if self.bytes.len() - self.end >= count {
            return;
        }
        let len = self.len();
        if self.bytes.len() < LARGE && len + count <= LARGE {
            let mut bytes = SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; LARGE]);
            if let Some(room) = bytes.get_mut(..len) {
                room.copy_from_slice(self.filled());
            }
            self.bytes = bytes;
        } else {
            self.bytes.copy_within(self.start..self.end, 0);
        }
        (self.start, self.end) = (0, len);
        if self.bytes.len() - len < count {
            let wanted = (len + count).max(2 * self.bytes.len());
            self.bytes.resize(wanted, 0);
        }
    }
}

/// Gives the thread's store back, for what the thread is going to need is another matter than what it needed. To be called
/// now and then: allocators keep what was freed until they are called for something large, which an idle program never does.
pub fn give_back_spares() {
    let _ = SPARE.try_with(|spare| {
        if let Ok(mut spare) = spare.try_borrow_mut() {
            spare.clear();
        }
    });
    drop(std::hint::black_box(Vec::<u8>::with_capacity(16 * LARGE)));
}

impl Drop for Buffer {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.bytes));
    }
}

/// Keeps a working buffer for the next one who needs it.
fn give_back(bytes: Vec<u8>) {
    if bytes.len() != LARGE {
        return;
    }
    // A thread on its way out keeps nothing.
    let _ = SPARE.try_with(|spare| {
        if let Ok(mut spare) = spare.try_borrow_mut()
            && spare.len() < MOST_KEPT
        {
            spare.push(bytes);
        }
    });
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
                    let room = buffer.room(rng.usize(1..=70_000));
                    assert!(!room.is_empty());
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
            if rng.u8(..4) == 0 {
                buffer.settle();
                assert!(buffer.bytes.len() < super::LARGE || buffer.len() > super::SMALL);
            }
        }
        got.extend_from_slice(buffer.filled());
        assert!(sent == got);
        buffer.clear();
        assert_eq!((buffer.len(), buffer.bytes.capacity()), (0, 0), "empty, it holds no memory");
    }
}
