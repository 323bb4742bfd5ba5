//! GANG_ASSEMBLE and GANG_ISSUE.

use std::sync::Arc;

use zio_core::task::Place;
use zio_core::{
    ChildSet, Data, Engine, Error, Finished, Next, QueueKind, Stage, Stages, WaitType, Zio, ZioBox,
    ZioType,
};

use super::assemble;
use super::rewrite;
use super::tree::{self, gang_read};
use crate::shared::Shared;
use crate::stages::space;
use crate::{cost, replace};

/// GANG_ASSEMBLE: all headers, before anything is done.
pub(crate) struct GangAssemble {
    shared: Arc<Shared>,
}

impl GangAssemble {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Stage for GangAssemble {
    fn stage(&self) -> Stages {
        Stages::GANG_ASSEMBLE
    }

    fn run(&self, zio: ZioBox) -> Next {
        let mut zio = assemble(&self.shared, zio)?;
        if zio.error.is_some() {
            zio.become_interlock();
        }
        Some(zio)
    }
}

/// GANG_ISSUE: read, write over, free or claim all of it.
pub(crate) struct GangIssue {
    shared: Arc<Shared>,
}

impl GangIssue {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The members, all at once; the data is theirs, end to end, and verified
    /// once more as a whole.
    fn read(&self, zio: ZioBox) -> Next {
        let mut zio = zio;
        if zio.attachment.is_some() {
            match tree::take(&mut zio) {
                Ok(tree) => read_members(&zio, tree.members()),
                Err(error) => zio.fail(error),
            }
        }
        let mut zio = zio.wait_children(ChildSet::GANG, WaitType::Done)?;
        match join(&mut zio) {
            Ok(data) => {
                zio.data = data;
                zio.become_pipeline(Stages::INTERLOCK | Stages::CHECKSUM_VERIFY);
                if cost::read_is_heavy(&zio) {
                    Engine::dispatch(zio, QueueKind::Interrupt, Place::Back);
                    return None;
                }
            }
            Err(error) => {
                zio.fail(error);
                zio.become_interlock();
            }
        }
        Some(zio)
    }
}

impl GangIssue {
    /// All pieces and headers anew, at once; or the block goes elsewhere, where it has not as
    /// many copies as it should have.
    fn rewrite(&self, zio: ZioBox) -> Next {
        let mut zio = zio;
        if zio.attachment.is_some() {
            let children = tree::take(&mut zio).and_then(|tree| {
                let as_wanted = tree.copies() == usize::from(zio.props.copies);
                as_wanted.then(|| rewrite::children(&self.shared, &zio, &tree)).transpose()
            });
            match children {
                Ok(Some(children)) => children.into_iter().for_each(Zio::start),
                Ok(None) => {
                    replace::write_elsewhere(&mut zio);
                    return Some(zio);
                }
                Err(error) => zio.fail(error),
            }
        }
        let mut zio = zio.wait_children(ChildSet::GANG, WaitType::Done)?;
        while let Some(mut child) = zio.take_finished_child() {
            if let Some(error) = child.take_error() {
                zio.fail(error);
            }
        }
        zio.become_interlock();
        Some(zio)
    }
}

fn read_members(zio: &Zio, members: &[zio_core::BlockPointer]) {
    let children: Vec<ZioBox> = members
        .iter()
        .enumerate()
        .map(|(slot, member)| {
            let mut child = gang_read(zio, slot, *member);
            zio.adopt(&mut child);
            child
        })
        .collect();
    children.into_iter().for_each(Zio::start);
}

/// The data of the members that came home, in order.
fn join(zio: &mut Zio) -> Result<Data, Error> {
    let mut members: Vec<Finished> = std::iter::from_fn(|| zio.take_finished_child()).collect();
    members.sort_by_key(|member| member.get().slot);
    let mut data = Data::new();
    for mut member in members {
        if let Some(error) = member.take_error() {
            return Err(error);
        }
        zio.bad_inside += member.get().bad_copies();
        data.append(member.take_data());
    }
    Ok(data)
}

impl Stage for GangIssue {
    fn stage(&self) -> Stages {
        Stages::GANG_ISSUE
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        if zio.ty() == ZioType::Read {
            return self.read(zio);
        }
        if zio.ty() == ZioType::Write {
            return self.rewrite(zio);
        }
        let done = tree::take(&mut zio).and_then(|tree| {
            let extents = tree.extents(&self.shared);
            match zio.ty() {
                ZioType::Free => space::free_extents(&self.shared, &extents, zio.txg),
                _ => space::claim_block(&self.shared, &zio, &extents, tree.copies()),
            }
        });
        if let Err(error) = done {
            zio.fail(error);
        }
        zio.become_interlock();
        Some(zio)
    }
}
