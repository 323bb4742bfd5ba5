//! The file or device that the rows with a disk run on.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use serde::Serialize;
use vdev_disk::baseline::RawRing;
use vdev_disk::{Disk, OpenOptions, Ring, perform};
use zio_core::{BufferPool, Vdev, VdevOp};

use super::plan::Plan;
use super::random::Content;
use crate::house;

/// Piece in which a file is filled.
const FILL_BYTES: usize = 1 << 20;

/// What stands in the report in place of a file system.
const BLOCK_DEVICE: &str = "block device";

/// Where the bench runs.
#[derive(Debug)]
pub(super) struct Target {
    path: PathBuf,
    facts: Facts,
    /// Our own file. It has no name, so it is gone whatever ends the bench.
    _file: Option<File>,
}

/// What a reader of the report should know about it.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// The device, or the directory of the bench's own file.
    pub place: String,
    /// `block device`, or the kind of the file system.
    pub kind: String,
    /// Its size.
    pub size_bytes: u64,
    /// Is the page cache bypassed?
    pub direct: bool,
    /// Does the system allow io_uring? Without it there is no baseline.
    pub io_uring: bool,
}

impl Target {
    /// The given file or device, or a file of our own in `$ZIO_BENCH_DIR` or
    /// the target directory. A file is filled with data, so that no read finds a hole.
    pub(super) fn prepare(
        plan: &Plan,
        device: Option<&Path>,
        progress: &ProgressBar,
    ) -> Result<Self> {
        progress.set_message("filling the file");
        let target = match device {
            Some(path) => Self::open(path.to_owned(), path.display().to_string(), None)?,
            None => Self::make(plan)?,
        };
        if target.facts.kind != BLOCK_DEVICE {
            target.fill(plan).with_context(|| format!("filling {}", target.facts.place))?;
        }
        if !target.facts.direct {
            progress.suspend(|| {
                eprintln!(
                    "note: {} ({}) refuses direct I/O; its figures are those of the page cache",
                    target.facts.place, target.facts.kind
                );
            });
        }
        if !target.facts.io_uring {
            progress.suspend(|| {
                eprintln!("note: no io_uring here; rows with a disk have no baseline");
            });
        }
        Ok(target)
    }

    fn make(plan: &Plan) -> Result<Self> {
        let dir = bench_dir()?;
        let in_dir = || format!("a file of {} bytes in {}", plan.file_bytes, dir.display());
        let file = tempfile::tempfile_in(&dir).with_context(in_dir)?;
        file.set_len(plan.file_bytes).with_context(in_dir)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Self::open(path, dir.display().to_string(), Some(file))
    }

    fn open(path: PathBuf, place: String, file: Option<File>) -> Result<Self> {
        let disk = Disk::open(&path, &OpenOptions::new())?;
        let kind = if disk.is_block_device() {
            BLOCK_DEVICE.to_owned()
        } else {
            file_system(&path).with_context(|| place.clone())?
        };
        let facts = Facts {
            place,
            kind,
            size_bytes: disk.geometry().size_bytes,
            direct: disk.is_direct(),
            io_uring: Ring::new(1).is_ok(),
        };
        Ok(Self { path, facts, _file: file })
    }

    fn fill(&self, plan: &Plan) -> Result<()> {
        let disk = Disk::open(&self.path, &OpenOptions::new())?;
        let (content, pool) = (Content::new(FILL_BYTES), BufferPool::new());
        let size_bytes = self.facts.size_bytes.min(plan.file_bytes);
        for number in 0..size_bytes / FILL_BYTES as u64 {
            let mut piece = pool.take(FILL_BYTES);
            content.fill(&mut piece, number);
            perform(&disk, VdevOp::Write(piece.into()), number * FILL_BYTES as u64).result?;
        }
        match perform(&disk, VdevOp::Flush, 0).result {
            Ok(()) => Ok(()),
            Err(error) => bail!("flushing: {error}"),
        }
    }

    /// A bare ring on the same file, or nothing where the system has none.
    pub(super) fn raw_ring(&self, depth: usize, block_bytes: usize) -> Result<Option<RawRing>> {
        self.raw_ring_on(&self.path, depth, block_bytes)
    }

    /// The same on another file of that place.
    pub(super) fn raw_ring_on(
        &self,
        path: &Path,
        depth: usize,
        block_bytes: usize,
    ) -> Result<Option<RawRing>> {
        if !self.facts.io_uring {
            return Ok(None);
        }
        let depth = u32::try_from(depth)?;
        let ring = RawRing::open(path, self.facts.direct, depth, block_bytes);
        Ok(Some(ring.context("opening the baseline")?))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }
}

/// Where the bench makes its files.
pub(super) fn bench_dir() -> Result<PathBuf> {
    let dir = std::env::var_os("ZIO_BENCH_DIR").map_or_else(house::target_dir, PathBuf::from);
    std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    Ok(dir)
}

fn file_system(path: &Path) -> Result<String> {
    let magic = rustix::fs::statfs(path)?.f_type as u32;
    let known = match magic {
        0x0000_ef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlayfs",
        0x0000_6969 => "nfs",
        0x6573_5546 => "fuse",
        _ => return Ok(format!("file system {magic:#x}")),
    };
    Ok(known.to_owned())
}
