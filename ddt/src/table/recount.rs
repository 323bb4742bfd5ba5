//! Online verification of a table.

use crate::answer::TableFull;
use crate::recount::{Changes, Discrepancy, LivePointer, Recount, Repair, compare};
use crate::table::Table;
use crate::totals::StoredBlock;

impl<W> Table<W> {
    /// Compares the references with the pointers that really exist. Nothing may change meanwhile;
    /// see [`begin_recount`](Self::begin_recount) for a table in use.
    pub fn verify(&self, live: impl IntoIterator<Item = LivePointer>) -> Vec<Discrepancy> {
        let mut recount = Recount::default();
        recount.extend(live);
        compare(self.iter(), recount, &Changes::default())
    }

    /// Starts an online verification: the pointers to be counted are those that exist now, for
    /// instance those of a snapshot. The table stays in use, and notes what changes; that costs
    /// memory for each block touched, until [`finish_recount`](Self::finish_recount). A recount
    /// already running is forgotten.
    pub fn begin_recount(&mut self) -> Recount {
        self.changes = Some(Changes::default());
        Recount::default()
    }

    /// Ends an online verification and returns what does not agree.
    pub fn finish_recount(&mut self, recount: Recount) -> Vec<Discrepancy> {
        let changes = self.changes.take().unwrap_or_default();
        compare(self.iter(), recount, &changes)
    }

    /// Ends an online verification without a result.
    pub fn cancel_recount(&mut self) {
        self.changes = None;
    }

    /// Mends a discrepancy to the safe side: missing references are added, a surplus stays. A block
    /// can thereby be kept too long, never freed too early.
    pub fn repair(&mut self, discrepancy: &Discrepancy) -> Repair {
        let StoredBlock { key, copies, phys, .. } = discrepancy.block;
        let mut missing = discrepancy.missing();
        if missing == 0 {
            return Repair::LeftToLeak(discrepancy.surplus());
        }
        let mut references = 0;
        while missing > 0 {
            let step = u32::try_from(missing).unwrap_or(u32::MAX);
            match self.add_references(&key, copies, phys, step) {
                Ok(now) => references = now,
                Err(TableFull { .. }) => return Repair::TableFull,
            }
            missing -= u64::from(step);
        }
        Repair::Raised(references)
    }
}
