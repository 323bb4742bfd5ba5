//! The log of one device, and what it says.

use std::iter::FusedIterator;

use zio_core::Txg;
use zio_core::bp::ByteOrder;

use super::Corrupt;
use super::word::{self, Change, Entry, PADDING};
use crate::changes::Changes;
use crate::extent::Extent;
use crate::runs::{Joined, Run, Runs};

/// Which units of one device are allocated: the log as words, and what comes of a replay of it.
///
/// Takes a few dozen bytes for each allocated extent. See the [module](super) for an example.
#[derive(Debug)]
pub struct SpaceMap {
    device_units: u64,
    block_words: usize,
    words: Vec<u64>,
    allocated: Runs,
    /// Words that the entries of a condensed map take.
    minimal_words: u64,
    txg: Txg,
}

impl SpaceMap {
    /// An empty map of a device of which nothing is allocated, to be written in blocks of so many
    /// words of 8 bytes. ZFS has 512, which is 4 KiB.
    ///
    /// # Panics
    /// When a block has no room for two words, or the device more than 2^63 units.
    pub fn new(device_units: u64, block_words: usize) -> Self {
        assert!(block_words >= 2, "a block of {block_words} words");
        assert!(device_units <= word::OFFSET_END, "a device of {device_units} units");
        Self {
            device_units,
            block_words,
            words: Vec::new(),
            allocated: Runs::default(),
            minimal_words: 0,
            txg: 0,
        }
    }

    /// Replays a map that was read from a disk.
    ///
    /// # Errors
    /// [`Corrupt`]: the first entry that makes no sense, and why.
    ///
    /// # Panics
    /// As [`new`](Self::new); never for any words.
    pub fn load(device_units: u64, block_words: usize, words: Vec<u64>) -> Result<Self, Corrupt> {
        let mut map = Self::new(device_units, block_words);
        for entry in Entries::new(&words, block_words) {
            match entry? {
                (at_word, Entry::Range { change, extent, .. }) => {
                    map.apply(change, extent, at_word)?;
                }
                (_, Entry::Stamp { txg, .. }) => map.txg = map.txg.max(txg),
            }
        }
        map.words = words;
        Ok(map)
    }

    /// Appends what a transaction group has changed, under stamps of this pass. Returns the number
    /// of the first word that is new: the blocks from there on are to be written.
    ///
    /// # Errors
    /// [`Corrupt`]: an allocation of what is allocated and their like; then nothing is
    /// changed. The place is where the entry would have been.
    pub fn append(&mut self, changes: &Changes, pass: u16) -> Result<usize, Corrupt> {
        let first = self.words.len();
        let sets = [(Change::Allocate, &changes.allocated), (Change::Free, &changes.freed)];
        let mut applied: Vec<(Change, Extent)> = Vec::new();
        let mut outcome = Ok(());
        for (change, extents) in sets.into_iter().filter(|(_, extents)| !extents.is_empty()) {
            outcome = outcome.and_then(|()| self.push_stamp(change, pass, changes.txg));
            for &extent in extents {
                outcome = outcome.and_then(|()| {
                    self.apply(change, extent, self.words.len())?;
                    applied.push((change, extent));
                    self.push_extent(change, extent);
                    Ok(())
                });
            }
        }
        if let Err(error) = outcome {
            self.words.truncate(first);
            for (change, extent) in applied.into_iter().rev() {
                let undo = match change {
                    Change::Allocate => Change::Free,
                    Change::Free => Change::Allocate,
                };
                let undone = self.apply(undo, extent, first);
                debug_assert_eq!(undone, Ok(()));
            }
            return Err(error);
        }
        if !applied.is_empty() {
            self.txg = self.txg.max(changes.txg);
        }
        Ok(first)
    }

    /// Is the map more than twice as long as need be, and longer than a block?
    pub fn is_wasteful(&self) -> bool {
        let words = self.words.len() as u64;
        self.words.len() > self.block_words && words > self.minimal_words.saturating_mul(2)
    }

    /// Writes the map anew, under a stamp, as the extents that are allocated: at most twice as many
    /// words as their entries take. All of it is to be written; put it in a new place, and keep the
    /// old one for as long as a crash may need it.
    ///
    /// # Errors
    /// [`Corrupt::Stamp`]; then nothing is changed.
    pub fn condense(&mut self, txg: Txg, pass: u16) -> Result<(), Corrupt> {
        let before = std::mem::take(&mut self.words);
        if self.allocated.units() > 0
            && let Err(error) = self.push_stamp(Change::Allocate, pass, txg)
        {
            self.words = before;
            return Err(error);
        }
        let allocated = std::mem::take(&mut self.allocated);
        for run in allocated.after(0) {
            self.push_extent(Change::Allocate, extent_of(run));
        }
        self.allocated = allocated;
        self.txg = self.txg.max(txg);
        Ok(())
    }

