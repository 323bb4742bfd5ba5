//! The table.

mod ditto;
mod entry;
mod recount;

use std::fmt;
use std::mem;
use std::sync::Arc;

use slab::Slab;

pub use self::ditto::DITTO_REFERENCES_MIN;
pub(crate) use self::entry::Slot;
use self::entry::{Stored, Wide};
use crate::answer::{Completed, Decision, FreeOutcome, TableFull};
use crate::entries::Entries;
use crate::flight::{Abandoned, Flight, ForeignToken, LeadToken, Waiters};
use crate::key::Key;
use crate::phys::{Copies, Dva, Identity, Phys};
use crate::quota::Quota;
use crate::record::{Body, REFERENCES_MAX};
use crate::recount::Changes;
use crate::totals::{Classes, StoredBlock, Totals};

/// The deduplication table of one checksum function, as a state machine.
///
/// `W` stands for a writer: whatever the caller needs to go on with a write that waited. See the
/// [crate's page](crate) for the model.
pub struct Table<W> {
    entries: Entries,
    wides: Slab<Wide>,
    flights: Slab<Flight<W>>,
    classes: Classes,
    /// Present while a recount runs.
    changes: Option<Changes>,
    abandoned: Arc<Abandoned>,
    orphans: Vec<W>,
    quota: Quota,
    /// From so many on an entry is to have extra copies.
    ditto_references: Option<u64>,
}

impl<W> Default for Table<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W> Table<W> {
    /// An empty table that may grow to 2^32 − 1 entries.
    pub fn new() -> Self {
        Self::with_quota(Quota::unlimited())
    }

    /// An empty table in which writers create entries as long as the quota admits them.
    pub fn with_quota(quota: Quota) -> Self {
        Self {
            entries: Entries::new(),
            wides: Slab::new(),
            flights: Slab::new(),
            classes: Classes::default(),
            changes: None,
            abandoned: Arc::default(),
            orphans: Vec::new(),
            quota,
            ditto_references: None,
        }
    }

    /// Decides what becomes of a write of the block `key` with so many `copies`, and acts on it.
    pub fn lookup_write(&mut self, key: &Key, copies: Copies, waiter: W) -> Decision<W> {
        self.settle_abandoned();
        let wide = match self.entries.find(key) {
            Some(at) => match self.entries.body(at) {
                Body::Plain { phys, references }
                    if copies == Copies::One && references < REFERENCES_MAX =>
                {
                    let after = references + 1;
                    self.entries.set_body(at, &Body::Plain { phys, references: after });
                    self.account(key, phys.identity(), references, after);
                    return Decision::Share { phys, waiter };
                }
                body => self.widen(at, &body),
            },
            None if !self.quota.admit() => return Decision::Full { waiter },
            None => match self.insert_wide(key) {
                Some((_, wide)) => wide,
                None => return Decision::Full { waiter },
            },
        };

        let entry = &mut self.wides[wide];
        if let Some(stored) = entry.stored.iter_mut().find(|stored| stored.copies == copies) {
            let before = stored.references;
            stored.references += 1;
            let phys = stored.phys;
            self.account(key, phys.identity(), before, before + 1);
            return Decision::Share { phys, waiter };
        }
        let in_flight = &mut entry.flights[Slot::Of(copies).index()];
        if let Some(flight) = *in_flight {
            self.flights[flight as usize].waiters.push(waiter);
            return Decision::Wait;
        }
        let flight = Flight { key: *key, slot: Slot::Of(copies), waiters: Waiters::new() };
        // Fewer flights than entries: the number fits.
        let flight = self.flights.insert(flight) as u32;
        *in_flight = Some(flight);
        let token = LeadToken::new(*key, copies, flight, &self.abandoned);
        Decision::Lead { token, waiter }
    }

    /// The leader's block has been written, to `phys`. Its references are the leader's and one for
    /// each twin that waited.
    ///
    /// # Errors
    ///
    /// [`ForeignToken`] if the token is another table's.
    pub fn complete(&mut self, token: LeadToken, phys: Phys) -> Result<Completed<W>, ForeignToken> {
        let copies = token.copies();
        let Flight { key, waiters, .. } = self.land(token)?;
        let change = 1 + waiters.len() as u64;
        let references = match self.entries.find(&key) {
            Some(at) => self.add_stored(at, &key, copies, phys, change),
            // The entry stands as long as its flight.
            None => 0,
        };
        Ok(Completed { waiters, references })
    }

    /// The leader's block could not be written. Nothing is stored, and the twins are to be told:
    /// each may fail as well or write again, in which case one of them becomes the leader.
    ///
    /// # Errors
    ///
    /// [`ForeignToken`] if the token is another table's.
    pub fn fail(&mut self, token: LeadToken) -> Result<Waiters<W>, ForeignToken> {
        let flight = self.land(token)?;
        self.settle(&flight.key);
        Ok(flight.waiters)
    }

