//! Writing over a gang block in place (spec 3.6): every piece where it stands, and every header
//! anew, for the pieces' checksums are in it.
//!
//! Whoever asks for this has nothing to lose: no durable pointer leads to the block. So there is
//! no order among the writes.

use std::ops::Range;

use zio_core::{BlockPointer, Error, Flags, Zio, ZioBox, ZioType};

use super::tree::Tree;
use super::write::{AS_IS, header_child};
use crate::shared::{Shared, order_of};

/// The writes of all pieces and headers of the block that `tree` has taken apart, with the
/// zio's data.
pub(super) fn children(shared: &Shared, zio: &Zio, tree: &Tree) -> Result<Vec<ZioBox>, Error> {
    let mut children = Vec::with_capacity(tree.members().len() + tree.expanded().len());
    let mut pieces: Vec<(BlockPointer, Range<usize>)> = Vec::with_capacity(tree.members().len());
    let mut begin = 0;
    for member in tree.members() {
        let end = begin + member.psize_bytes() as usize;
        let bp = with_contents(shared, zio, member, &(begin..end))?;
        children.push(piece(zio, bp, begin..end));
        pieces.push((bp, begin..end));
        begin = end;
    }
    // From the innermost out: pieces become a gang, which is a piece of the next one.
    for (index, gang) in tree.expanded().iter().enumerate().rev() {
        let inside: Vec<_> = pieces.drain(gang.at..gang.at + gang.members).collect();
        let members: Vec<_> = inside.iter().map(|(bp, _)| *bp).collect();
        children.push(header_child(zio, &gang.bp, &members, gang.header_bytes)?);
        let Some(((_, first), (_, last))) = inside.first().zip(inside.last()) else { continue };
        let range = first.start..last.end;
        // The outermost is the block itself, whose checksum is there already.
        let outermost = index == 0;
        let bp = if outermost { gang.bp } else { with_contents(shared, zio, &gang.bp, &range)? };
        pieces.insert(gang.at, (bp, range));
    }
    for child in &mut children {
        zio.adopt(child);
    }
    Ok(children)
}

/// The same place with new contents: checksum and byte order are those of the block now.
fn with_contents(
    shared: &Shared,
    zio: &Zio,
    place: &BlockPointer,
    range: &Range<usize>,
) -> Result<BlockPointer, Error> {
    let (mut bp, mut properties) = (*place, place.properties());
    properties.checksum = zio.bp.checksum_id();
    properties.order = zio.bp.order();
    properties.crypt = false;
    bp.set_properties(&properties);
    let data = zio.data.slice(range.clone());
    let context = shared.checksums.get(bp.checksum_id())?;
    bp.set_checksum(context.compute(order_of(&bp), data.chunks()).0);
    Ok(bp)
}

fn piece(zio: &Zio, bp: BlockPointer, range: Range<usize>) -> ZioBox {
    let flags = zio.flags().for_gang_child() | Flags::IO_REWRITE;
    let mut child = zio.engine().make(ZioType::Write, flags, AS_IS);
    child.bp = bp;
    child.size_bytes = range.len();
    child.lsize_bytes = range.len();
    child.data = zio.data.slice(range);
    child.priority = zio.priority;
    child.txg = zio.txg;
    child.bookmark = zio.bookmark;
    child
}
