//! The pipeline: read, write, free, claim, flush, trim.

use std::sync::Arc;

use metaslab::Metaslabs;
use taskq::Service;
use zio_core::bp::{BadPointer, RawPointer};
use zio_core::segment::BLOCK_BYTES_MAX;
use zio_core::{
    BlockPointer, Buffer, BufferPool, Completions, Context, Data, Dva, Engine, Error, ErrorKind,
    Flags, Priority, Request, SpaceClass, Stages, Trace, Txg, VdevId, WriteProps, ZioBox, ZioType,
};

use crate::builder::{Builder, Threads};
use crate::heal::Healed;
use crate::pending::Pending;
use crate::physical::Physical;
use crate::props::Write;
use crate::read::Read;
use crate::shared::Shared;
use crate::stage_stats::StageCounters;
use crate::stages::space;

/// Checksummed, compressed, deduplicated, scheduled block I/O over one or more
/// devices. See the crate's page for an example.
///
/// Every operation returns a [`Pending`] request. All of them can be used from
/// any number of threads.
///
/// Dropping the pipeline waits for everything that was started, and for
/// requests and groups that were made and are kept unstarted: let go of those
/// first. Dropped inside a callback, where waiting would wait for the callback
/// itself, it is closed by a thread of its own.
pub struct Pipeline {
    engine: Arc<Engine>,
    shared: Arc<Shared>,
    metaslabs: Option<Arc<Metaslabs>>,
    defaults: WriteProps,
    threads: Threads,
    stage_counters: Option<StageCounters>,
    built_ns: u64,
}

