//! FREE_BP_INIT, DDT_READ_START, DDT_READ_DONE, DDT_WRITE, DDT_FREE: equal
//! blocks are stored once (spec 6).
//!
//! * `read`: what one pointer's block does not give, another block of the same contents may.
//! * `write`: share, wait for a twin, or write for all twins.
//! * `verify`: whether equal checksums mean equal bytes, and what if not.
//! * `ditto`: extra copies of what very many share.
//! * `free`: references go back, and with the last one the space.

mod ditto;
mod free;
mod read;
mod verify;
mod write;

use zio_core::{ChildType, Next, Stage, Stages, Zio, ZioBox, ZioType};

pub(crate) use free::{DdtFree, give_up_reference};
pub(crate) use read::{DdtReadDone, DdtReadStart};
pub(crate) use write::DdtWrite;

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

/// A child that reads or writes the block in its stored form. It comes home with its error, which
/// is for the stage to judge: the parent does not inherit it.
fn ddt_child(zio: &Zio, ty: ZioType, pipeline: Stages) -> ZioBox {
    let flags = zio.flags().for_ddt_child() | zio_core::Flags::DONT_PROPAGATE;
    let mut child = zio.engine().make(ty, flags, pipeline);
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
