//! What dedup gains, and what it costs.

use std::sync::OnceLock;

use ddt::{Classes, Histogram};
use zio_core::Dva;

use crate::builder::Builder;
use crate::dedup::Dedup;
use crate::pipeline::Pipeline;

/// What dedup gains, and what it costs: all tables of a pipeline together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DedupStats {
    /// Unique blocks and duplicate ones.
    pub classes: Classes,
    /// The same blocks by the magnitude of their references.
    pub histogram: Histogram,
    /// Space that the blocks take, all copies of each; extra ones aside.
    pub stored_bytes: u128,
    /// Space that they would take if nothing were shared.
    pub referenced_bytes: u128,
    /// Entries of the tables, those of writes in flight included.
    pub entries: u64,
    /// Memory that the tables take.
    pub table_bytes: u64,
}

impl DedupStats {
    /// How many times over the space is used, in percent; 100 if there is nothing.
    pub fn ratio_percent(&self) -> u128 {
        (self.referenced_bytes * 100).checked_div(self.stored_bytes).unwrap_or(100)
    }
}

impl Dedup {
    /// References of all tables together.
    pub(crate) fn references(&self) -> u64 {
        self.tables.iter().filter_map(OnceLock::get).map(|t| t.totals().references).sum()
    }

    fn stats(&self) -> DedupStats {
        let mut stats = DedupStats::default();
        for table in self.tables.iter().filter_map(OnceLock::get) {
            // The sums are made of the same look at each shard, so that they agree.
            for block in table.shard_blocks().flatten() {
                let asize_bytes = |words| u128::from(Dva::from_words(words).asize_bytes());
                let stored: u128 = block.phys.dvas().into_iter().map(asize_bytes).sum();
                stats.stored_bytes += stored;
                stats.referenced_bytes += stored * u128::from(block.references);
                stats.histogram.add(&block);
            }
            stats.entries += table.len() as u64;
            stats.table_bytes += table.heap_bytes() as u64;
        }
        let (unique, duplicate) = (stats.histogram.unique(), stats.histogram.duplicate());
        stats.classes = Classes { unique, duplicate };
        stats
    }
}

impl Builder {
    /// Most entries of the dedup tables together, at most 64 bytes of memory each. When there are as many, new blocks
    /// are written without dedup; those that are known are shared all the same. Unlimited unless told.
    ///
    /// Pointers that are [claimed](Pipeline::claim) are always let in.
    #[must_use]
    pub fn dedup_entries_max(mut self, entries: usize) -> Self {
        self.dedup.entries_max = Some(entries);
        self
    }

    /// From how many references on, at least 100, a shared block has two copies in all, and from the square of that on
    /// three: one bad place would cost many pointers their data. Off unless told.
    ///
    /// The extra copies are read when nothing else gives the block, and given back when the
    /// references have become fewer again. A pipeline opened again begins without them. Blocks whose checksum is not strong enough for dedup
    /// have none.
    #[must_use]
    pub fn dedup_ditto(mut self, references: u64) -> Self {
        self.dedup.ditto_references = Some(references);
        self
    }
}

impl Pipeline {
    /// References held by the dedup table; each live pointer with the dedup bit is one. So is,
    /// for the moment, each read that goes by another block of the same contents.
    pub fn dedup_references(&self) -> u64 {
        self.shared().dedup.references()
    }

    /// What dedup gains. Made on demand from all entries, a part of the table at a time.
    pub fn dedup_stats(&self) -> DedupStats {
        self.shared().dedup.stats()
    }
}
