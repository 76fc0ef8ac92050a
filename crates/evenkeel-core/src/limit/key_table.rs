//! What a limit keeps of each key: a table of fixed capacity that all cores share.
//!
//! # The problem
//! A limit for each client must be exact whichever core a client's connections are on, and a client can have any number
//! of addresses. So the table is shared and bounded. With a lock, all cores would wait for one another.
//!
//! # The idea
//! A key is a keyed hash of 64 bits, so that no client can choose where it falls. The hash points to a set of 16 slots; a
//! slot is two words, the hash and the key's state. Counting a request is one compare-and-swap of the state, at the place
//! where the key was found. Nothing is ever moved.
//!
//! A key that is new takes the place of the one with the least to remember: an empty slot; a key whose quota is whole again,
//! which loses nothing by being forgotten; else the one that has used the least, which among equal ones is the least
//! recently used. It never takes the place of a key that is being limited. If all 16 are, there is no room, and the
//! caller learns that.
//!
//! To take a slot is to swap its state for [`CLAIMED`]; no request can be counted there until the new key and its state are
//! written. Two cores that bring the same new key to two slots see each other, because both write the key before they look
//! for the other one: the lower slot gives way. A core only waits while another one is between two instructions.
//!
//! There are three slots for each key of `max_keys`, and memory for a set is taken when the first key falls into it. So up
//! to `max_keys` keys none is forgotten before its quota is whole, except about one in a hundred thousand.
//!
//! # Cost
//! For a key that is there, one or two cache lines read, and one written. At most 51 bytes for each key of `max_keys`.
//!
//! # When not to use it
//! Two keys whose hashes are equal share a quota: for a million keys, one chance in 37 million that any two do.

use std::array;
use std::hint;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::thread;

use super::gcra::Arrival;

/// Slots in a set.
const WAYS: usize = 16;
/// Slots for each key that there is to be room for.
const SLOTS_PER_KEY: usize = 3;
/// The state of a slot without a key.
const EMPTY: Arrival = 0;
/// The state of a slot that another key is being written to.
const CLAIMED: Arrival = Arrival::MAX;

/// The states of the keys of one limit.
#[derive(Debug)]
pub(super) struct KeyTable {
    sets: Box<[OnceLock<Box<Set>>]>,
}

/// The slots in which a key can be.
#[derive(Debug)]
#[repr(align(64))]
struct Set([Slot; WAYS]);

#[derive(Debug, Default)]
struct Slot {
    key: AtomicU64,
    state: AtomicU64,
}

/// How one request changes the state of its key.
pub(super) trait Step {
    /// The new state, or `None` to leave it: too much. The state of a new key is zero.
    fn charge(&self, state: Arrival) -> Option<Arrival>;
    /// The state without the charge.
    fn give_back(&self, state: Arrival) -> Arrival;
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charged {
    /// It was counted: the new state.
    Yes(Arrival),
    /// Too much: the state as it was.
    No(Arrival),
    /// The key is new, and all keys in its place are being limited.
    NoRoom,
}

// === impl KeyTable ===

impl KeyTable {
    /// Room for this many keys.
    pub(super) fn new(max_keys: u32) -> Self {
        let slots = usize::try_from(max_keys).unwrap_or(usize::MAX).saturating_mul(SLOTS_PER_KEY);
        Self { sets: (0..slots.div_ceil(WAYS).max(1)).map(|_| OnceLock::new()).collect() }
    }

    /// Counts a request of this key. Zero is no key.
    #[inline]
    pub(super) fn charge(&self, key: u64, step: &impl Step) -> Charged {
        let Some(set) = self.set_of(key).map(|set| set.get_or_init(Set::boxed)) else {
            return Charged::NoRoom;
        };
        let mut tries = 0;
        loop {
            let charged = match set.find(key) {
                Some(slot) => slot.charge(key, step),
                None => set.insert(key, step),
            };
            match charged {
                Some(charged) => return charged,
                None => wait(&mut tries),
            }
        }
    }

    /// The state of this key; zero if it is not here.
    pub(super) fn peek(&self, key: u64) -> Arrival {
        let slot = self.set_of(key).and_then(OnceLock::get).and_then(|set| set.find(key));
        let state = slot.map(|slot| (slot.state.load(Acquire), slot.key.load(Acquire)));
        state.filter(|(state, found)| *found == key && *state != CLAIMED).map_or(EMPTY, |(state, _)| state)
    }

