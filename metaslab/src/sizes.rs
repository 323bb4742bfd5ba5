//! Free runs segregated by size: one ordered list per power of two.

use std::collections::BTreeSet;

use crate::runs::Run;

/// Lists needed for any length in a `u64`.
const LISTS: usize = u64::BITS as usize;

/// One list: runs of `2^k ..= 2^(k+1) − 1` units, by (length, end).
#[derive(Debug, Default)]
struct List {
    runs: BTreeSet<(u64, u64)>,
    units: u64,
}

/// Runs by length. A bit mask says which lists hold anything, so the next
/// larger list is found in one instruction and a search never walks more than one list.
///
/// ```text
/// mask   …0 1 0 1 1
///           │   │ └─ 1 unit      {(1,7), (1,30)}
///           │   └─── 2…3 units   {(3,12)}
///           └─────── 8…15 units  {(8,64), (11,100)}      best fit for 4 units: (8,64)
/// ```
#[derive(Debug)]
pub(crate) struct Sizes {
    lists: Box<[List]>,
    occupied: u64,
    /// Asked for all the time, and seldom another one.
    longest: u64,
}

/// The list a length belongs to. Runs are never empty.
const fn list_of(len: u64) -> usize {
    len.ilog2() as usize
}

const fn run_of((len, end): (u64, u64)) -> Run {
    Run { start: end - len, end }
}

impl Sizes {
    pub(crate) fn new() -> Self {
        Self { lists: (0..LISTS).map(|_| List::default()).collect(), occupied: 0, longest: 0 }
    }

    pub(crate) fn insert(&mut self, run: Run) {
        let k = list_of(run.len());
        let list = &mut self.lists[k];
        let fresh = list.runs.insert((run.len(), run.end));
        debug_assert!(fresh);
        list.units += run.len();
        self.occupied |= 1 << k;
        self.longest = self.longest.max(run.len());
    }

    pub(crate) fn remove(&mut self, run: Run) {
        let k = list_of(run.len());
        let list = &mut self.lists[k];
        let found = list.runs.remove(&(run.len(), run.end));
        debug_assert!(found);
        list.units -= run.len();
        if list.runs.is_empty() {
            self.occupied &= !(1 << k);
        }
        if run.len() == self.longest {
            let longest = self.longest_first().next();
            self.longest = longest.map_or(0, Run::len);
        }
    }

    /// The shortest run of at least `len` units, and of equals the one of lowest address.
    pub(crate) fn best_fit(&self, len: u64) -> Option<Run> {
        let k = list_of(len);
        if let Some(&key) = self.lists[k].runs.range((len, 0)..).next() {
            return Some(run_of(key));
        }
        // Two shifts, because k + 1 may be the full width.
        let larger = self.occupied >> k >> 1 << k << 1;
        if larger == 0 {
            return None;
        }
        self.lists[larger.trailing_zeros() as usize].runs.first().copied().map(run_of)
    }

    /// Runs, longest first.
    pub(crate) fn longest_first(&self) -> impl Iterator<Item = Run> {
        let top = LISTS - self.occupied.leading_zeros() as usize;
        self.lists[..top].iter().rev().flat_map(|list| list.runs.iter().rev().copied().map(run_of))
    }

    /// Length of the longest run, 0 when there is none.
    pub(crate) const fn longest(&self) -> u64 {
        self.longest
    }

    /// Units that stand in runs shorter than `2^k`.
    pub(crate) fn units_below(&self, k: u32) -> u64 {
        self.lists.iter().take(k as usize).map(|list| list.units).sum()
    }
}
