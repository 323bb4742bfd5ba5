//! Writing a gang block: what DVA_ALLOCATE does when there is space for the
//! block, but not in one piece.
//!
//! First the header's own space, then the members, each a write that may
//! become a gang itself; when all of them are on their devices, the header. So no header
//! ever points at a piece that is not there. If anything fails, every extent goes back.

use checksum::embedded::{self, Verifier};
use zio_core::bp::{GANG_HEADER_BYTES, Properties, encode_gang_header, gang_slots};
use zio_core::{
    BlockPointer, ChildSet, Data, Dva, Dvas, Error, ErrorKind, Finished, Flags, Next, Stages,
    WaitType, Want, WriteProps, Zio, ZioBox, ZioType,
};

use super::{Extents, gang_addresses, header_pointer};
use crate::shared::{Shared, order_of};
use crate::stages::space;

/// What a member passes: its own checksum, its own space, its devices.
const MEMBER: Stages =
    Stages::DDT_CHILD_WRITE.difference(Stages::DVA_THROTTLE).union(Stages::CHECKSUM_GENERATE);

/// What goes to its devices as it is: a header.
pub(super) const AS_IS: Stages = Stages::DDT_CHILD_READ.difference(Stages::CHECKSUM_VERIFY);

/// A gang block being written, attached to its zio.
struct GangWrite {
    headers: Dvas,
    header_bytes: usize,
    /// Everything that has been allocated for it so far.
    extents: Vec<Dva>,
    /// The pieces, once they are written; then the header is on its way.
    members: Vec<BlockPointer>,
    /// Why the block could not be written whole.
    full: Error,
}

/// Most copies of the header, should a member become a gang itself: those of the header
/// above it. The space of every copy is counted in one of the addresses above.
struct HeaderCopiesMax(u8);

/// Is this zio in the middle of writing a gang?
pub(crate) fn is_under_way(zio: &Zio) -> bool {
    zio.attachment.as_ref().is_some_and(|any| any.is::<GangWrite>())
}

/// Begins to write the block in pieces; `full` is why it cannot be written whole.
/// Its zio then goes on in [`go_on`].
///
/// # Errors
/// `full`, when the block is too small to be divided, or there is not enough space in all.
pub(crate) fn begin(shared: &Shared, zio: &mut Zio, full: Error) -> Result<(), Error> {
    let unit_bytes = 1 << shared.ashift_min();
    let size_bytes = zio.size_bytes as u64;
    let want = space::want(zio);
    let wanted_bytes = (size_bytes + unit_bytes) * u64::from(zio.props.copies);
    if size_bytes <= unit_bytes || shared.allocator.free_bytes_for(&want) < wanted_bytes {
        return Err(full);
    }
    let Ok(headers) = allocate_headers(shared, zio) else { return Err(full) };
    let header_bytes = shared.gang_header_bytes(&headers);
    let extents = headers.to_vec();
    let pieces = split(size_bytes, gang_slots(header_bytes) as u64, unit_bytes);
    let mut children: Vec<ZioBox> = Vec::with_capacity(pieces.len());
    let mut at = 0;
    for (slot, len) in pieces.into_iter().enumerate() {
        let mut child = member(zio, &want, slot, at..at + len as usize);
        child.attachment = Some(Box::new(HeaderCopiesMax(headers.len() as u8)));
        zio.adopt(&mut child);
        children.push(child);
        at += len as usize;
    }
    let state = GangWrite { headers, header_bytes, extents, members: Vec::new(), full };
    zio.attachment = Some(Box::new(state));
    children.into_iter().for_each(Zio::start);
    Ok(())
}

/// One copy more of the header than of the data, if there is room: without it
/// the whole block is lost (spec 3.6 step 1).
fn allocate_headers(shared: &Shared, zio: &Zio) -> Result<Dvas, Error> {
    let above = zio.attachment.as_ref().and_then(|any| any.downcast_ref::<HeaderCopiesMax>());
    let copies_max = match above {
        Some(HeaderCopiesMax(above)) => *above,
        None if zio.bp.is_encrypted() => 2,
        None => 3,
    };
    let mut want = Want {
        size_bytes: GANG_HEADER_BYTES as u64,
        copies: (zio.props.copies + 1).min(copies_max),
        ..space::want(zio)
    };
    space::allocate(shared, &want).or_else(|_| {
        want.copies = zio.props.copies;
        space::allocate(shared, &want)
    })
}

/// The sizes of the pieces: as equal as whole units allow, at most `slots` (spec 3.6 step 3).
fn split(size_bytes: u64, slots: u64, unit_bytes: u64) -> Vec<u64> {
    let mut pieces = Vec::with_capacity(slots as usize);
    let mut rest = size_bytes;
    while rest > 0 {
        let share = rest.div_ceil(slots.saturating_sub(pieces.len() as u64).max(1));
        let piece = share.next_multiple_of(unit_bytes).min(rest);
        pieces.push(piece);
        rest -= piece;
    }
    pieces
}

