//! The pool that is written to: its files, and pipelines over them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use vdev_disk::OpenError;
use vdev_sim::{SimAllocator, SimAllocatorConfig};
use zio_pipeline::{
    BlockPointer, BuildError, Builder, DATA_START_BYTES, DatasetKeys, Mirror, OpenOptions,
    Pipeline, Suite,
};

use super::log::Live;

/// Size of each file.
const FILE_BYTES: u64 = 128 << 20;

/// What a file has for blocks: all but its labels.
const DATA_BYTES: u64 = FILE_BYTES - DATA_START_BYTES - (512 << 10);

/// How long the kernel may take to give a killed process's files free.
const PATIENCE: Duration = Duration::from_secs(30);

/// The vdevs of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Layout {
    /// One file.
    File,
    /// A mirror of two files.
    Mirror,
    /// A file, and beside it a mirror of two.
    Mixed,
}

impl Layout {
    pub(super) const ALL: [Self; 3] = [Self::File, Self::Mirror, Self::Mixed];

    /// The files of each vdev.
    fn vdevs(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::File => &[&["disk"]],
            Self::Mirror => &[&["left", "right"]],
            Self::Mixed => &[&["disk"], &["left", "right"]],
        }
    }

    /// Leaves of its widest mirror.
    fn width(self) -> usize {
        self.vdevs().iter().map(|leaves| leaves.len()).max().unwrap_or(0)
    }
}

/// Which leaves of the mirrors are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaves {
    All,
    /// Of each mirror the one with this number.
    Only(usize),
}

/// Files in a directory.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    dir: PathBuf,
    layout: Layout,
}

impl Pool {
    pub(super) fn new(dir: &Path, layout: Layout) -> Self {
        Self { dir: dir.to_owned(), layout }
    }

    /// Makes the files.
    pub(super) fn create(&self) -> Result<()> {
        self.builder(Leaves::All, &OpenOptions::new().create(FILE_BYTES)).build()?;
        Ok(())
    }

    /// The file with the pointers.
    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// What the writer is told, as [`ChildArgs`](super::ChildArgs) has it.
    pub(super) fn as_args(&self) -> [OsString; 2] {
        let layout = self.layout.to_possible_value().expect("every layout has a name");
        [self.dir.clone().into(), layout.get_name().into()]
    }

    /// Does the block stand on a mirror?
    pub(super) fn mirrors(&self, bp: &BlockPointer) -> bool {
        bp.dvas().any(|dva| self.layout.vdevs()[dva.vdev().0 as usize].len() > 1)
    }

    /// One leaf of each mirror alone after the other, and then all.
    pub(super) fn views(&self) -> impl Iterator<Item = Leaves> {
        let width = self.layout.width();
        let alone = if width > 1 { 0..width } else { 0..0 };
        alone.map(Leaves::Only).chain([Leaves::All])
    }

    /// A pipeline that knows what is live, and writes in a later group than all of it.
    pub(super) fn open(&self, leaves: Leaves, live: &[Live]) -> Result<Pipeline> {
        let pipeline = open(|| self.at(leaves, live))?;
        claim_all(&pipeline, live)?;
        Ok(pipeline)
    }

    /// The same, of space in small pieces: most blocks are gangs. What is freed comes back
    /// when the allocator is [told](SimAllocator::settle).
    pub(super) fn open_in_pieces(
        &self,
        live: &[Live],
        seed: u64,
    ) -> Result<(Pipeline, Arc<SimAllocator>)> {
        let sizes: Vec<_> = self.layout.vdevs().iter().map(|_| DATA_BYTES).collect();
        let config = SimAllocatorConfig {
            contiguous_bytes_max: 64 << 10,
            ..SimAllocatorConfig::new(seed, &sizes)
        };
        let space = SimAllocator::new(config);
        let pipeline = open(|| self.at(Leaves::All, live).allocator(Arc::clone(&space) as Arc<_>))?;
        claim_all(&pipeline, live)?;
        Ok((pipeline, space))
    }

    fn at(&self, leaves: Leaves, live: &[Live]) -> Builder {
        let newest = live.iter().map(|block| block.bp.physical_birth()).max().unwrap_or(0);
        self.builder(leaves, &OpenOptions::new()).txg(newest + 1)
    }

    fn builder(&self, leaves: Leaves, options: &OpenOptions) -> Builder {
        let keys = DatasetKeys::new(Suite::Aes256Gcm, &[0x5a; 32]).expect("a key of 32 bytes");
        let mut builder = Pipeline::builder().ashift(12).keys(keys);
        for vdev in self.layout.vdevs() {
            let there = match leaves {
                Leaves::Only(leaf) if vdev.len() > 1 => &vdev[leaf..=leaf],
                _ => vdev,
            };
            let add = |mirror: Mirror, name: &&str| {
                mirror.file_with(self.dir.join(name), options.clone())
            };
            builder = builder.mirror(there.iter().fold(Mirror::new(), add));
        }
        builder
    }
}

/// Opens the files, which the kernel may keep for a moment after their last
/// owner was killed: a ring is taken down behind its process's back.
fn open(builder: impl Fn() -> Builder) -> Result<Pipeline> {
    let begin = Instant::now();
    loop {
        match builder().build() {
            Err(BuildError::Open(OpenError::InUse { .. })) if begin.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(1));
            }
            opened => return opened.context("opening the files"),
        }
    }
}

fn claim_all(pipeline: &Pipeline, live: &[Live]) -> Result<()> {
    for block in live {
        let raw = BlockPointer::from_bytes(&block.bp.to_bytes());
        let bp = pipeline.check(&raw).with_context(|| format!("checking {block:?}"))?;
        pipeline.claim(&bp).wait().with_context(|| format!("claiming {block:?}"))?;
    }
    Ok(())
}