impl Pipeline {
    /// Starts to describe a pipeline.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(
        engine: Arc<Engine>,
        shared: Arc<Shared>,
        metaslabs: Option<Arc<Metaslabs>>,
        defaults: WriteProps,
        threads: Threads,
        stage_counters: Option<StageCounters>,
    ) -> Self {
        let built_ns = shared.events.now_ns();
        Self { engine, shared, metaslabs, defaults, threads, stage_counters, built_ns }
    }

    // -- Buffers and groups. --

    /// A page-aligned buffer from the pipeline's pool, to be filled and
    /// written without a copy. Its content is unspecified.
    pub fn buffer(&self, len_bytes: usize) -> Buffer {
        self.engine.buffers().take(len_bytes)
    }

    /// An empty group: requests made [`under`](Pending::under) it finish before it does.
    /// Wait for it to wait for all of them; its error is the worst of theirs.
    pub fn root(&self) -> Root {
        let zio = self.engine.make(ZioType::Null, Flags::CANFAIL, Stages::ROOT);
        Root::new(Request::new(zio))
    }

    /// A place to collect finished requests, for keeping many in flight from one thread.
    pub fn completions(&self) -> Completions {
        Completions::new(Arc::clone(&self.engine))
    }

    // -- Operations. --

    /// Reads a block; ends in its data, verified, as it was written.
    ///
    /// Bad copies met on the way are written anew from the good one, unless the read
    /// [is told not to](Read::repair).
    pub fn read(&self, bp: &BlockPointer) -> Read {
        let mut zio = self.engine.make(ZioType::Read, Flags::CANFAIL, Stages::READ);
        zio.bp = *bp;
        zio.bp_before = *bp;
        zio.priority = Priority::SyncRead;
        zio.lsize_bytes = bp.lsize_bytes() as usize;
        zio.size_bytes = zio.lsize_bytes;
        Pending::new(Ok(Request::new(zio)))
    }

    /// Writes a new block; ends in its pointer. The data is on the devices when
    /// the request is done, and durable after a [`flush`](Self::flush).
    ///
    /// `data` is anything that can become a block: a [`Buffer`] from
    /// [`Pipeline::buffer`] or [`Data`] without a copy, bytes with one. Its
    /// length is a multiple of 512, up to 16 MiB.
    pub fn write(&self, data: impl IntoData) -> Write {
        let data = data.into_data(self);
        let len_bytes = data.len();
        if len_bytes == 0 || !len_bytes.is_multiple_of(512) || len_bytes > BLOCK_BYTES_MAX {
            return Pending::new(Err(Error::msg(
                ErrorKind::Invalid,
                format!(
                    "a block of {len_bytes} bytes; sizes are multiples of 512, 512 to {BLOCK_BYTES_MAX}"
                ),
            )));
        }
        Pending::new(Ok(Request::new(self.make_write(data))))
    }

    /// The zio of a write of this data, with the properties that all writes begin with.
    pub(crate) fn make_write(&self, data: Data) -> ZioBox {
        let mut zio = self.engine.make(ZioType::Write, Flags::CANFAIL, Stages::WRITE);
        zio.lsize_bytes = data.len();
        zio.size_bytes = data.len();
        zio.data = data;
        zio.props = self.defaults;
        zio.priority = Priority::AsyncWrite;
        zio.txg = self.shared.txg();
        zio
    }

    /// Gives a block's space back. Freeing what is not allocated is an error
    /// and changes nothing.
    ///
    /// Unless frees are deferred ([`Builder::defer_frees`]) the space may be
    /// written over at once: forget the pointer durably before.
    ///
    /// Let every read of the block end before, also one whose handle was dropped: it may be
    /// repairing a copy, and would write over whoever gets the space.
    pub fn free(&self, bp: &BlockPointer) -> Pending<()> {
        self.on_space(ZioType::Free, bp, Stages::FREE)
    }

    /// [`free`](Self::free) of a block that needs no I/O for it, right here, without a
    /// request. `None`: it is shared or a gang, whose table or headers
    /// have to be asked; nothing is done then, and a `free` does it.
    ///
    /// ```
    /// # let disk = std::sync::Arc::new(vdev_disk::Memory::new(16 << 20, 512));
    /// # let pipeline = zio_pipeline::Pipeline::builder().vdev(disk).build()?;
    /// let bp = pipeline.write(vec![7; 4096]).wait()?;
    /// match pipeline.free_at_once(&bp) {
    ///     Some(freed) => freed?,
    ///     None => pipeline.free(&bp).wait()?,
    /// }
    /// assert_eq!(pipeline.allocated_bytes(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn free_at_once(&self, bp: &BlockPointer) -> Option<Result<(), Error>> {
        let is_shared = bp.is_dedup() && !bp.is_hole();
        let is_plain = !is_shared && !bp.is_gang();
        is_plain.then(|| space::free_extents(&self.shared, &space::extents_of(bp), self.txg()))
    }

    /// Transaction groups that freed space is [kept back](Builder::defer_frees); `None` with an
    /// [allocator of the caller's](Builder::allocator), who knows.
    pub fn frees_deferred_txgs(&self) -> Option<u64> {
        self.shared.frees_deferred_txgs
    }

    /// Marks a block's space as allocated: what a pipeline opened again on the
    /// same devices must be told of every live pointer before it writes.
    ///
    /// Space that is allocated already, or lies outside the devices, is an
    /// error and changes nothing.
    pub fn claim(&self, bp: &BlockPointer) -> Pending<()> {
        self.on_space(ZioType::Claim, bp, Stages::CLAIM)
    }

    fn on_space(&self, ty: ZioType, bp: &BlockPointer, pipeline: Stages) -> Pending<()> {
        let mut zio = self.engine.make(ty, Flags::CANFAIL, pipeline);
        if ty == ZioType::Claim && bp.is_gang() {
            zio.add_stages(Stages::GANG);
        }
        zio.bp = *bp;
        zio.bp_before = *bp;
        zio.txg = self.shared.txg();
        Pending::new(Ok(Request::new(zio)))
    }

    /// Makes everything durable that was finished before the flush started, on
    /// every device. A device that fails fails the flush.
    ///
    /// A failed flush is not made good by a later one that succeeds: the system may
    /// have thrown away what it could not write. What was finished since the
    /// last flush that succeeded is to be written anew.
    pub fn flush(&self) -> Pending<()> {
        let flags = Flags::CANFAIL | Flags::DONT_RETRY;
        let zio = self.engine.make(ZioType::Ioctl, flags, Stages::IOCTL);
        Pending::new(Ok(Request::new(zio)))
    }

    /// Tells a device that a range of free space holds nothing any more.
    /// Offset and length, in bytes of the device's data area, are multiples of its unit.
    ///
    /// The range is kept from being allocated while the trim is under way; if
    /// any of it is allocated, nothing is trimmed and the error says so.
    pub fn trim(&self, vdev: VdevId, offset_bytes: u64, len_bytes: u64) -> Pending<()> {
        Pending::new(self.make_trim(vdev, offset_bytes, len_bytes))
    }

    fn make_trim(&self, vdev: VdevId, offset: u64, len_bytes: u64) -> Result<Request, Error> {
        let unit_bytes = self.shared.vdev(vdev)?.unit_bytes();
        let aligned = offset.is_multiple_of(unit_bytes) && len_bytes.is_multiple_of(unit_bytes);
        if !aligned || len_bytes == 0 || len_bytes > Dva::ASIZE_BYTES_MAX {
            return Err(Error::msg(
                ErrorKind::Invalid,
                format!(
                    "trim of {len_bytes} bytes at {offset:#x}; multiples of {unit_bytes}, at most {}",
                    Dva::ASIZE_BYTES_MAX
                ),
            ));
        }
        let range = Dva::new(vdev, offset, len_bytes);
        self.shared.locate(range, len_bytes)?;
        let mut zio =
            self.engine.make_on_vdev(ZioType::Trim, vdev, offset, Flags::CANFAIL, Stages::TRIM);
        zio.size_bytes = len_bytes as usize;
        zio.priority = Priority::Trim;
        zio.txg = self.shared.txg();
        zio.bp.set_dva(0, range);
        Ok(Request::new(zio))
    }

    /// A leaf, to be read and written by offset: labels, and what else has no
    /// pointer. `leaf` counts within the vdev, and is 0 where the vdev is one device.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceGone`]: no such device.
    pub fn physical(&self, vdev: VdevId, leaf: usize) -> Result<Physical<'_>, Error> {
        let found = self.shared.vdev(vdev)?.leaves().get(leaf).cloned();
        let none = || Error::msg(ErrorKind::DeviceGone, format!("no leaf {leaf} of {vdev}"));
        Ok(Physical::new(self, vdev, found.ok_or_else(none)?))
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    // -- Pointers and transaction groups. --

    /// A pointer from outside, checked against this pipeline's devices.
    ///
    /// # Errors
    /// [`BadPointer`]: what is wrong with it.
    pub fn check(&self, pointer: &RawPointer) -> Result<BlockPointer, BadPointer> {
        pointer.check(&*self.shared)
    }

    /// The current transaction group.
    pub fn txg(&self) -> Txg {
        self.shared.txg()
    }

    /// Ends the current transaction group, after everything of it is durable:
    /// space freed [so many](Builder::defer_frees) groups ago can be used
    /// again. Returns the group that ended.
    pub fn end_txg(&self) -> Txg {
        let ended = self.shared.advance_txg();
        if let Some(metaslabs) = &self.metaslabs {
            metaslabs.end_of_txg(ended);
        }
        ended
    }

    // -- Looking at it. --

    /// Bytes that can be allocated now for ordinary blocks. What is set apart for others is not
    /// among them: see [`free_bytes_of`](Self::free_bytes_of).
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes_of(SpaceClass::Normal)
    }

    /// Bytes allocated, freed ones that are still kept back included.
    pub fn allocated_bytes(&self) -> u64 {
        self.shared.allocator.allocated_bytes()
    }

    /// Requests started, or made, and not finished.
    pub fn live(&self) -> usize {
        self.engine.live()
    }

    /// What reads have repaired so far.
    pub fn healed(&self) -> Healed {
        let mut all = Healed::default();
        self.shared.leaves().for_each(|leaf| all.merge(&leaf.health().heal().so_far()));
        all
    }

    /// An empty record of what becomes of requests, by the pipeline's clock. Give it to one or
    /// several ([`Pending::trace`]), and print it when they have ended.
    pub fn trace(&self) -> Trace {
        let clock = self.shared.events.clock().clone();
        Trace::new(move || clock.now_ns())
    }

    /// The memory that requests and [buffers](Self::buffer) have on loan. When all of them have ended and
    /// nobody holds what they gave, [none of it is lent](BufferPool::lent); a clone can be asked
    /// when the pipeline is gone.
    pub fn memory(&self) -> &BufferPool {
        self.engine.buffers()
    }

    pub(crate) fn built_ns(&self) -> u64 {
        self.built_ns
    }

    pub(crate) fn stage_counters(&self) -> Option<&StageCounters> {
        self.stage_counters.as_ref()
    }

    /// Waits until nothing is under way, driving the devices on this thread.
    /// Not to be called from a callback, which is itself under way.
    pub fn wait_idle(&self) {
        self.engine.wait_idle();
    }
}

