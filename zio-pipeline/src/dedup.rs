//! The dedup tables of a pipeline: one per checksum function (spec 6.1).

use std::sync::OnceLock;

use ddt::{Copies, Decision, FreeOutcome, Key, LeadToken, Phys, SharedTable, Waiters};
use parking_lot::RwLock;
use zio_core::bp::{CHECKSUM_IDS, DVAS_MAX};
use zio_core::{BlockPointer, Dva, Error, ErrorKind, Txg, ZioBox};

/// Shards of a table: more than cores that could meet in one.
const SHARDS: usize = 64;

pub(crate) type Table = SharedTable<ZioBox>;

/// One table for each checksum function that has been used with dedup.
pub(crate) struct Dedup {
    tables: [OnceLock<Table>; CHECKSUM_IDS as usize],
    /// Held for writing by a claim: who comes second relies on the space that the
    /// first one claims. Held for reading by a free: between the last reference
    /// and the space there is no claim.
    claims: RwLock<()>,
}

impl Dedup {
    pub(crate) fn new() -> Self {
        Self { tables: std::array::from_fn(|_| OnceLock::new()), claims: RwLock::new(()) }
    }

    fn table(&self, checksum: u8) -> Result<&Table, Error> {
        let slot = self.tables.get(usize::from(checksum));
        let table = slot.map(|slot| slot.get_or_init(|| Table::new(SHARDS)));
        table.ok_or_else(|| Error::msg(ErrorKind::Invalid, format!("checksum id {checksum}")))
    }

    /// Looks the block of this write up, and takes the zio in if a twin is in flight.
    pub(crate) fn lookup(&self, zio: ZioBox) -> Result<Decision<ZioBox>, (ZioBox, Error)> {
        let prepared = self.table(zio.bp.checksum_id()).and_then(|table| {
            let copies = Copies::new(zio.props.copies);
            let copies = copies.ok_or_else(|| Error::new(ErrorKind::Invalid))?;
            Ok((table, key_of(&zio.bp)?, copies))
        });
        match prepared {
            Ok((table, key, copies)) => Ok(table.lookup_write(&key, copies, zio)),
            Err(error) => Err((zio, error)),
        }
    }

    /// The leader's block stands where `bp` says. Returns the twins that waited.
    pub(crate) fn complete(
        &self,
        token: LeadToken,
        bp: &BlockPointer,
    ) -> Result<Waiters<ZioBox>, Error> {
        let phys = phys_of(bp)?;
        let completed = self.table(bp.checksum_id())?.complete(token, phys);
        completed.map(|done| done.waiters).map_err(|e| Error::because(ErrorKind::Invalid, e))
    }

    /// The leader has failed. Returns the twins that waited; they start over.
    pub(crate) fn fail(&self, token: LeadToken, checksum: u8) -> Option<Waiters<ZioBox>> {
        self.table(checksum).ok()?.fail(token).ok()
    }

    /// Gives back the reference of one pointer; `release` does what follows
    /// from the outcome. No claim comes between the two.
    pub(crate) fn free(
        &self,
        bp: &BlockPointer,
        release: impl FnOnce(FreeOutcome) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let dva0 = bp.dva(0).unwrap_or(Dva::EMPTY).words();
        let (table, key) = (self.table(bp.checksum_id())?, key_of(bp)?);
        let _beside_other_frees = self.claims.read();
        release(table.free(&key, dva0, bp.physical_birth()))
    }

    /// Counts a live pointer to a block of which there are so many copies: a gang has more
    /// addresses than that. `claim_space` is called for the first one of a block.
    pub(crate) fn claim(
        &self,
        bp: &BlockPointer,
        copies: usize,
        claim_space: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (table, key, phys) = (self.table(bp.checksum_id())?, key_of(bp)?, phys_of(bp)?);
        let copies = Copies::new(copies as u8).unwrap_or(Copies::One);
        let _one_at_a_time = self.claims.write();
        if table.references(&key, phys.identity()).is_none() {
            claim_space()?;
        }
        table
            .add_references(&key, copies, phys, 1)
            .map(|_| ())
            .map_err(|full| Error::because(ErrorKind::NoSpace, full))
    }

    /// References of all tables together.
    pub(crate) fn references(&self) -> u64 {
        self.tables.iter().filter_map(OnceLock::get).map(|t| t.totals().references).sum()
    }
}

fn key_of(bp: &BlockPointer) -> Result<Key, Error> {
    Key::new(
        bp.checksum(),
        bp.lsize_bytes() as u32,
        bp.psize_bytes() as u32,
        bp.compression(),
        bp.is_crypt(),
    )
    .map_err(|error| Error::because(ErrorKind::Invalid, error))
}

fn phys_of(bp: &BlockPointer) -> Result<Phys, Error> {
    let mut dvas = [[0; 2]; DVAS_MAX];
    for (words, dva) in dvas.iter_mut().zip(bp.dvas()) {
        *words = dva.words();
    }
    Phys::new(dvas, bp.physical_birth()).map_err(|error| Error::because(ErrorKind::Invalid, error))
}

/// Makes the pointer one to a stored block, born logically in `txg`.
pub(crate) fn point_at(bp: &mut BlockPointer, phys: &Phys, txg: Txg) {
    for (index, words) in phys.dvas().into_iter().enumerate() {
        bp.set_dva(index, Dva::from_words(words));
    }
    bp.set_birth(txg, phys.birth_txg());
}
