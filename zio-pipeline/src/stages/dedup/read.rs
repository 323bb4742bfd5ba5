//! DDT_READ_START, DDT_READ_DONE: what one pointer's block does not give, another block of the
//! same contents may (spec 6.5).

use std::sync::Arc;

use zio_core::{
    ChildSet, Error, ErrorKind, Finished, Next, Stage, Stages, WaitType, Zio, ZioBox, ZioType,
};

use super::{ddt_child, free};
use crate::dedup::Twin;
use crate::heal;
use crate::shared::Shared;

/// DDT_READ_START: the real read is a child of type DDT.
pub(crate) struct DdtReadStart;

impl Stage for DdtReadStart {
    fn stage(&self) -> Stages {
        Stages::DDT_READ_START
    }

    fn run(&self, zio: ZioBox) -> Next {
        read_stored(&zio, None).start();
        Some(zio)
    }
}

/// A child that reads the block of the pointer, or the twin.
fn read_stored(zio: &Zio, twin: Option<&Twin>) -> ZioBox {
    let mut child = ddt_child(zio, ZioType::Read, Stages::DDT_CHILD_READ);
    if let Some(twin) = twin {
        child.bp = twin.pointer(&zio.bp);
    }
    if child.bp.is_gang() {
        child.add_stages(Stages::GANG);
    }
    child
}

/// The search for another block of the same contents, attached to its zio.
struct Search {
    /// Why the pointer's own block was not enough.
    error: Error,
    /// The places of it that failed.
    bad: u64,
    /// Blocks to try; each is held until it has been.
    twins: Vec<Twin>,
    /// The one that is being read.
    reading: Option<Twin>,
    /// The pointer's own block, held while it is being repaired.
    own: Option<Twin>,
}

/// DDT_READ_DONE: its data is the data.
pub(crate) struct DdtReadDone {
    shared: Arc<Shared>,
}

impl DdtReadDone {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The read of the pointer's own block has come home.
    fn conclude(&self, mut zio: ZioBox, mut child: Finished) -> Next {
        zio.bad_inside += child.get().bad_copies();
        let Some(error) = child.take_error() else {
            zio.data = child.take_data();
            return Some(zio);
        };
        let twins = self.shared.dedup.hold_twins(&zio.bp);
        if twins.is_empty() {
            zio.fail(error);
            return Some(zio);
        }
        let bad = child.get().bad;
        let search = Search { error, bad, twins, reading: None, own: None };
        self.next_twin(zio, Box::new(search))
    }

    fn next_twin(&self, mut zio: ZioBox, mut search: Box<Search>) -> Next {
        let Some(twin) = search.twins.pop() else {
            zio.fail(search.error);
            return Some(zio);
        };
        let child = read_stored(&zio, Some(&twin));
        search.reading = Some(twin);
        zio.attachment = Some(search);
        child.start();
        self.go_on(zio)
    }

    /// A twin has been read, or the repairs have been made.
    fn go_on(&self, zio: ZioBox) -> Next {
        let mut zio = zio.wait_children(ChildSet::DDT | ChildSet::VDEV, WaitType::Done)?;
        let Some(mut search) = zio.attachment.take().and_then(|any| any.downcast::<Search>().ok())
        else {
            zio.fail(ErrorKind::Lost.into());
            return Some(zio);
        };
        let Some(read) = search.reading.take() else {
            heal::take_repairs(&self.shared, &mut zio);
            self.let_go(&zio, search.own);
            return Some(zio);
        };
        self.let_go(&zio, Some(read));
        let Some(mut child) = zio.take_finished_child() else {
            zio.fail(ErrorKind::Lost.into());
            self.let_go(&zio, search.twins);
            return Some(zio);
        };
        zio.bad_inside += child.get().bad_copies();
        if child.take_error().is_some() {
            return self.next_twin(zio, search);
        }
        zio.data = child.take_data();
        self.let_go(&zio, std::mem::take(&mut search.twins));
        self.repair(zio, search)
    }

    /// Writes the places anew that did not give the block, if it is still the table's: nobody can
    /// have their space as long as it is held.
    fn repair(&self, mut zio: ZioBox, mut search: Box<Search>) -> Next {
        search.own = self.shared.dedup.hold_own(&zio.bp);
        if search.own.is_none() {
            return Some(zio);
        }
        zio.bad = search.bad;
        heal::repair(&self.shared, &zio);
        zio.attachment = Some(search);
        self.go_on(zio)
    }

    fn let_go(&self, zio: &Zio, twins: impl IntoIterator<Item = Twin>) {
        for twin in twins {
            // What cannot be freed is leaked; the read has its data all the same.
            _ = free::let_go(&self.shared, zio, twin);
        }
    }
}

impl Stage for DdtReadDone {
    fn stage(&self) -> Stages {
        Stages::DDT_READ_DONE
    }

    fn run(&self, zio: ZioBox) -> Next {
        if zio.attachment.is_some() {
            return self.go_on(zio);
        }
        let mut zio = zio.wait_children(ChildSet::DDT, WaitType::Done)?;
        match zio.take_finished_child() {
            Some(child) => self.conclude(zio, child),
            None => {
                zio.fail(ErrorKind::Lost.into());
                Some(zio)
            }
        }
    }
}
