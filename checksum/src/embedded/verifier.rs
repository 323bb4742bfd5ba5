//! What a self-checksummed block is bound to.

use crate::{Algorithm, Checksum};

/// The place (and time) a self-checksummed block belongs to, by kind.
///
/// Its four words stand in for the checksum while the block is hashed, so an
/// intact block in the wrong place, or an old one in the right place, fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verifier {
    /// A part of a label, or an uberblock slot: SHA-256, trailer at the end.
    Label {
        /// Where the block begins, in bytes from the start of the device.
        offset_bytes: u64,
    },
    /// A gang header: SHA-256, trailer at the end. Unique for the pool's life.
    GangHeader {
        /// Top-level vdev id of the header's first address.
        vdev: u64,
        /// Offset of that address in bytes, within the vdev's data area.
        offset_bytes: u64,
        /// Physical birth txg of the pointer to the header.
        birth_txg: u64,
    },
    /// An old log block: fletcher2, trailer at the end. The words are the
    /// checksum field of the pointer to it: log id (two), object set, sequence.
    Zilog(Checksum),
    /// A log block: fletcher4 over the used part, trailer in the head. The
    /// words are as in [`Verifier::Zilog`].
    Zilog2(Checksum),
}

impl Verifier {
    /// The algorithm whose blocks this verifier seals and checks.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Label { .. } => Algorithm::Label,
            Self::GangHeader { .. } => Algorithm::GangHeader,
            Self::Zilog(_) => Algorithm::Zilog,
            Self::Zilog2(_) => Algorithm::Zilog2,
        }
    }

    /// The four words that stand in the trailer while the block is hashed.
    #[must_use]
    pub const fn words(&self) -> Checksum {
        match *self {
            Self::Label { offset_bytes } => Checksum([offset_bytes, 0, 0, 0]),
            Self::GangHeader { vdev, offset_bytes, birth_txg } => {
                Checksum([vdev, offset_bytes, birth_txg, 0])
            }
            Self::Zilog(seed) | Self::Zilog2(seed) => seed,
        }
    }
}
