//! NOP_WRITE (spec 3.5).

use zio_core::{Flags, Next, Stage, Stages, ZioBox};

/// NOP_WRITE: the checksum is that of the block which is being replaced, and so is all else
/// in the pointer. It is kept.
pub(crate) struct NopWrite;

impl Stage for NopWrite {
    fn stage(&self) -> Stages {
        Stages::NOP_WRITE
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        if zio.bp.checksum() == zio.bp_before.checksum() {
            zio.bp = zio.bp_before;
            zio.add_flags(Flags::NOPWRITE);
            zio.become_interlock();
        }
        Some(zio)
    }
}
