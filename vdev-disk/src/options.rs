//! How a device is opened.

use std::fmt;
use std::sync::Arc;

use zio_core::TaskQueue;

use crate::file_options::{Direct, FileOptions};
use crate::psync::DiskTask;
use crate::ring::Ring;

/// How a device is opened. The default: for reading and writing, existing,
/// direct where possible, on a ring of its own, or on threads of its own where
/// the system refuses io_uring ([`Disk::ring`](crate::Disk::ring) tells).
///
/// ```no_run
/// use vdev_disk::{Disk, OpenOptions, Ring};
///
/// let ring = Ring::new(128)?;
/// let options = OpenOptions::new().ring(ring).create(1 << 30);
/// let (a, b) = (Disk::open("/tmp/a", &options)?, Disk::open("/tmp/b", &options)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct OpenOptions {
    pub(crate) file: FileOptions,
    pub(crate) engine: Engine,
}

#[derive(Clone, Default)]
pub(crate) enum Engine {
    #[default]
    OwnRing,
    Ring(Arc<Ring>),
    Threads(usize),
    Pool(Arc<dyn TaskQueue<DiskTask>>),
}

impl OpenOptions {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuse writes. Several may have a device open for reading, but nobody
    /// beside one who writes.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.file.read_only = true;
        self
    }

    /// Make the file, sparse, of this size if it is not there. One that is
    /// there must have at least this size. Together with
    /// [`OpenOptions::read_only`] nothing is made.
    #[must_use]
    pub fn create(mut self, size_bytes: u64) -> Self {
        self.file.create_bytes = Some(size_bytes);
        self
    }

    /// Refuse a device smaller than this: it was truncated, or is another one.
    #[must_use]
    pub fn expect_size_bytes(mut self, size_bytes: u64) -> Self {
        self.file.expect_bytes = Some(size_bytes);
        self
    }

    /// Whether the page cache is bypassed.
    #[must_use]
    pub fn direct(mut self, direct: Direct) -> Self {
        self.file.direct = direct;
        self
    }

    /// Use a larger sector than the device's own: a power of two.
    #[must_use]
    pub fn sector_bytes(mut self, sector_bytes: u32) -> Self {
        self.file.sector_bytes = Some(sector_bytes);
        self
    }

    /// Say whether a seek costs time: virtual disks often claim it falsely.
    #[must_use]
    pub fn rotational(mut self, rotational: bool) -> Self {
        self.file.rotational = Some(rotational);
        self
    }

    /// Use this ring, which may serve other devices as well. The answers
    /// arrive on the thread that drives it.
    #[must_use]
    pub fn ring(mut self, ring: Arc<Ring>) -> Self {
        self.engine = Engine::Ring(ring);
        self
    }

    /// Use blocking system calls on threads of the disk's own. The answers
    /// arrive there. At least one thread is used.
    #[must_use]
    pub fn threads(mut self, count: usize) -> Self {
        self.engine = Engine::Threads(count.max(1));
        self
    }

    /// Use blocking system calls on the workers of this queue. The answers
    /// arrive there.
    #[must_use]
    pub fn pool(mut self, pool: Arc<dyn TaskQueue<DiskTask>>) -> Self {
        self.engine = Engine::Pool(pool);
        self
    }
}

impl fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenOptions")
            .field("file", &self.file)
            .field(
                "engine",
                &match &self.engine {
                    Engine::OwnRing => "own ring",
                    Engine::Ring(_) => "ring",
                    Engine::Threads(_) => "own threads",
                    Engine::Pool(_) => "pool",
                },
            )
            .finish()
    }
}
