//! Online verification of the dedup tables: count the pointers there are, and mend what does not
//! agree to the safe side.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use checksum::Algorithm;
use ddt::{Copies, Discrepancy, LivePointer, Recount};
use zio_core::{BlockPointer, Dva, Error, ErrorKind, Txg};

use crate::dedup::{Dedup, Table, key_of, phys_of};
use crate::pipeline::Pipeline;
use crate::props::names_blocks;

/// What was done about a [`DedupDiscrepancy`].
pub use ddt::Repair as DedupRepair;

/// A block whose references were not the pointers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DedupDiscrepancy {
    /// Id of the checksum whose table it is in.
    pub checksum: u8,
    /// The block's first address.
    pub dva: Dva,
    /// The group in which it was written.
    pub birth: Txg,
    /// References the table had; 0 if it did not know the block.
    pub references: u64,
    /// Pointers that were found, with the changes since.
    pub pointers: u64,
    /// What has been done about it.
    pub repair: DedupRepair,
}

impl DedupDiscrepancy {
    fn new(checksum: u8, found: Discrepancy, repair: DedupRepair) -> Self {
        let identity = found.block.phys.identity();
        Self {
            checksum,
            dva: Dva::from_words(identity.dva0),
            birth: identity.birth_txg,
            references: found.block.references,
            pointers: found.pointers,
            repair,
        }
    }
}

impl Pipeline {
    /// Compares the references of the dedup tables with the pointers there are, and mends what does
    /// not agree to the safe side: missing references are added, and a surplus stays. A block is
    /// thereby kept too long perhaps, never freed too early.
    ///
    /// `live` yields every pointer that was live when this was called, each as often as there are
    /// owners of it; those without the dedup bit are skipped. It may take its time: writes and frees run meanwhile, and what they change is
    /// allowed for. Those under way at the very moment of the call may or may not have been counted:
    /// have none then for an exact answer, as between two transaction groups. A reference of theirs
    /// is at worst reported as surplus, or added.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`]: another recount is under way. [`ErrorKind::Invalid`]: a pointer that no
    /// table could have.
    pub fn dedup_recount(
        &self,
        live: impl IntoIterator<Item = BlockPointer>,
    ) -> Result<Vec<DedupDiscrepancy>, Error> {
        let running = Running::begin(&self.shared().dedup)?;
        let mut recounts = running.recounts();
        for bp in live {
            if bp.is_dedup() && !bp.is_hole() {
                count(&mut recounts, &bp)?;
            }
        }
        Ok(recounts.into_iter().flat_map(Counting::finish).collect())
    }
}

/// Only one at a time, for a table notes its changes for one.
struct Running<'a>(&'a Dedup);

impl<'a> Running<'a> {
    fn begin(dedup: &'a Dedup) -> Result<Self, Error> {
        if dedup.recounting.swap(true, Ordering::AcqRel) {
            return Err(Error::msg(ErrorKind::Busy, "another recount is under way"));
        }
        Ok(Self(dedup))
    }

    /// Of every table that writers can use: one that comes into use meanwhile has noted its changes.
    fn recounts(&self) -> Vec<Counting<'a>> {
        let may_come = |id| Algorithm::from_id(id).is_ok_and(names_blocks);
        let ids = (0..).zip(&self.0.tables);
        let used = ids.filter(|(id, table)| table.get().is_some() || may_come(*id));
        let tables = used.filter_map(|(id, _)| Some((id, self.0.table(id).ok()?)));
        tables
            .map(|(checksum, table)| Counting { checksum, table, tally: table.begin_recount() })
            .collect()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // One that broke off would note changes for ever.
        self.0.tables.iter().filter_map(OnceLock::get).for_each(Table::cancel_recount);
        self.0.recounting.store(false, Ordering::Release);
    }
}

struct Counting<'a> {
    checksum: u8,
    table: &'a Table,
    tally: Recount,
}

impl Counting<'_> {
    fn finish(self) -> Vec<DedupDiscrepancy> {
        let found = self.table.finish_recount_and_repair(self.tally).into_iter();
        found.map(|(found, repair)| DedupDiscrepancy::new(self.checksum, found, repair)).collect()
    }
}

fn count(recounts: &mut [Counting<'_>], bp: &BlockPointer) -> Result<(), Error> {
    let of_checksum = recounts.iter_mut().find(|recount| recount.checksum == bp.checksum_id());
    let recount = of_checksum.ok_or_else(|| Error::new(ErrorKind::Invalid))?;
    // Of a gang, which has more addresses than copies, the table knows better.
    let copies = Copies::new(bp.copies() as u8).unwrap_or(Copies::One);
    recount.tally.count(LivePointer { key: key_of(bp)?, copies, phys: phys_of(bp)? });
    Ok(())
}
