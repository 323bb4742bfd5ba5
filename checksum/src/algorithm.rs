//! Which function an on-disk id names, and how far it may be trusted.

use std::fmt;

use crate::Checksum;

bitflags::bitflags! {
    /// What a checksum algorithm is strong enough for, and what it needs.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Flags: u8 {
        /// Strong enough for metadata. Metadata of a dataset that uses
        /// something weaker gets fletcher4.
        const METADATA = 1 << 0;
        /// Equal checksums may be taken as equal data. Anything without this
        /// flag may be used for dedup only with a byte-by-byte verify.
        const DEDUP = 1 << 1;
        /// May decide that a rewrite carries the data that is already there.
        const NOPWRITE = 1 << 2;
        /// Keyed by the pool's 32-byte salt.
        const SALTED = 1 << 3;
        /// Stored inside the block it covers, bound to the block's place by a
        /// verifier: see [`embedded`](crate::embedded).
        const EMBEDDED = 1 << 4;
    }
}

/// A checksum algorithm that this crate can run.
///
/// The on-disk ids 0 (*inherit*) and 1 (*on*) are values of a dataset property,
/// never of a block, and so have no variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Id 2: no checksum. The value is zero and never mismatches.
    Off,
    /// Id 3: SHA-256 inside labels and uberblocks, bound to their offset.
    Label,
    /// Id 4: SHA-256 inside a gang header, bound to its address and birth.
    GangHeader,
    /// Id 5: fletcher2 in the tail of an old log block.
    Zilog,
    /// Id 6: fletcher2. Weak; kept for reading.
    Fletcher2,
    /// Id 7: fletcher4, the default.
    Fletcher4,
    /// Id 8: SHA-256.
    Sha256,
    /// Id 9: fletcher4 in the head of a log block, over its used part.
    Zilog2,
    /// Id 10: as [`Off`](Self::Off).
    NoParity,
    /// Id 11: SHA-512/256 (named "sha512" on disk).
    Sha512_256,
    /// Id 12: Skein-512 of 256 bits, a MAC keyed by the pool's salt.
    Skein,
    /// Id 13: Edon-R-512 keyed by the pool's salt, its first 256 bits. Not
    /// strong enough for dedup.
    Edonr,
    /// Id 14: BLAKE3 keyed by the pool's salt.
    Blake3,
}

/// An on-disk checksum id that names no runnable algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AlgorithmError {
    /// The id is a value of the dataset property only; no block carries it.
    #[error("checksum id {id} ({name}) is a property value, not a block's algorithm")]
    PropertyOnly {
        /// The id as found: 0 or 1.
        id: u8,
        /// Its name in the format.
        name: &'static str,
    },
    /// The format knows no such id: damage, or a newer format.
    #[error("unknown checksum id {id}")]
    Unknown {
        /// The id as found.
        id: u8,
    },
}

impl Algorithm {
    /// Every algorithm, in the order of on-disk ids.
    pub const ALL: [Self; 13] = [
        Self::Off,
        Self::Label,
        Self::GangHeader,
        Self::Zilog,
        Self::Fletcher2,
        Self::Fletcher4,
        Self::Sha256,
        Self::Zilog2,
        Self::NoParity,
        Self::Sha512_256,
        Self::Skein,
        Self::Edonr,
        Self::Blake3,
    ];

    /// The algorithm an on-disk id names.
    ///
    /// # Errors
    /// [`AlgorithmError`] tells a property-only id and an unknown id apart. A
    /// block pointer from disk may hold either of them.
    pub const fn from_id(id: u8) -> Result<Self, AlgorithmError> {
        Ok(match id {
            0 => return Err(AlgorithmError::PropertyOnly { id, name: "inherit" }),
            1 => return Err(AlgorithmError::PropertyOnly { id, name: "on" }),
            2 => Self::Off,
            3 => Self::Label,
            4 => Self::GangHeader,
            5 => Self::Zilog,
            6 => Self::Fletcher2,
            7 => Self::Fletcher4,
            8 => Self::Sha256,
            9 => Self::Zilog2,
            10 => Self::NoParity,
            11 => Self::Sha512_256,
            12 => Self::Skein,
            13 => Self::Edonr,
            14 => Self::Blake3,
            _ => return Err(AlgorithmError::Unknown { id }),
        })
    }

    /// The id stored in block pointers. Never renumbered.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::Off => 2,
            Self::Label => 3,
            Self::GangHeader => 4,
            Self::Zilog => 5,
            Self::Fletcher2 => 6,
            Self::Fletcher4 => 7,
            Self::Sha256 => 8,
            Self::Zilog2 => 9,
            Self::NoParity => 10,
            Self::Sha512_256 => 11,
            Self::Skein => 12,
            Self::Edonr => 13,
            Self::Blake3 => 14,
        }
    }

    /// The name the format gives it (`"sha512"` for SHA-512/256).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Label => "label",
            Self::GangHeader => "gang_header",
            Self::Zilog => "zilog",
            Self::Fletcher2 => "fletcher2",
            Self::Fletcher4 => "fletcher4",
            Self::Sha256 => "sha256",
            Self::Zilog2 => "zilog2",
            Self::NoParity => "noparity",
            Self::Sha512_256 => "sha512",
            Self::Skein => "skein",
            Self::Edonr => "edonr",
            Self::Blake3 => "blake3",
        }
    }

    /// What it is strong enough for, and what it needs.
    #[must_use]
    pub const fn flags(self) -> Flags {
        const STRONG: Flags = Flags::METADATA.union(Flags::DEDUP).union(Flags::NOPWRITE);
        match self {
            Self::Off | Self::NoParity | Self::Fletcher2 => Flags::empty(),
            Self::Label | Self::GangHeader => Flags::METADATA.union(Flags::EMBEDDED),
            Self::Zilog | Self::Zilog2 => Flags::EMBEDDED,
            Self::Fletcher4 => Flags::METADATA,
            Self::Sha256 | Self::Sha512_256 => STRONG,
            Self::Skein | Self::Blake3 => STRONG.union(Flags::SALTED),
            Self::Edonr => STRONG.difference(Flags::DEDUP).union(Flags::SALTED),
        }
    }

    /// The two words that remain of `full` in the pointer of an encrypted
    /// block, whose other two words hold the MAC.
    ///
    /// A function that is not strong enough for dedup is folded first, so that
    /// no part of it is lost. On read, compare these two words alone.
    #[must_use]
    pub const fn truncate_for_mac(self, full: Checksum) -> [u64; 2] {
        let [a, b, c, d] = full.0;
        if self.flags().contains(Flags::DEDUP) { [a, b] } else { [a ^ c, b ^ d] }
    }
}

/// The same as [`Algorithm::name`].
impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The same as [`Algorithm::from_id`].
impl TryFrom<u8> for Algorithm {
    type Error = AlgorithmError;

    fn try_from(id: u8) -> Result<Self, AlgorithmError> {
        Self::from_id(id)
    }
}
