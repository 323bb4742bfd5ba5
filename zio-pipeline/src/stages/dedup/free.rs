//! DDT_FREE: one reference less; the last one gives the space back (spec 6.6).

use std::sync::Arc;

use ddt::FreeOutcome;
use zio_core::{
    BlockPointer, Dva, Error, Flags, Next, Request, Stage, Stages, Txg, Zio, ZioBox, ZioType,
};

use crate::dedup::{Twin, point_at};
use crate::shared::Shared;
use crate::stages::{gang, space};

/// DDT_FREE.
pub(crate) struct DdtFree {
    shared: Arc<Shared>,
}

impl DdtFree {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

/// Gives back the reference of one pointer, and with the last one the space,
/// which `extents_of` knows.
fn free_reference(
    shared: &Shared,
    bp: &BlockPointer,
    txg: Txg,
    extents_of: impl FnOnce(&BlockPointer) -> Result<Vec<Dva>, Error>,
) -> Result<(), Error> {
    shared.dedup.free(bp, |outcome| {
        let mut stored = *bp;
        match outcome {
            FreeOutcome::StillReferenced { .. } => return Ok(()),
            FreeOutcome::LastReference { phys } => point_at(&mut stored, &phys, bp.birth()),
            // Not shared through this table: a block like any other.
            FreeOutcome::NotFound => {}
        }
        space::free_extents(shared, &extents_of(&stored)?, txg)
    })
}

/// Extents of a block that no pointer leads to any more. What a gang occupies is not
/// known here: a free of its own finds out, or leaks it where the headers cannot be read.
fn extents_or_free(shared: &Shared, zio: &Zio, stored: &BlockPointer) -> Vec<Dva> {
    if !stored.is_gang() {
        return stored.dvas().collect();
    }
    let mut free = zio.engine().make(ZioType::Free, Flags::CANFAIL, Stages::FREE);
    free.bp = *stored;
    free.bp.set_dedup(false);
    free.txg = txg_of(shared, zio);
    // Nobody would try it again.
    let bytes = stored.asize_bytes();
    Request::new(free).nowait(Box::new(move |mut freed| {
        if freed.take_error().is_some()
            && let Some(shared) = freed.get().engine().shared::<Shared>()
        {
            shared.has_leaked(bytes);
        }
    }));
    Vec::new()
}

/// A write that holds a reference to a shared block, and does not share it after all.
pub(crate) fn give_up_reference(shared: &Shared, zio: &Zio) -> Result<(), Error> {
    free_reference(shared, &zio.bp, zio.txg, |stored| Ok(extents_or_free(shared, zio, stored)))?;
    release_ditto(shared, zio, &zio.bp)
}

/// Frees the extra copies, if the block has too few references for them now.
pub(super) fn release_ditto(shared: &Shared, zio: &Zio, bp: &BlockPointer) -> Result<(), Error> {
    match shared.dedup.release_ditto(bp)? {
        Some(spare) => free_unshared(shared, zio, &spare),
        None => Ok(()),
    }
}

/// Frees a block that the table has let go of.
pub(super) fn free_unshared(shared: &Shared, zio: &Zio, bp: &BlockPointer) -> Result<(), Error> {
    space::free_extents(shared, &extents_or_free(shared, zio, bp), txg_of(shared, zio))
}

/// Ends the hold on a block that was read.
pub(super) fn let_go(shared: &Shared, zio: &Zio, twin: Twin) -> Result<(), Error> {
    let stored = twin.pointer(&zio.bp);
    if twin.is_ditto() {
        return match shared.dedup.let_go_ditto(&stored)? {
            Some(spare) => free_unshared(shared, zio, &spare),
            None => Ok(()),
        };
    }
    free_reference(shared, &stored, txg_of(shared, zio), |stored| {
        Ok(extents_or_free(shared, zio, stored))
    })?;
    release_ditto(shared, zio, &stored)
}

/// A read belongs to no group: what it frees is freed in the current one.
fn txg_of(shared: &Shared, zio: &Zio) -> Txg {
    if zio.txg == 0 { shared.txg() } else { zio.txg }
}

impl Stage for DdtFree {
    fn stage(&self) -> Stages {
        Stages::DDT_FREE
    }

    fn run(&self, zio: ZioBox) -> Next {
        let mut zio = zio;
        let mut gang = None;
        if zio.bp.is_gang() {
            // The headers first: if one cannot be read, the reference stays.
            zio = gang::assemble(&self.shared, zio)?;
            if zio.error.is_some() {
                return Some(zio);
            }
            match gang::take_extents(&self.shared, &mut zio) {
                Ok(extents) => gang = Some(extents),
                Err(error) => {
                    zio.fail(error);
                    return Some(zio);
                }
            }
        }
        let extents_of = |stored: &BlockPointer| match gang {
            Some(extents) => Ok(extents),
            None => Ok(stored.dvas().collect()),
        };
        let freed = free_reference(&self.shared, &zio.bp, zio.txg, extents_of)
            .and_then(|()| release_ditto(&self.shared, &zio, &zio.bp));
        if let Err(error) = freed {
            zio.fail(error);
        }
        Some(zio)
    }
}
