//! A file or block device as a [`Vdev`].

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use taskq::{Config, Taskq};
use zio_core::{Geometry, Reactor, TaskQueue, Vdev, VdevIo, VdevOp};

use crate::answer;
use crate::error::{OpenError, RingError};
use crate::file::File;
use crate::options::{Engine, OpenOptions};
use crate::psync::{DiskTask, Psync};
use crate::ring::{Attached, Ring};

/// Depth of the ring that a disk makes for itself.
const OWN_RING_DEPTH: u32 = 128;

/// Threads that take the place of a ring: with 32 blocking reads at once a
/// disk does 0.97 of what a ring gets out of it at that depth.
const OWN_THREADS: usize = 32;

/// A file or block device, open and locked.
///
/// Dropping it closes it, once the I/O in flight is answered.
pub struct Disk {
    engine: Running,
}

enum Running {
    Ring { ring: Arc<Ring>, file: Arc<Attached> },
    Pool(Arc<Psync>),
}

/// What will do the I/O.
enum Means {
    Ring(Arc<Ring>),
    Queue(Arc<dyn TaskQueue<DiskTask>>),
}

impl Means {
    fn choose(path: &Path, engine: &Engine) -> Result<Self, OpenError> {
        match engine {
            Engine::OwnRing => Self::ring_or_threads(path, Ring::new(OWN_RING_DEPTH)),
            Engine::Ring(ring) => Ok(Self::Ring(Arc::clone(ring))),
            Engine::Threads(count) => Ok(Self::own_threads(*count)),
            Engine::Pool(queue) => Ok(Self::Queue(Arc::clone(queue))),
        }
    }

    /// Threads take the place of a ring that this system refuses, and of no other one.
    fn ring_or_threads(path: &Path, ring: Result<Arc<Ring>, RingError>) -> Result<Self, OpenError> {
        match ring {
            Ok(ring) => Ok(Self::Ring(ring)),
            Err(error) if error.is_refused() => Ok(Self::own_threads(OWN_THREADS)),
            Err(source) => Err(OpenError::NoRing { path: path.into(), source }),
        }
    }

    /// The threads start with the first I/O and end with the disk.
    fn own_threads(count: usize) -> Self {
        Self::Queue(Taskq::new(Config::single("vdev-disk", count)))
    }
}

impl Disk {
    /// Opens a file or block device.
    ///
    /// The file is locked (`flock`) against everybody else who opens it this
    /// way, for as long as the disk lives; a block device is claimed as well,
    /// so a mounted one is refused.
    ///
    /// # Errors
    /// See [`OpenError`]: each variant says path, got and expected.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let means = Means::choose(path, &options.engine)?;
        let file = File::open(path, &options.file)?;
        let engine = match means {
            Means::Ring(ring) => Running::Ring { file: ring.attach(file), ring },
            Means::Queue(queue) => Running::Pool(Psync::new(file, queue)),
        };
        Ok(Self { engine })
    }

    /// Does the data bypass the page cache?
    pub fn is_direct(&self) -> bool {
        self.file().direct
    }

    /// Is it a block device, and not a file?
    pub fn is_block_device(&self) -> bool {
        self.file().block_device
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.file().path
    }

    /// The ring it runs on; `None` on threads.
    pub fn ring(&self) -> Option<&Arc<Ring>> {
        match &self.engine {
            Running::Ring { ring, .. } => Some(ring),
            Running::Pool(_) => None,
        }
    }

    fn file(&self) -> &File {
        match &self.engine {
            Running::Ring { file, .. } => &file.file,
            Running::Pool(psync) => &psync.file,
        }
    }
}

impl Vdev for Disk {
    fn geometry(&self) -> Geometry {
        self.file().geometry
    }

    fn start(&self, io: VdevIo) {
        if let Err(refused) = answer::check(&io, &self.file().geometry) {
            return io.finish(Err(refused));
        }
        if io.len_bytes() == 0 && !matches!(io.op(), VdevOp::Flush) {
            return io.finish(Ok(()));
        }
        match &self.engine {
            Running::Ring { ring, file } => ring.start(io, file),
            Running::Pool(psync) => psync.start(io),
        }
    }

    fn reactor(&self) -> Option<Arc<dyn Reactor>> {
        self.ring().map(|ring| Arc::clone(ring) as Arc<dyn Reactor>)
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("path", &self.path())
            .field(
                "engine",
                &match &self.engine {
                    Running::Ring { .. } => "ring",
                    Running::Pool(_) => "threads",
                },
            )
            .field("direct", &self.is_direct())
            .field("geometry", &self.geometry())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    fn choice_after(errno: Errno) -> Result<Means, OpenError> {
        let error = RingError::setup(errno.into());
        Means::ring_or_threads(Path::new("/dev/x"), Err(error))
    }

    #[test]
    fn threads_take_the_place_of_a_refused_ring_only() {
        for errno in [Errno::PERM, Errno::NOSYS] {
            assert!(matches!(choice_after(errno), Ok(Means::Queue(_))), "{errno}");
        }
        for errno in [Errno::NOMEM, Errno::MFILE] {
            let refused = matches!(choice_after(errno), Err(OpenError::NoRing { .. }));
            assert!(refused, "{errno}");
        }
    }
}
