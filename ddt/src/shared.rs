//! The table for many threads.

use std::fmt;

use parking_lot::{Mutex, MutexGuard};

use crate::answer::{Completed, Decision, FreeOutcome, TableFull};
use crate::flight::{DittoToken, ForeignToken, LeadToken, Waiters};
use crate::key::Key;
use crate::phys::{Copies, Dva, Identity, Phys};
use crate::quota::Quota;
use crate::recount::{Discrepancy, Recount, Repair};
use crate::table::Table;
use crate::totals::{Classes, StoredBlock, Totals};

/// The bits of a key's hash that choose its shard. The hash table inside a shard uses the lowest
/// bits and the seven highest.
const SHARD_SHIFT: u32 = 40;
const SHARDS_MAX: usize = 1 << 16;

/// A [`Table`] in shards, each behind its own lock.
///
/// Every call takes one shard's lock for a moment and returns values; nothing of the caller's runs
/// under it: no callback, no I/O, no drop of a `W`. Calls on different keys seldom meet, calls on
/// the same key are decided one after the other.
pub struct SharedTable<W> {
    shards: Box<[Mutex<Table<W>>]>,
}

impl<W> SharedTable<W> {
    /// An empty table in about `shards` shards (rounded up to a power of two, at most 65536). A few
    /// times the number of threads is plenty; more shards also make each step of growth smaller.
    pub fn new(shards: usize) -> Self {
        Self::with_quota(shards, &Quota::unlimited())
    }

    /// As [`new`](Self::new); writers create entries in all shards together as long as the quota
    /// admits them.
    pub fn with_quota(shards: usize, quota: &Quota) -> Self {
        let shards = shards.clamp(1, SHARDS_MAX).next_power_of_two();
        let table = |_| Mutex::new(Table::with_quota(quota.clone()));
        Self { shards: (0..shards).map(table).collect() }
    }

    /// As [`Table::set_ditto_references`], for a table that nobody else has yet.
    #[must_use]
    pub fn with_ditto_references(self, references: u64) -> Self {
        for shard in &self.shards {
            shard.lock().set_ditto_references(references);
        }
        self
    }

    fn shard_number(&self, key: &Key) -> usize {
        (key.hash() >> SHARD_SHIFT) as usize & (self.shards.len() - 1)
    }

    fn shard(&self, key: &Key) -> &Mutex<Table<W>> {
        &self.shards[self.shard_number(key)]
    }

    /// As [`Table::lookup_write`].
    pub fn lookup_write(&self, key: &Key, copies: Copies, waiter: W) -> Decision<W> {
        self.shard(key).lock().lookup_write(key, copies, waiter)
    }

    /// As [`Table::complete`].
    ///
    /// # Errors
    ///
    /// [`ForeignToken`] if the token is another table's.
    pub fn complete(&self, token: LeadToken, phys: Phys) -> Result<Completed<W>, ForeignToken> {
        self.shard(token.key()).lock().complete(token, phys)
    }

    /// As [`Table::fail`].
    ///
    /// # Errors
    ///
    /// [`ForeignToken`] if the token is another table's.
    pub fn fail(&self, token: LeadToken) -> Result<Waiters<W>, ForeignToken> {
        self.shard(token.key()).lock().fail(token)
    }

    /// As [`Table::free`].
    pub fn free(&self, key: &Key, dva0: Dva, birth_txg: u64) -> FreeOutcome {
        self.shard(key).lock().free(key, dva0, birth_txg)
    }

    /// As [`Table::add_references`].
    ///
    /// # Errors
    ///
    /// [`TableFull`] if the key's shard has no place left.
    pub fn add_references(
        &self,
        key: &Key,
        copies: Copies,
        phys: Phys,
        count: u32,
    ) -> Result<u64, TableFull> {
        self.shard(key).lock().add_references(key, copies, phys, count)
    }

    /// As [`Table::hold`].
    pub fn hold(&self, key: &Key, identity: Identity) -> Option<Phys> {
        self.shard(key).lock().hold(key, identity)
    }

    /// As [`Table::lead_ditto`].
    pub fn lead_ditto(&self, key: &Key) -> Option<DittoToken> {
        self.shard(key).lock().lead_ditto(key)
    }

    /// As [`Table::complete_ditto`].
    ///
    /// # Errors
    ///
    /// The token, if it is another table's.
    pub fn complete_ditto(
        &self,
        token: DittoToken,
        phys: Phys,
    ) -> Result<Option<Phys>, DittoToken> {
        self.shard(token.key()).lock().complete_ditto(token, phys)
    }

    /// As [`Table::fail_ditto`].
    ///
    /// # Errors
    ///
    /// The token, if it is another table's.
    pub fn fail_ditto(&self, token: DittoToken) -> Result<(), DittoToken> {
        self.shard(token.key()).lock().fail_ditto(token)
    }

