//! From untrusted bytes to a usable pointer (spec 2.3).

use super::{
    BLOCK_POINTER_BYTES, BlockPointer, ByteOrder, CHECKSUM_IDS, COMPRESSION_IDS, COMPRESSION_OFF,
    DVAS_MAX, Dva, EMBEDDED_PAYLOAD_BYTES_MAX, SECTOR_BYTES, embedded,
};
use crate::error::{Error, ErrorKind};
use crate::segment::BLOCK_BYTES_MAX;
use crate::types::VdevId;

/// Object types with a fixed number (0 … 53).
const OBJECT_TYPES: u8 = 54;

/// Bit that marks the newer, self-describing object types.
const NEW_TYPE: u8 = 0x80;

/// In a self-describing type: encrypted.
const NEW_TYPE_ENCRYPTED: u8 = 0x20;

/// In a self-describing type: mask and number of byte-swap functions.
const NEW_TYPE_SWAP_MASK: u8 = 0x1f;
const NEW_TYPE_SWAPS: u8 = 10;

/// Fixed-number types whose blocks are encrypted in an encrypted dataset: log
/// and dnode blocks, and everything that holds users' data or their names.
const fn is_encrypted_fixed(object_type: u8) -> bool {
    matches!(object_type, 9 | 10 | 17..=27 | 33..=36 | 39 | 40 | 44..=47)
}

const fn is_known_type(object_type: u8) -> bool {
    if object_type & NEW_TYPE != 0 {
        (object_type & NEW_TYPE_SWAP_MASK) < NEW_TYPE_SWAPS
    } else {
        object_type < OBJECT_TYPES
    }
}

pub(super) const fn is_encrypted_type(object_type: u8) -> bool {
    if object_type & NEW_TYPE != 0 {
        return object_type & NEW_TYPE_ENCRYPTED != 0;
    }
    is_encrypted_fixed(object_type)
}

/// What a pointer is checked against: the vdevs there are.
pub trait PoolShape {
    /// Size in bytes of a vdev's data area; `None` if there is no such vdev.
    fn data_bytes(&self, vdev: VdevId) -> Option<u64>;

    /// Unit of allocation of a vdev, in bytes: offsets and sizes are multiples of it.
    fn unit_bytes(&self, vdev: VdevId) -> u64;
}

/// Why a pointer is not usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadPointer {
    /// No such object type.
    #[error("unknown object type {0}")]
    ObjectType(u8),
    /// No such checksum.
    #[error("checksum id {0} is not one a block can have")]
    Checksum(u8),
    /// No such compression.
    #[error("compression id {0} is not one a block can have")]
    Compression(u8),
    /// A size above the largest block.
    #[error("{which} of {bytes} bytes is more than {max} bytes", max = BLOCK_BYTES_MAX)]
    Size {
        /// "logical size" or "physical size".
        which: &'static str,
        /// The size.
        bytes: u64,
    },
    /// Stored uncompressed, and yet in another size than the logical one.
    #[error("uncompressed, but {lsize_bytes} logical and {psize_bytes} physical bytes")]
    Uncompressed {
        /// Logical size.
        lsize_bytes: u64,
        /// Physical size.
        psize_bytes: u64,
    },
    /// No such kind of embedded pointer.
    #[error("embedded pointer of unknown kind {0}")]
    EmbeddedKind(u8),
    /// A payload longer than a pointer holds.
    #[error("embedded payload of {0} bytes is more than {max}", max = EMBEDDED_PAYLOAD_BYTES_MAX)]
    EmbeddedSize(u64),
    /// An embedded pointer with the dedup or encryption bit.
    #[error("embedded pointer with the dedup or encryption bit")]
    EmbeddedFlags,
    /// A DVA has words but no size, or stands behind an empty one.
    #[error("DVA {index} ({dva}) is malformed")]
    Dva {
        /// Which of the three.
        index: usize,
        /// What it says.
        dva: Dva,
    },
    /// Not a hole, and yet no address.
    #[error("neither hole nor embedded, but without a valid first address")]
    NoAddress,
    /// Some addresses are gang headers, others not.
    #[error("gang and plain addresses mixed")]
    MixedGang,
    /// No such vdev.
    #[error("DVA {index} ({dva}) names a vdev that is not there")]
    NoVdev {
        /// Which of the three.
        index: usize,
        /// What it says.
        dva: Dva,
    },
    /// Not wholly inside the vdev.
    #[error("DVA {index} ({dva}) reaches beyond the {data_bytes} bytes of its vdev")]
    OutOfRange {
        /// Which of the three.
        index: usize,
        /// What it says.
        dva: Dva,
        /// Size of the vdev's data area.
        data_bytes: u64,
    },
    /// Offset or size is not a multiple of the vdev's unit.
    #[error("DVA {index} ({dva}) is not aligned to the vdev's unit of {unit_bytes} bytes")]
    Misaligned {
        /// Which of the three.
        index: usize,
        /// What it says.
        dva: Dva,
        /// The unit.
        unit_bytes: u64,
    },
    /// Less space than data.
    #[error("DVA {index} ({dva}) has less space than the {psize_bytes} stored bytes")]
    TooSmall {
        /// Which of the three.
        index: usize,
        /// What it says.
        dva: Dva,
        /// Stored size of the block.
        psize_bytes: u64,
    },
    /// A block that nobody wrote: birth txg 0.
    #[error("birth txg is 0")]
    NoBirth,
}

impl From<BadPointer> for Error {
    fn from(bad: BadPointer) -> Self {
        Self::because(ErrorKind::Invalid, bad)
    }
}

/// A pointer as it came from outside: nothing in it is believed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RawPointer([u64; 16]);