impl Drop for Pipeline {
    /// Waits for everything that was started; what is suspended ends with its error. The devices are closed with the
    /// last of [`Completions`], handles and results that are still held. In a completion callback, whose own
    /// request is not finished yet, a thread of its own does the waiting.
    fn drop(&mut self) {
        self.shared.suspension.refuse();
        let (engine, threads) = (Arc::clone(&self.engine), std::mem::take(&mut self.threads));
        let shared = Arc::clone(&self.shared);
        let close = move || {
            engine.close();
            // Answers that nobody waits for any more.
            shared.end_delays();
            drop(threads);
        };
        if !Context::is_executing() {
            close();
        } else if let Ok(closing) = Service::spawn("zio-close", move |_| close()) {
            closing.detach();
        }
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline")
            .field("vdevs", &self.shared.vdevs)
            .field("txg", &self.txg())
            .field("live", &self.live())
            .finish_non_exhaustive()
    }
}

/// A group of requests: a null zio over them.
#[must_use = "a group is done when it is waited for"]
#[derive(Debug)]
pub struct Root {
    request: Request,
    parent: zio_core::Parent,
}

impl Root {
    fn new(request: Request) -> Self {
        let parent = request.as_parent();
        Self { request, parent }
    }

    /// The group as a parent, for [`Pending::under`].
    pub fn parent(&self) -> &zio_core::Parent {
        &self.parent
    }

