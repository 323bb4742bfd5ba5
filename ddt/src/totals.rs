//! Sums over the table: what is stored, what is referenced, and how unevenly.

use crate::key::Key;
use crate::phys::{Copies, Phys};

/// A stored block and how many pointers share it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StoredBlock {
    /// Its contents.
    pub key: Key,
    /// The number of copies its writer asked for.
    pub copies: Copies,
    /// Where it is.
    pub phys: Phys,
    /// Pointers that share it; at least one.
    pub references: u64,
}

/// Sums over all stored blocks, kept up to date by every change.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Totals {
    /// Stored blocks.
    pub blocks: u64,
    /// Pointers that share them.
    pub references: u64,
    /// Sum of the blocks' sizes before compression.
    pub lsize_bytes: u64,
    /// Sum of the blocks' sizes as stored, one copy of each.
    pub psize_bytes: u64,
    /// As `lsize_bytes`, each block times its references.
    pub referenced_lsize_bytes: u128,
    /// As `psize_bytes`, each block times its references.
    pub referenced_psize_bytes: u128,
}

impl Totals {
    fn add(&mut self, key: &Key, references: u64) {
        if references > 0 {
            let (lsize, psize) = (key.lsize_bytes(), key.psize_bytes());
            self.blocks += 1;
            self.references += references;
            self.lsize_bytes += u64::from(lsize);
            self.psize_bytes += u64::from(psize);
            self.referenced_lsize_bytes += u128::from(lsize) * u128::from(references);
            self.referenced_psize_bytes += u128::from(psize) * u128::from(references);
        }
    }

    fn remove(&mut self, key: &Key, references: u64) {
        if references > 0 {
            let (lsize, psize) = (key.lsize_bytes(), key.psize_bytes());
            self.blocks -= 1;
            self.references -= references;
            self.lsize_bytes -= u64::from(lsize);
            self.psize_bytes -= u64::from(psize);
            self.referenced_lsize_bytes -= u128::from(lsize) * u128::from(references);
            self.referenced_psize_bytes -= u128::from(psize) * u128::from(references);
        }
    }

    /// How many times over the stored bytes are used, in percent; 100 for an empty table.
    pub fn ratio_percent(&self) -> u128 {
        (self.referenced_psize_bytes * 100).checked_div(u128::from(self.psize_bytes)).unwrap_or(100)
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.blocks += other.blocks;
        self.references += other.references;
        self.lsize_bytes += other.lsize_bytes;
        self.psize_bytes += other.psize_bytes;
        self.referenced_lsize_bytes += other.referenced_lsize_bytes;
        self.referenced_psize_bytes += other.referenced_psize_bytes;
    }
}

/// The two storage classes (spec 6.2): blocks that one pointer leads to, and blocks that several
/// share. A block moves from one to the other as its references do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Classes {
    /// Blocks with one reference.
    pub unique: Totals,
    /// Blocks with more.
    pub duplicate: Totals,
}

impl Classes {
    /// A block's references go from `before` to `after`; 0 is "not stored".
    pub(crate) fn change(&mut self, key: &Key, before: u64, after: u64) {
        self.of(before).remove(key, before);
        self.of(after).add(key, after);
    }

    fn of(&mut self, references: u64) -> &mut Totals {
        if references == 1 { &mut self.unique } else { &mut self.duplicate }
    }

    /// Both together.
    pub fn totals(&self) -> Totals {
        let mut sum = self.unique;
        sum.merge(&self.duplicate);
        sum
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.unique.merge(&other.unique);
        self.duplicate.merge(&other.duplicate);
    }
}

/// Totals by the magnitude of the reference count: bucket *n* holds the blocks with 2^n to
/// 2^(n+1) − 1 references. Bucket 0 is the unique blocks; all others are the duplicate ones.
///
/// Made on demand from the table's blocks, so that it costs nothing until somebody asks:
///
/// ```
/// let table = ddt::Table::<()>::new();
/// let histogram: ddt::Histogram = table.iter().collect();
/// assert_eq!(histogram.unique().blocks, 0);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Histogram {
    buckets: [Totals; Self::BUCKETS],
}

impl Histogram {
    /// Number of buckets.
    pub const BUCKETS: usize = 64;

    /// Adds one block.
    pub fn add(&mut self, block: &StoredBlock) {
        if let Some(log2) = block.references.checked_ilog2() {
            self.buckets[log2 as usize].add(&block.key, block.references);
        }
    }

    /// The buckets.
    pub fn buckets(&self) -> &[Totals; Self::BUCKETS] {
        &self.buckets
    }

    /// The blocks with one reference.
    pub fn unique(&self) -> Totals {
        self.buckets[0]
    }

    /// The blocks with more than one reference.
    pub fn duplicate(&self) -> Totals {
        self.sum(1)
    }

    /// All blocks.
    pub fn totals(&self) -> Totals {
        self.sum(0)
    }

    fn sum(&self, from: usize) -> Totals {
        let mut sum = Totals::default();
        for bucket in &self.buckets[from..] {
            sum.merge(bucket);
        }
        sum
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [Totals::default(); Self::BUCKETS] }
    }
}

impl FromIterator<StoredBlock> for Histogram {
    fn from_iter<I: IntoIterator<Item = StoredBlock>>(blocks: I) -> Self {
        let mut histogram = Self::default();
        for block in blocks {
            histogram.add(&block);
        }
        histogram
    }
}
