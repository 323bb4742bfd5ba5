//! One large block at a time, hashed on all CPUs or by one thread.

use std::time::Instant;

use anyhow::Result;
use zio_pipeline::{Checksum, Compression, Pipeline};

use super::{Bench, memory};
use crate::bench::block_set::BlockSet;
use crate::bench::contest::Contender;
use crate::bench::random::Content;
use crate::bench::report::Unit;

pub(super) const NAME: &str = "write-16m-blake3";

const BLOCK_BYTES: usize = 16 << 20;

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    if !bench.wants(NAME) {
        return Ok(());
    }
    let content = Content::new(BLOCK_BYTES);
    let set = |builder| memory::block_set(builder, 4, &content);
    let on_all = set(Pipeline::builder())?;
    let on_one = set(Pipeline::builder().hash_threads(1))?;
    let unit = Unit::GbPerSecond(BLOCK_BYTES);
    let baseline = writes(&on_one, &content);
    bench.row(
        NAME,
        unit,
        "the same, hashed by one thread",
        writes(&on_all, &content),
        Some(baseline),
    )
}

/// Written, and freed when that is done.
fn writes<'a>(set: &'a BlockSet, content: &Content) -> Contender<'a> {
    let mut data = vec![0; BLOCK_BYTES];
    content.fill(&mut data, 5);
    Box::new(move |round| {
        let mut now = Instant::now();
        while round.is_open(now) {
            let write = set.pipeline.write(&data);
            let write = write.checksum(Checksum::Blake3).compression(Compression::Off);
            set.pipeline.free(&write.wait()?).wait()?;
            now = round.finished(now);
        }
        Ok(())
    })
}