    /// The log.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The entries of the log, each with the number of its first word.
    pub fn entries(&self) -> Entries<'_> {
        Entries::new(&self.words, self.block_words)
    }

    /// What is allocated: extents in order, that do not touch each other.
    pub fn allocated(&self) -> impl Iterator<Item = Extent> + '_ {
        self.allocated.after(0).map(extent_of)
    }

    /// How many units are allocated.
    pub const fn allocated_units(&self) -> u64 {
        self.allocated.units()
    }

    /// Units of the device.
    pub const fn device_units(&self) -> u64 {
        self.device_units
    }

    /// Words that a map of the same state needs at least: one or two for each allocated extent.
    pub const fn minimal_words(&self) -> u64 {
        self.minimal_words
    }

    /// The last transaction group that changed anything, as far as stamps tell; 0 before the first.
    pub const fn txg(&self) -> Txg {
        self.txg
    }

    /// Changes the state as an entry at `at_word` says, or not at all.
    fn apply(&mut self, change: Change, extent: Extent, at_word: usize) -> Result<(), Corrupt> {
        let outside = Corrupt::Outside { at_word, extent, device_units: self.device_units };
        let end = extent.offset_units.checked_add(extent.size_units).ok_or(outside)?;
        if end > self.device_units || extent.size_units == 0 {
            return Err(outside);
        }
        let run = Run { start: extent.offset_units, end };
        match change {
            Change::Allocate => {
                let joined =
                    self.allocated.insert(run).ok_or(Corrupt::NotFree { at_word, extent })?;
                let Joined { left, right } = joined;
                let whole = Run {
                    start: left.map_or(run.start, |left| left.start),
                    end: right.map_or(run.end, |right| right.end),
                };
                self.minimal_words += words_for(whole);
                self.minimal_words -= left.map_or(0, words_for) + right.map_or(0, words_for);
            }
            Change::Free => {
                let whole = self.allocated.containing(run);
                let whole = whole.ok_or(Corrupt::NotAllocated { at_word, extent })?;
                self.allocated.cut(whole, run);
                let rests = [(whole.start, run.start), (run.end, whole.end)];
                for (start, end) in rests.into_iter().filter(|(start, end)| start < end) {
                    self.minimal_words += words_for(Run { start, end });
                }
                self.minimal_words -= words_for(whole);
            }
        }
        Ok(())
    }

    fn push_stamp(&mut self, change: Change, pass: u16, txg: Txg) -> Result<(), Corrupt> {
        let stamp = Entry::Stamp { change, pass, txg }.encode();
        let at_word = self.words.len();
        self.push(&stamp.ok_or(Corrupt::Stamp { at_word, pass, txg })?);
        Ok(())
    }

    fn push_extent(&mut self, change: Change, extent: Extent) {
        for part in parts_of(extent) {
            let entry = Entry::Range { change, extent: part, vdev: None }.encode();
            self.push(&entry.expect("a part of a device that a map can have"));
        }
    }

    /// Appends an entry, behind padding where it would lie in two blocks.
    fn push(&mut self, entry: &[u64]) {
        let left = self.block_words - self.words.len() % self.block_words;
        if entry.len() > left {
            self.words.resize(self.words.len() + left, PADDING);
        }
        self.words.extend_from_slice(entry);
    }
}

/// The pieces of an extent that one entry each can say.
fn parts_of(extent: Extent) -> impl Iterator<Item = Extent> {
    let Extent { mut offset_units, size_units: mut left } = extent;
    std::iter::from_fn(move || {
        let size_units = left.min(word::LONG_UNITS_MAX);
        let part = Extent::new(offset_units, size_units);
        (offset_units, left) = (offset_units.saturating_add(size_units), left - size_units);
        (size_units > 0).then_some(part)
    })
}

/// Words that the entries of a run take.
fn words_for(run: Run) -> u64 {
    match word::is_short(run.start, run.len()) {
        true => 1,
        false => 2 * run.len().div_ceil(word::LONG_UNITS_MAX),
    }
}

const fn extent_of(run: Run) -> Extent {
    Extent::new(run.start, run.end - run.start)
}

/// The entries of a log in order, each with the number of its first word. Ends behind the
/// first that is none.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    words: &'a [u64],
    block_words: usize,
    at_word: usize,
}

impl<'a> Entries<'a> {
    /// Those of a log in blocks of so many words; 0 is taken for one block.
    pub fn new(words: &'a [u64], block_words: usize) -> Self {
        let block_words = if block_words == 0 { usize::MAX } else { block_words };
        Self { words, block_words, at_word: 0 }
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<(usize, Entry), Corrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        let at_word = self.at_word;
        let rest = self.words.get(at_word..).filter(|rest| !rest.is_empty())?;
        let in_block = rest.len().min(self.block_words - at_word % self.block_words);
        match Entry::decode(&rest[..in_block], at_word) {
            Ok((entry, words)) => {
                self.at_word += words;
                Some(Ok((at_word, entry)))
            }
            Err(corrupt) => {
                self.at_word = self.words.len();
                Some(Err(corrupt))
            }
        }
    }
}

impl FusedIterator for Entries<'_> {}

/// Words as bytes in this order.
pub fn bytes_of(words: &[u64], order: ByteOrder) -> Vec<u8> {
    let bytes = |word: &u64| match order {
        ByteOrder::Little => word.to_le_bytes(),
        ByteOrder::Big => word.to_be_bytes(),
    };
    words.iter().flat_map(bytes).collect()
}

/// Bytes in this order as words. A map knows its length: what is behind it in its last block is
/// not read, for zeros say that unit 0 is allocated.
///
/// # Errors
/// [`Corrupt::Bytes`].
pub fn words_of(bytes: &[u8], order: ByteOrder) -> Result<Vec<u64>, Corrupt> {
    let (words, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(Corrupt::Bytes { len_bytes: bytes.len() });
    }
    let word = |bytes: &[u8; 8]| match order {
        ByteOrder::Little => u64::from_le_bytes(*bytes),
        ByteOrder::Big => u64::from_be_bytes(*bytes),
    };
    Ok(words.iter().map(word).collect())
}
