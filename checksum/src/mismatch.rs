//! What a failed comparison reports.

use crate::{Algorithm, Checksum};

/// A block's bytes do not have the checksum they should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{algorithm} checksum mismatch: expected {expected}, actual {actual}{}",
    if *.byteswapped { " (block of the other byte order)" } else { "" })]
pub struct Mismatch {
    /// What the block pointer or the block's own trailer says.
    pub expected: Checksum,
    /// What the bytes at hand give.
    pub actual: Checksum,
    /// The function that was used.
    pub algorithm: Algorithm,
    /// Whether the block was written in the order opposite to this machine's.
    pub byteswapped: bool,
}
