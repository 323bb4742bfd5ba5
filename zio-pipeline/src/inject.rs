//! Faults put into the stages themselves, for the tests of those who use the pipeline (spec 1.19).
//!
//! A device that lies is `vdev-sim`'s business; this is about what happens above devices: an allocation
//! that fails, a checksum that does not match, a stage that panics. Every stage is a place where a
//! fault can be put, on its way in. A pipeline that was built without injections has none of this on its path.

use std::sync::Arc;

use parking_lot::Mutex;
use zio_core::{Error, ErrorKind, Next, Priority, Stage, Stages, VdevOp, Zio, ZioBox, ZioType};

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
    skip: u64,
    times: u64,
    hits: u64,
}

impl StageFault {
    /// `action` for the next zio that enters `stage`.
    pub fn new(stage: Stages, action: Action) -> Self {
        Self { stage, action, ty: None, priority: None, leaves: None, skip: 0, times: 1, hits: 0 }
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

    /// Spares so many first.
    pub fn skip(mut self, zios: u64) -> Self {
        self.skip = zios;
        self
    }

    /// Hits so many.
    pub fn times(mut self, zios: u64) -> Self {
        self.times = zios;
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
    }

    fn takes(&mut self, stage: Stages, zio: &Zio) -> bool {
        if !self.fits(stage, zio) || self.times == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times -= 1;
        self.hits += 1;
        true
    }
}

/// The faults of a pipeline. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Injections(Arc<Mutex<Vec<StageFault>>>);

impl Injections {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fault; the number is for [`hits`](Self::hits).
    pub fn add(&self, fault: StageFault) -> usize {
        let mut faults = self.0.lock();
        faults.push(fault);
        faults.len() - 1
    }

    /// How many zios a fault has hit.
    pub fn hits(&self, number: usize) -> u64 {
        self.0.lock().get(number).map_or(0, |fault| fault.hits)
    }

    /// Takes all faults away.
    pub fn clear(&self) {
        self.0.lock().clear();
    }

    fn for_this(&self, stage: Stages, zio: &Zio) -> Option<Action> {
        let mut faults = self.0.lock();
        faults.iter_mut().find_map(|fault| fault.takes(stage, zio).then_some(fault.action))
    }

    /// The same stage, with faults.
    pub(crate) fn around(&self, inner: Arc<dyn Stage>) -> Arc<dyn Stage> {
        Arc::new(Injected { inner, faults: self.clone() })
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
}

impl Stage for Injected {
    fn stage(&self) -> Stages {
        self.inner.stage()
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        let stage = self.stage();
        match self.faults.for_this(stage, &zio) {
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
                flip(&mut zio);
                self.inner.run(zio)
            }
            Some(Action::Ignore) => {
                let drops = stage == Stages::VDEV_IO_START
                    && zio.vdev.is_some()
                    && zio.ty() == ZioType::Write;
                if drops { Some(zio) } else { self.inner.run(zio) }
            }
            Some(Action::Panic) => panic!("injected at {}", stage.name()),
        }
    }
}

/// Flips a bit in the middle of what a device has read.
fn flip(zio: &mut Zio) {
    let Some(answer) = &mut zio.answer else { return };
    if let Some(VdevOp::Read(buffers)) = &mut answer.op
        && let Some(buffer) = buffers.first_mut()
        && let Some(byte) = {
            let middle = buffer.len() / 2;
            buffer.get_mut(middle)
        }
    {
        *byte ^= 0x10;
    }
}