    /// The group as a request: to wait for, await, or start.
    pub fn into_pending(self) -> Pending<()> {
        Pending::new(Ok(self.request))
    }

    /// Waits for all requests of the group on this thread, which drives the
    /// devices meanwhile.
    ///
    /// # Errors
    /// The worst error of the group.
    pub fn wait(self) -> Result<(), Error> {
        self.into_pending().wait()
    }
}

/// What can become the data of a block.
pub trait IntoData {
    /// The data, in segments. `pipeline` lends memory where a copy is needed.
    fn into_data(self, pipeline: &Pipeline) -> Data;
}

impl IntoData for Data {
    fn into_data(self, _: &Pipeline) -> Data {
        self
    }
}

impl IntoData for Buffer {
    fn into_data(self, _: &Pipeline) -> Data {
        self.into()
    }
}

impl IntoData for &[u8] {
    fn into_data(self, pipeline: &Pipeline) -> Data {
        pipeline.engine.buffers().copy_of(self).into()
    }
}

impl IntoData for &Vec<u8> {
    fn into_data(self, pipeline: &Pipeline) -> Data {
        self.as_slice().into_data(pipeline)
    }
}

impl IntoData for Vec<u8> {
    fn into_data(self, pipeline: &Pipeline) -> Data {
        self.as_slice().into_data(pipeline)
    }
}

impl<const N: usize> IntoData for &[u8; N] {
    fn into_data(self, pipeline: &Pipeline) -> Data {
        self.as_slice().into_data(pipeline)
    }
}