    /// Puts a key with this state into a table that is not shared yet.
    pub(super) fn put(&self, key: u64, state: Arrival) {
        let Some(set) = self.set_of(key).map(|set| set.get_or_init(Set::boxed)) else { return };
        let least = set.slots(key).min_by_key(|(_, slot)| slot.state.load(Relaxed));
        if let Some((_, slot)) = least.filter(|(_, slot)| slot.state.load(Relaxed) < state) {
            slot.key.store(key, Relaxed);
            slot.state.store(state, Relaxed);
        }
    }

    /// All keys with their states.
    pub(super) fn keys(&self) -> impl Iterator<Item = (u64, Arrival)> {
        let slots = self.sets.iter().filter_map(OnceLock::get).flat_map(|set| set.0.iter());
        let keys = slots.map(|slot| (slot.key.load(Relaxed), slot.state.load(Acquire)));
        keys.filter(|(_, state)| !matches!(*state, EMPTY | CLAIMED))
    }

    /// How many keys there can be.
    pub(super) fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// Bytes in use.
    pub(super) fn bytes(&self) -> usize {
        let sets = self.sets.iter().filter(|set| set.get().is_some()).count();
        size_of_val(&*self.sets) + sets * size_of::<Set>()
    }

    /// The set by the upper bits of the hash; where to begin in it is by the lower ones.
    #[inline]
    fn set_of(&self, key: u64) -> Option<&OnceLock<Box<Set>>> {
        let index = (u128::from(key) * self.sets.len() as u128) >> 64;
        self.sets.get(index as usize)
    }
}

// === impl Set ===

impl Set {
    fn boxed() -> Box<Self> {
        Box::new(Self(array::from_fn(|_| Slot::default())))
    }

    /// All slots in the order in which this key takes them, with their places.
    #[inline]
    fn slots(&self, key: u64) -> impl Iterator<Item = (usize, &Slot)> {
        let first = key as usize % WAYS;
        (first..WAYS).chain(0..first).filter_map(|place| Some((place, self.0.get(place)?)))
    }

    #[inline]
    fn find(&self, key: u64) -> Option<&Slot> {
        self.slots(key).map(|(_, slot)| slot).find(|slot| slot.key.load(Acquire) == key)
    }

    /// Counts the first request of a key that is not here. `None`: look again.
    fn insert(&self, key: u64, step: &impl Step) -> Option<Charged> {
        let Some(first) = step.charge(EMPTY) else { return Some(Charged::No(EMPTY)) };
        let states = self.slots(key).map(|(place, slot)| (place, slot, slot.state.load(Acquire)));
        let (place, slot, state) = states.min_by_key(|(.., state)| *state)?;
        if step.charge(state).is_none() {
            return if state == CLAIMED { None } else { Some(Charged::NoRoom) };
        }
        slot.state.compare_exchange(state, CLAIMED, AcqRel, Relaxed).ok()?;
        slot.key.store(key, SeqCst);
        if self.is_elsewhere(key, place) {
            slot.key.store(0, SeqCst);
            slot.state.store(EMPTY, SeqCst);
            return None;
        }
        slot.state.store(first, SeqCst);
        Some(Charged::Yes(first))
    }

