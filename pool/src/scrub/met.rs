//! Shared blocks that were met already.

use std::collections::HashSet;

use zio_pipeline::BlockPointer;

use super::batch::BlockKey;

/// Memory for one of them, about, while the table is half full.
const ENTRY_BYTES: usize = 2 * size_of::<BlockKey>();

/// Shared blocks that were met, as many as there is memory for. Those it has no room for are
/// verified once for each pointer: slower, and just as right.
#[derive(Debug)]
pub(crate) struct Met {
    blocks: HashSet<BlockKey>,
    blocks_max: usize,
}

impl Met {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { blocks: HashSet::new(), blocks_max: bytes_max / ENTRY_BYTES }
    }

    /// Notes a block; was it met before?
    pub(crate) fn again(&mut self, bp: &BlockPointer) -> bool {
        let key = BlockKey::of(bp);
        if self.blocks.len() < self.blocks_max {
            return !self.blocks.insert(key);
        }
        self.blocks.contains(&key)
    }

    pub(crate) fn forget(&mut self, bp: &BlockPointer) {
        self.blocks.remove(&BlockKey::of(bp));
    }
}
