//! What a builder is told of devices: one by one, or as sides of a mirror.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use smallvec::SmallVec;
use vdev_disk::OpenOptions;
use zio_core::Vdev;

/// A device that is not open yet, or one of the caller's.
pub(crate) enum Source {
    File { path: PathBuf, options: OpenOptions },
    Vdev(Arc<dyn Vdev>),
}

impl Source {
    pub(crate) fn file(path: impl AsRef<Path>, options: OpenOptions) -> Self {
        Self::File { path: path.as_ref().to_owned(), options }
    }
}

/// A mirror: several devices that hold the same, as one vdev.
///
/// Any leaf can serve a read. One that does not give the block as it was written
/// makes way for the next, and is repaired from it. A write must reach one leaf; what the
/// others miss is [remembered](crate::Pipeline::missing).
///
/// ```no_run
/// use zio_pipeline::{Mirror, Pipeline};
///
/// let sides = Mirror::new().file("/dev/sda").file("/dev/sdb");
/// let pipeline = Pipeline::builder().mirror(sides).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
#[must_use = "a mirror does nothing until a builder has it"]
pub struct Mirror {
    pub(crate) leaves: SmallVec<[Source; 1]>,
}

impl Mirror {
    /// A mirror without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an existing file or block device, opened for direct I/O.
    pub fn file(self, path: impl AsRef<Path>) -> Self {
        self.file_with(path, OpenOptions::new())
    }

    /// Adds a file, made with this size if it is not there.
    pub fn create(self, path: impl AsRef<Path>, size_bytes: u64) -> Self {
        self.file_with(path, OpenOptions::new().create(size_bytes))
    }

    /// Adds a file or device with options of its own.
    pub fn file_with(mut self, path: impl AsRef<Path>, options: OpenOptions) -> Self {
        self.leaves.push(Source::file(path, options));
        self
    }

    /// Adds any device.
    pub fn vdev(mut self, vdev: Arc<dyn Vdev>) -> Self {
        self.leaves.push(Source::Vdev(vdev));
        self
    }
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror").field("leaves", &self.leaves.len()).finish()
    }
}
