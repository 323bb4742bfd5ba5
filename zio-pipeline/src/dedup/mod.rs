//! The dedup tables of a pipeline: one per checksum function (spec 6.1).

mod recount;
mod stats;

use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use checksum::{Algorithm, Flags as ChecksumFlags};
use ddt::{
    Copies, Decision, DittoToken, FreeOutcome, Key, LeadToken, Phys, Quota, SharedTable, Waiters,
};
use parking_lot::RwLock;
use zio_core::bp::{CHECKSUM_IDS, DVAS_MAX};
use zio_core::{BlockPointer, Dva, Error, ErrorKind, Txg, ZioBox};

pub use recount::{DedupDiscrepancy, DedupRepair};
pub use stats::DedupStats;

/// Shards of a table: more than cores that could meet in one.
const SHARDS: usize = 64;

pub(crate) type Table = SharedTable<ZioBox>;

/// What a builder says of dedup.
#[derive(Clone, Copy, Default)]
pub(crate) struct DedupConfig {
    /// Most entries of all tables together.
    pub(crate) entries_max: Option<usize>,
    /// References from which on a block gets extra copies.
    pub(crate) ditto_references: Option<u64>,
}

/// Another block of the same contents, that nobody frees as long as this is there. To be given back.
#[must_use = "what is held is never freed"]
pub(crate) struct Twin {
    phys: Phys,
    is_ditto: bool,
}

impl Twin {
    /// The pointer, led to this block.
    pub(crate) fn pointer(&self, bp: &BlockPointer) -> BlockPointer {
        let mut bp = *bp;
        let birth = bp.birth();
        point_at(&mut bp, &self.phys, birth);
        bp
    }

    /// Extra copies, which no pointer leads to.
    pub(crate) fn is_ditto(&self) -> bool {
        self.is_ditto
    }
}

/// One table for each checksum function that has been used with dedup.
pub(crate) struct Dedup {
    tables: [OnceLock<Table>; CHECKSUM_IDS as usize],
    /// Held for writing by a claim: who comes second relies on the space that the
    /// first one claims. Held for reading by a free: between the last reference
    /// and the space there is no claim.
    claims: RwLock<()>,
    quota: Quota,
    ditto_references: Option<u64>,
    recounting: AtomicBool,
}

impl Dedup {
    pub(crate) fn new(config: DedupConfig) -> Self {
        Self {
            tables: std::array::from_fn(|_| OnceLock::new()),
            claims: RwLock::new(()),
            quota: config.entries_max.map_or(Quota::unlimited(), Quota::new),
            ditto_references: config.ditto_references,
            recounting: AtomicBool::new(false),
        }
    }

    fn make_table(&self) -> Table {
        let table = Table::with_quota(SHARDS, &self.quota);
        match self.ditto_references {
            Some(references) => table.with_ditto_references(references),
            None => table,
        }
    }

    fn table(&self, checksum: u8) -> Result<&Table, Error> {
        let slot = self.tables.get(usize::from(checksum));
        let table = slot.map(|slot| slot.get_or_init(|| self.make_table()));
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

    /// All other blocks of the same contents, held. None, where equal checksums do not mean equal
    /// blocks: those that are written with other numbers of copies have never been compared.
    pub(crate) fn hold_twins(&self, bp: &BlockPointer) -> Vec<Twin> {
        let (Ok(table), Ok(key)) = (self.table(bp.checksum_id()), key_of(bp)) else {
            return Vec::new();
        };
        if !is_strong(bp.checksum_id()) {
            return Vec::new();
        }
        let own = bp.dva(0).unwrap_or(Dva::EMPTY).words();
        let others = table.blocks(&key).into_iter().map(|block| block.phys.identity());
        let ditto = table.hold_ditto(&key).map(|phys| Twin { phys, is_ditto: true });
        let held = others
            .filter(|other| other.dva0 != own)
            .filter_map(|other| table.hold(&key, other))
            .map(|phys| Twin { phys, is_ditto: false });
        ditto.into_iter().chain(held).collect()
    }

    /// The block of the pointer itself, held, if the table has it with these addresses.
    pub(crate) fn hold_own(&self, bp: &BlockPointer) -> Option<Twin> {
        let (table, key) = (self.table(bp.checksum_id()).ok()?, key_of(bp).ok()?);
        let named = phys_of(bp).ok()?;
        let is_same = |block: &ddt::StoredBlock| block.phys == named;
        table.blocks(&key).iter().any(is_same).then_some(())?;
        let phys = table.hold(&key, named.identity())?;
        Some(Twin { phys, is_ditto: false })
    }

    /// Extra copies of this block, if it lacks some: the duty to write them.
    pub(crate) fn lead_ditto(&self, bp: &BlockPointer) -> Option<DittoToken> {
        self.ditto_references?;
        if !is_strong(bp.checksum_id()) {
            return None;
        }
        self.table(bp.checksum_id()).ok()?.lead_ditto(&key_of(bp).ok()?)
    }

    /// The extra copies stand where `bp` says. Returns a block to be freed.
    pub(crate) fn complete_ditto(
        &self,
        token: DittoToken,
        bp: &BlockPointer,
    ) -> Result<Option<BlockPointer>, Error> {
        let spare = self.table(bp.checksum_id())?.complete_ditto(token, phys_of(bp)?);
        let spare = spare.map_err(|_| Error::new(ErrorKind::Invalid))?;
        Ok(spare.map(|phys| Twin { phys, is_ditto: true }.pointer(bp)))
    }

    /// They could not be written.
    pub(crate) fn fail_ditto(&self, token: DittoToken, bp: &BlockPointer) -> Result<(), Error> {
        let failed = self.table(bp.checksum_id())?.fail_ditto(token);
        failed.map_err(|_| Error::new(ErrorKind::Invalid))
    }

    /// Extra copies that this block has too few references for, to be freed.
    pub(crate) fn release_ditto(&self, bp: &BlockPointer) -> Result<Option<BlockPointer>, Error> {
        if self.ditto_references.is_none() {
            return Ok(None);
        }
        let spare = self.table(bp.checksum_id())?.release_ditto(&key_of(bp)?);
        Ok(spare.map(|phys| Twin { phys, is_ditto: true }.pointer(bp)))
    }

    /// The extra copies have been read. Returns them if they are to be freed.
    pub(crate) fn let_go_ditto(&self, bp: &BlockPointer) -> Result<Option<BlockPointer>, Error> {
        let spare = self.table(bp.checksum_id())?.let_go_ditto(&key_of(bp)?);
        Ok(spare.map(|phys| Twin { phys, is_ditto: true }.pointer(bp)))
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
}

/// May equal checksums be taken for equal blocks?
pub(crate) fn is_strong(checksum: u8) -> bool {
    Algorithm::from_id(checksum)
        .is_ok_and(|algorithm| algorithm.flags().contains(ChecksumFlags::DEDUP))
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
