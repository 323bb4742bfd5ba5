//! DVA_ALLOCATE, DVA_FREE, DVA_CLAIM: space (spec 3.8, 8.1, 8.2).

use std::sync::Arc;

use smallvec::SmallVec;
use zio_core::{
    BlockPointer, Bookmark, Dva, Dvas, Error, ErrorKind, Next, SpaceError, Stage, Stages, Txg,
    Want, Zio, ZioBox,
};

use super::gang;
use crate::shared::Shared;
use crate::space_class::Asked;

pub(crate) fn space_error(error: SpaceError) -> Error {
    let kind = match error {
        SpaceError::NotFree { .. } | SpaceError::NotAllocated { .. } => ErrorKind::NotFound,
        _ => ErrorKind::DeviceGone,
    };
    Error::because(kind, error)
}

/// As many extents as copies are wanted, all or none.
///
/// # Errors
/// [`ErrorKind::NoSpace`].
pub(crate) fn allocate(shared: &Shared, want: &Want) -> Result<Dvas, Error> {
    let full = |full| Error::because(ErrorKind::NoSpace, full);
    let dvas = shared.allocator.allocate(want).map_err(full)?;
    if dvas.len() == usize::from(want.copies) {
        return Ok(dvas);
    }
    // An allocator that breaks its promise; nothing of it is kept.
    take_back_extents(shared, &dvas, want.txg)?;
    let words = format!("{} addresses for {} copies", dvas.len(), want.copies);
    Err(Error::msg(ErrorKind::NoSpace, words))
}

/// Blocks of one object up to 2^this stand together (spec 3.7).
const TOGETHER_SHIFT: u32 = 20;

/// Which shard of the allocator a block is for: the same for 2^20 blocks of an object in a row.
pub(crate) fn affinity(bookmark: &Bookmark) -> u32 {
    let Bookmark { objset, object, level, block } = *bookmark;
    let words = [objset, object, u64::from(level), block >> TOGETHER_SHIFT];
    // Multiplied by an odd number and folded, each word reaches all of the result.
    let mix =
        |sum: u64, word: u64| (sum.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (words.into_iter().fold(0, mix) >> 32) as u32
}

/// What a write asks the allocator for.
pub(crate) fn want(zio: &Zio) -> Want {
    let Asked { class, leaves_reserve } = Asked::by(zio);
    Want {
        size_bytes: zio.size_bytes as u64,
        copies: zio.props.copies,
        txg: zio.txg,
        class,
        leaves_reserve,
        affinity: affinity(&zio.bookmark),
        uses_slop: zio.props.uses_slop,
        ..Want::default()
    }
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
        let dvas = allocate(&self.shared, &want(zio))?;
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
        if gang::is_under_way(&zio) {
            return gang::go_on(&self.shared, zio);
        }
        let Err(error) = self.allocate(&mut zio) else { return Some(zio) };
        let in_pieces = match error.kind() {
            ErrorKind::NoSpace => gang::begin(&self.shared, &mut zio, error),
            _ => Err(error),
        };
        match in_pieces {
            Ok(()) => gang::go_on(&self.shared, zio),
            Err(error) => {
                zio.fail(error);
                Some(zio)
            }
        }
    }
}

/// Gives extents back, whatever becomes of the others; but for those that a device that hangs may
/// still write to, which are leaked. All of them, or none where two
/// lie over each other: no block of ours is like that.
///
/// # Errors
/// The first that did not work; that space is leaked, not reused.
pub(crate) fn free_extents(shared: &Shared, extents: &[Dva], txg: Txg) -> Result<(), Error> {
    if let Some(dva) = overlapping(extents) {
        return Err(space_error(SpaceError::NotAllocated { dva }));
    }
    each(extents, |dva| match shared.leaks(dva) {
        true => Ok(()),
        false => shared.allocator.free(dva, txg),
    })
}

