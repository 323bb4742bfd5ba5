//! DDT_WRITE: share what is there, wait for who is writing it, or write it.

use std::sync::Arc;

use ddt::{Decision, DittoToken, LeadToken};
use zio_core::task::Place;
use zio_core::{
    BlockPointer, ChildSet, Data, Engine, Error, ErrorKind, Finished, Next, QueueKind, Stage,
    Stages, WaitType, ZioBox, ZioType,
};

use super::{ddt_child, ditto, verify};
use crate::dedup::point_at;
use crate::shared::Shared;

/// A write that stores the block for itself and for every twin that comes
/// while it is in flight. Dropped before its end, it sets the twins free.
struct Lead {
    shared: Arc<Shared>,
    token: Option<LeadToken>,
    checksum: u8,
}

impl Lead {
    /// The block stands where `bp` says, and it is `original`.
    fn landed(mut self, bp: &BlockPointer, original: &Data) -> Result<(), Error> {
        let Some(token) = self.token.take() else { return Ok(()) };
        for mut twin in self.shared.dedup.complete(token, bp)? {
            for (index, dva) in bp.dvas().enumerate() {
                twin.bp.set_dva(index, dva);
            }
            let txg = twin.txg;
            twin.bp.set_birth(txg, bp.physical_birth());
            let is_twin = !verify::is_wanted(&twin.props)
                || verify::same_bytes(twin.original_data(), original);
            let next = if is_twin { Some(twin) } else { verify::collided(&self.shared, twin) };
            if let Some(twin) = next {
                twin.start();
            }
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

/// What a write waits for at this stage, attached to its zio.
enum Step {
    /// For its own write of the block.
    Lead(Lead),
    /// For the stored block that it shares if the bytes are the same.
    Verify,
    /// For its own write of extra copies.
    Ditto(DittoToken),
}

/// DDT_WRITE.
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
                if verify::is_wanted(&zio.props) {
                    let child = verify::read(&zio);
                    return self.wait_for(zio, Step::Verify, child);
                }
                self.shared_now(zio)
            }
            Ok(Decision::Wait) => None,
            Ok(Decision::Lead { token, waiter: zio }) => {
                let (shared, checksum) = (Arc::clone(&self.shared), zio.bp.checksum_id());
                let lead = Lead { shared, token: Some(token), checksum };
                let mut child = ddt_child(&zio, ZioType::Write, Stages::DDT_CHILD_WRITE);
                child.data = zio.data.clone();
                self.wait_for(zio, Step::Lead(lead), child)
            }
            Ok(Decision::Full { waiter: mut zio }) => {
                verify::leave_dedup(&mut zio);
                Some(zio)
            }
            Err((mut zio, error)) => {
                zio.fail(error);
                zio.become_interlock();
                Some(zio)
            }
        }
    }

    fn wait_for(&self, mut zio: ZioBox, step: Step, child: ZioBox) -> Next {
        zio.attachment = Some(Box::new(step));
        child.start();
        self.go_on(zio)
    }

    fn go_on(&self, zio: ZioBox) -> Next {
        let mut zio = zio.wait_children(ChildSet::DDT, WaitType::Done)?;
        let step = zio.attachment.take().and_then(|any| any.downcast::<Step>().ok());
        let (Some(step), Some(child)) = (step, zio.take_finished_child()) else {
            return failed(zio, ErrorKind::Lost.into());
        };
        match *step {
            Step::Lead(lead) => self.lead_ended(zio, lead, child),
            Step::Verify => self.verified(zio, child),
            Step::Ditto(token) => match ditto::conclude(&self.shared, &zio, token, child) {
                Ok(()) => Some(zio),
                Err(error) => failed(zio, error),
            },
        }
    }

    fn lead_ended(&self, mut zio: ZioBox, lead: Lead, mut child: Finished) -> Next {
        if let Some(error) = child.take_error() {
            return failed(zio, error);
        }
        zio.bp = child.get().bp;
        match lead.landed(&child.get().bp, zio.original_data()) {
            Ok(()) => self.shared_now(zio),
            Err(error) => failed(zio, error),
        }
    }

    fn verified(&self, zio: ZioBox, mut child: Finished) -> Next {
        let stored = child.take_error().is_none().then(|| child.take_data());
        let is_same = stored.is_some_and(|data| verify::same_bytes(&data, zio.original_data()));
        if is_same { self.shared_now(zio) } else { verify::collided(&self.shared, zio) }
    }

    /// This write has its block. It may be one that needs more copies now.
    fn shared_now(&self, zio: ZioBox) -> Next {
        match ditto::begin(&self.shared, &zio) {
            Some((token, child)) => self.wait_for(zio, Step::Ditto(token), child),
            None => Some(zio),
        }
    }
}

fn failed(mut zio: ZioBox, error: Error) -> Next {
    zio.fail(error);
    zio.become_interlock();
    Some(zio)
}

impl Stage for DdtWrite {
    fn stage(&self) -> Stages {
        Stages::DDT_WRITE
    }

    fn run(&self, zio: ZioBox) -> Next {
        if zio.attachment.is_some() { self.go_on(zio) } else { self.decide(zio) }
    }
}
