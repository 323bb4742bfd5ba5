//! How long the next block should be, before it is known what comes into it.

use checksum::embedded::{LOG_COVER_BYTES, LOG_HEAD_BYTES};

/// Commits whose sizes are remembered; by eye, and as many as in ZFS.
const REMEMBERED: usize = 16;

/// The sizes of the last commits: the next block is as long as the largest of them would have needed.
#[derive(Clone, Debug)]
pub(super) struct Sizes {
    block_bytes_max: usize,
    last: [usize; REMEMBERED],
    at: usize,
}

impl Sizes {
    pub(super) fn new(block_bytes_max: usize) -> Self {
        let whole = block_bytes_max / LOG_COVER_BYTES * LOG_COVER_BYTES;
        Self { block_bytes_max: whole.max(LOG_COVER_BYTES), last: [0; REMEMBERED], at: 0 }
    }

    pub(super) fn block_bytes_max(&self) -> usize {
        self.block_bytes_max
    }

    /// A commit had so many bytes of records.
    pub(super) fn note(&mut self, records_bytes: usize) {
        self.last[self.at] = records_bytes;
        self.at = (self.at + 1) % REMEMBERED;
    }

    /// A block for so many bytes of records, or, when there is nothing more to write, for as many
    /// as will come.
    pub(super) fn block_for(&self, records_bytes: usize) -> usize {
        let expected = self.last.iter().copied().max().unwrap_or(0);
        let wanted = if records_bytes > 0 { records_bytes } else { expected };
        let block = wanted.saturating_add(LOG_HEAD_BYTES).checked_next_multiple_of(LOG_COVER_BYTES);
        block.map_or(self.block_bytes_max, |block| block.min(self.block_bytes_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_block_is_for_what_is_there_or_for_the_largest_of_the_last() {
        let mut sizes = Sizes::new(131_072);
        assert_eq!(sizes.block_for(0), 4096);
        assert_eq!(sizes.block_for(4096 - 184), 4096);
        assert_eq!(sizes.block_for(4096 - 183), 8192);
        assert_eq!(sizes.block_for(usize::MAX), 131_072);
        sizes.note(20_000);
        for _ in 0..REMEMBERED - 1 {
            sizes.note(100);
            assert_eq!(sizes.block_for(0), 20_480);
        }
        sizes.note(100);
        assert_eq!(sizes.block_for(0), 4096);
        assert_eq!(Sizes::new(10_000).block_bytes_max(), 8192);
        assert_eq!(Sizes::new(0).block_bytes_max(), 4096);
    }
}
