//! The headers of a gang block, and what they lead to.

use zio_core::bp::ByteOrder;
use zio_core::{
    BlockPointer, ChildSet, Dva, Error, ErrorKind, Finished, Next, Stages, WaitType, Zio, ZioBox,
    ZioType,
};

use super::{header_extents, header_pointer};
use crate::shared::Shared;

/// Most gangs within each other. Writers divide a block in three or more, so that 11 levels take
/// the largest one down to sectors; a header of more was made to keep us busy.
const LEVELS_MAX: usize = 64;

/// A gang block, taken apart.
///
/// It begins as the block itself. Each round reads the headers of all members
/// that are gangs and puts what they lead to in their place, until the members are
/// the pieces of data, in order. That comes to an end: a gang inside a gang is
/// smaller than it.
pub(crate) struct Tree {
    members: Vec<BlockPointer>,
    /// Rounds of reading headers so far.
    levels: usize,
    /// The gangs that have been replaced by what they lead to, the outermost first; those of
    /// one round in order.
    expanded: Vec<Expanded>,
}

/// A gang whose header has been read.
pub(super) struct Expanded {
    pub(super) bp: BlockPointer,
    pub(super) header_bytes: usize,
    /// Where its members begin in the list of its round, and how many there are.
    pub(super) at: usize,
    pub(super) members: usize,
}

impl Tree {
    /// The pieces of data, in order.
    pub(crate) fn members(&self) -> &[BlockPointer] {
        &self.members
    }

    /// The gangs it was made of, the outermost first: undone in reverse, they make one of it.
    pub(super) fn expanded(&self) -> &[Expanded] {
        &self.expanded
    }

    /// Everything the block occupies: its headers and its pieces.
    pub(crate) fn extents(&self, shared: &Shared) -> Vec<Dva> {
        let headers = self.expanded.iter().flat_map(|gang| gang.bp.dvas());
        let members = self.members.iter().flat_map(|bp| bp.dvas());
        header_extents(shared, headers).chain(members).collect()
    }

    /// Copies of the data; of headers there may be more.
    pub(crate) fn copies(&self) -> usize {
        self.members.iter().map(BlockPointer::copies).min().unwrap_or(0)
    }

    /// Reads the header of each member that is a gang; false if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: too many within each other.
    fn read_headers(&mut self, zio: &Zio, shared: &Shared) -> Result<bool, Error> {
        let gangs = self.members.iter().enumerate().filter(|(_, member)| member.is_gang());
        let children: Vec<ZioBox> = gangs
            .map(|(index, member)| {
                let header_bytes = member.gang_header_bytes(shared);
                gang_read(zio, index, header_pointer(member, header_bytes))
            })
            .collect();
        if children.is_empty() {
            return Ok(false);
        }
        self.levels += 1;
        if self.levels > LEVELS_MAX {
            let why = format!("more than {LEVELS_MAX} gangs within each other");
            return Err(Error::msg(ErrorKind::Invalid, why));
        }
        for mut child in children {
            zio.adopt(&mut child);
            child.start();
        }
        Ok(true)
    }

    /// Puts the members that `headers` lead to in the place of the gangs.
    fn expand(&mut self, headers: Vec<Finished>, shared: &Shared) -> Result<(), Error> {
        let mut read: Vec<Option<Finished>> = Vec::new();
        read.resize_with(self.members.len(), || None);
        for mut header in headers {
            if let Some(error) = header.take_error() {
                return Err(error);
            }
            let slot = header.get().slot as usize;
            if let Some(place) = read.get_mut(slot) {
                *place = Some(header);
            }
        }
        let mut members = Vec::with_capacity(self.members.len());
        for (member, header) in self.members.drain(..).zip(read) {
            let Some(header) = header else {
                members.push(member);
                continue;
            };
            let bytes = header.get().data.to_vec();
            let order = order_of_header(&bytes, member.order());
            let inside = member
                .gang_members(&bytes, order, shared)
                .map_err(|bad| Error::because(ErrorKind::Invalid, bad).at(header.get().place()))?;
            self.expanded.push(Expanded {
                bp: member,
                header_bytes: bytes.len(),
                at: members.len(),
                members: inside.len(),
            });
            members.extend(inside);
        }
        self.members = members;
        Ok(())
    }
}

/// A child that reads one stored piece of a gang, header or member.
pub(super) fn gang_read(zio: &Zio, slot: usize, bp: BlockPointer) -> ZioBox {
    let flags = zio.flags().for_gang_child();
    let mut child = zio.engine().make(ZioType::Read, flags, Stages::DDT_CHILD_READ);
    child.slot = slot as u32;
    child.size_bytes = bp.psize_bytes() as usize;
    child.lsize_bytes = child.size_bytes;
    child.bp = bp;
    child.priority = zio.priority;
    child.txg = zio.txg;
    child.bookmark = zio.bookmark;
    child
}

/// Order of a header's writer: its magic tells. It has verified, so the
/// magic is there; if not, the pointers will not check.
fn order_of_header(header: &[u8], otherwise: ByteOrder) -> ByteOrder {
    let at = header.len().saturating_sub(checksum::embedded::TRAILER_BYTES);
    match header.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        Some(magic) if u64::from_le_bytes(*magic) == checksum::embedded::MAGIC => ByteOrder::Little,
        Some(magic) if u64::from_be_bytes(*magic) == checksum::embedded::MAGIC => ByteOrder::Big,
        _ => otherwise,
    }
}

/// Takes the zio's gang block apart. Parks the zio while headers are being
/// read, to run the same stage again; returns it with its [`Tree`] attached, or
/// with an error.
pub(crate) fn assemble(shared: &Shared, mut zio: ZioBox) -> Next {
    loop {
        zio = zio.wait_children(ChildSet::GANG, WaitType::Done)?;
        let attached = zio.attachment.take().and_then(|any| any.downcast::<Tree>().ok());
        let mut tree = match attached {
            Some(tree) => tree,
            None => Box::new(Tree { members: vec![zio.bp], levels: 0, expanded: Vec::new() }),
        };
        let headers: Vec<_> = std::iter::from_fn(|| zio.take_finished_child()).collect();
        zio.bad_inside += headers.iter().map(|header| header.get().bad_copies()).sum::<u32>();
        match tree.expand(headers, shared).and_then(|()| tree.read_headers(&zio, shared)) {
            Ok(true) => zio.attachment = Some(tree),
            Ok(false) => {
                zio.attachment = Some(tree);
                return Some(zio);
            }
            Err(error) => {
                zio.fail(error);
                return Some(zio);
            }
        }
    }
}

/// Takes the tree that [`assemble`] attached.
pub(crate) fn take(zio: &mut Zio) -> Result<Box<Tree>, Error> {
    let attached = zio.attachment.take().and_then(|any| any.downcast::<Tree>().ok());
    attached.ok_or_else(|| Error::new(ErrorKind::Lost))
}
