//! Online verification: count the pointers there are, compare with the references the table has.

use std::collections::HashMap;

use crate::key::Key;
use crate::phys::{Copies, Identity, Phys};
use crate::totals::StoredBlock;

/// A pointer with the dedup bit, found by whoever walks the pool.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LivePointer {
    /// Contents it points at.
    pub key: Key,
    /// Number of copies its writer asked for. Used only if the table turns out not to have the
    /// block at all.
    pub copies: Copies,
    /// Where it points.
    pub phys: Phys,
}

/// A tally of pointers. It belongs to the walker: counting does not touch the table.
#[derive(Default, Debug)]
pub struct Recount {
    counted: HashMap<(Key, Identity), (u64, LivePointer)>,
}

impl Recount {
    /// Counts one pointer. A block counts as often as it is pointed at.
    pub fn count(&mut self, pointer: LivePointer) {
        let place = self.counted.entry((pointer.key, pointer.phys.identity()));
        place.or_insert((0, pointer)).0 += 1;
    }

    /// Deals the tally out among `parts` by key.
    pub(crate) fn split(self, parts: &mut [Self], part_of: impl Fn(&Key) -> usize) {
        for (at, tally) in self.counted {
            if let Some(part) = parts.get_mut(part_of(&at.0)) {
                part.counted.insert(at, tally);
            }
        }
    }
}

impl Extend<LivePointer> for Recount {
    fn extend<I: IntoIterator<Item = LivePointer>>(&mut self, pointers: I) {
        for pointer in pointers {
            self.count(pointer);
        }
    }
}

/// Reference changes since a recount began.
pub(crate) type Changes = HashMap<(Key, Identity), i128>;

/// A block whose references are not the pointers to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Discrepancy {
    /// The block; its references are what the table has, 0 if it lacks the block.
    pub block: StoredBlock,
    /// Pointers found, with the changes since the recount began.
    pub pointers: u64,
}

impl Discrepancy {
    /// References too few. Dangerous: the block would be freed while pointers to it remain.
    pub fn missing(&self) -> u64 {
        self.pointers.saturating_sub(self.block.references)
    }

    /// References too many. Harmless: the block's space would never be freed.
    pub fn surplus(&self) -> u64 {
        self.block.references.saturating_sub(self.pointers)
    }
}

/// What was done about a [`Discrepancy`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repair {
    /// References were added; the block now has this many.
    Raised(u64),
    /// There are too many references, and they stay: space leaks, no data is at risk.
    LeftToLeak(u64),
    /// The table has no place left for a block it lacked.
    TableFull,
}

pub(crate) fn compare(
    stored: impl Iterator<Item = StoredBlock>,
    recount: Recount,
    changes: &Changes,
) -> Vec<Discrepancy> {
    let mut counted = recount.counted;
    let now = |found: u64, at: &(Key, Identity)| {
        let changed = changes.get(at).copied().unwrap_or(0);
        u64::try_from(i128::from(found) + changed).unwrap_or(0)
    };
    let mut discrepancies = Vec::new();
    let mut check = |block: StoredBlock, pointers: u64| {
        if block.references != pointers {
            discrepancies.push(Discrepancy { block, pointers });
        }
    };
    for block in stored {
        let at = (block.key, block.phys.identity());
        let found = counted.remove(&at).map_or(0, |(found, _)| found);
        check(block, now(found, &at));
    }
    for (at, (found, LivePointer { key, copies, phys })) in counted {
        check(StoredBlock { key, copies, phys, references: 0 }, now(found, &at));
    }
    discrepancies.sort_unstable_by_key(|d| (d.block.key, d.block.phys.identity()));
    discrepancies
}
