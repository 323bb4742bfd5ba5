//! A scrub of a file full of blocks, beside reading the file from its beginning to its end.

use anyhow::{Result, bail};
use pool::scrub::{Block, Config, Scrub, State};
use vdev_disk::baseline::Op;
use zio_pipeline::{DATA_START_BYTES, Pipeline};

use super::Bench;
use crate::bench::block_set::BlockSet;
use crate::bench::contest::{Contender, Round};
use crate::bench::in_flight::RawInFlight;
use crate::bench::random::Content;
use crate::bench::report::Unit;
use crate::bench::target::Target;

pub(super) const NAME: &str = "scrub-seq";

const BLOCK_BYTES: usize = 128 << 10;
/// Reads that the baseline keeps in flight.
const DEPTH: usize = 16;

pub(super) fn run(bench: &mut Bench<'_>, target: &Target) -> Result<()> {
    if !bench.wants(NAME) {
        return Ok(());
    }
    bench.progress.set_message("writing blocks to scrub");
    let pipeline = Pipeline::builder().file(target.path()).build()?;
    let count = bench.plan.read_blocks(target.facts().size_bytes, BLOCK_BYTES);
    let set = BlockSet::write(pipeline, count, &Content::new(BLOCK_BYTES))?;
    let baseline = target.raw_ring(DEPTH, BLOCK_BYTES)?.map(|ring| {
        let mut raw = RawInFlight::new(ring, Op::Read, DEPTH);
        let mut next = 0;
        let side: Contender<'_> = Box::new(move |round| {
            raw.round(round, |_block| {
                next = (next + 1) % count as u64;
                DATA_START_BYTES + next * BLOCK_BYTES as u64
            })
        });
        side
    });
    let unit = Unit::GbPerSecond(BLOCK_BYTES);
    bench.row(NAME, unit, "sequential reads, raw io_uring", ours(&set), baseline)
}

type Source<'a> = Box<dyn Iterator<Item = Block<usize>> + 'a>;

/// One scrub after the other, each of all blocks, which come in random order. A round ends in the
/// middle of one, which goes on in the next.
fn ours(set: &BlockSet) -> Contender<'_> {
    let begin = || {
        let blocks = set.pointers.iter().enumerate();
        let source: Source<'_> = Box::new(blocks.map(|(number, bp)| Block::new(number, *bp)));
        Scrub::new(&set.pipeline, source, Config::default())
    };
    let mut scrub = begin();
    Box::new(move |round| {
        while scrub_some(&mut scrub, round)? {
            scrub = begin();
        }
        Ok(())
    })
}

/// Scrubs until the round is over, or the scrub; says which.
fn scrub_some(scrub: &mut Scrub<'_, Source<'_>>, round: &mut Round) -> Result<bool> {
    let control = scrub.control();
    control.resume();
    let mut counted = scrub.stats().blocks;
    loop {
        let state = scrub.step();
        let stats = scrub.stats();
        if stats.bad_copies + stats.unrecoverable > 0 {
            bail!("the disk is damaged: {stats:?}");
        }
        let is_open = round.count((stats.blocks - counted) as usize);
        counted = stats.blocks;
        match state {
            State::Working => _ = scrub.wait(),
            State::Done => return Ok(is_open),
            _ => return Ok(false),
        }
        if !is_open {
            control.pause();
        }
    }
}