/// A write of one piece, uncompressed, of no type, with the checksum of the block, in the space
/// that the block wanted.
fn member(zio: &Zio, want: &Want, slot: usize, range: std::ops::Range<usize>) -> ZioBox {
    let mut child = zio.engine().make(ZioType::Write, zio.flags().for_gang_child(), MEMBER);
    child.slot = slot as u32;
    child.size_bytes = range.len();
    child.lsize_bytes = range.len();
    child.data = zio.data.slice(range);
    child.props = WriteProps {
        checksum: zio.bp.checksum_id(),
        object_type: 0,
        level: 0,
        copies: zio.props.copies,
        uses_slop: want.uses_slop,
        class: Some(want.class),
        leaves_reserve: want.leaves_reserve,
        order: zio.bp.order(),
        ..WriteProps::default()
    };
    child.bp = BlockPointer::with_properties(&Properties {
        lsize_bytes: child.size_bytes as u64,
        psize_bytes: child.size_bytes as u64,
        compression: child.props.compression,
        checksum: child.props.checksum,
        object_type: 0,
        level: 0,
        crypt: false,
        dedup: false,
        order: child.props.order,
    });
    child.bp.set_birth(zio.txg, zio.txg);
    child.priority = zio.priority;
    child.txg = zio.txg;
    child.bookmark = zio.bookmark;
    child
}

/// Goes on when members or header are written: parks the zio, to run the
/// same stage again, until then.
pub(crate) fn go_on(shared: &Shared, mut zio: ZioBox) -> Next {
    loop {
        zio = zio.wait_children(ChildSet::GANG, WaitType::Done)?;
        let attached = zio.attachment.take().and_then(|any| any.downcast::<GangWrite>().ok());
        let Some(mut gang) = attached else {
            zio.fail(ErrorKind::Lost.into());
            return Some(zio);
        };
        let children: Vec<Finished> = std::iter::from_fn(|| zio.take_finished_child()).collect();
        let header_written = !gang.members.is_empty();
        let outcome = gang.take_home(children, header_written);
        let outcome = match outcome {
            Ok(()) if header_written => {
                for (index, dva) in gang_addresses(&gang.headers, &gang.members).iter().enumerate()
                {
                    zio.bp.set_dva(index, *dva);
                }
                zio.attachment = Some(Box::new(Extents(gang.extents)));
                zio.become_interlock();
                return Some(zio);
            }
            Ok(()) => write_header(&zio, &gang),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(header) => {
                zio.attachment = Some(gang);
                header.start();
            }
            Err(error) => {
                let returned = space::take_back_extents(shared, &gang.extents, zio.txg);
                // Of pieces that found no space the whole block's story is told.
                zio.fail(if error.kind() == ErrorKind::NoSpace { gang.full } else { error });
                if let Err(error) = returned {
                    zio.fail(error);
                }
                return Some(zio);
            }
        }
    }
}

impl GangWrite {
    /// Notes what the children that came home have written.
    ///
    /// # Errors
    /// The first of theirs; the extents of all that succeeded are noted all the same.
    fn take_home(&mut self, mut children: Vec<Finished>, headers: bool) -> Result<(), Error> {
        let mut outcome = Ok(());
        children.sort_by_key(|child| child.get().slot);
        for mut child in children {
            match child.take_error() {
                Some(error) => outcome = outcome.and(Err(error)),
                None if headers => {}
                None => {
                    self.extents.extend(super::extents_of(child.get()));
                    self.members.push(child.get().bp);
                }
            }
        }
        outcome
    }
}

/// The header's write: its pointers, and the proof of its place.
fn write_header(zio: &Zio, gang: &GangWrite) -> Result<ZioBox, Error> {
    let mut leader = zio.bp;
    for (index, dva) in gang.headers.iter().enumerate() {
        leader.set_dva(index, dva.with_gang(true));
    }
    let mut child = header_child(zio, &leader, &gang.members, gang.header_bytes)?;
    zio.adopt(&mut child);
    Ok(child)
}

/// The write of the header of this gang pointer, over these members.
pub(super) fn header_child(
    zio: &Zio,
    gang: &BlockPointer,
    members: &[BlockPointer],
    header_bytes: usize,
) -> Result<ZioBox, Error> {
    let mut header = zio.engine().buffers().take(header_bytes);
    encode_gang_header(members, &mut header, zio.bp.order());
    let verifier = verifier_of(gang);
    embedded::seal(&mut header, &verifier, order_of(&zio.bp))
        .map_err(|error| Error::because(ErrorKind::Invalid, error))?;
    let flags = zio.flags().for_gang_child() | Flags::IO_REWRITE;
    let mut child = zio.engine().make(ZioType::Write, flags, AS_IS);
    child.bp = header_pointer(gang, header_bytes);
    child.size_bytes = header_bytes;
    child.lsize_bytes = header_bytes;
    child.data = Data::from(header);
    child.priority = zio.priority;
    child.txg = zio.txg;
    child.bookmark = zio.bookmark;
    Ok(child)
}

/// What binds the header that a gang pointer names to its place and birth.
pub(crate) fn verifier_of(bp: &BlockPointer) -> Verifier {
    let dva = bp.dva(0).unwrap_or(Dva::EMPTY);
    Verifier::GangHeader {
        vdev: u64::from(dva.vdev().0),
        offset_bytes: dva.offset_bytes(),
        birth_txg: bp.physical_birth(),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn pieces_are_those_of_the_specification() {
        assert_eq!(split(131_072, 3, 512), [44_032, 43_520, 43_520]);
        assert_eq!(split(98_816, 3, 512), [33_280, 32_768, 32_768]);
        assert_eq!(split(1024, 3, 512), [512, 512]);
        // In units of 4 KiB, of a block that is no multiple of them.
        assert_eq!(split(9216, 3, 4096), [4096, 4096, 1024]);
        assert_eq!(split(131_072, 31, 4096).len(), 31);
    }
}
