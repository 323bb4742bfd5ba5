//! Reads from memory: what is left is the pipeline's own CPU time.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use checksum::ByteOrder;
use checksum::fletcher::fletcher4;
use vdev_disk::Memory;
use zio_pipeline::{Builder, DATA_START_BYTES, Pipeline};

use super::{Bench, reads};
use crate::bench::block_set::{BlockSet, Walk};
use crate::bench::contest::Contender;
use crate::bench::random::{Content, Random};
use crate::bench::report::Unit;

pub(super) const NAME: &str = "read-8k-mem-qd32";

pub(super) const BLOCK_BYTES: usize = 8192;
const DEPTH: usize = 32;

/// The device keeps its memory in pieces of this size; so does the baseline.
const CHUNK_BYTES: usize = 256 << 10;

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    if !bench.wants(NAME) {
        return Ok(());
    }
    let content = Content::new(BLOCK_BYTES);
    let count = bench.plan.memory_blocks;
    let set = block_set(Pipeline::builder(), count, &content)?;
    let plain = Plain::new(count, &content);
    let baseline = plain.side();
    let ours = reads::in_flight(&set, DEPTH);
    bench.row(NAME, Unit::NsPerOp, "memcpy + fletcher4", ours, Some(baseline))
}

/// `count` blocks in a pipeline on memory, with room to spare.
pub(super) fn block_set(builder: Builder, count: usize, content: &Content) -> Result<BlockSet> {
    let data_bytes = (count * content.block_bytes()) as u64;
    let size_bytes = (DATA_START_BYTES + 2 * data_bytes).next_multiple_of(1 << 20) + (1 << 20);
    let pipeline = builder.vdev(Arc::new(Memory::new(size_bytes, 512))).build()?;
    BlockSet::write(pipeline, count, content)
}

/// The same blocks without anything around them.
struct Plain {
    chunks: Vec<Vec<u8>>,
    /// Number of a block, in random order.
    order: Vec<usize>,
}

impl Plain {
    fn new(count: usize, content: &Content) -> Self {
        let per_chunk = CHUNK_BYTES / BLOCK_BYTES;
        let mut chunks = vec![vec![0; CHUNK_BYTES]; count.div_ceil(per_chunk)];
        for number in 0..count {
            let at = number % per_chunk * BLOCK_BYTES;
            content.fill(&mut chunks[number / per_chunk][at..at + BLOCK_BYTES], number as u64);
        }
        let mut order: Vec<usize> = (0..count).collect();
        Random::new(1).shuffle(&mut order);
        Self { chunks, order }
    }

    fn block(&self, number: usize) -> &[u8] {
        let per_chunk = CHUNK_BYTES / BLOCK_BYTES;
        let at = number % per_chunk * BLOCK_BYTES;
        &self.chunks[number / per_chunk][at..at + BLOCK_BYTES]
    }

    fn side(&self) -> Contender<'_> {
        let mut walk = Walk::new(&self.order);
        // As many buffers as the other side has.
        let mut buffers = vec![vec![0_u8; BLOCK_BYTES]; DEPTH];
        let mut turn = 0;
        Box::new(move |round| {
            let mut now = Instant::now();
            while round.is_open(now) {
                let buffer = &mut buffers[turn % DEPTH];
                turn += 1;
                buffer.copy_from_slice(self.block(*walk.step()));
                black_box(fletcher4(ByteOrder::NATIVE, buffer));
                now = round.finished(now);
            }
            Ok(())
        })
    }
}
