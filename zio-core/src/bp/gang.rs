//! The gang header: pointers to the pieces of a block (spec 2.5).
//!
//! A block for which no extent is long enough is stored in pieces. The
//! addresses of its pointer have the gang bit and name a *header*, which holds
//! pointers to the pieces, in order; a piece may be a gang again. The header
//! proves itself: its last [`GANG_TRAILER_BYTES`] are a magic and a checksum
//! bound to its place and birth, which is not looked at here.
//!
//! ```text
//! | pointer 0 | pointer 1 | … | zeros | magic, checksum |
//! 0          128         256        size − 40         size
//! ```

use super::{BLOCK_POINTER_BYTES, BadPointer, BlockPointer, ByteOrder, PoolShape, RawPointer};
use crate::bp::{COMPRESSION_OFF, SECTOR_BYTES};

/// Bytes of a classic header: three pointers.
pub const GANG_HEADER_BYTES: usize = 512;

/// Bytes of the trailer of a header.
pub const GANG_TRAILER_BYTES: usize = 40;

/// Most pointers a header of `header_bytes` has: 3 in 512 bytes, 31 in 4 KiB.
///
/// ```
/// use zio_core::bp::gang_slots;
///
/// assert_eq!([512, 4096, 8192, 30].map(gang_slots), [3, 31, 63, 0]);
/// ```
pub const fn gang_slots(header_bytes: usize) -> usize {
    header_bytes.saturating_sub(GANG_TRAILER_BYTES) / BLOCK_POINTER_BYTES
}

/// Why the pointers in a header do not make up the block they belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadGang {
    /// Nothing fits in a header of this size.
    #[error("a gang header of {0} bytes")]
    Length(usize),
    /// A member's pointer is not usable.
    #[error("gang member {slot}: {bad}")]
    Member {
        /// Which of the pointers.
        slot: usize,
        /// What is wrong with it.
        bad: BadPointer,
    },
    /// A member is something else than a stored piece of data.
    #[error("gang member {slot} is no plain piece of a block: {what}")]
    NotPlain {
        /// Which of the pointers.
        slot: usize,
        /// What it is.
        what: &'static str,
    },
    /// The members together are longer or shorter than the block.
    #[error("gang members of {members_bytes} bytes for a block of {psize_bytes}")]
    Sum {
        /// Their sizes, added up.
        members_bytes: u64,
        /// Stored size of the block.
        psize_bytes: u64,
    },
}

impl BlockPointer {
    /// Largest header that the addresses of this gang pointer can have room
    /// for, in bytes: the smallest unit of allocation of their vdevs.
    pub fn gang_header_bytes(&self, pool: &dyn PoolShape) -> usize {
        let unit_bytes = |dva: super::Dva| pool.unit_bytes(dva.vdev()).max(SECTOR_BYTES);
        self.dvas().map(unit_bytes).min().unwrap_or(SECTOR_BYTES) as usize
    }

    /// The members of this gang pointer's block, in order, out of its header,
    /// which was written in `order` and has verified. Slots not in use are left out.
    ///
    /// A header that verifies may still be hostile. What is returned can be
    /// read without leaving the devices, and following members that are gangs
    /// again comes to an end: each is smaller than the block it is a piece of.
    ///
    /// # Errors
    /// [`BadGang`]: the first thing that is wrong.
    pub fn gang_members(
        &self,
        header: &[u8],
        order: ByteOrder,
        pool: &dyn PoolShape,
    ) -> Result<Vec<Self>, BadGang> {
        let slots = gang_slots(header.len());
        if slots == 0 {
            return Err(BadGang::Length(header.len()));
        }
        let psize_bytes = self.psize_bytes();
        let (pointers, _) = header.as_chunks::<BLOCK_POINTER_BYTES>();
        let mut members = Vec::new();
        let mut members_bytes = 0;
        for (slot, bytes) in pointers.iter().take(slots).enumerate() {
            let member = RawPointer::from_bytes(bytes, order)
                .check(pool)
                .map_err(|bad| BadGang::Member { slot, bad })?;
            if member.is_hole() {
                continue;
            }
            if let Some(what) = member.is_no_piece_of(self) {
                return Err(BadGang::NotPlain { slot, what });
            }
            members_bytes += member.psize_bytes();
            members.push(member);
        }
        if members_bytes != psize_bytes {
            return Err(BadGang::Sum { members_bytes, psize_bytes });
        }
        Ok(members)
    }

    /// What this pointer is, if it cannot be a member of that block. Members of an encrypted
    /// block may have its encryption bit; they are pieces of what is encrypted as a whole.
    fn is_no_piece_of(&self, leader: &Self) -> Option<&'static str> {
        if self.is_embedded() {
            Some("embedded data")
        } else if self.compression() != COMPRESSION_OFF {
            Some("compressed")
        } else if self.is_dedup() {
            Some("shared through the dedup table")
        } else if self.is_crypt() && !leader.is_crypt() {
            Some("encrypted by itself")
        } else if matches!(self.checksum_id(), 3..=5 | 9) {
            // Verified as such, a header could even be shorter than the piece it stands for.
            Some("a block with its checksum inside")
        } else if self.is_gang() && self.psize_bytes() >= leader.psize_bytes() {
            Some("a gang as large as the block itself")
        } else {
            None
        }
    }
}

/// Writes the pointers of `members` to the front of `header` and zeros behind
/// them. The trailer is the caller's to seal.
///
/// # Panics
/// When `header` has fewer [slots](gang_slots) than there are members.
pub fn encode_gang_header(members: &[BlockPointer], header: &mut [u8], order: ByteOrder) {
    let slots = gang_slots(header.len());
    assert!(members.len() <= slots, "{} gang members for {slots} slots", members.len());
    header.fill(0);
    for (bytes, member) in header.as_chunks_mut::<BLOCK_POINTER_BYTES>().0.iter_mut().zip(members) {
        *bytes = member.to_bytes_in(order);
    }
}