    /// As [`Table::release_ditto`].
    pub fn release_ditto(&self, key: &Key) -> Option<Phys> {
        self.shard(key).lock().release_ditto(key)
    }

    /// As [`Table::hold_ditto`].
    pub fn hold_ditto(&self, key: &Key) -> Option<Phys> {
        self.shard(key).lock().hold_ditto(key)
    }

    /// As [`Table::let_go_ditto`].
    pub fn let_go_ditto(&self, key: &Key) -> Option<Phys> {
        self.shard(key).lock().let_go_ditto(key)
    }

    /// As [`Table::ditto_copies`].
    pub fn ditto_copies(&self, key: &Key) -> Option<Copies> {
        self.shard(key).lock().ditto_copies(key)
    }

    /// As [`Table::references`].
    pub fn references(&self, key: &Key, identity: Identity) -> Option<u64> {
        self.shard(key).lock().references(key, identity)
    }

    /// The stored blocks of one key.
    pub fn blocks(&self, key: &Key) -> Vec<StoredBlock> {
        self.shard(key).lock().blocks(key).collect()
    }

    /// All stored blocks, a shard at a time: the vectors are consistent each, not with one another.
    pub fn shard_blocks(&self) -> impl Iterator<Item = Vec<StoredBlock>> {
        self.shards.iter().map(|shard| shard.lock().iter().collect())
    }

    /// Sums over all stored blocks, a shard at a time.
    pub fn totals(&self) -> Totals {
        self.classes().totals()
    }

    /// As [`Table::classes`], a shard at a time.
    pub fn classes(&self) -> Classes {
        let mut sum = Classes::default();
        for shard in &self.shards {
            sum.merge(&shard.lock().classes());
        }
        sum
    }

    /// Number of keys known, with those in flight.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether no key is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of writes in flight.
    pub fn in_flight(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().in_flight()).sum()
    }

    /// Bytes of heap in use, as [`Table::heap_bytes`].
    pub fn heap_bytes(&self) -> usize {
        let shards = size_of_val(&*self.shards);
        shards + self.shards.iter().map(|shard| shard.lock().heap_bytes()).sum::<usize>()
    }

    /// As [`Table::take_orphans`].
    pub fn take_orphans(&self) -> Vec<W> {
        self.shards.iter().flat_map(|shard| shard.lock().take_orphans()).collect()
    }

    /// As [`Table::begin_recount`]. The shards begin one after the other: the caller sees to it that
    /// no pointer comes or goes meanwhile, for instance between two transaction groups.
    pub fn begin_recount(&self) -> Recount {
        for shard in &self.shards {
            shard.lock().begin_recount();
        }
        Recount::default()
    }

    /// As [`Table::finish_recount`], under each shard's lock in turn. Changes meanwhile are seen or
    /// not seen together with their block, so the answer is as good as any single moment's.
    pub fn finish_recount(&self, recount: Recount) -> Vec<Discrepancy> {
        self.finish_shards(recount, |mut shard, part| shard.finish_recount(part))
    }

    /// As [`finish_recount`](Self::finish_recount), and mends what does not agree as
    /// [`Table::repair`] does, before anybody can change it.
    pub fn finish_recount_and_repair(&self, recount: Recount) -> Vec<(Discrepancy, Repair)> {
        let mend = |mut shard: MutexGuard<'_, Table<W>>, part| {
            let found = shard.finish_recount(part).into_iter();
            found.map(|found| (found, shard.repair(&found))).collect::<Vec<_>>()
        };
        self.finish_shards(recount, mend)
    }

    /// As [`Table::cancel_recount`].
    pub fn cancel_recount(&self) {
        for shard in &self.shards {
            shard.lock().cancel_recount();
        }
    }

    fn finish_shards<T>(
        &self,
        recount: Recount,
        finish: impl Fn(MutexGuard<'_, Table<W>>, Recount) -> Vec<T>,
    ) -> Vec<T> {
        let mut parts: Vec<Recount> = self.shards.iter().map(|_| Recount::default()).collect();
        recount.split(&mut parts, |key| self.shard_number(key));
        let shards = self.shards.iter().zip(parts);
        shards.flat_map(|(shard, part)| finish(shard.lock(), part)).collect()
    }

    /// As [`Table::repair`].
    pub fn repair(&self, discrepancy: &Discrepancy) -> Repair {
        self.shard(&discrepancy.block.key).lock().repair(discrepancy)
    }
}

impl<W> fmt::Debug for SharedTable<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedTable")
            .field("shards", &self.shards.len())
            .field("totals", &self.totals())
            .finish_non_exhaustive()
    }
}
