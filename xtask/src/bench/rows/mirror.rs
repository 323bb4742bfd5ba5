//! Random reads of 8 KiB from a mirror of two files.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use anyhow::{Context, Result};
use vdev_disk::baseline::Op;
use zio_pipeline::{Mirror, Pipeline};

use super::{Bench, reads};
use crate::bench::block_set::{BlockSet, Walk};
use crate::bench::contest::Contender;
use crate::bench::in_flight::RawInFlight;
use crate::bench::random::Content;
use crate::bench::report::Unit;
use crate::bench::target::{Target, bench_dir};

pub(super) const NAME: &str = "mirror-read-qd32";

const BLOCK_BYTES: usize = 8192;
const DEPTH: usize = 32;

/// The baseline reads the same blocks from one of the files: both are on the same disk, so that
/// two would not make it faster.
pub(super) fn run(bench: &mut Bench<'_>, target: &Target) -> Result<()> {
    if !bench.wants(NAME) {
        return Ok(());
    }
    bench.progress.set_message("writing blocks to read");
    let sides = [Side::make(bench.plan.file_bytes)?, Side::make(bench.plan.file_bytes)?];
    let mirror = sides.iter().fold(Mirror::new(), |mirror, side| mirror.file(&side.path));
    let pipeline = Pipeline::builder().mirror(mirror).build()?;
    // Both sides together hold as much as one file does of the other rows.
    let count = bench.plan.read_blocks(bench.plan.file_bytes / 2, BLOCK_BYTES);
    let set = BlockSet::write(pipeline, count, &Content::new(BLOCK_BYTES))?;
    let offsets = set.offsets_bytes();
    let raw = target.raw_ring_on(&sides[0].path, DEPTH, BLOCK_BYTES)?;
    let baseline = raw.map(|ring| {
        let mut walk = Walk::from_middle(&offsets);
        let mut raw = RawInFlight::new(ring, Op::Read, DEPTH);
        let side: Contender<'_> = Box::new(move |round| raw.round(round, |_block| *walk.step()));
        side
    });
    let ours = reads::in_flight(&set, DEPTH);
    bench.row(NAME, Unit::Iops, "raw io_uring, one file", ours, baseline)
}

/// One file of the mirror. It has no name, so it is gone whatever ends the bench.
struct Side {
    path: PathBuf,
    _file: File,
}

impl Side {
    fn make(size_bytes: u64) -> Result<Self> {
        let dir = bench_dir()?;
        let in_dir = || format!("a file of {size_bytes} bytes in {}", dir.display());
        let file = tempfile::tempfile_in(&dir).with_context(in_dir)?;
        file.set_len(size_bytes).with_context(in_dir)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Ok(Self { path, _file: file })
    }
}