    /// Whether another slot than this one, which was claimed for the key, has it or will have it.
    fn is_elsewhere(&self, key: u64, place: usize) -> bool {
        self.0.iter().enumerate().filter(|(other, _)| *other != place).any(|(other, slot)| {
            let mut tries = 0;
            while slot.key.load(SeqCst) == key {
                // A higher slot that is being written may not have seen this one. It gives way if it has; and one that
                // waits has seen no lower one. So no two wait for each other.
                if other < place || slot.state.load(SeqCst) != CLAIMED {
                    return true;
                }
                wait(&mut tries);
            }
            false
        })
    }
}

// === impl Slot ===

impl Slot {
    /// Counts a request of the key that was found here. `None`: look again.
    #[inline]
    fn charge(&self, key: u64, step: &impl Step) -> Option<Charged> {
        let state = self.state.load(Acquire);
        if matches!(state, CLAIMED | EMPTY) {
            return None;
        }
        let Some(charged) = step.charge(state) else {
            return (self.key.load(Acquire) == key).then_some(Charged::No(state));
        };
        self.state.compare_exchange(state, charged, AcqRel, Relaxed).ok()?;
        if self.key.load(Acquire) == key {
            return Some(Charged::Yes(charged));
        }
        // In between another key came here, and its state happened to be the same.
        let _ = self.state.try_update(AcqRel, Relaxed, |state| {
            (!matches!(state, CLAIMED | EMPTY)).then(|| step.give_back(state))
        });
        None
    }
}

/// Waits for another core to finish its few instructions; for one that was interrupted, by letting others run.
fn wait(tries: &mut u32) {
    *tries += 1;
    if *tries < 100 { hint::spin_loop() } else { thread::yield_now() }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// At most so many requests, and no time.
    struct Most(u64);

    impl Step for Most {
        fn charge(&self, state: Arrival) -> Option<Arrival> {
            (state < self.0).then(|| state + 1)
        }

        fn give_back(&self, state: Arrival) -> Arrival {
            state - 1
        }
    }

    #[test]
    fn a_key_is_counted_until_it_is_too_much() {
        let table = KeyTable::new(100);
        assert_eq!(table.peek(7), EMPTY);
        for state in 1..=3 {
            assert_eq!(table.charge(7, &Most(3)), Charged::Yes(state));
        }
        assert_eq!((table.charge(7, &Most(3)), table.charge(8, &Most(3))), (Charged::No(3), Charged::Yes(1)));
        assert_eq!((table.peek(7), table.peek(8), table.peek(9)), (3, 1, EMPTY));
    }

    #[test]
    fn the_least_used_is_forgotten_and_what_is_limited_is_not() {
        let table = KeyTable::new(1);
        assert_eq!(table.capacity(), 16);
        for key in 1..=16 {
            (0..key).for_each(|_| _ = table.charge(key, &Most(16)));
        }
        assert_eq!(table.charge(17, &Most(16)), Charged::Yes(1), "in the place of key 1");
        assert_eq!((table.peek(1), table.peek(2), table.peek(16)), (EMPTY, 2, 16));
        // Now all are at their limit.
        for key in 2..=17 {
            (0..16).for_each(|_| _ = table.charge(key, &Most(16)));
        }
        assert_eq!(table.charge(18, &Most(16)), Charged::NoRoom);
        assert!((2..=17).all(|key| table.peek(key) == 16));
        assert_eq!(table.charge(18, &Most(17)), Charged::Yes(1), "none is limited any more");
    }

    #[test]
    fn up_to_the_number_that_there_is_room_for_none_is_forgotten() {
        for max_keys in [1, 5, 16, 1_000, 100_000] {
            let (table, mut rng) = (KeyTable::new(max_keys), fastrand::Rng::with_seed(3));
            let keys: Vec<u64> = (0..max_keys).map(|_| rng.u64(1..)).collect();
            keys.iter().for_each(|key| _ = table.charge(*key, &Most(2)));
            let forgotten = keys.iter().filter(|key| table.peek(**key) == EMPTY).count();
            assert!(forgotten <= max_keys as usize / 50_000, "{forgotten} of {max_keys}");
            let per_key = table.bytes() as f64 / f64::from(max_keys);
            assert!(max_keys < 16 || per_key <= 128.0, "{per_key} bytes a key");
        }
    }

    /// All threads bring the same new keys at the same time, among others that push keys out of the set. Exactly as many
    /// pass as may: no key has two places, and no charge is lost.
    #[test]
    fn threads_share_each_key_exactly() {
        const THREADS: u64 = 8;
        const MOST: u64 = 40;
        for round in 0..200 {
            let table = KeyTable::new(1);
            let (start, passed) = (Barrier::new(THREADS as usize), AtomicUsize::new(0));
            thread::scope(|scope| {
                for thread in 0..THREADS {
                    let (table, start, passed) = (&table, &start, &passed);
                    scope.spawn(move || {
                        let mut rng = fastrand::Rng::with_seed(round * THREADS + thread);
                        start.wait();
                        for n in 0..MOST {
                            // Twice as many as may pass; each thread charges another number of new keys in between.
                            for _ in 0..if n % 4 == 0 { 1 } else { 2 } {
                                if matches!(table.charge(5, &Most(MOST)), Charged::Yes(_)) {
                                    passed.fetch_add(1, Relaxed);
                                }
                            }
                            for _ in 0..rng.u8(..3) {
                                table.charge(rng.u64(1 << 20..), &Most(MOST));
                            }
                        }
                    });
                }
            });
            let (passed, found) = (passed.into_inner(), table.keys().filter(|(key, _)| *key == 5).count());
            assert_eq!(found, 1, "round {round}");
            // The key itself can be forgotten while others have used as much, which is only so at the beginning.
            assert!((MOST as usize..MOST as usize + 3).contains(&passed), "round {round}: {passed} passed");
        }
    }
}
