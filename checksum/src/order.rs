//! The writer's byte order.

/// The byte order of the machine that wrote a block.
///
/// A block pointer says it in bit 63 of its property word; a self-checksummed
/// block says it through its magic. Checksums read the stored bytes in *this*
/// order, whatever the order of the machine that verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl ByteOrder {
    /// The order of the machine this program runs on: what to write with.
    pub const NATIVE: Self = if cfg!(target_endian = "little") { Self::Little } else { Self::Big };

    /// The other order.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Little => Self::Big,
            Self::Big => Self::Little,
        }
    }

    /// Whether this machine has to swap bytes to read words in this order.
    #[must_use]
    pub const fn is_swapped(self) -> bool {
        !matches!((self, Self::NATIVE), (Self::Little, Self::Little) | (Self::Big, Self::Big))
    }

    /// Reads eight bytes as one word in this order.
    #[inline]
    pub(crate) const fn read_u64(self, bytes: [u8; 8]) -> u64 {
        match self {
            Self::Little => u64::from_le_bytes(bytes),
            Self::Big => u64::from_be_bytes(bytes),
        }
    }

    /// Writes one word as eight bytes in this order.
    #[inline]
    pub(crate) const fn write_u64(self, word: u64) -> [u8; 8] {
        match self {
            Self::Little => word.to_le_bytes(),
            Self::Big => word.to_be_bytes(),
        }
    }
}
