//! The entries of a map, in the order of the file, found by their keys in constant time: a file may have 50,000 of them.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};

use super::{Entry, Kind, Node};

/// From how many entries on a map has an index: fewer are searched as quickly.
const MANY: usize = 16;

/// The entries of a map; no key is there twice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    list: Vec<Entry>,
    /// Where each key is in the list; empty if there are few.
    index: HashMap<String, usize>,
}

// === impl Entries ===

impl Entries {
    /// The entry with this key.
    pub(crate) fn find(&self, key: &str) -> Option<&Entry> {
        self.position(key).and_then(|at| self.list.get(at))
    }

    /// The entries themselves.
    pub(crate) fn into_list(self) -> Vec<Entry> {
        self.list
    }

    /// The same, to change its value.
    pub(crate) fn find_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.position(key).and_then(|at| self.list.get_mut(at))
    }

    /// Adds an entry that was removed, unless there is one with this key.
    pub(super) fn excuse(&mut self, key: &str) {
        if self.position(key).is_none() {
            if !self.index.is_empty() {
                self.index.insert(key.to_owned(), self.list.len());
            }
            let value = Node { place: None, kind: Kind::Removed };
            self.list.push(Entry { key: key.to_owned(), place: None, value });
        }
    }

    fn position(&self, key: &str) -> Option<usize> {
        match self.index.is_empty() {
            true => self.list.iter().position(|entry| entry.key == key),
            false => self.index.get(key).copied(),
        }
    }
}

impl From<Vec<Entry>> for Entries {
    fn from(list: Vec<Entry>) -> Self {
        let index = match list.len() {
            0..MANY => HashMap::new(),
            _ => list.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at)).collect(),
        };
        Self { list, index }
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        entries.into_iter().collect::<Vec<_>>().into()
    }
}

impl Deref for Entries {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        &self.list
    }
}

/// Values may be changed, and keys may not.
impl DerefMut for Entries {
    fn deref_mut(&mut self) -> &mut [Entry] {
        &mut self.list
    }
}