    /// Gives back one reference to the block `key` stored at `dva0` since `birth_txg`.
    pub fn free(&mut self, key: &Key, dva0: Dva, birth_txg: u64) -> FreeOutcome {
        let identity = Identity { dva0, birth_txg };
        let Some(at) = self.entries.find(key) else { return FreeOutcome::NotFound };
        let (phys, before) = match self.entries.body(at) {
            Body::Plain { phys, references } => {
                if phys.identity() != identity {
                    return FreeOutcome::NotFound;
                }
                if references > 1 {
                    let body = Body::Plain { phys, references: references - 1 };
                    self.entries.set_body(at, &body);
                } else {
                    self.remove_entry(at);
                }
                (phys, references)
            }
            Body::Wide { wide } => {
                let stored = &mut self.wides[wide].stored;
                let Some(slot) = stored.iter().position(|s| s.phys.identity() == identity) else {
                    return FreeOutcome::NotFound;
                };
                let Stored { phys, references, .. } = stored[slot];
                if references > 1 {
                    stored[slot].references -= 1;
                } else {
                    stored.remove(slot);
                }
                self.narrow(at, wide);
                (phys, references)
            }
        };
        self.account(key, identity, before, before - 1);
        match before - 1 {
            0 => FreeOutcome::LastReference { phys },
            references => FreeOutcome::StillReferenced { references },
        }
    }

    /// Counts `count` more references to a block that is known to be stored, and returns how many
    /// it has now. This rebuilds a table from the live pointers of a pool that is being opened.
    ///
    /// The block is found by its [identity](Phys::identity). Blocks of the same contents stored in
    /// different places are kept apart, each with its own references.
    ///
    /// # Errors
    ///
    /// [`TableFull`] if 2^32 − 1 entries exist already. The limit for writers is not looked at.
    pub fn add_references(
        &mut self,
        key: &Key,
        copies: Copies,
        phys: Phys,
        count: u32,
    ) -> Result<u64, TableFull> {
        if count == 0 {
            return Ok(self.references(key, phys.identity()).unwrap_or(0));
        }
        let at = match self.entries.find(key) {
            Some(at) => at,
            None => {
                self.quota.count();
                match self.insert_wide(key) {
                    Some((at, _)) => at,
                    None => return Err(TableFull { entries: self.entries.len() }),
                }
            }
        };
        Ok(self.add_stored(at, key, copies, phys, u64::from(count)))
    }

    /// Counts one more reference to a block, if it is still stored: who does this may read the block
    /// as long as he likes, and gives the reference back by [`free`](Self::free). Returns where all
    /// of it is.
    pub fn hold(&mut self, key: &Key, identity: Identity) -> Option<Phys> {
        let phys = self.blocks(key).find(|block| block.phys.identity() == identity)?.phys;
        let at = self.entries.find(key)?;
        self.add_stored(at, key, Copies::One, phys, 1);
        Some(phys)
    }

    /// References of one stored block, `None` if the table does not know it.
    pub fn references(&self, key: &Key, identity: Identity) -> Option<u64> {
        let mut blocks = self.blocks(key);
        blocks.find(|block| block.phys.identity() == identity).map(|block| block.references)
    }

    /// The stored blocks of one key: at most one for each number of copies, unless
    /// [`add_references`](Self::add_references) brought more.
    pub fn blocks(&self, key: &Key) -> impl Iterator<Item = StoredBlock> {
        self.entries
            .find(key)
            .into_iter()
            .flat_map(|at| self.blocks_of(*key, self.entries.body(at)))
    }

    /// All stored blocks, in no order. Writes in flight are not among them.
    pub fn iter(&self) -> impl Iterator<Item = StoredBlock> {
        self.entries.iter().flat_map(|record| self.blocks_of(record.key(), record.body()))
    }

    /// Sums over all stored blocks.
    pub fn totals(&self) -> Totals {
        self.classes.totals()
    }

    /// Sums over the unique blocks and over the duplicate ones.
    pub fn classes(&self) -> Classes {
        self.classes
    }

    /// Number of keys known, with those in flight.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no key is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of writes in flight.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Bytes of heap the table holds (the waiters' own memory and a recount's aside).
    pub fn heap_bytes(&self) -> usize {
        self.entries.heap_bytes()
            + self.wides.capacity() * size_of::<(usize, Wide)>()
            + self.flights.capacity() * size_of::<(usize, Flight<W>)>()
    }

    /// The twins of leaders whose tokens were dropped, to be told that the write failed.
    pub fn take_orphans(&mut self) -> Vec<W> {
        self.settle_abandoned();
        mem::take(&mut self.orphans)
    }

    // ----- flights -----

    /// Ends the flight of a token of ours. The entry is left as it is, without the flight.
    fn land(&mut self, token: LeadToken) -> Result<Flight<W>, ForeignToken> {
        if !token.is_of(&self.abandoned) {
            return Err(ForeignToken { token });
        }
        Ok(self.take_flight(token.spend()))
    }

    fn take_flight(&mut self, number: u32) -> Flight<W> {
        let flight = self.flights.remove(number as usize);
        if let Some((_, wide)) = self.find_wide(&flight.key) {
            self.wides[wide].flights[flight.slot.index()] = None;
        }
        flight
    }

    /// Tidies an entry that lost its flight.
    fn settle(&mut self, key: &Key) {
        if let Some((at, wide)) = self.find_wide(key) {
            self.narrow(at, wide);
        }
    }

    fn settle_abandoned(&mut self) {
        for number in self.abandoned.take() {
            let flight = self.take_flight(number);
            self.settle(&flight.key);
            self.orphans.extend(flight.waiters);
        }
    }
}

impl<W> Drop for Table<W> {
    fn drop(&mut self) {
        // Others may share the quota.
        self.quota.release(self.entries.len());
    }
}

impl<W> fmt::Debug for Table<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("entries", &self.entries.len())
            .field("in_flight", &self.flights.len())
            .field("totals", &self.totals())
            .finish_non_exhaustive()
    }
}