impl RawPointer {
    /// Sixteen words in the order of the parent block's writer.
    pub fn from_bytes(bytes: &[u8; BLOCK_POINTER_BYTES], order: ByteOrder) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        Self(std::array::from_fn(|i| match order {
            ByteOrder::Little => u64::from_le_bytes(words[i]),
            ByteOrder::Big => u64::from_be_bytes(words[i]),
        }))
    }

    /// Checks everything that can be checked without reading the block. What
    /// passes may be used with this pool: no later step reads or writes
    /// outside a device because of it.
    ///
    /// # Errors
    /// [`BadPointer`]: the first thing that is wrong.
    pub fn check(&self, pool: &dyn PoolShape) -> Result<BlockPointer, BadPointer> {
        let bp = BlockPointer::from_words(self.0);
        if bp == BlockPointer::EMPTY {
            return Ok(bp);
        }
        if !is_known_type(bp.object_type()) {
            return Err(BadPointer::ObjectType(bp.object_type()));
        }
        if bp.is_embedded() {
            return check_embedded(&bp).map(|()| bp);
        }
        check_size("logical size", bp.lsize_bytes())?;
        if bp.is_hole() {
            return check_hole(&bp).map(|()| bp);
        }
        check_properties(&bp)?;
        check_addresses(&bp, pool)?;
        Ok(bp)
    }
}

impl std::fmt::Debug for RawPointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RawPointer({:016x?})", self.0)
    }
}

fn check_size(which: &'static str, bytes: u64) -> Result<(), BadPointer> {
    if bytes > BLOCK_BYTES_MAX as u64 { Err(BadPointer::Size { which, bytes }) } else { Ok(()) }
}

fn check_embedded(bp: &BlockPointer) -> Result<(), BadPointer> {
    let kind = bp.checksum_id();
    if kind >= embedded::KINDS {
        return Err(BadPointer::EmbeddedKind(kind));
    }
    check_size("logical size", bp.lsize_bytes())?;
    if bp.psize_bytes() > EMBEDDED_PAYLOAD_BYTES_MAX as u64 {
        return Err(BadPointer::EmbeddedSize(bp.psize_bytes()));
    }
    if bp.is_dedup() || bp.is_crypt() {
        return Err(BadPointer::EmbeddedFlags);
    }
    if kind == embedded::KIND_DATA { check_compression(bp) } else { Ok(()) }
}

/// A hole has no address at all; a second or third one would be lost space.
fn check_hole(bp: &BlockPointer) -> Result<(), BadPointer> {
    for index in 1..DVAS_MAX {
        match bp.dva(index) {
            Some(dva) if !dva.is_empty() => return Err(BadPointer::Dva { index, dva }),
            _ => {}
        }
    }
    Ok(())
}

fn check_properties(bp: &BlockPointer) -> Result<(), BadPointer> {
    check_size("physical size", bp.psize_bytes())?;
    let checksum = bp.checksum_id();
    if checksum <= 1 || checksum >= CHECKSUM_IDS {
        return Err(BadPointer::Checksum(checksum));
    }
    check_compression(bp)?;
    if bp.birth() == 0 {
        return Err(BadPointer::NoBirth);
    }
    Ok(())
}

fn check_compression(bp: &BlockPointer) -> Result<(), BadPointer> {
    let compression = bp.compression();
    if compression <= 1 || compression >= COMPRESSION_IDS {
        return Err(BadPointer::Compression(compression));
    }
    let (lsize_bytes, psize_bytes) = (bp.lsize_bytes(), bp.psize_bytes());
    if compression == COMPRESSION_OFF && lsize_bytes != psize_bytes {
        return Err(BadPointer::Uncompressed { lsize_bytes, psize_bytes });
    }
    Ok(())
}

fn check_addresses(bp: &BlockPointer, pool: &dyn PoolShape) -> Result<(), BadPointer> {
    let mut gang = None;
    let mut ended = false;
    let addresses = if bp.is_encrypted() { DVAS_MAX - 1 } else { DVAS_MAX };
    for index in 0..addresses {
        let dva = bp.dva(index).unwrap_or(Dva::EMPTY);
        if dva.is_empty() {
            ended = true;
            continue;
        }
        if !dva.is_valid() || ended {
            return Err(BadPointer::Dva { index, dva });
        }
        if *gang.get_or_insert(dva.is_gang()) != dva.is_gang() {
            return Err(BadPointer::MixedGang);
        }
        check_address(index, dva, bp.psize_bytes(), pool)?;
    }
    if gang.is_none() {
        return Err(BadPointer::NoAddress);
    }
    Ok(())
}

fn check_address(
    index: usize,
    dva: Dva,
    psize_bytes: u64,
    pool: &dyn PoolShape,
) -> Result<(), BadPointer> {
    let Some(data_bytes) = pool.data_bytes(dva.vdev()) else {
        return Err(BadPointer::NoVdev { index, dva });
    };
    let unit_bytes = pool.unit_bytes(dva.vdev()).max(SECTOR_BYTES);
    // A gang address covers its header only; its size is the sum over the members.
    let span_bytes = if dva.is_gang() { unit_bytes } else { dva.asize_bytes() };
    let inside = dva.offset_bytes().checked_add(span_bytes).is_some_and(|end| end <= data_bytes);
    if !inside {
        return Err(BadPointer::OutOfRange { index, dva, data_bytes });
    }
    if !dva.offset_bytes().is_multiple_of(unit_bytes) || !span_bytes.is_multiple_of(unit_bytes) {
        return Err(BadPointer::Misaligned { index, dva, unit_bytes });
    }
    if !dva.is_gang() && dva.asize_bytes() < psize_bytes {
        return Err(BadPointer::TooSmall { index, dva, psize_bytes });
    }
    Ok(())
}
