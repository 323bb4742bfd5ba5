//! What a transaction group has changed, to be told to a space map.

use smallvec::{SmallVec, smallvec};
use zio_core::Txg;

use crate::extent::Extent;
use crate::runs::{Run, Runs};
use crate::spacemap::Change;

/// What one transaction group has changed in all: no unit is in both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The group.
    pub txg: Txg,
    /// Units that were free before and are allocated now, in order.
    pub allocated: Vec<Extent>,
    /// Units that were allocated before and are freed now, deferred or not, in order.
    pub freed: Vec<Extent>,
}

impl Changes {
    /// Adds those of a piece of the device that begins at `start`.
    pub(crate) fn extend(&mut self, other: &Self, start: u64) {
        let at = |extent: &Extent| Extent::new(extent.offset_units + start, extent.size_units);
        self.allocated.extend(other.allocated.iter().map(at));
        self.freed.extend(other.freed.iter().map(at));
    }
}

#[derive(Debug, Default)]
struct Sets {
    allocated: Runs,
    freed: Runs,
}

impl Sets {
    fn of(&mut self, change: Change) -> &mut Runs {
        match change {
            Change::Allocate => &mut self.allocated,
            Change::Free => &mut self.freed,
        }
    }
}

const fn opposite(change: Change) -> Change {
    match change {
        Change::Allocate => Change::Free,
        Change::Free => Change::Allocate,
    }
}

/// Changes that no map was told of, by transaction group, oldest first.
///
/// Groups overlap: one is being written while the next one is open, and a late call may name
/// the older. A map gets them one after the other, so for each unit the changes here
/// alternate from group to group. A change that comes under a group's number when the same unit
/// has changed in that group or a later one undoes that change, and neither is told:
///
/// ```text
/// group        5         6                       5         6
/// allocate     ███                  free in 5    ██             what stays was not freed
/// free                                                          and is not told to be
/// ```
#[derive(Debug, Default)]
pub(crate) struct Journal(Vec<(Txg, Sets)>);

impl Journal {
    /// Units changed in `txg`.
    pub(crate) fn record(&mut self, change: Change, run: Run, txg: Txg) {
        let rest = self.undo(change, run, txg);
        if rest.is_empty() {
            return;
        }
        let at = match self.0.binary_search_by_key(&txg, |(t, _)| *t) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (txg, Sets::default()));
                at
            }
        };
        for run in rest {
            let joined = self.0[at].1.of(change).insert(run);
            debug_assert!(joined.is_some(), "units changed the same way twice");
        }
    }

    /// Units were taken back of which nobody knows in which group they were taken. Where that
    /// was told already, the taking back belongs to group `open`.
    pub(crate) fn retract(&mut self, run: Run, open: Txg) {
        for rest in self.undo(Change::Free, run, 0) {
            self.record(Change::Free, rest, open);
        }
    }

    /// Undoes the last change of each unit where that was the opposite one, in `from` or later.
    /// Returns the units of which that was not so.
    fn undo(&mut self, change: Change, run: Run, from: Txg) -> SmallVec<[Run; 1]> {
        let mut rest: SmallVec<[Run; 1]> = smallvec![run];
        for (_, sets) in self.0.iter_mut().rev().take_while(|(txg, _)| *txg >= from) {
            let mut others: SmallVec<[Run; 1]> = SmallVec::new();
            for run in rest {
                sets.of(opposite(change)).carve(run, |other| others.push(other));
            }
            rest = others;
        }
        rest
    }

    /// Takes out what happened in groups up to `txg`.
    pub(crate) fn take_to(&mut self, txg: Txg) -> Vec<Changes> {
        let end = self.0.partition_point(|(t, _)| *t <= txg);
        let extents = |runs: &Runs| runs.after(0).map(|r| Extent::new(r.start, r.len())).collect();
        let changes = self.0.drain(..end).map(|(txg, sets)| Changes {
            txg,
            allocated: extents(&sets.allocated),
            freed: extents(&sets.freed),
        });
        changes.filter(|c| !(c.allocated.is_empty() && c.freed.is_empty())).collect()
    }
}
