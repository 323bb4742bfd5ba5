//! Records found by key: an arena of them and an index of their numbers.

use crate::arena::Arena;
use crate::index::Index;
use crate::key::Key;
use crate::record::{Body, Record};

/// All records. Numbers are good until the next [`remove`](Self::remove).
pub(crate) struct Entries {
    records: Arena<Record>,
    index: Index,
}

impl Entries {
    pub(crate) const fn new() -> Self {
        Self { records: Arena::new(), index: Index::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn find(&self, key: &Key) -> Option<u32> {
        self.index.find(key.hash(), |at| self.records.get(at).has_key(key))
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
        self.index.insert(key.hash(), at, |at| records.get(at).key().hash());
        Some(at)
    }

    /// Removes the record `at`.
    pub(crate) fn remove(&mut self, at: u32) {
        self.index.remove(self.records.get(at).key().hash(), at);
        self.records.swap_remove(at);
        // The record that was last now stands here.
        let last = self.records.len() as u32;
        if at < last {
            self.index.renumber(self.records.get(at).key().hash(), last, at);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.iter()
    }

    /// Bytes of heap in use.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.records.heap_bytes() + self.index.heap_bytes()
    }
}
