//! A tree of three zios, each handed over to the next, against the same with a
//! dispatch at each resumption.

use std::time::Instant;

use anyhow::Result;
use zio_pipeline::{BlockPointer, Completions, Pipeline};

use super::{Bench, memory};
use crate::bench::block_set::{BlockSet, Walk};
use crate::bench::contest::Contender;
use crate::bench::dispatches;
use crate::bench::in_flight::InFlight;
use crate::bench::random::Content;
use crate::bench::report::Unit;

pub(super) const NAMES: [&str; 2] = ["handover-qd1", "handover"];

const ROWS: [(&str, usize); 2] = [(NAMES[0], 1), (NAMES[1], 32)];

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    if !ROWS.iter().any(|(name, _)| bench.wants(name)) {
        return Ok(());
    }
    let content = Content::new(memory::BLOCK_BYTES);
    let count = bench.plan.memory_blocks / 4;
    let handed = memory::block_set(Pipeline::builder(), count, &content)?;
    let dispatched = memory::block_set(Pipeline::builder().always_dispatch(), count, &content)?;
    for (name, depth) in ROWS {
        if bench.wants(name) {
            let side = if depth == 1 { one_by_one } else { in_flight };
            // A tree of three zios, and no more than one change of threads.
            let ours = dispatches::at_most(1, &handed.pipeline, side(&handed, depth));
            let baseline = side(&dispatched, depth);
            bench.row(name, Unit::Iops, "always dispatch", ours, Some(baseline))?;
        }
    }
    Ok(())
}

/// A root, and under it the read, whose result goes to `reads`.
fn tree(pipeline: &Pipeline, bp: &BlockPointer, reads: &Completions) -> Result<zio_pipeline::Root> {
    let root = pipeline.root();
    pipeline.read(bp).under(root.parent()).send_to(reads, 0)?;
    Ok(root)
}

/// A read is delivered before its root hears of it, so it is there.
fn take_read(reads: &Completions) -> Result<()> {
    if let Some((_, read)) = reads.try_next() {
        read.result()?;
    }
    Ok(())
}

fn one_by_one(set: &BlockSet, _depth: usize) -> Contender<'_> {
    let mut walk = Walk::new(&set.pointers);
    let reads = set.pipeline.completions();
    Box::new(move |round| {
        let mut now = Instant::now();
        while round.is_open(now) {
            tree(&set.pipeline, walk.step(), &reads)?.wait()?;
            take_read(&reads)?;
            now = round.finished(now);
        }
        Ok(())
    })
}

fn in_flight(set: &BlockSet, depth: usize) -> Contender<'_> {
    let mut walk = Walk::new(&set.pointers);
    let reads = set.pipeline.completions();
    let mut roots = InFlight::new(&set.pipeline, depth);
    Box::new(move |round| {
        roots.round(
            round,
            |done, slot| {
                let root = tree(&set.pipeline, walk.step(), &reads)?;
                Ok(root.into_pending().send_to(done, slot)?)
            },
            |_root| take_read(&reads),
        )
    })
}
