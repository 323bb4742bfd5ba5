//! From a hash to the numbers of the records that may have it: linear hashing over short lists.
//!
//! ```text
//!   lists   0     1     2     3     4     5        six lists: 4 = 2² of this round, two of them split
//!           └───── split ─────┘─ not yet ─┘        list 0 shares its entries with 4, list 1 with 5
//! ```
//!
//! The table grows by one list at a time, by splitting the next list in two, so that it is never
//! rebuilt as a whole: no insertion moves more than one list, and no memory lies empty in expectation
//! of growth. What linear hashing is poor at, that the lists not split yet are twice as long as the
//! others, costs nothing here: a list is as large as what is in it.

use crate::arena::Arena;

/// Entries a list has on average at most.
const LIST_ENTRIES: usize = 16;
/// A list grows by so many places at a time.
const STEP: usize = 4;
/// Bytes of an entry: eight bits of its hash and its record's number.
const ENTRY_BYTES: usize = 1 + size_of::<u32>();

/// Numbers by hash. The caller knows the hash of each number.
pub(crate) struct Index {
    lists: Arena<List>,
    len: usize,
}

impl Index {
    pub(crate) const fn new() -> Self {
        Self { lists: Arena::new(), len: 0 }
    }

    /// The list of a hash, of a table that is not empty.
    fn list_of(&self, hash: u64) -> u32 {
        let lists = self.lists.len() as u64;
        // Of this round's lists there are 2^rounds; those before `lists` − 2^rounds are split.
        let round = 1 << lists.ilog2();
        let at = hash & (2 * round - 1);
        (if at < lists { at } else { at - round }) as u32
    }

    /// The number with this hash that `is_it`.
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        if self.len == 0 {
            return None;
        }
        self.lists.get(self.list_of(hash)).find(tag_of(hash), is_it).map(|(_, number)| number)
    }

    /// Adds a number; `hash_of` tells the hash of any number that is in.
    pub(crate) fn insert(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        if self.len >= self.lists.len() * LIST_ENTRIES {
            self.split(hash_of);
        }
        let list = self.list_of(hash);
        self.lists.get_mut(list).push(tag_of(hash), number);
        self.len += 1;
    }

    /// Removes a number that is in.
    pub(crate) fn remove(&mut self, hash: u64, number: u32) {
        if self.len == 0 {
            return;
        }
        let list = self.list_of(hash);
        self.len -= usize::from(self.lists.get_mut(list).remove(tag_of(hash), number));
        // A little later than it would have to be, so that coming and going does not split and join.
        if self.len < self.lists.len().saturating_sub(1) * LIST_ENTRIES / 4 * 3 {
            self.join();
        }
    }

    /// Gives a record another number.
    pub(crate) fn renumber(&mut self, hash: u64, from: u32, to: u32) {
        if self.len > 0 {
            let list = self.list_of(hash);
            self.lists.get_mut(list).renumber(tag_of(hash), from, to);
        }
    }

    /// One list more: what belongs there leaves the list it has been in.
    fn split(&mut self, hash_of: impl Fn(u32) -> u64) {
        let new = self.lists.len() as u32;
        self.lists.push(List::default());
        let Some(round) = new.checked_ilog2() else { return };
        let old = new - (1 << round);
        let entries = std::mem::take(self.lists.get_mut(old));
        let (mut stay, mut go) = (Vec::new(), Vec::new());
        for (tag, number) in entries.iter() {
            let goes = self.list_of(hash_of(number)) == new;
            (if goes { &mut go } else { &mut stay }).push((tag, number));
        }
        *self.lists.get_mut(old) = List::of(&stay);
        *self.lists.get_mut(new) = List::of(&go);
    }

    /// One list less: its entries go back where they came from.
    fn join(&mut self) {
        let last = self.lists.len() as u32 - 1;
        let Some(list) = self.lists.swap_remove(last) else { return };
        let Some(round) = last.checked_ilog2() else { return };
        let old = self.lists.get_mut(last - (1 << round));
        let both: Vec<_> = old.iter().chain(list.iter()).collect();
        *old = List::of(&both);
    }

    /// Bytes of heap in use.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.lists.heap_bytes() + self.lists.iter().map(|list| list.bytes.len()).sum::<usize>()
    }
}

/// The highest eight bits; 0 is an empty place.
fn tag_of(hash: u64) -> u8 {
    ((hash >> 56) as u8).max(1)
}

/// Some entries: first the tags of all places, then the numbers. Empty places come last.
#[derive(Default)]
struct List {
    bytes: Box<[u8]>,
}

impl List {
    fn of(entries: &[(u8, u32)]) -> Self {
        let places = entries.len().next_multiple_of(STEP);
        let mut list = Self { bytes: vec![0; places * ENTRY_BYTES].into_boxed_slice() };
        for (at, &(tag, number)) in entries.iter().enumerate() {
            list.set(at, tag, number);
        }
        list
    }

    fn places(&self) -> usize {
        self.bytes.len() / ENTRY_BYTES
    }

    fn len(&self) -> usize {
        let tags = &self.bytes[..self.places()];
        tags.len() - tags.iter().rev().take_while(|tag| **tag == 0).count()
    }

    fn number(&self, at: usize) -> u32 {
        let place = self.places() + at * size_of::<u32>();
        let bytes = self.bytes.get(place..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    fn set(&mut self, at: usize, tag: u8, number: u32) {
        let place = self.places() + at * size_of::<u32>();
        self.bytes[at] = tag;
        self.bytes[place..place + size_of::<u32>()].copy_from_slice(&number.to_le_bytes());
    }

    fn iter(&self) -> impl Iterator<Item = (u8, u32)> {
        (0..self.len()).map(|at| (self.bytes[at], self.number(at)))
    }

    /// Place and number of the entry with this tag that `is_it`.
    fn find(&self, tag: u8, is_it: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        memchr::memchr_iter(tag, &self.bytes[..self.places()])
            .map(|at| (at, self.number(at)))
            .find(|&(_, number)| is_it(number))
    }

    fn push(&mut self, tag: u8, number: u32) {
        let len = self.len();
        if len == self.places() {
            let mut entries = Vec::with_capacity(len + 1);
            entries.extend(self.iter());
            entries.push((tag, number));
            *self = Self::of(&entries);
        } else {
            self.set(len, tag, number);
        }
    }

    /// Whether it was there.
    fn remove(&mut self, tag: u8, number: u32) -> bool {
        let Some((at, _)) = self.find(tag, |found| found == number) else { return false };
        let last = self.len() - 1;
        let (tag, number) = (self.bytes[last], self.number(last));
        self.set(at, tag, number);
        self.set(last, 0, 0);
        // One step is kept, so that coming and going does not reach the allocator.
        if self.places() - last >= 2 * STEP {
            let entries: Vec<_> = self.iter().collect();
            *self = Self::of(&entries);
        }
        true
    }

    fn renumber(&mut self, tag: u8, from: u32, to: u32) {
        if let Some((at, _)) = self.find(tag, |found| found == from) {
            self.set(at, tag, to);
        }
    }
}
