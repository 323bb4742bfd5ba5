//! Ways a block cannot be sealed, or does not check.

use crate::{Algorithm, Mismatch};

/// No block of this length can carry the trailer: a mistake of the caller, who
/// chose how much to read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error(
    "{block_bytes} bytes cannot be a {algorithm} block: \
     it has at least {min_bytes} bytes, in steps of {multiple_of_bytes}"
)]
pub struct BadLength {
    /// The kind of block.
    pub algorithm: Algorithm,
    /// The length given.
    pub block_bytes: usize,
    /// The least length there is for that kind.
    pub min_bytes: usize,
    /// What a length has to be a multiple of.
    pub multiple_of_bytes: usize,
}

/// The used-bytes field of a log block cannot be true: it is less than the
/// block's own head, or reaches beyond the block when rounded up to 4 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("log block of {block_bytes} bytes says that {used_bytes} are used")]
pub struct BadUsed {
    /// What the block says.
    pub used_bytes: u64,
    /// How long it is.
    pub block_bytes: usize,
}

/// A block could not be sealed. It has not been touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SealError {
    /// No block of this length can carry the trailer.
    #[error(transparent)]
    Length(#[from] BadLength),
    /// The used-bytes field of the log block is wrong.
    #[error(transparent)]
    Used(#[from] BadUsed),
}

/// A block is not what its verifier says it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CheckError {
    /// No block of this length can carry the trailer.
    #[error(transparent)]
    Length(#[from] BadLength),
    /// The trailer does not begin with the magic, in either byte order.
    #[error("{algorithm} block has {found:#018x} in place of its magic")]
    Magic {
        /// The kind of block that was expected.
        algorithm: Algorithm,
        /// What stands there, read little-endian.
        found: u64,
        /// The stored words, and what the bytes give with the verifier in
        /// place, both read in this machine's order, as there is nothing that
        /// tells the writer's. The magic is hashed as found.
        mismatch: Mismatch,
    },
    /// The used-bytes field of the log block cannot be true.
    #[error(transparent)]
    Used(#[from] BadUsed),
    /// The hash differs: rot, a stale block, or a block of another place.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

impl CheckError {
    /// Whether the *content* is wrong, which is a checksum error of the device
    /// however it shows. Only [`CheckError::Length`] is not: it says nothing
    /// about the content.
    #[must_use]
    pub const fn is_checksum_error(&self) -> bool {
        !matches!(self, Self::Length(_))
    }

    /// Expected and actual words, for the record of a checksum error. Absent
    /// where nothing could be hashed, as the length or the used-bytes field is
    /// impossible; these errors say what was compared with what themselves.
    #[must_use]
    pub const fn mismatch(&self) -> Option<Mismatch> {
        match self {
            Self::Magic { mismatch, .. } | Self::Mismatch(mismatch) => Some(*mismatch),
            Self::Length(_) | Self::Used(_) => None,
        }
    }
}
