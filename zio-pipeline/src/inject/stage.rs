//! Faults at stages: what happens to a zio that enters one.
//!
//! Every stage is a place where a fault can be put, on its way in.

use std::sync::Arc;
use std::time::Duration;

use zio_core::{
    Error, ErrorKind, Next, Priority, Stage, Stages, Txg, VdevId, Zio, ZioBox, ZioType,
};

use crate::inject::device::flip;
use crate::inject::{Delays, Fault, Frequency, Injections};

/// What is done to a zio that enters a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// It fails, and the stage is skipped unless it is one that looks at errors.
    Fail(ErrorKind),
    /// At VDEV_IO_DONE: a bit of what a device has read is flipped. Elsewhere nothing.
    Corrupt,
    /// At VDEV_IO_START: what was to be written is dropped, and said to be written. Elsewhere nothing.
    Ignore,
    /// It runs the stage so much later, or when it is cancelled before.
    Delay(Duration),
    /// The stage panics.
    Panic,
}

/// A fault: where, what, on whom and how often.
#[derive(Clone, Debug)]
#[must_use = "a fault does nothing until it is injected"]
pub struct StageFault {
    stage: Stages,
    action: Action,
    ty: Option<ZioType>,
    priority: Option<Priority>,
    leaves: Option<bool>,
    vdev: Option<VdevId>,
    object: Option<(u64, u64)>,
    since_txg: Txg,
    pub(super) frequency: Frequency,
}

impl StageFault {
    /// `action` for the next zio that enters `stage`.
    pub fn new(stage: Stages, action: Action) -> Self {
        Self {
            stage,
            action,
            ty: None,
            priority: None,
            leaves: None,
            vdev: None,
            object: None,
            since_txg: 0,
            frequency: Frequency::ONCE,
        }
    }

    /// Only zios of this type.
    pub fn on(mut self, ty: ZioType) -> Self {
        self.ty = Some(ty);
        self
    }

    /// Only zios of this class.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Only zios of a leaf (`true`), or only those of a block or pool.
    pub fn of_leaves(mut self, leaves: bool) -> Self {
        self.leaves = Some(leaves);
        self
    }

    /// Only zios of leaves of this vdev.
    pub fn of_vdev(mut self, vdev: VdevId) -> Self {
        self.vdev = Some(vdev);
        self
    }

    /// Only zios of blocks of this object, as their [bookmark](crate::Pending::bookmark) says.
    pub fn of_object(mut self, objset: u64, object: u64) -> Self {
        self.object = Some((objset, object));
        self
    }

    /// Only zios of this transaction group, or later ones.
    pub fn since_txg(mut self, txg: Txg) -> Self {
        self.since_txg = txg;
        self
    }

    /// Spares so many first.
    pub fn skip(mut self, zios: u64) -> Self {
        self.frequency.skip = zios;
        self
    }

    /// Only each so manyth of the rest, beginning with the first.
    pub fn every(mut self, zios: u64) -> Self {
        self.frequency.every = zios.max(1);
        self
    }

    /// Hits so many.
    pub fn times(mut self, zios: u64) -> Self {
        self.frequency.times = zios;
        self
    }

    /// Hits whoever comes.
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    fn fits(&self, stage: Stages, zio: &Zio) -> bool {
        // Who comes back to a stage with something attached is in the middle of its work.
        let comes_back = zio.attachment.is_some() && !LOOK_AT_ERRORS.contains(stage);
        !comes_back
            && self.stage.contains(stage)
            && self.ty.is_none_or(|ty| ty == zio.ty())
            && self.priority.is_none_or(|priority| priority == zio.class())
            && self.leaves.is_none_or(|leaves| leaves == zio.vdev.is_some())
            && self.vdev.is_none_or(|vdev| zio.vdev == Some(vdev))
            && self.object.is_none_or(|of| of == (zio.bookmark.objset, zio.bookmark.object))
            && zio.txg >= self.since_txg
    }
}

impl Injections {
    fn at_stage(&self, stage: Stages, zio: &Zio) -> Option<Action> {
        self.first(|fault| match fault {
            Fault::Stage(fault) if fault.fits(stage, zio) => {
                fault.frequency.takes().then_some(fault.action)
            }
            _ => None,
        })
    }

    /// The same stage, with faults.
    pub(crate) fn around(&self, inner: Arc<dyn Stage>, delays: &Arc<Delays>) -> Arc<dyn Stage> {
        Arc::new(Injected { inner, faults: self.clone(), delays: Arc::clone(delays) })
    }
}

/// Stages that look at errors themselves: they are run with one.
const LOOK_AT_ERRORS: Stages = Stages::READY
    .union(Stages::VDEV_IO_DONE)
    .union(Stages::VDEV_IO_ASSESS)
    .union(Stages::CHECKSUM_VERIFY)
    .union(Stages::DDT_READ_DONE)
    .union(Stages::DONE);

/// A stage with faults before it.
struct Injected {
    inner: Arc<dyn Stage>,
    faults: Injections,
    delays: Arc<Delays>,
}

impl Stage for Injected {
    fn stage(&self) -> Stages {
        self.inner.stage()
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        let stage = self.stage();
        if zio.delayed_until_ns.take().is_some() {
            // It has met its fault.
            return self.inner.run(zio);
        }
        match self.faults.at_stage(stage, &zio) {
            None => self.inner.run(zio),
            Some(Action::Fail(kind)) => {
                zio.fail(Error::msg(kind, "injected"));
                if LOOK_AT_ERRORS.contains(stage) {
                    return self.inner.run(zio);
                }
                if !Stages::VDEV_IO_START.contains(stage) {
                    zio.become_interlock();
                }
                Some(zio)
            }
            Some(Action::Corrupt) => {
                if let Some(answer) = &mut zio.answer {
                    flip(answer);
                }
                self.inner.run(zio)
            }
            Some(Action::Ignore) => {
                let drops = stage == Stages::VDEV_IO_START
                    && zio.vdev.is_some()
                    && zio.ty() == ZioType::Write;
                if drops { Some(zio) } else { self.inner.run(zio) }
            }
            Some(Action::Delay(delay)) if delay.is_zero() => self.inner.run(zio),
            Some(Action::Delay(delay)) => {
                self.delays.hold_zio(self.delays.target_ns(delay), stage, zio);
                None
            }
            Some(Action::Panic) => panic!("injected at {}", stage.name()),
        }
    }
}
