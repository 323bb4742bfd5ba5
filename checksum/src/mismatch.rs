//! What a failed comparison reports.

use std::fmt;

use crate::{Algorithm, Checksum};

/// A block's bytes do not have the checksum they should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub struct Mismatch {
    /// What the block pointer or the block's own trailer says.
    pub expected: Checksum,
    /// What the bytes at hand give.
    pub actual: Checksum,
    /// The function that was used.
    pub algorithm: Algorithm,
    /// Whether the block was written in the order opposite to this machine's.
    pub byteswapped: bool,
    /// Whether only the two words that stand beside a MAC were compared, as
    /// [`Algorithm::truncate_for_mac`] makes them. The other two are zero in
    /// both values.
    pub truncated: bool,
}

/// `fletcher4 checksum mismatch: expected …, actual …`, with two words in place
/// of four where only these were compared.
impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expected, actual, algorithm, byteswapped, truncated } = self;
        if *truncated {
            let ([a, b, ..], [c, d, ..]) = (expected.0, actual.0);
            write!(f, "{algorithm} checksum mismatch beside a MAC: ")?;
            write!(f, "expected {a:016x}:{b:016x}, actual {c:016x}:{d:016x}")?;
        } else {
            write!(f, "{algorithm} checksum mismatch: expected {expected}, actual {actual}")?;
        }
        if *byteswapped {
            f.write_str(" (block of the other byte order)")?;
        }
        Ok(())
    }
}
