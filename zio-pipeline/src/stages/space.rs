//! DVA_ALLOCATE, DVA_FREE, DVA_CLAIM: space (spec 3.8, 8.1, 8.2).

use std::sync::Arc;

use zio_core::{
    BlockPointer, Dva, Error, ErrorKind, Next, SpaceError, Stage, Stages, Txg, Want, Zio, ZioBox,
};

use crate::shared::Shared;

pub(crate) fn space_error(error: SpaceError) -> Error {
    let kind = match error {
        SpaceError::NotFree { .. } | SpaceError::NotAllocated { .. } => ErrorKind::NotFound,
        _ => ErrorKind::DeviceGone,
    };
    Error::because(kind, error)
}

/// DVA_ALLOCATE: as many addresses as copies, all or none.
pub(crate) struct DvaAllocate {
    shared: Arc<Shared>,
}

impl DvaAllocate {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn allocate(&self, zio: &mut Zio) -> Result<(), Error> {
        let want = Want {
            size_bytes: zio.size_bytes as u64,
            copies: zio.props.copies,
            txg: zio.txg,
            affinity: zio.bookmark.object as u32,
            ..Want::default()
        };
        let dvas = self
            .shared
            .allocator
            .allocate(&want)
            .map_err(|full| Error::because(ErrorKind::NoSpace, full))?;
        if dvas.len() != usize::from(zio.props.copies) {
            // An allocator that breaks its promise; nothing of it is kept.
            each(dvas.iter().copied(), |dva| take_back(&self.shared, dva, zio.txg))?;
            let words = format!("{} addresses for {} copies", dvas.len(), zio.props.copies);
            return Err(Error::msg(ErrorKind::NoSpace, words));
        }
        for (index, dva) in dvas.iter().enumerate() {
            zio.bp.set_dva(index, *dva);
        }
        Ok(())
    }
}

impl Stage for DvaAllocate {
    fn stage(&self) -> Stages {
        Stages::DVA_ALLOCATE
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        if let Err(error) = self.allocate(&mut zio) {
            zio.fail(error);
        }
        Some(zio)
    }
}

/// Gives all addresses of a block back, whatever becomes of the others.
///
/// # Errors
/// The first that did not work; that space is leaked, not reused.
pub(crate) fn free_all(shared: &Shared, bp: &BlockPointer, txg: Txg) -> Result<(), Error> {
    each(bp.dvas(), |dva| shared.allocator.free(dva, txg))
}

/// Takes back the addresses a failed write was given, a claim that failed had
/// taken, or a trim had closed. At once, where the allocator knows them as
/// allocations of this txg; after the time of any other freed space, where the
/// txg has ended meanwhile or they were claimed.
pub(crate) fn take_back_all(shared: &Shared, bp: &BlockPointer, txg: Txg) -> Result<(), Error> {
    each(bp.dvas(), |dva| take_back(shared, dva, txg))
}

fn take_back(shared: &Shared, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
    let allocator = &shared.allocator;
    allocator.unallocate(dva, txg).or_else(|_| allocator.free(dva, shared.txg()))
}

fn each(
    dvas: impl Iterator<Item = Dva>,
    act: impl Fn(Dva) -> Result<(), SpaceError>,
) -> Result<(), Error> {
    let mut first = Ok(());
    for dva in dvas {
        let result = act(dva).map_err(space_error);
        first = first.and(result);
    }
    first
}

/// A range that is being trimmed belongs to nobody else meanwhile.
///
/// # Errors
/// Some of it is allocated.
pub(crate) fn close_for_trim(shared: &Shared, zio: &mut Zio) -> Result<(), Error> {
    for dva in zio.bp.dvas() {
        shared.allocator.claim(dva, zio.txg).map_err(space_error)?;
        zio.tried = 1;
    }
    Ok(())
}

/// The range of a trim is free space again.
pub(crate) fn open_after_trim(shared: &Shared, zio: &mut Zio) {
    if zio.tried == 1
        && let Err(error) = take_back_all(shared, &zio.bp, zio.txg)
    {
        zio.fail(error);
    }
}

/// DVA_FREE: the addresses go back. Holes and embedded data have none.
pub(crate) struct DvaFree {
    shared: Arc<Shared>,
}

impl DvaFree {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Stage for DvaFree {
    fn stage(&self) -> Stages {
        Stages::DVA_FREE
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        let freed = match overlapping(&zio.bp) {
            Some(dva) => Err(space_error(SpaceError::NotAllocated { dva })),
            None => free_all(&self.shared, &zio.bp, zio.txg),
        };
        if let Err(error) = freed {
            zio.fail(error);
        }
        Some(zio)
    }
}

fn overlap(a: Dva, b: Dva) -> bool {
    let end = |dva: Dva| dva.offset_bytes().saturating_add(dva.asize_bytes());
    a.vdev() == b.vdev() && a.offset_bytes() < end(b) && b.offset_bytes() < end(a)
}

/// The first address that lies over one before it: no pointer of ours has such,
/// and freeing both would free somebody else's space.
fn overlapping(bp: &BlockPointer) -> Option<Dva> {
    let before = |index: usize| bp.dvas().take(index);
    bp.dvas()
        .enumerate()
        .find(|(index, dva)| before(*index).any(|other| overlap(other, *dva)))
        .map(|(_, dva)| dva)
}

/// Births beyond this were never written by a pool: at a thousand groups a
/// second it is reached in 300 million years.
const BIRTH_MAX: Txg = 1 << 63;

/// DVA_CLAIM: given addresses become allocated. A dry run on every one first,
/// so that a claim that fails changes nothing.
pub(crate) struct DvaClaim {
    shared: Arc<Shared>,
}

impl DvaClaim {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn claim(&self, zio: &Zio) -> Result<(), Error> {
        let bp = &zio.bp;
        if bp.is_gang() {
            return Err(Error::msg(ErrorKind::Unsupported, "a gang block"));
        }
        let born = bp.birth().max(bp.physical_birth());
        if born >= BIRTH_MAX {
            return Err(Error::msg(ErrorKind::Invalid, format!("birth txg {born}")));
        }
        if bp.is_dedup() && !bp.is_hole() {
            // Only the first of several pointers to a shared block claims its space.
            return self.shared.dedup.claim(bp, || self.claim_space(bp, zio.txg));
        }
        self.claim_space(bp, zio.txg)
    }

    fn claim_space(&self, bp: &BlockPointer, txg: Txg) -> Result<(), Error> {
        let allocator = &self.shared.allocator;
        for dva in bp.dvas() {
            allocator.check_claim(dva).map_err(space_error)?;
        }
        if let Some(dva) = overlapping(bp) {
            return Err(space_error(SpaceError::NotFree { dva }));
        }
        for (done, dva) in bp.dvas().enumerate() {
            if let Err(error) = allocator.claim(dva, txg) {
                // Somebody was faster.
                let taken = bp.dvas().take(done);
                each(taken, |dva| take_back(&self.shared, dva, txg))?;
                return Err(space_error(error));
            }
        }
        Ok(())
    }
}

impl Stage for DvaClaim {
    fn stage(&self) -> Stages {
        Stages::DVA_CLAIM
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        match self.claim(&zio) {
            Ok(()) => self.shared.after_txg(zio.bp.birth().max(zio.bp.physical_birth())),
            Err(error) => zio.fail(error),
        }
        Some(zio)
    }
}
