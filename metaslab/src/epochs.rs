//! Sets of units by the transaction group that made them.

use zio_core::Txg;

use crate::runs::{Run, Runs};

/// One set of units per transaction group, oldest first. A handful at most
/// are open at a time, so a list beats a map.
#[derive(Debug, Default)]
pub(crate) struct Epochs(Vec<(Txg, Runs)>);

impl Epochs {
    /// The set of `txg`, made when missing.
    pub(crate) fn of(&mut self, txg: Txg) -> &mut Runs {
        let at = match self.0.binary_search_by_key(&txg, |(t, _)| *t) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (txg, Runs::default()));
                at
            }
        };
        &mut self.0[at].1
    }

    /// Is all of `run` in the set of `txg`?
    pub(crate) fn holds(&self, txg: Txg, run: Run) -> bool {
        self.0.iter().any(|(t, runs)| *t == txg && runs.containing(run).is_some())
    }

    /// Takes whatever units of `run` are in the set of `txg` out of it.
    pub(crate) fn take_from(&mut self, txg: Txg, run: Run) {
        if let Some((_, runs)) = self.0.iter_mut().find(|(t, _)| *t == txg) {
            runs.subtract(run);
        }
    }

    /// Is any unit of `run` in any set?
    pub(crate) fn overlaps(&self, run: Run) -> bool {
        self.0.iter().any(|(_, runs)| runs.overlaps(run))
    }

    /// Takes out whatever units of `run` are in any set.
    pub(crate) fn subtract(&mut self, run: Run) {
        for (_, runs) in &mut self.0 {
            runs.subtract(run);
        }
    }

    /// Forgets the sets of transaction groups up to and including `txg`.
    pub(crate) fn forget_to(&mut self, txg: Txg) {
        self.0.retain(|(t, _)| *t > txg);
    }

    /// Takes one run out of the sets up to and including `txg`.
    pub(crate) fn pop_to(&mut self, txg: Txg) -> Option<Run> {
        while let Some((_, runs)) = self.0.first_mut().filter(|(t, _)| *t <= txg) {
            if let Some(run) = runs.pop_first() {
                return Some(run);
            }
            self.0.remove(0);
        }
        None
    }

    /// Units in all sets.
    pub(crate) fn units(&self) -> u64 {
        self.0.iter().map(|(_, runs)| runs.units()).sum()
    }
}
