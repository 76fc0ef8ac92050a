//! What belongs to one worker: its thread alone ever touches it, so that no lock is needed, not even one that is free.

use std::cell::{RefCell, RefMut};

use fragile::Fragile;

/// Something that stays on the thread that made it. Tasks and Pingora's streams must be such that they could move, and never
/// do: a worker's runtime has one thread.
///
/// A lock that is never contended would do as well, at the cost of two locked instructions each time: about a tenth of what
/// a request takes outside the kernel.
#[derive(Debug)]
pub struct Own<T>(Fragile<RefCell<T>>);

impl<T> Own<T> {
    /// Of the thread that calls this.
    pub fn new(value: T) -> Self {
        Self(Fragile::new(RefCell::new(value)))
    }

    /// The thing itself, until what is returned is dropped.
    ///
    /// # Panics
    /// On another thread, and within another borrow: both are mistakes of ours, that no input can bring about.
    #[inline]
    pub fn borrow(&self) -> RefMut<'_, T> {
        self.0.get().borrow_mut()
    }
}

impl<T: Default> Default for Own<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}