/// Takes back what a failed write was given, a claim that failed had
/// taken, or a trim had closed. At once, where the allocator knows it as
/// an allocation of this txg; after the time of any other freed space, where the
/// txg has ended meanwhile or it was claimed.
pub(crate) fn take_back_extents(shared: &Shared, extents: &[Dva], txg: Txg) -> Result<(), Error> {
    each(extents, |dva| take_back(shared, dva, txg))
}

fn take_back(shared: &Shared, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
    if shared.leaks(dva) {
        return Ok(());
    }
    let allocator = &shared.allocator;
    allocator.unallocate(dva, txg).or_else(|_| allocator.free(dva, shared.txg()))
}

fn each(extents: &[Dva], act: impl Fn(Dva) -> Result<(), SpaceError>) -> Result<(), Error> {
    let mut first = Ok(());
    for dva in extents {
        let result = act(*dva).map_err(space_error);
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
        && let Err(error) = take_back_extents(shared, &extents_of(&zio.bp), zio.txg)
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
        if let Err(error) = free_extents(&self.shared, &extents_of(&zio.bp), zio.txg) {
            zio.fail(error);
        }
        Some(zio)
    }
}

/// The addresses of a block that is no gang.
pub(crate) fn extents_of(bp: &BlockPointer) -> Dvas {
    bp.dvas().collect()
}

/// The first extent that lies over another one.
pub(crate) fn overlapping(extents: &[Dva]) -> Option<Dva> {
    let end = |dva: Dva| dva.offset_bytes().saturating_add(dva.asize_bytes());
    let mut sorted: SmallVec<[Dva; 3]> = extents.into();
    sorted.sort_unstable_by_key(|dva| (dva.vdev(), dva.offset_bytes()));
    sorted
        .windows(2)
        .find(|pair| pair[0].vdev() == pair[1].vdev() && pair[1].offset_bytes() < end(pair[0]))
        .map(|pair| pair[1])
}

/// Births beyond this were never written by a pool: at a thousand groups a
/// second it is reached in 300 million years.
const BIRTH_MAX: Txg = 1 << 63;

/// Marks a block as allocated: `extents` is all it occupies, and there are so many copies of
/// its data. A dry run on every extent first, so that a claim that fails changes nothing.
///
/// # Errors
/// Some of it is not free, or not there; nothing is claimed then.
pub(crate) fn claim_block(
    shared: &Shared,
    zio: &Zio,
    extents: &[Dva],
    copies: usize,
) -> Result<(), Error> {
    let bp = &zio.bp;
    let born = bp.birth().max(bp.physical_birth());
    if born >= BIRTH_MAX {
        return Err(Error::msg(ErrorKind::Invalid, format!("birth txg {born}")));
    }
    if bp.is_dedup() && !bp.is_hole() {
        // Only the first of several pointers to a shared block claims its space.
        shared.dedup.claim(bp, copies, || claim_extents(shared, extents, zio.txg))?;
    } else {
        claim_extents(shared, extents, zio.txg)?;
    }
    shared.after_txg(born);
    Ok(())
}

fn claim_extents(shared: &Shared, extents: &[Dva], txg: Txg) -> Result<(), Error> {
    for dva in extents {
        shared.allocator.check_claim(*dva).map_err(space_error)?;
    }
    if let Some(dva) = overlapping(extents) {
        return Err(space_error(SpaceError::NotFree { dva }));
    }
    for (done, dva) in extents.iter().enumerate() {
        if let Err(error) = shared.allocator.claim(*dva, txg) {
            // Somebody was faster.
            take_back_extents(shared, &extents[..done], txg)?;
            return Err(space_error(error));
        }
    }
    Ok(())
}

/// DVA_CLAIM: given addresses become allocated.
pub(crate) struct DvaClaim {
    shared: Arc<Shared>,
}

impl DvaClaim {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Stage for DvaClaim {
    fn stage(&self) -> Stages {
        Stages::DVA_CLAIM
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        let extents = extents_of(&zio.bp);
        if let Err(error) = claim_block(&self.shared, &zio, &extents, extents.len()) {
            zio.fail(error);
        }
        Some(zio)
    }
}
