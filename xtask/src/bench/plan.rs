//! How much is measured.

use std::time::Duration;

/// How many rounds, how long, on how much data.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds that count, of each side; one more goes before them, for warmth.
    pub rounds: usize,
    /// Length of a round.
    pub round_time: Duration,
    /// Size of the file the bench makes for itself; also as much of a given
    /// device as is written and read.
    pub file_bytes: u64,
    /// Blocks of 8 KiB in memory: enough to be out of the CPU's caches.
    pub memory_blocks: usize,
    /// Tasks dispatched in one go.
    pub tasks: usize,
}

impl Plan {
    /// For figures that are quoted: some six minutes.
    pub const FULL: Self = Self {
        rounds: 15,
        round_time: Duration::from_millis(500),
        file_bytes: 4 << 30,
        memory_blocks: 16_384,
        tasks: 20_000,
    };

    /// For a look, and for CI: under one minute on a quiet machine.
    pub const QUICK: Self = Self {
        rounds: 7,
        round_time: Duration::from_millis(120),
        file_bytes: 1 << 30,
        memory_blocks: 8_192,
        tasks: 20_000,
    };

    /// For tests: every row runs, no figure means anything.
    pub const SMOKE: Self = Self {
        rounds: 1,
        round_time: Duration::from_millis(2),
        file_bytes: 32 << 20,
        memory_blocks: 256,
        tasks: 100,
    };

    /// Blocks of `block_bytes` that are written to be read: half of the file.
    pub(super) fn read_blocks(&self, size_bytes: u64, block_bytes: usize) -> usize {
        (size_bytes.min(self.file_bytes) / 2) as usize / block_bytes
    }
}
