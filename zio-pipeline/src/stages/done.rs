//! DONE: what this pipeline has to put in order before a zio is finished.

use std::sync::Arc;

use zio_core::{
    ChildSet, ChildType, ErrorKind, Flags, Next, Stage, Stages, WaitType, Zio, ZioBox, ZioType,
    done,
};

use crate::events::{Event, EventKind};
use crate::shared::Shared;
use crate::stages::{dedup, gang, space};

/// DONE.
pub(crate) struct Settle {
    shared: Arc<Shared>,
}

impl Settle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// A block that devices have lost, or have not taken, is an event.
    fn tell(&self, zio: &Zio) {
        let Some(error) = &zio.error else { return };
        use ErrorKind::{Checksum, DeviceGone, Io, Lost, TimedOut};
        let of_devices = matches!(error.kind(), Checksum | DeviceGone | Io | Lost | TimedOut);
        let of_block = zio.child_type() == ChildType::Logical
            && matches!(zio.ty(), ZioType::Read | ZioType::Write)
            && !zio.flags().contains(Flags::SPECULATIVE);
        if of_devices && of_block {
            let event = || Event::Data { bookmark: zio.bookmark, error: error.clone() };
            self.shared.events.post(EventKind::Data, event);
        }
    }

    /// The addresses a failed write was given go back at once: nobody has
    /// ever known them (spec 1.11 step 11). `hung` is a write to them that the device may still do:
    /// then they are leaked, not reused.
    fn undo_allocation(&self, zio: &mut Zio, hung: bool) {
        let failed = zio.error.is_some()
            && zio.ty() == ZioType::Write
            && !zio.flags().intersects(Flags::IO_REWRITE | Flags::NOPWRITE);
        let undone = if failed && zio.traced().contains(Stages::DVA_ALLOCATE) {
            if hung {
                return;
            }
            space::take_back_extents(&self.shared, &gang::extents_of(zio), zio.txg)
        } else if failed && zio.traced().contains(Stages::DDT_WRITE) && zio.bp.copies() > 0 {
            // It holds a reference to a shared block, and fails for another reason.
            dedup::give_up_reference(&self.shared, zio)
        } else {
            return;
        };
        zio.bp = zio.bp_before;
        if let Err(error) = undone {
            zio.fail(error);
        }
    }
}

impl Stage for Settle {
    fn stage(&self) -> Stages {
        Stages::DONE
    }

    fn run(&self, zio: ZioBox) -> Next {
        let mut zio = zio.wait_children(ChildSet::all(), WaitType::Done)?;
        // Its own: children that hang keep their own space.
        let hung = zio.error.as_ref().is_some_and(|error| error.kind() == ErrorKind::TimedOut);
        done::settle(&mut zio);
        if zio.is_allocating() {
            self.undo_allocation(&mut zio, hung);
        } else if zio.ty() == ZioType::Trim {
            space::open_after_trim(&self.shared, &mut zio);
        }
        self.tell(&zio);
        done::finish(zio)
    }
}
