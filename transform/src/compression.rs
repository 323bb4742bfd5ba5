//! The compression table: names, on-disk ids, levels.

use std::fmt;

use crate::zstd_level::ZstdLevel;

/// A gzip level, 1 (fast) to 9 (small). Each has its own on-disk id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GzipLevel(u8);

impl GzipLevel {
    /// Number of levels.
    pub(crate) const COUNT: usize = 9;

    /// Level `n`, or `None` unless `1 <= n <= 9`.
    pub const fn new(n: u8) -> Option<Self> {
        if matches!(n, 1..=9) { Some(Self(n)) } else { None }
    }

    /// The level, 1 to 9.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for GzipLevel {
    /// Level 6, as zlib.
    fn default() -> Self {
        Self(6)
    }
}

/// How a block's bytes are, or shall be, compressed.
///
/// A block pointer stores seven bits of it ([`id`](Self::id)). zstd's level is not among them: it
/// travels in the payload's header, so `from_id(16)` names zstd at its default level and
/// [`decompress`](crate::decompress) ignores the level. To ask whether two blocks use the same
/// function, compare ids.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Compression {
    /// Stored as is (id 2).
    Off,
    /// LZJB (id 3): the old default; fast to write down, slow by today's measure.
    Lzjb,
    /// Only the all-zero test (id 4): zero blocks become holes, others are stored as is. Never the
    /// function of a block on disk.
    Empty,
    /// A zlib stream (ids 5 to 13 for levels 1 to 9).
    Gzip(GzipLevel),
    /// Zero-length encoding (id 14): removes runs of zeros and nothing else.
    Zle,
    /// LZ4 (id 15): today's default.
    Lz4,
    /// Zstandard (id 16).
    Zstd(ZstdLevel),
}

/// Why an id names no way of storing a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum IdError {
    /// The id is in the table, but as the value of a property ("inherit" is 0, "on" is 1): it is
    /// resolved before a block is written and may not stand in a block pointer.
    #[error("compression id {id} ({name}) is a property value, not a format on disk")]
    PropertyOnly {
        /// The id found.
        id: u8,
        /// Its name in the table.
        name: &'static str,
    },
    /// The id is beyond the table this crate knows (0 to 16).
    #[error("compression id {id} is unknown (known: 0 to 16)")]
    Unknown {
        /// The id found.
        id: u8,
    },
}

const ID_GZIP_1: u8 = 5;
const ID_GZIP_9: u8 = 13;

impl Compression {
    /// The on-disk id.
    pub const fn id(self) -> u8 {
        match self {
            Self::Off => 2,
            Self::Lzjb => 3,
            Self::Empty => 4,
            Self::Gzip(level) => ID_GZIP_1 + level.get() - 1,
            Self::Zle => 14,
            Self::Lz4 => 15,
            Self::Zstd(_) => 16,
        }
    }

    /// What an on-disk id names.
    ///
    /// # Errors
    ///
    /// [`IdError`] tells an id that nobody assigned (a newer writer, or garbage) from one that is
    /// assigned but cannot be the format of a block.
    pub const fn from_id(id: u8) -> Result<Self, IdError> {
        Ok(match id {
            0 => return Err(IdError::PropertyOnly { id, name: "inherit" }),
            1 => return Err(IdError::PropertyOnly { id, name: "on" }),
            2 => Self::Off,
            3 => Self::Lzjb,
            4 => Self::Empty,
            ID_GZIP_1..=ID_GZIP_9 => Self::Gzip(GzipLevel(id - ID_GZIP_1 + 1)),
            14 => Self::Zle,
            15 => Self::Lz4,
            16 => Self::Zstd(ZstdLevel::DEFAULT),
            _ => return Err(IdError::Unknown { id }),
        })
    }
}

impl fmt::Display for Compression {
    /// The property value: `lz4`, `gzip-6`, `zstd-fast-10`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Lzjb => f.write_str("lzjb"),
            Self::Empty => f.write_str("empty"),
            Self::Gzip(level) => write!(f, "gzip-{}", level.get()),
            Self::Zle => f.write_str("zle"),
            Self::Lz4 => f.write_str("lz4"),
            Self::Zstd(level) => write!(f, "zstd-{level}"),
        }
    }
}
