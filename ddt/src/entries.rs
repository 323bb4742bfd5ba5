//! Records found by key: an arena of them and a hash table of their numbers.

use hashbrown::HashTable;

use crate::arena::Arena;
use crate::key::Key;
use crate::record::{Body, Record};

/// Below this many places the index is not worth shrinking.
const INDEX_KEEP: usize = 1024;

/// All records. Numbers are good until the next [`remove`](Self::remove).
pub(crate) struct Entries {
    records: Arena<Record>,
    index: HashTable<u32>,
}

impl Entries {
    pub(crate) const fn new() -> Self {
        Self { records: Arena::new(), index: HashTable::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn find(&self, key: &Key) -> Option<u32> {
        self.index.find(key.hash(), |&at| self.records.get(at).has_key(key)).copied()
    }

    pub(crate) fn body(&self, at: u32) -> Body {
        self.records.get(at).body()
    }

    pub(crate) fn set_body(&mut self, at: u32, body: &Body) {
        self.records.get_mut(at).set_body(body);
    }

    /// Adds a record for a key that has none. `None` if there are no numbers left.
    pub(crate) fn insert(&mut self, key: &Key, body: &Body) -> Option<u32> {
        let at = u32::try_from(self.records.len()).ok()?;
        self.records.push(Record::new(key, body));
        let records = &self.records;
        self.index.insert_unique(key.hash(), at, |&at| records.get(at).key().hash());
        Some(at)
    }

    /// Removes the record `at`.
    pub(crate) fn remove(&mut self, at: u32) {
        let hash = self.records.get(at).key().hash();
        if let Ok(place) = self.index.find_entry(hash, |&number| number == at) {
            place.remove();
        }
        self.records.swap_remove(at);
        // The record that was last now stands here.
        let last = self.records.len() as u32;
        if at < last {
            let hash = self.records.get(at).key().hash();
            if let Some(number) = self.index.find_mut(hash, |&number| number == last) {
                *number = at;
            }
        }
        let len = self.index.len();
        if self.index.capacity() > INDEX_KEEP && len < self.index.capacity() / 4 {
            let records = &self.records;
            self.index.shrink_to(len * 2, |&at| records.get(at).key().hash());
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.iter()
    }

    /// Bytes of heap in use.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.records.heap_bytes() + self.index.allocation_size()
    }
}
