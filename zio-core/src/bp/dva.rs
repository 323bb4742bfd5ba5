//! Data virtual address: where one copy of a block stands (spec 2.1).

use std::fmt;

use crate::types::VdevId;

/// Unit of the on-disk fields, in bytes.
pub const SECTOR_BYTES: u64 = 512;

/// log2 of [`SECTOR_BYTES`].
pub const SECTOR_SHIFT: u32 = 9;

/// A device address: vdev, offset within its data area, allocated size, gang bit.
///
/// The two words are kept as they stand on disk (native byte order):
/// word 0 has the allocated size in sectors in bits 0–23 and the vdev in bits
/// 32–55; word 1 the offset in sectors in bits 0–62 and the gang bit in bit 63.
///
/// ```
/// use zio_core::{Dva, VdevId};
///
/// let dva = Dva::new(VdevId(1), 0x40000, 8192).with_gang(true);
/// assert_eq!(dva.words(), [0x0000_0001_0000_0010, 0x8000_0000_0000_0200]);
/// assert_eq!((dva.vdev(), dva.offset_bytes(), dva.asize_bytes()), (VdevId(1), 0x40000, 8192));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dva([u64; 2]);

const ASIZE_MASK: u64 = (1 << 24) - 1;
const VDEV_MASK: u64 = (1 << 24) - 1;
const GANG_BIT: u64 = 1 << 63;

impl Dva {
    /// No address.
    pub const EMPTY: Self = Self([0, 0]);

    /// Largest allocated size, in bytes: 24 bits of sectors.
    pub const ASIZE_BYTES_MAX: u64 = ASIZE_MASK << SECTOR_SHIFT;

    /// An address. Offset and size are cut to whole sectors and to the width
    /// of their fields; callers hand in values that fit.
    pub const fn new(vdev: VdevId, offset_bytes: u64, asize_bytes: u64) -> Self {
        debug_assert!(
            offset_bytes.is_multiple_of(SECTOR_BYTES) && asize_bytes.is_multiple_of(SECTOR_BYTES)
        );
        debug_assert!(asize_bytes <= Self::ASIZE_BYTES_MAX && vdev.0 as u64 <= VDEV_MASK);
        Self([
            ((vdev.0 as u64 & VDEV_MASK) << 32) | ((asize_bytes >> SECTOR_SHIFT) & ASIZE_MASK),
            offset_bytes >> SECTOR_SHIFT,
        ])
    }

    /// The same address with the gang bit set or cleared.
    #[must_use]
    pub const fn with_gang(self, gang: bool) -> Self {
        let cleared = self.0[1] & !GANG_BIT;
        Self([self.0[0], if gang { cleared | GANG_BIT } else { cleared }])
    }

    /// The same address with another allocated size.
    #[must_use]
    pub const fn with_asize_bytes(self, asize_bytes: u64) -> Self {
        debug_assert!(asize_bytes <= Self::ASIZE_BYTES_MAX);
        Self([(self.0[0] & !ASIZE_MASK) | ((asize_bytes >> SECTOR_SHIFT) & ASIZE_MASK), self.0[1]])
    }

    /// From the two on-disk words.
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self(words)
    }

    /// The two on-disk words.
    pub const fn words(self) -> [u64; 2] {
        self.0
    }

    /// Top-level vdev.
    pub const fn vdev(self) -> VdevId {
        VdevId(((self.0[0] >> 32) & VDEV_MASK) as u32)
    }

    /// Offset in bytes within the vdev's data area. Up to 2^72 could be
    /// encoded; an offset beyond 64 bits saturates, and so lies outside every device.
    pub const fn offset_bytes(self) -> u64 {
        let sectors = self.0[1] & !GANG_BIT;
        if sectors >> (64 - SECTOR_SHIFT) != 0 { u64::MAX } else { sectors << SECTOR_SHIFT }
    }

    /// Allocated size in bytes, padding and (for a gang) members included.
    pub const fn asize_bytes(self) -> u64 {
        (self.0[0] & ASIZE_MASK) << SECTOR_SHIFT
    }

    /// Does it point at a gang header?
    pub const fn is_gang(self) -> bool {
        self.0[1] & GANG_BIT != 0
    }

    /// Valid: it has an allocated size.
    pub const fn is_valid(self) -> bool {
        self.0[0] & ASIZE_MASK != 0
    }

    /// Both words zero.
    pub const fn is_empty(self) -> bool {
        self.0[0] == 0 && self.0[1] == 0
    }
}

impl fmt::Display for Dva {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{:x}:{:x}{}",
            self.vdev().0,
            self.offset_bytes(),
            self.asize_bytes(),
            if self.is_gang() { ":gang" } else { "" }
        )
    }
}

impl fmt::Debug for Dva {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dva({self})")
    }
}
