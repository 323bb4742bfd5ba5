//! Limits of a scrub, and what it is to do.

use crate::TxgRanges;

/// Limits of a scrub, and what it is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Memory for blocks that wait for their turn. 32 MiB hold some 100,000. The more, the longer
    /// the runs on the disk, and the rarer the checkpoints.
    pub collect_bytes_max: usize,
    /// Memory for remembering which shared blocks were met. 16 MiB hold some 130,000.
    pub shared_bytes_max: usize,
    /// Bytes under way on one leaf. 16 MiB: as spec 8.6.
    pub leaf_in_flight_bytes_max: u64,
    /// Bytes under way in all, which is memory: each leaf of a mirror reads into its own. 64 MiB.
    pub in_flight_bytes_max: u64,
    /// Blocks under way: 4096.
    pub in_flight_blocks_max: usize,
    /// Write bad copies anew (on), or only look.
    pub repair: bool,
    /// Visit only blocks that were put where they are in one of these transaction groups.
    pub only: Option<TxgRanges>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            collect_bytes_max: 32 << 20,
            shared_bytes_max: 16 << 20,
            leaf_in_flight_bytes_max: 16 << 20,
            in_flight_bytes_max: 64 << 20,
            in_flight_blocks_max: 4096,
            repair: true,
            only: None,
        }
    }
}
