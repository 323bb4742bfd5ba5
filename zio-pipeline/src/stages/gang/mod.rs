//! Gang blocks: a block in pieces, where no extent is long enough for it whole
//! (spec 2.5, 3.6).
//!
//! * `tree`: the headers of a block, read level by level before anything is done.
//! * `issue`: GANG_ASSEMBLE and GANG_ISSUE. Two phases: a header that cannot be read
//!   changes nothing.
//! * `rewrite`: a block in pieces, written over where it stands.
//! * `write`: what DVA_ALLOCATE does when the space is there, but not in one piece.

mod issue;
mod rewrite;
mod tree;
mod write;

use checksum::Algorithm;
use zio_core::bp::{COMPRESSION_OFF, PoolShape, Properties, SECTOR_BYTES};
use zio_core::{BlockPointer, Dva, Dvas, Error, Zio};

pub(crate) use issue::{GangAssemble, GangIssue};
pub(crate) use tree::assemble;
pub(crate) use write::{begin, go_on, is_under_way, verifier_of};

use crate::shared::Shared;

/// The pointer a header is read and written by: the addresses of the block,
/// the header's own size and checksum.
fn header_pointer(leader: &BlockPointer, header_bytes: usize) -> BlockPointer {
    let mut bp = BlockPointer::with_properties(&Properties {
        lsize_bytes: header_bytes as u64,
        psize_bytes: header_bytes as u64,
        compression: COMPRESSION_OFF,
        checksum: Algorithm::GangHeader.id(),
        object_type: 0,
        level: 0,
        crypt: false,
        dedup: false,
        order: leader.order(),
    });
    for (index, dva) in leader.dvas().enumerate() {
        bp.set_dva(index, dva);
    }
    bp.set_birth(leader.birth(), leader.physical_birth());
    bp
}

/// All extents of the block that a zio wrote or assembled: those of its
/// headers and members for a gang, else its addresses.
pub(crate) fn extents_of(zio: &Zio) -> Vec<Dva> {
    let attached = zio.attachment.as_ref().and_then(|any| any.downcast_ref::<Extents>());
    match attached {
        Some(Extents(extents)) => extents.clone(),
        None => zio.bp.dvas().collect(),
    }
}

/// Takes the extents of the block that [`assemble`] took apart.
///
/// # Errors
/// [`ErrorKind::Lost`](zio_core::ErrorKind::Lost): there is none.
pub(crate) fn take_extents(shared: &Shared, zio: &mut Zio) -> Result<Vec<Dva>, Error> {
    Ok(tree::take(zio)?.extents(shared))
}

/// The extents of a gang block that was written, attached to its zio.
struct Extents(Vec<Dva>);

/// The headers' own extents, of one unit each: the size in the address counts members too.
fn header_extents<'a>(
    shared: &'a Shared,
    dvas: impl Iterator<Item = Dva> + 'a,
) -> impl Iterator<Item = Dva> + 'a {
    dvas.map(|dva| {
        let unit_bytes = shared.unit_bytes(dva.vdev()).max(SECTOR_BYTES);
        Dva::new(dva.vdev(), dva.offset_bytes(), unit_bytes)
    })
}

/// Addresses of a gang: each with the space of its header and of all members.
fn gang_addresses(headers: &Dvas, members: &[BlockPointer]) -> Dvas {
    headers
        .iter()
        .enumerate()
        .map(|(index, header)| {
            let of_members = members.iter().filter_map(|bp| bp.dvas().nth(index));
            let asize_bytes = of_members.map(Dva::asize_bytes).sum::<u64>() + header.asize_bytes();
            header.with_asize_bytes(asize_bytes.min(Dva::ASIZE_BYTES_MAX)).with_gang(true)
        })
        .collect()
}
