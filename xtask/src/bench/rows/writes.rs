//! Allocating writes to the disk.

use anyhow::{Result, ensure};
use vdev_disk::baseline::Op;
use zio_pipeline::{Compression, DATA_START_BYTES, Pipeline};

use super::Bench;
use crate::bench::contest::Contender;
use crate::bench::dispatches;
use crate::bench::in_flight::{InFlight, RawInFlight};
use crate::bench::random::{Content, Random};
use crate::bench::report::Unit;
use crate::bench::target::Target;

const SMALL: &str = "write-8k-qd32";
const LARGE: &str = "write-128k-qd16";
const COMPRESSED: &str = "write-128k-lz4";
pub(super) const NAMES: [&str; 3] = [SMALL, LARGE, COMPRESSED];

/// Order of the baseline's offsets.
#[derive(Clone, Copy)]
enum Order {
    Random,
    Sequential,
}

pub(super) fn run(bench: &mut Bench<'_>, target: &Target) -> Result<()> {
    row(bench, target, SMALL, 8 << 10, 32, Order::Random)?;
    row(bench, target, LARGE, 128 << 10, 16, Order::Sequential)?;
    compressed_row(bench, target, 128 << 10, 16)
}

fn row(
    bench: &mut Bench<'_>,
    target: &Target,
    name: &'static str,
    block_bytes: usize,
    depth: usize,
    order: Order,
) -> Result<()> {
    if !bench.wants(name) {
        return Ok(());
    }
    let content = Content::new(block_bytes);
    let pipeline = Pipeline::builder().file(target.path()).build()?;
    let raw = target.raw_ring(depth, block_bytes)?;
    let baseline = raw.map(|ring| {
        let mut raw = RawInFlight::new(ring, Op::Write, depth);
        let mut next = offsets_bytes(target, bench.plan.file_bytes, block_bytes, order);
        let content = &content;
        let side: Contender<'_> = Box::new(move |round| {
            raw.round(round, |block| {
                let offset_bytes = next();
                content.fill(block, offset_bytes);
                offset_bytes
            })
        });
        side
    });
    let ours = ours(&pipeline, &content, depth, Compression::Off);
    let ours = dispatches::at_most(2, &pipeline, ours);
    bench.row(name, Unit::Iops, "raw io_uring", ours, baseline)
}

/// Compressed writes. The baseline calls the same library in its loop, and writes as many bytes.
fn compressed_row(
    bench: &mut Bench<'_>,
    target: &Target,
    block_bytes: usize,
    depth: usize,
) -> Result<()> {
    if !bench.wants(COMPRESSED) {
        return Ok(());
    }
    let content = Content::halving(block_bytes);
    let pipeline = Pipeline::builder().file(target.path()).build()?;
    let first = pipeline.write(content.block(0)).compression(Compression::Lz4).wait()?;
    pipeline.free(&first).wait()?;
    let stored_bytes = first.dva(0).map_or(0, |dva| dva.asize_bytes() as usize);
    ensure!(stored_bytes < block_bytes, "{block_bytes} bytes of the bench do not compress");
    let raw = target.raw_ring(depth, stored_bytes)?;
    let baseline = raw.map(|ring| {
        let mut raw = RawInFlight::new(ring, Op::Write, depth);
        let mut next =
            offsets_bytes(target, bench.plan.file_bytes, stored_bytes, Order::Sequential);
        let (content, mut block) = (&content, vec![0; block_bytes]);
        let side: Contender<'_> = Box::new(move |round| {
            let mut too_long = None;
            raw.round(round, |stored| {
                let offset_bytes = next();
                content.fill(&mut block, offset_bytes);
                match lzzzz::lz4::compress(&block, stored, lzzzz::lz4::ACC_LEVEL_DEFAULT) {
                    Ok(len) => stored[len..].fill(0),
                    Err(error) => too_long = Some(error),
                }
                offset_bytes
            })?;
            too_long.map_or(Ok(()), |error| Err(error.into()))
        });
        side
    });
    let ours = ours(&pipeline, &content, depth, Compression::Lz4);
    bench.row(COMPRESSED, Unit::Iops, "LZ4, raw io_uring", ours, baseline)
}

/// Each block is freed when it is written, so that there is always space.
fn ours<'a>(
    pipeline: &'a Pipeline,
    content: &'a Content,
    depth: usize,
    compression: Compression,
) -> Contender<'a> {
    let mut in_flight = InFlight::new(pipeline, depth);
    let mut number = 0;
    Box::new(move |round| {
        in_flight.round(
            round,
            |done, slot| {
                let mut buffer = pipeline.buffer(content.block_bytes());
                content.fill(&mut buffer, number);
                number += 1;
                Ok(pipeline.write(buffer).compression(compression).send_to(done, slot)?)
            },
            |finished| Ok(pipeline.free(&finished.get().bp).wait()?),
        )
    })
}

/// Offsets for the baseline, all over what the pipeline may write.
fn offsets_bytes(
    target: &Target,
    file_bytes: u64,
    block_bytes: usize,
    order: Order,
) -> impl FnMut() -> u64 {
    let size_bytes = target.facts().size_bytes.min(file_bytes);
    let block_bytes = block_bytes as u64;
    // Whole blocks between the front labels and the last MiB, where the back labels are.
    let blocks = (size_bytes.saturating_sub(DATA_START_BYTES + (1 << 20)) / block_bytes).max(1);
    let (mut random, mut next) = (Random::new(2), 0);
    move || {
        let block = match order {
            Order::Random => random.below(blocks),
            Order::Sequential => {
                next = (next + 1) % blocks;
                next
            }
        };
        DATA_START_BYTES + block * block_bytes
    }
}
