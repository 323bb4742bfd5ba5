//! Blocks written through a pipeline, to be read in random order.

use anyhow::{Context, Result, ensure};
use zio_pipeline::{BlockPointer, DATA_START_BYTES, Pipeline};

use super::random::{Content, Random};

/// Writes in flight while the set is made.
const FILL_DEPTH: usize = 32;

/// A pipeline and the blocks that stand in it.
pub(super) struct BlockSet {
    pub(super) pipeline: Pipeline,
    /// In random order, which is that of reading.
    pub(super) pointers: Vec<BlockPointer>,
}

impl BlockSet {
    /// Writes `count` different blocks, and reads some to see that they come back.
    pub(super) fn write(pipeline: Pipeline, count: usize, content: &Content) -> Result<Self> {
        ensure!(count > 0, "no room for a single block of {} bytes", content.block_bytes());
        let mut pointers = vec![BlockPointer::default(); count];
        let done = pipeline.completions();
        let start = |number: usize| {
            let mut buffer = pipeline.buffer(content.block_bytes());
            content.fill(&mut buffer, number as u64);
            pipeline.write(buffer).send_to(&done, number as u64)
        };
        let mut next = count.min(FILL_DEPTH);
        (0..next).try_for_each(start)?;
        while let Some((number, finished)) = done.next() {
            finished.result().with_context(|| format!("writing block {number} of {count}"))?;
            pointers[number as usize] = finished.get().bp;
            if next < count {
                start(next)?;
                next += 1;
            }
        }
        drop(done);
        pipeline.flush().wait()?;
        for number in (0..count).step_by(count.div_ceil(16)) {
            let data = pipeline.read(&pointers[number]).wait()?;
            ensure!(data == content.block(number as u64), "block {number} came back different");
        }
        Random::new(1).shuffle(&mut pointers);
        Ok(Self { pipeline, pointers })
    }

    /// Where the blocks stand on the first device, in the order of reading.
    pub(super) fn offsets_bytes(&self) -> Vec<u64> {
        let first = |bp: &BlockPointer| bp.dva(0).map(|dva| DATA_START_BYTES + dva.offset_bytes());
        self.pointers.iter().filter_map(first).collect()
    }
}

/// Walks through a slice in order, round and round: finding the next item
/// costs nothing, so that it is not what is measured.
pub(super) struct Walk<'a, T> {
    items: &'a [T],
    at: usize,
}

impl<'a, T> Walk<'a, T> {
    /// Starts at the beginning. The slice is not empty.
    pub(super) fn new(items: &'a [T]) -> Self {
        Self { items, at: 0 }
    }

    /// Starts in the middle, far from a walk that starts at the beginning.
    pub(super) fn from_middle(items: &'a [T]) -> Self {
        Self { items, at: items.len() / 2 }
    }

    pub(super) fn step(&mut self) -> &'a T {
        if self.at >= self.items.len() {
            self.at = 0;
        }
        self.at += 1;
        &self.items[self.at - 1]
    }
}
