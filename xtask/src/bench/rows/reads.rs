//! Random reads of 8 KiB from the disk.

use std::time::Instant;

use anyhow::Result;
use vdev_disk::baseline::Op;
use zio_pipeline::Pipeline;

use super::Bench;
use crate::bench::block_set::{BlockSet, Walk};
use crate::bench::contest::Contender;
use crate::bench::in_flight::{InFlight, RawInFlight};
use crate::bench::random::Content;
use crate::bench::report::Unit;
use crate::bench::target::Target;

pub(super) const NAMES: [&str; 3] = ["read-8k-qd1", "read-8k-qd32", "read-8k-qd128"];

const BLOCK_BYTES: usize = 8192;
const ROWS: [(&str, usize); 3] = [(NAMES[0], 1), (NAMES[1], 32), (NAMES[2], 128)];

pub(super) fn run(bench: &mut Bench<'_>, target: &Target) -> Result<()> {
    if !ROWS.iter().any(|(name, _)| bench.wants(name)) {
        return Ok(());
    }
    bench.progress.set_message("writing blocks to read");
    let pipeline = Pipeline::builder().file(target.path()).build()?;
    let count = bench.plan.read_blocks(target.facts().size_bytes, BLOCK_BYTES);
    let set = BlockSet::write(pipeline, count, &Content::new(BLOCK_BYTES))?;
    let offsets = set.offsets_bytes();
    for (name, depth) in ROWS {
        if !bench.wants(name) {
            continue;
        }
        let ours = if depth == 1 { one_by_one(&set) } else { in_flight(&set, depth) };
        let raw = target.raw_ring(depth, BLOCK_BYTES)?;
        let baseline = raw.map(|ring| {
            // The same blocks, half of the set apart.
            let mut walk = Walk::from_middle(&offsets);
            let mut raw = RawInFlight::new(ring, Op::Read, depth);
            let side: Contender<'_> =
                Box::new(move |round| raw.round(round, |_block| *walk.step()));
            side
        });
        bench.row(name, Unit::Iops, "raw io_uring", ours, baseline)?;
    }
    Ok(())
}

/// The next read starts when the one before it has been waited for.
fn one_by_one(set: &BlockSet) -> Contender<'_> {
    let mut walk = Walk::new(&set.pointers);
    Box::new(move |round| {
        let mut now = Instant::now();
        while round.is_open(now) {
            drop(set.pipeline.read(walk.step()).wait()?);
            now = round.finished(now);
        }
        Ok(())
    })
}

/// Reads of a set, `depth` of them in flight.
pub(super) fn in_flight(set: &BlockSet, depth: usize) -> Contender<'_> {
    let mut walk = Walk::new(&set.pointers);
    let mut in_flight = InFlight::new(&set.pipeline, depth);
    Box::new(move |round| {
        in_flight.round(
            round,
            |done, slot| Ok(set.pipeline.read(walk.step()).send_to(done, slot)?),
            |finished| {
                drop(finished);
                Ok(())
            },
        )
    })
}
