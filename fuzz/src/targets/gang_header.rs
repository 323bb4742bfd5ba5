//! `gang_header`: the pointers to the pieces of a block, out of a header that has verified and may
//! still be hostile.
//!
//! | bytes | meaning |
//! |---|---|
//! | 0 | bit 0: writer's byte order; the others choose the pool |
//! | 1, 2 | stored size of the block, in sectors less one |
//! | 3, 4 | length of the header ([`Input::length_bytes`], 16 KiB at most) |
//! | rest | the beginning of the header; zeros follow |

use std::io::{Write as _, sink};

use zio_core::bp::{ByteOrder, Properties, SECTOR_BYTES, encode_gang_header, gang_slots};
use zio_core::segment::BLOCK_BYTES_MAX;
use zio_core::{BlockPointer, Dva, Error, ErrorKind, VdevId};

use super::block_pointer::{Pool, lies_within};
use crate::input::Input;

const HEADER_BYTES_MAX: usize = 16 << 10;

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let order = if choice & 1 == 0 { ByteOrder::Little } else { ByteOrder::Big };
    let pool = &Pool::nth(choice >> 1);
    let leader = leader((u64::from(input.u16()) + 1) * SECTOR_BYTES);
    let header_bytes = input.length_bytes().min(HEADER_BYTES_MAX);
    let mut header = input.rest().to_vec();
    header.resize(header_bytes, 0);

    match leader.gang_members(&header, order, pool) {
        Ok(members) => {
            judge(&leader, &members, pool);
            // Written anew without the gaps, they are the same.
            let mut again = vec![0; header_bytes];
            encode_gang_header(&members, &mut again, order);
            assert_eq!(leader.gang_members(&again, order, pool), Ok(members));
        }
        Err(bad) => {
            let error = Error::because(ErrorKind::Invalid, bad);
            write!(sink(), "{bad} {bad:?} {error}").expect("a sink takes everything");
        }
    }
}

fn leader(psize_bytes: u64) -> BlockPointer {
    let mut bp = BlockPointer::with_properties(&Properties::plain(psize_bytes));
    bp.set_dva(0, Dva::new(VdevId(0), 0, SECTOR_BYTES).with_gang(true));
    bp.set_birth(7, 7);
    bp
}

/// The members make up the block, lead nowhere else, and following them comes to an end.
fn judge(leader: &BlockPointer, members: &[BlockPointer], pool: &Pool) {
    assert!(members.len() <= gang_slots(HEADER_BYTES_MAX));
    let sum: u64 = members.iter().map(BlockPointer::psize_bytes).sum();
    assert_eq!(sum, leader.psize_bytes(), "{members:?}");
    assert!(sum <= 2 * BLOCK_BYTES_MAX as u64);
    for member in members {
        lies_within(member, pool);
        assert!(member.copies() > 0 && !member.is_dedup(), "{member} is no piece");
        assert_eq!(member.lsize_bytes(), member.psize_bytes(), "{member}");
        assert!(!member.is_gang() || member.psize_bytes() < sum, "{member} never ends");
    }
}
