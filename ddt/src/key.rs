//! What a block is known by.

/// Bytes in a sector, the unit of sizes in a key.
const SECTOR_BYTES: u32 = 512;
/// Sizes are 16 bits of sectors, less one.
const SIZE_BYTES_MAX: u32 = SECTOR_BYTES << 16;

const PSIZE_SHIFT: u32 = 16;
const COMPRESSION_SHIFT: u32 = 32;
const CRYPT_SHIFT: u32 = 39;
/// Bits of the property word in use.
pub(crate) const PROPS_BITS: u32 = 40;

/// The identity of a block's *contents*: its 256-bit checksum, and how the bytes the checksum covers
/// came about (sizes, compression, encryption). One table serves one checksum function, so that
/// function's id is no part of the key.
///
/// On disk a key is 40 bytes: the four checksum words and a property word.
///
/// ```text
///  63        40  39    38         32 31        16 15         0
/// |  zero      |crypt| compression | PSIZE − 1  | LSIZE − 1  |     sizes in 512-byte sectors
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    checksum: [u64; 4],
    props: u64,
}

/// Why a key cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// A size is zero, no multiple of 512, or more than 32 MiB.
    #[error("{what} of {bytes} bytes is not 1 to 65536 sectors of 512 bytes")]
    Size {
        /// "LSIZE" or "PSIZE".
        what: &'static str,
        /// The size given.
        bytes: u32,
    },
    /// A compression id has seven bits.
    #[error("compression id {id} exceeds 127")]
    Compression {
        /// The id given.
        id: u8,
    },
    /// Bits of the property word that must be zero are not.
    #[error("property word {word:#018x} has bits above the lowest 40")]
    ReservedBits {
        /// The word found.
        word: u64,
    },
}

impl Key {
    /// Length of an encoded key.
    pub const BYTES: usize = 40;

    /// A key from its parts: the checksum's words as a block pointer holds them, the sizes before
    /// and after compression in bytes, the on-disk compression id, and whether the block is
    /// encrypted or authenticated.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if a part does not fit its field.
    pub fn new(
        checksum: [u64; 4],
        lsize_bytes: u32,
        psize_bytes: u32,
        compression: u8,
        crypt: bool,
    ) -> Result<Self, KeyError> {
        if compression > 0x7f {
            return Err(KeyError::Compression { id: compression });
        }
        let props = size_field("LSIZE", lsize_bytes)?
            | size_field("PSIZE", psize_bytes)? << PSIZE_SHIFT
            | u64::from(compression) << COMPRESSION_SHIFT
            | u64::from(crypt) << CRYPT_SHIFT;
        Ok(Self { checksum, props })
    }

    /// A key from its words, as decoded from disk.
    ///
    /// # Errors
    ///
    /// [`KeyError::ReservedBits`] if the property word has bits set that have no meaning.
    pub const fn from_words(checksum: [u64; 4], props: u64) -> Result<Self, KeyError> {
        if props >> PROPS_BITS == 0 {
            Ok(Self { checksum, props })
        } else {
            Err(KeyError::ReservedBits { word: props })
        }
    }

    /// A key from words whose unused bits are known to be zero.
    pub(crate) const fn rebuilt(checksum: [u64; 4], props: u64) -> Self {
        Self { checksum, props }
    }

    /// Decodes a key: five little-endian words.
    ///
    /// # Errors
    ///
    /// As [`from_words`](Self::from_words).
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Result<Self, KeyError> {
        let mut words = [0; 5];
        for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        let [checksum @ .., props] = words;
        Self::from_words(checksum, props)
    }

    /// Encodes the key as five little-endian words.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let words = self.checksum.iter().chain([&self.props]);
        for (chunk, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *chunk = word.to_le_bytes();
        }
        bytes
    }

    /// The checksum's words.
    pub const fn checksum(&self) -> [u64; 4] {
        self.checksum
    }

    /// The property word.
    pub const fn props(&self) -> u64 {
        self.props
    }

    /// Size of the contents before compression.
    pub const fn lsize_bytes(&self) -> u32 {
        ((self.props & 0xffff) as u32 + 1) * SECTOR_BYTES
    }

    /// Size of the contents as stored.
    pub const fn psize_bytes(&self) -> u32 {
        ((self.props >> PSIZE_SHIFT & 0xffff) as u32 + 1) * SECTOR_BYTES
    }

    /// On-disk id of the compression.
    pub const fn compression(&self) -> u8 {
        (self.props >> COMPRESSION_SHIFT & 0x7f) as u8
    }

    /// Whether the block is encrypted or authenticated.
    pub const fn crypt(&self) -> bool {
        self.props >> CRYPT_SHIFT & 1 == 1
    }

    /// A well-mixed 64-bit hash. A strong checksum needs no mixing; the multiplications let a weak
    /// one (used with verification) spread as well.
    pub(crate) fn hash(&self) -> u64 {
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        let mix = |hash: u64, word: u64| (hash.rotate_left(29) ^ word).wrapping_mul(FACTOR);
        let hash = mix(self.checksum.into_iter().fold(0, mix), self.props);
        hash ^ hash >> 32
    }
}

fn size_field(what: &'static str, bytes: u32) -> Result<u64, KeyError> {
    if bytes == 0 || bytes > SIZE_BYTES_MAX || !bytes.is_multiple_of(SECTOR_BYTES) {
        return Err(KeyError::Size { what, bytes });
    }
    Ok(u64::from(bytes / SECTOR_BYTES - 1))
}
