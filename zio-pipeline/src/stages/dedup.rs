//! FREE_BP_INIT, DDT_READ_START, DDT_READ_DONE, DDT_WRITE, DDT_FREE: equal
//! blocks are stored once (spec 6).

use std::sync::Arc;

use ddt::{Decision, FreeOutcome, LeadToken};
use zio_core::task::Place;
use zio_core::{
    BlockPointer, ChildSet, ChildType, Dva, Engine, Error, ErrorKind, Finished, Flags, Next,
    QueueKind, Stage, Stages, Txg, WaitType, Zio, ZioBox, ZioType,
};

use crate::dedup::point_at;
use crate::shared::Shared;
use crate::stages::{gang, space};

/// FREE_BP_INIT: a shared block is given back through the table.
pub(crate) struct FreeBpInit;

impl Stage for FreeBpInit {
    fn stage(&self) -> Stages {
        Stages::FREE_BP_INIT
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        if zio.bp.is_dedup() && !zio.bp.is_hole() && zio.child_type() == ChildType::Logical {
            zio.become_pipeline(Stages::DDT_FREE_PIPELINE);
        } else if zio.bp.is_gang() {
            zio.add_stages(Stages::GANG | Stages::ISSUE_ASYNC);
        }
        Some(zio)
    }
}

/// DDT_READ_START: the real read is a child of type DDT.
pub(crate) struct DdtReadStart;

impl Stage for DdtReadStart {
    fn stage(&self) -> Stages {
        Stages::DDT_READ_START
    }

    fn run(&self, zio: ZioBox) -> Next {
        let mut pipeline = Stages::DDT_CHILD_READ;
        if zio.bp.is_gang() {
            pipeline |= Stages::GANG;
        }
        let child = ddt_child(&zio, ZioType::Read, pipeline);
        child.start();
        Some(zio)
    }
}

/// DDT_READ_DONE: its data is the data.
pub(crate) struct DdtReadDone;

impl Stage for DdtReadDone {
    fn stage(&self) -> Stages {
        Stages::DDT_READ_DONE
    }

    fn run(&self, zio: ZioBox) -> Next {
        let mut zio = zio.wait_children(ChildSet::DDT, WaitType::Done)?;
        if let Some(mut child) = zio.take_finished_child() {
            match child.take_error() {
                None => zio.data = child.take_data(),
                Some(error) => zio.fail(error),
            }
            zio.bad_inside += child.get().bad_copies();
        }
        Some(zio)
    }
}

fn ddt_child(zio: &Zio, ty: ZioType, pipeline: Stages) -> ZioBox {
    let mut child = zio.engine().make(ty, zio.flags().for_ddt_child(), pipeline);
    child.bp = zio.bp;
    child.size_bytes = zio.size_bytes;
    child.lsize_bytes = zio.size_bytes;
    child.props = zio.props;
    child.priority = zio.priority;
    child.txg = zio.txg;
    child.bookmark = zio.bookmark;
    zio.adopt(&mut child);
    child
}

/// A write that stores the block for itself and for every twin that comes
/// while it is in flight. Dropped before its end, it sets the twins free.
struct Lead {
    shared: Arc<Shared>,
    token: Option<LeadToken>,
    checksum: u8,
}

impl Lead {
    fn landed(mut self, bp: &BlockPointer) -> Result<(), Error> {
        let Some(token) = self.token.take() else { return Ok(()) };
        for mut twin in self.shared.dedup.complete(token, bp)? {
            for (index, dva) in bp.dvas().enumerate() {
                twin.bp.set_dva(index, dva);
            }
            let txg = twin.txg;
            twin.bp.set_birth(txg, bp.physical_birth());
            twin.start();
        }
        Ok(())
    }
}

impl Drop for Lead {
    /// The twins look again; one of them becomes the next leader. That
    /// means allocating, which has no place where completions are handled.
    fn drop(&mut self) {
        let Some(token) = self.token.take() else { return };
        let twins = self.shared.dedup.fail(token, self.checksum);
        for mut twin in twins.into_iter().flatten() {
            twin.rerun_from(Stages::DDT_WRITE);
            Engine::dispatch(twin, QueueKind::Issue, Place::Back);
        }
    }
}

/// DDT_WRITE: share what is there, wait for who is writing it, or write it.
pub(crate) struct DdtWrite {
    shared: Arc<Shared>,
}

impl DdtWrite {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn decide(&self, zio: ZioBox) -> Next {
        match self.shared.dedup.lookup(zio) {
            Ok(Decision::Share { phys, waiter: mut zio }) => {
                let txg = zio.txg;
                point_at(&mut zio.bp, &phys, txg);
                Some(zio)
            }
            Ok(Decision::Wait) => None,
            Ok(Decision::Lead { token, waiter: zio }) => self.lead(zio, token),
            Ok(Decision::Full { waiter: mut zio }) => {
                // An ordinary block, and the pointer must say so.
                zio.bp.set_dedup(false);
                zio.become_pipeline(Stages::WRITE);
                Some(zio)
            }
            Err((mut zio, error)) => {
                zio.fail(error);
                zio.become_interlock();
                Some(zio)
            }
        }
    }

    fn lead(&self, mut zio: ZioBox, token: LeadToken) -> Next {
        let (shared, checksum) = (Arc::clone(&self.shared), zio.bp.checksum_id());
        zio.attachment = Some(Box::new(Lead { shared, token: Some(token), checksum }));
        let mut child = ddt_child(&zio, ZioType::Write, Stages::DDT_CHILD_WRITE);
        child.data = zio.data.clone();
        child.start();
        self.wait(zio)
    }

    fn wait(&self, zio: ZioBox) -> Next {
        let mut zio = zio.wait_children(ChildSet::DDT, WaitType::Done)?;
        let lead =
            zio.attachment.take().and_then(|any| any.downcast::<Lead>().ok()).map(|lead| *lead);
        let child = zio.take_finished_child();
        let lost = || Err(Error::new(ErrorKind::Lost));
        if let Err(error) = lead.zip(child).map_or_else(lost, |both| conclude(&mut zio, both)) {
            zio.fail(error);
            zio.become_interlock();
        }
        Some(zio)
    }
}

fn conclude(zio: &mut Zio, (lead, mut child): (Lead, Finished)) -> Result<(), Error> {
    if let Some(error) = child.take_error() {
        return Err(error);
    }
    zio.bp = child.get().bp;
    lead.landed(&child.get().bp)
}

impl Stage for DdtWrite {
    fn stage(&self) -> Stages {
        Stages::DDT_WRITE
    }

    fn run(&self, zio: ZioBox) -> Next {
        if zio.attachment.is_some() { self.wait(zio) } else { self.decide(zio) }
    }
}

/// DDT_FREE: one reference less; the last one gives the space back.
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

/// A write that holds a reference to a shared block, and fails for another reason.
/// If the reference was the last one and the block is a gang, what it occupies is not
/// known here: a free of its own finds out.
pub(crate) fn give_up_reference(shared: &Shared, zio: &Zio) -> Result<(), Error> {
    free_reference(shared, &zio.bp, zio.txg, |stored| {
        if !stored.is_gang() {
            return Ok(stored.dvas().collect());
        }
        let mut free = zio.engine().make(ZioType::Free, Flags::CANFAIL, Stages::FREE);
        free.bp = *stored;
        free.bp.set_dedup(false);
        free.txg = zio.txg;
        free.start();
        Ok(Vec::new())
    })
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
        if let Err(error) = free_reference(&self.shared, &zio.bp, zio.txg, extents_of) {
            zio.fail(error);
        }
        Some(zio)
    }
}
