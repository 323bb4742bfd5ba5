//! Allocating writes to the disk.

use anyhow::Result;
use vdev_disk::baseline::Op;
use zio_pipeline::{DATA_START_BYTES, Pipeline};

use super::Bench;
use crate::bench::contest::Contender;
use crate::bench::in_flight::{InFlight, RawInFlight};
use crate::bench::random::{Content, Random};
use crate::bench::report::Unit;
use crate::bench::target::Target;

const SMALL: &str = "write-8k-qd32";
const LARGE: &str = "write-128k-qd16";
pub(super) const NAMES: [&str; 2] = [SMALL, LARGE];

/// Order of the baseline's offsets.
#[derive(Clone, Copy)]
enum Order {
    Random,
    Sequential,
}

pub(super) fn run(bench: &mut Bench<'_>, target: &Target) -> Result<()> {
    row(bench, target, SMALL, 8 << 10, 32, Order::Random)?;
    row(bench, target, LARGE, 128 << 10, 16, Order::Sequential)
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
    bench.row(name, Unit::Iops, "raw io_uring", ours(&pipeline, &content, depth), baseline)
}

/// Each block is freed when it is written, so that there is always space.
fn ours<'a>(pipeline: &'a Pipeline, content: &'a Content, depth: usize) -> Contender<'a> {
    let mut in_flight = InFlight::new(pipeline, depth);
    let mut number = 0;
    Box::new(move |round| {
        in_flight.round(
            round,
            |done, slot| {
                let mut buffer = pipeline.buffer(content.block_bytes());
                content.fill(&mut buffer, number);
                number += 1;
                Ok(pipeline.write(buffer).send_to(done, slot)?)
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
