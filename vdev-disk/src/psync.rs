//! The thread engine: blocking system calls on the workers of a task queue.

use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::AsFd;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::FallocateFlags;
use rustix::io::{Errno, retry_on_intr};
use smallvec::SmallVec;
use zio_core::{QueueKind, Route, Task, TaskQueue, VdevError, VdevIo, VdevOp, ZioType};

use crate::answer::{failed, transferred};
use crate::file::File;
use crate::sys;

/// Segments of one I/O that need no allocation.
const SEGMENTS_INLINE: usize = 16;

/// A device whose I/O is done by workers.
pub(crate) struct Psync {
    pub(crate) file: File,
    queue: Arc<dyn TaskQueue<DiskTask>>,
    /// Tasks to be used again: as many as were ever under way at once.
    idle: Mutex<Vec<DiskTask>>,
}

impl Psync {
    pub(crate) fn new(file: File, queue: Arc<dyn TaskQueue<DiskTask>>) -> Arc<Self> {
        Arc::new(Self { file, queue, idle: Mutex::new(Vec::new()) })
    }

    /// Hands a checked I/O to a worker.
    pub(crate) fn start(self: &Arc<Self>, io: VdevIo) {
        let ty = match io.op() {
            VdevOp::Read(_) => ZioType::Read,
            VdevOp::Write(_) => ZioType::Write,
            VdevOp::Flush => ZioType::Ioctl,
            VdevOp::Trim { .. } => ZioType::Trim,
        };
        let mut task = self.idle.lock().pop().unwrap_or_default();
        task.load(Job { io, home: Arc::clone(self) });
        self.queue.dispatch(task, Route::back(ty, QueueKind::Issue));
    }

    fn recycle(&self, task: DiskTask) {
        self.idle.lock().push(task);
    }

    /// One blocking I/O.
    fn execute(&self, op: &mut VdevOp, offset_bytes: u64) -> Result<(), VdevError> {
        let wanted_bytes = op.len_bytes();
        let fd = self.file.as_fd();
        match op {
            VdevOp::Read(buffers) => {
                let mut slices: SmallVec<[IoSliceMut<'_>; SEGMENTS_INLINE]> =
                    buffers.iter_mut().map(|b| IoSliceMut::new(b)).collect();
                let got = retry_on_intr(|| rustix::io::preadv(fd, &mut slices, offset_bytes));
                transferred(got.map(|n| n as u64), wanted_bytes)
            }
            VdevOp::Write(data) => {
                let slices: SmallVec<[IoSlice<'_>; SEGMENTS_INLINE]> =
                    data.chunks().map(IoSlice::new).collect();
                let got = retry_on_intr(|| rustix::io::pwritev(fd, &slices, offset_bytes));
                transferred(got.map(|n| n as u64), wanted_bytes)
            }
            VdevOp::Flush => retry_on_intr(|| rustix::fs::fdatasync(fd)).map_err(failed),
            VdevOp::Trim { len_bytes } => self.trim(offset_bytes, *len_bytes).map_err(failed),
        }
    }

    fn trim(&self, offset_bytes: u64, len_bytes: u64) -> Result<(), Errno> {
        if self.file.block_device {
            return sys::discard_block_device(self.file.as_fd(), offset_bytes, len_bytes);
        }
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        retry_on_intr(|| rustix::fs::fallocate(&self.file.fd, mode, offset_bytes, len_bytes))
    }
}

/// One blocking I/O on its way to a worker. The queue that carries it is given
/// with [`OpenOptions::pool`](crate::OpenOptions::pool).
#[derive(Default)]
pub struct DiskTask(Box<Body>);

#[derive(Default)]
struct Body {
    link: Option<DiskTask>,
    job: Option<Job>,
}

struct Job {
    io: VdevIo,
    home: Arc<Psync>,
}

impl DiskTask {
    fn load(&mut self, job: Job) {
        self.0.job = Some(job);
    }
}

impl Task for DiskTask {
    fn run(mut self) {
        let Some(Job { mut io, home }) = self.0.job.take() else { return };
        home.recycle(self);
        let offset_bytes = io.offset_bytes();
        let result = home.execute(io.op_mut(), offset_bytes);
        // The answer may let go of the device; then it is closed here, on the worker.
        io.finish(result);
    }

    fn link(&mut self) -> &mut Option<Self> {
        &mut self.0.link
    }
}

impl fmt::Debug for DiskTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DiskTask").field(&self.0.job.as_ref().map(|j| &j.io)).finish()
    }
}
