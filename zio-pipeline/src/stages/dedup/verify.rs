//! Whether equal checksums mean equal bytes, and what if not (spec 6.4 step 2).
//!
//! A write that has found its checksum in the table holds a reference to the block from that moment
//! on: nobody can free the block while it is read and compared. If the bytes differ, the reference
//! goes back, and with it the space, should it have become the last one.

use checksum::Algorithm;
use zio_core::task::Place;
use zio_core::{
    BlockPointer, Data, Dva, Engine, Error, Flags, Next, Priority, QueueKind, Stages, WriteProps,
    Zio, ZioBox, ZioType,
};

use super::give_up_reference;
use crate::dedup::is_strong;
use crate::shared::Shared;

/// What blocks whose weak checksums collide are told apart by.
const STRONG: Algorithm = Algorithm::Sha256;

/// Are the bytes to be compared before a block is shared?
pub(super) fn is_wanted(props: &WriteProps) -> bool {
    props.dedup_verify || !is_strong(props.checksum)
}

/// A child that reads the stored block that `zio` would share, as it was before it was
/// transformed. Whatever goes wrong with it is a difference, and no error.
pub(super) fn read(zio: &Zio) -> ZioBox {
    let flags =
        zio.flags().for_ddt_child() | Flags::CANFAIL | Flags::SPECULATIVE | Flags::DONT_PROPAGATE;
    let flags = flags - Flags::IO_ALLOCATING;
    let mut child = zio.engine().make(ZioType::Read, flags, Stages::READ);
    child.bp = zio.bp;
    child.bp_before = zio.bp;
    child.lsize_bytes = zio.lsize_bytes;
    child.size_bytes = zio.lsize_bytes;
    child.priority = match zio.priority {
        Priority::SyncWrite => Priority::SyncRead,
        _ => Priority::AsyncRead,
    };
    child.bookmark = zio.bookmark;
    zio.adopt(&mut child);
    child
}

/// Do both consist of the same bytes, in whatever pieces?
pub(super) fn same_bytes(a: &Data, b: &Data) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let (mut a, mut b) = (a.chunks(), b.chunks());
    let (mut left, mut right): (&[u8], &[u8]) = (&[], &[]);
    loop {
        if left.is_empty() {
            left = match a.next() {
                Some(chunk) => chunk,
                None => return true,
            };
            continue;
        }
        if right.is_empty() {
            right = match b.next() {
                Some(chunk) => chunk,
                None => return true,
            };
            continue;
        }
        let len = left.len().min(right.len());
        if left[..len] != right[..len] {
            return false;
        }
        (left, right) = (&left[len..], &right[len..]);
    }
}

/// Another block has the checksum of this one. The write starts over with a strong checksum, if
/// the checksum was a weak one; else it goes on without dedup.
pub(super) fn collided(shared: &Shared, mut zio: ZioBox) -> Next {
    if let Err(error) = give_up(shared, &mut zio) {
        zio.fail(error);
        zio.become_interlock();
        return Some(zio);
    }
    if is_strong(zio.props.checksum) {
        leave_dedup(&mut zio);
    } else {
        zio.pop_transforms();
        zio.bp = zio.bp_before;
        zio.props.checksum = STRONG.id();
        zio.become_pipeline(Stages::WRITE);
        zio.rerun_from(Stages::WRITE_BP_INIT);
    }
    // There is an allocation ahead, which has no place where completions are handled.
    Engine::dispatch(zio, QueueKind::Issue, Place::Back);
    None
}

/// The reference, and the addresses with it.
fn give_up(shared: &Shared, zio: &mut Zio) -> Result<(), Error> {
    let given_up = give_up_reference(shared, zio);
    clear_addresses(&mut zio.bp);
    let txg = zio.txg;
    zio.bp.set_birth(txg, txg);
    given_up
}

fn clear_addresses(bp: &mut BlockPointer) {
    for index in 0..zio_core::bp::DVAS_MAX {
        bp.set_dva(index, Dva::EMPTY);
    }
}

/// An ordinary block, and the pointer must say so.
pub(super) fn leave_dedup(zio: &mut Zio) {
    zio.bp.set_dedup(false);
    zio.props.dedup = false;
    zio.become_pipeline(Stages::WRITE);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zio_core::BufferPool;

    use super::*;

    /// The bytes in pieces of these lengths, some of them empty, and what is left.
    fn in_pieces(bytes: &[u8], lengths: &[usize]) -> Data {
        let (pool, mut data, mut rest) = (BufferPool::new(), Data::new(), bytes);
        for len in lengths {
            let (piece, others) = rest.split_at((*len).min(rest.len()));
            data.push(pool.copy_of(piece).freeze());
            rest = others;
        }
        data.push(pool.copy_of(rest).freeze());
        data
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            a in prop::collection::vec(0_u8..3, 0..40),
            b in prop::collection::vec(0_u8..3, 0..40),
            lengths in prop::array::uniform3(prop::collection::vec(0_usize..9, 0..8)),
        ) {
            let [first, second, third] = &lengths;
            let one = in_pieces(&a, first);
            prop_assert!(same_bytes(&one, &in_pieces(&a, second)));
            prop_assert_eq!(same_bytes(&one, &in_pieces(&b, third)), a == b);
            let mut other = a.clone();
            if let Some(last) = other.last_mut() {
                *last ^= 1;
                prop_assert!(!same_bytes(&one, &in_pieces(&other, second)));
            }
        }
    }
}
