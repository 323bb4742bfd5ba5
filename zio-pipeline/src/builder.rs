//! Building a pipeline: devices, space, queues, threads.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use checksum::Salt;
use metaslab::Metaslabs;
use smallvec::{SmallVec, smallvec};
use taskq::{Service, Taskq};
use vdev_disk::{Disk, DiskTask, OpenError, OpenOptions, Ring, RingError};
use vdev_queue::Class;
use zio_core::{
    Allocator, BufferPool, Engine, Parts, Reactor, SpaceClass, TaskQueue, Txg, Vdev, VdevId, Wait,
    WriteProps, ZioBox,
};

use crate::clock::Clock;
use crate::crypt::Keys;
#[cfg(feature = "crypt")]
use crate::crypt::{DatasetKeys, Entropy};
use crate::deadman::{self, Deadman};
use crate::dedup::DedupConfig;
use crate::events::{Event, Events, Listener};
use crate::inject::{Delays, Injections};
use crate::leaf::{Leaf, LeafPlace, LeafSpace};
use crate::pipeline::Pipeline;
use crate::shared::{Settings, Shared};
use crate::source::{Mirror, Source};
use crate::stage_stats::StageCounters;
use crate::stages;
use crate::suspend::FailMode;
use crate::top_vdev::{MIRROR_LEAVES_MAX, TopVdev};

/// Start of the data area on every leaf (spec 8.5): two labels and 3.5 MiB in reserve.
pub const DATA_START_BYTES: u64 = 4 << 20;

/// Labels at the end of every leaf.
pub(crate) const LABELS_END_BYTES: u64 = 512 << 10;

/// Leaves are used in whole multiples of this.
const LEAF_ALIGN_BYTES: u64 = 256 << 10;

/// I/Os a non-rotating leaf is given at a time.
const FAST_LEAF_ACTIVE_MAX: u32 = 512;

/// Asynchronous writes a non-rotating leaf is given at a time. Those beyond it
/// wait a moment, and adjacent ones merge meanwhile; allocation makes most of them adjacent.
const FAST_LEAF_ASYNC_WRITES_MAX: u32 = 16;

/// Background I/Os of one class that a non-rotating leaf without other work is given at a time: as
/// many as make it busy, no more, for the first reader who comes has to wait for them.
const FAST_LEAF_BACKGROUND_MAX: u32 = 8;

/// Entries of the ring that all files of a pipeline share.
const RING_DEPTH: u32 = 512;

/// Bytes of allocation under way per leaf before writes wait (spec 3.7).
const THROTTLE_BYTES_MAX: u64 = 16 << 20;

/// Why a pipeline could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No device was named.
    #[error("a pipeline needs at least one device")]
    NoDevice,
    /// A file or device could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The ring could not be set up, for another reason than being refused.
    #[error("setting up io_uring")]
    Ring(#[from] RingError),
    /// All devices are for blocks of other classes.
    #[error("a pipeline needs at least one device for ordinary blocks")]
    NoNormalDevice,
    /// Nothing is left for blocks beside the label areas.
    #[error("{vdev:?} has {size_bytes} bytes; labels alone take {labels_bytes}")]
    TooSmall {
        /// The device.
        vdev: Arc<dyn Vdev>,
        /// Its size.
        size_bytes: u64,
        /// What the label areas take.
        labels_bytes: u64,
    },
    /// The unit of allocation does not fit the device.
    #[error(
        "ashift {ashift} for {vdev:?}: must be 9 to 16, and 2^ashift at least its sector of {sector_bytes} bytes"
    )]
    Ashift {
        /// The device.
        vdev: Arc<dyn Vdev>,
        /// What was asked for.
        ashift: u32,
        /// The device's sector.
        sector_bytes: u32,
    },
    /// A mirror of no leaf, or of too many.
    #[error("{vdev} is a mirror of {leaves} leaves; it has 1 to {max}", max = MIRROR_LEAVES_MAX)]
    Mirror {
        /// The vdev.
        vdev: VdevId,
        /// How many leaves were given.
        leaves: usize,
    },
    /// The queue's configuration contradicts itself.
    #[error("device queue")]
    Queue(#[from] vdev_queue::ConfigError),
    /// The allocator refused a device.
    #[error("allocator")]
    Space(#[from] metaslab::AddVdevError),
    /// The background reaper's thread could not be started.
    #[error("starting the background reaper")]
    Thread(#[source] std::io::Error),
}

/// The threads of a pipeline besides its task queues. Letting go of them
/// waits for them, so that the devices are closed when the pipeline is gone.
#[derive(Default)]
pub(crate) struct Threads {
    reapers: Vec<Service>,
    pool: Option<FilePool>,
}

/// What does the I/O of files where there is no ring.
type FilePool = Arc<Taskq<DiskTask>>;

/// The leaves of a vdev, and what it is for.
struct VdevSource {
    leaves: SmallVec<[Source; 1]>,
    class: SpaceClass,
}

/// The leaves of each vdev, in order.
struct Opened {
    vdevs: Vec<SmallVec<[Arc<dyn Vdev>; 1]>>,
    pool: Option<FilePool>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.reapers.clear();
        if let Some(pool) = &self.pool {
            pool.shutdown();
        }
    }
}

/// Collects what a pipeline is made of. See [`Pipeline::builder`].
pub struct Builder {
    sources: Vec<VdevSource>,
    /// What vdevs added from now on are for.
    class: SpaceClass,
    ashift: Option<u32>,
    salt: Salt,
    txg: Txg,
    defer_txgs: u64,
    slop_divisor: u64,
    defaults: WriteProps,
    queue: Option<vdev_queue::Config>,
    task_queue: Option<Arc<dyn TaskQueue<ZioBox>>>,
    allocator: Option<Arc<dyn Allocator>>,
    clock: Clock,
    threads: bool,
    hand_over: bool,
    count_stages: bool,
    large_gang_headers: bool,
    fail_mode: FailMode,
    hash_threads: Option<usize>,
    deadman: Option<Deadman>,
    listener: Option<Listener>,
    injections: Option<Injections>,
    keys: Keys,
    pub(crate) dedup: DedupConfig,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            sources: Vec::new(),
            class: SpaceClass::Normal,
            ashift: None,
            salt: Salt([0; 32]),
            txg: 1,
            defer_txgs: 0,
            slop_divisor: 0,
            defaults: WriteProps::default(),
            queue: None,
            task_queue: None,
            allocator: None,
            clock: Clock::system(),
            threads: false,
            hand_over: true,
            count_stages: false,
            large_gang_headers: false,
            fail_mode: FailMode::default(),
            hash_threads: None,
            deadman: None,
            listener: None,
            injections: None,
            keys: Keys::default(),
            dedup: DedupConfig::default(),
        }
    }

    /// Adds an existing file or block device, opened for direct I/O.
    #[must_use]
    pub fn file(self, path: impl AsRef<Path>) -> Self {
        self.file_with(path, OpenOptions::new())
    }

    /// Adds a file, made with this size if it is not there.
    #[must_use]
    pub fn create(self, path: impl AsRef<Path>, size_bytes: u64) -> Self {
        self.file_with(path, OpenOptions::new().create(size_bytes))
    }

    /// Adds a file or device with options of its own. All files share one
    /// ring, whatever the options say.
    #[must_use]
    pub fn file_with(self, path: impl AsRef<Path>, options: OpenOptions) -> Self {
        self.alone(Source::file(path, options))
    }

    /// Adds any device.
    #[must_use]
    pub fn vdev(self, vdev: Arc<dyn Vdev>) -> Self {
        self.alone(Source::Vdev(vdev))
    }

    fn alone(self, source: Source) -> Self {
        self.add(smallvec![source])
    }

    fn add(mut self, leaves: SmallVec<[Source; 1]>) -> Self {
        self.sources.push(VdevSource { leaves, class: self.class });
        self
    }

    /// Adds a mirror: one vdev of several leaves that hold the same.
    #[must_use]
    pub fn mirror(self, mirror: Mirror) -> Self {
        self.add(mirror.leaves)
    }

    /// Vdevs added from here on are for the blocks of this class, as on the command line of `zpool
    /// create`: `disk special disk log disk`. Those added before any such word are for
    /// [`SpaceClass::Normal`], and there must be one.
    ///
    /// What is for a class goes elsewhere only when its vdevs have no room, by the class's
    /// [order](SpaceClass::order); and but for ordinary vdevs, none takes what is not for it.
    ///
    /// ```no_run
    /// use zio_pipeline::{Mirror, Pipeline, SpaceClass};
    ///
    /// let flash = Mirror::new().file("/dev/nvme0n1").file("/dev/nvme1n1");
    /// let pipeline = Pipeline::builder()
    ///     .file("/dev/sda")
    ///     .file("/dev/sdb")
    ///     .for_class(SpaceClass::Special)
    ///     .mirror(flash)
    ///     .for_class(SpaceClass::Log)
    ///     .file("/dev/pmem0")
    ///     .small_blocks(4096)
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// An [allocator of the caller's](Self::allocator) knows by itself what its vdevs are for.
    #[must_use]
    pub fn for_class(mut self, class: SpaceClass) -> Self {
        self.class = class;
        self
    }

    /// Contents that take so many bytes at most, as they are stored, go to the
    /// [special](SpaceClass::Special) vdevs with the metadata, while three quarters of
    /// those are not used up. The default 0 lets none.
    #[must_use]
    pub fn small_blocks(mut self, bytes_max: u32) -> Self {
        self.defaults.small_block_bytes_max = bytes_max;
        self
    }

    /// Unit of allocation as a power of two, 9 to 16. Unless told, the
    /// device's physical sector, at least 4 KiB (12).
    #[must_use]
    pub fn ashift(mut self, ashift: u32) -> Self {
        self.ashift = Some(ashift);
        self
    }

    /// Salt of the keyed checksums. Blocks written with another one do not verify.
    #[must_use]
    pub fn salt(mut self, salt: [u8; 32]) -> Self {
        self.salt = Salt(salt);
        self
    }

    /// Keys for all encrypted blocks but those of object sets that have
    /// [their own](Self::keys_of).
    #[cfg(feature = "crypt")]
    #[must_use]
    pub fn keys(mut self, keys: DatasetKeys) -> Self {
        self.keys.of_all = Some(keys);
        self
    }

    /// Keys for the encrypted blocks of one object set, as the
    /// [bookmark](crate::Pending::bookmark) of a request names it.
    #[cfg(feature = "crypt")]
    #[must_use]
    pub fn keys_of(mut self, objset: u64, keys: DatasetKeys) -> Self {
        self.keys.of_objset.insert(objset, keys);
        self
    }

    /// Where the salts and IVs of encrypted blocks come from, instead of the system. What it
    /// fills in must be random and never repeat itself, or the encryption is worth nothing.
    #[cfg(feature = "crypt")]
    #[must_use]
    pub fn entropy(mut self, fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        self.keys.entropy = Entropy::Given(Box::new(fill));
        self
    }

    /// First transaction group, at least 1.
    #[must_use]
    pub fn txg(mut self, txg: Txg) -> Self {
        self.txg = txg;
        self
    }

    /// How many transaction groups freed space is kept back (spec 8.5: 2).
    /// The default 0 hands it out again at once: then a pointer must be
    /// forgotten durably before its block is freed.
    ///
    /// It also makes a gang header the only one of its place and birth. Where space is used again
    /// in the same group, a device that lost a write may show an older header there, which
    /// verifies: then read a gang block, as a whole, before it is claimed or freed.
    #[must_use]
    pub fn defer_frees(mut self, txgs: u64) -> Self {
        self.defer_txgs = txgs;
        self
    }

    /// Holds 1/`divisor` of all space back (ZFS: 32; at least 128 MiB or an eighth of a small
    /// pool, at most 128 GiB) from every write that does not say that it
    /// [may take it](crate::Pending::uses_slop). The default 0 holds nothing back: a free takes no
    /// space here. A layer above that must write in order to free wants some.
    #[must_use]
    pub fn slop(mut self, divisor: u64) -> Self {
        self.slop_divisor = divisor;
        self
    }

    /// Checksum of writes that name none. fletcher4 unless told otherwise; the
    /// kinds that live inside their block are ignored.
    #[must_use]
    pub fn checksum(mut self, algorithm: checksum::Algorithm) -> Self {
        // Refused is what is documented as ignored; the default then stays.
        _ = crate::props::set_checksum(&mut self.defaults, algorithm);
        self
    }

    /// Compression of writes that name none. Off unless told otherwise.
    #[must_use]
    pub fn compression(mut self, compression: transform::Compression) -> Self {
        crate::props::set_compression(&mut self.defaults, compression);
        self
    }

    /// Limits of the device queues. Unless told, a rotating device gets ZFS's
    /// classes and any other one a queue that lets everything through while
    /// the device keeps up.
    #[must_use]
    pub fn queue(mut self, config: vdev_queue::Config) -> Self {
        self.queue = Some(config);
        self
    }

    /// Task queues of the caller's. Then no background thread is started
    /// either: whoever brings the queues drives the devices.
    #[must_use]
    pub fn task_queue(mut self, queue: Arc<dyn TaskQueue<ZioBox>>) -> Self {
        self.task_queue = Some(queue);
        self
    }

    /// An allocator of the caller's, which knows the devices by their order: 0, 1, ….
    #[must_use]
    pub fn allocator(mut self, allocator: Arc<dyn Allocator>) -> Self {
        self.allocator = Some(allocator);
        self
    }

    /// A clock of the caller's, in nanoseconds, that never goes backwards.
    #[must_use]
    pub fn clock(mut self, now_ns: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.clock = Clock::Given(Arc::new(now_ns));
        self
    }

    /// Write gang headers as large as the unit of allocation instead of 512 bytes:
    /// 31 pieces to a header in units of 4 KiB, not three. Reading takes both. Only
    /// newer versions of OpenZFS know the large ones.
    #[must_use]
    pub fn large_gang_headers(mut self) -> Self {
        self.large_gang_headers = true;
        self
    }

    /// Threads that share the hash of one large block (BLAKE3, 2 MiB and more); they are made when
    /// the first such block comes. As many as there are CPUs, unless told otherwise. With 0 or 1, or
    /// with a [task queue of the caller's](Self::task_queue) and no word of this, a block
    /// is hashed by whoever has it.
    #[must_use]
    pub fn hash_threads(mut self, threads: usize) -> Self {
        self.hash_threads = Some(threads);
        self
    }

    /// What becomes of requests whose devices are gone: they end with the error, unless
    /// told otherwise.
    #[must_use]
    pub fn fail_mode(mut self, mode: FailMode) -> Self {
        self.fail_mode = mode;
        self
    }

    /// Watch for devices that do not answer, on a thread of the pipeline's own. With a
    /// [task queue of the caller's](Self::task_queue) nobody does; the caller may call
    /// [`Pipeline::give_up_overdue`].
    #[must_use]
    pub fn deadman(mut self, deadman: Deadman) -> Self {
        self.deadman = Some(deadman);
        self
    }

    /// Count what each stage does, for [`PipelineStats::stages`](crate::PipelineStats::stages).
    /// It takes two looks at the clock for each stage a request runs.
    #[must_use]
    pub fn count_stages(mut self) -> Self {
        self.count_stages = true;
        self
    }

    /// Calls `listener` when something goes wrong, on whatever thread noticed it. It must not
    /// block, and may not wait for this pipeline. Events of one kind are told
    /// [so often](crate::EVENTS_PER_SECOND_MAX); [`Pipeline::event_count`] counts them all.
    #[must_use]
    pub fn on_event(mut self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// Puts faults into the stages and before the devices, for tests.
    #[must_use]
    pub fn inject(mut self, injections: &Injections) -> Self {
        self.injections = Some(injections.clone());
        self
    }

    /// Use blocking system calls on threads instead of io_uring. That is
    /// also what happens by itself where the system refuses io_uring.
    #[must_use]
    pub fn threads(mut self) -> Self {
        self.threads = true;
        self
    }

    /// Switches the hand-over to the next zio off: every resumed parent goes
    /// through a task queue, as before 2018. For measurements.
    #[must_use]
    pub fn always_dispatch(mut self) -> Self {
        self.hand_over = false;
        self
    }

    /// Opens the devices and starts the pipeline.
    ///
    /// # Errors
    /// [`BuildError`]: which device, and what is wrong with it.
    pub fn build(mut self) -> Result<Pipeline, BuildError> {
        let Opened { vdevs, pool } = self.open()?;
        if vdevs.is_empty() {
            return Err(BuildError::NoDevice);
        }
        let is_normal = |source: &VdevSource| source.class == SpaceClass::Normal;
        if self.allocator.is_none() && !self.sources.iter().any(is_normal) {
            return Err(BuildError::NoNormalDevice);
        }
        let buffers = BufferPool::new();
        let events = Arc::new(Events::new(self.clock.clone(), self.listener.take()));
        let injected = (self.injections.take())
            .map(|injections| (Delays::new(&injections, self.clock.clone()), injections));
        let tops = (vdevs.iter().enumerate())
            .map(|(id, leaves)| {
                self.top_vdev(VdevId(id as u32), leaves, &buffers, &events, injected.as_ref())
            })
            .collect::<Result<Vec<_>, _>>()?;
        let (allocator, metaslabs) = match self.allocator {
            Some(ref given) => (Arc::clone(given), None),
            None => {
                let own = Arc::new(self.make_allocator(&tops)?);
                (Arc::clone(&own) as Arc<dyn Allocator>, Some(own))
            }
        };
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let own_threads = self.task_queue.is_none();
        let hash_threads = self.hash_threads.unwrap_or(if own_threads { cpus } else { 0 });
        let shared = Arc::new(Shared::new(Settings {
            vdevs: tops,
            allocator,
            salt: self.salt,
            hash_threads,
            txg: self.txg,
            keys: self.keys,
            dedup: self.dedup,
            large_gang_headers: self.large_gang_headers,
            frees_deferred_txgs: metaslabs.as_ref().map(|_| self.defer_txgs),
            fail_mode: self.fail_mode,
            events,
            delays: injected.as_ref().map(|(delays, _)| Arc::clone(delays)),
        }));
        let mut stages = stages::all(&shared);
        if let Some((delays, injections)) = &injected {
            stages = stages.into_iter().map(|stage| injections.around(stage, delays)).collect();
        }
        let stage_counters =
            self.count_stages.then(|| StageCounters::around(&mut stages, &self.clock));
        let queue = self.task_queue.unwrap_or_else(|| Taskq::new(taskq::Config::small(cpus)));
        let engine = Engine::new(Parts {
            stages,
            queue,
            reactors: distinct_reactors(vdevs.iter().flatten()),
            buffers,
            shared: Arc::clone(&shared) as Arc<_>,
            hand_over: self.hand_over,
        });
        let mut reapers = if own_threads { start_reapers(&engine)? } else { Vec::new() };
        if let Some(deadman) = self.deadman.filter(|_| own_threads) {
            reapers.push(deadman::watch(deadman, &shared).map_err(BuildError::Thread)?);
        }
        let threads = Threads { reapers, pool };
        Ok(Pipeline::new(engine, shared, metaslabs, self.defaults, threads, stage_counters))
    }

    /// A vdev of these leaves, which all have room for the same units.
    fn top_vdev(
        &self,
        id: VdevId,
        leaves: &[Arc<dyn Vdev>],
        buffers: &BufferPool,
        events: &Arc<Events>,
        injected: Option<&(Arc<Delays>, Injections)>,
    ) -> Result<TopVdev, BuildError> {
        if !(1..=MIRROR_LEAVES_MAX).contains(&leaves.len()) {
            return Err(BuildError::Mirror { vdev: id, leaves: leaves.len() });
        }
        let spaces = leaves
            .iter()
            .map(|leaf| leaf_space(leaf, self.ashift))
            .collect::<Result<SmallVec<[_; 1]>, _>>()?;
        let ashift = spaces.iter().map(|space| space.ashift).max().unwrap_or(9);
        let mut made = SmallVec::new();
        for (number, (vdev, space)) in leaves.iter().zip(spaces).enumerate() {
            let config = match &self.queue {
                Some(config) => config.clone(),
                None if vdev.geometry().rotational => vdev_queue::Config::default(),
                None => fast_leaf_queue(),
            };
            let place = LeafPlace { vdev: id, leaf: (leaves.len() > 1).then_some(number as u32) };
            let space = LeafSpace { ashift, ..space };
            let (mut vdev, clock) = (Arc::clone(vdev), self.clock.clone());
            if let Some((delays, injections)) = injected {
                vdev = injections.around_device(vdev, place, delays);
            }
            let (buffers, events) = (buffers.clone(), Arc::clone(events));
            made.push(Arc::new(Leaf::new(place, vdev, space, config, clock, buffers, events)?));
        }
        Ok(TopVdev::new(id, made))
    }

    fn make_allocator(&self, vdevs: &[TopVdev]) -> Result<Metaslabs, BuildError> {
        let clock = self.clock.clone();
        let config = metaslab::Config {
            defer_txgs: self.defer_txgs,
            reserve_bytes_max: Some(THROTTLE_BYTES_MAX * vdevs.len() as u64),
            slop_divisor: self.slop_divisor,
            ..metaslab::Config::default()
        };
        let space = Metaslabs::with_clock(config, move || clock.now_ns());
        for (vdev, source) in vdevs.iter().zip(&self.sources) {
            space.add_vdev_for(source.class, vdev.id(), vdev.data_bytes(), vdev.ashift())?;
        }
        Ok(space)
    }

    /// Opens the files, all on one ring, or on the threads of one pool where there is none.
    fn open(&self) -> Result<Opened, BuildError> {
        let sources = || self.sources.iter().flat_map(|vdev| &vdev.leaves);
        let files = sources().filter(|s| matches!(s, Source::File { .. })).count();
        let ring = match (files, self.threads) {
            (0, _) | (_, true) => None,
            _ => match Ring::new(RING_DEPTH) {
                Ok(ring) => Some(ring),
                Err(refused) if refused.is_refused() => None,
                Err(error) => return Err(error.into()),
            },
        };
        let pool = (ring.is_none() && files > 0).then(|| {
            let workers = (8 * files).min(32);
            Taskq::new(taskq::Config::single("psync", workers))
        });
        let open = |source: &Source| -> Result<Arc<dyn Vdev>, BuildError> {
            let (path, options) = match source {
                Source::Vdev(vdev) => return Ok(Arc::clone(vdev)),
                Source::File { path, options } => (path, options),
            };
            let options = match (&ring, &pool) {
                (Some(ring), _) => options.clone().ring(Arc::clone(ring)),
                (None, Some(pool)) => options.clone().pool(Arc::clone(pool) as Arc<_>),
                (None, None) => options.clone(),
            };
            Ok(Arc::new(Disk::open(path, &options)?))
        };
        let vdevs = (self.sources.iter())
            .map(|vdev| vdev.leaves.iter().map(open).collect::<Result<SmallVec<_>, _>>())
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Opened { vdevs, pool })
    }
}

impl Default for Builder {
    /// The same as [`Pipeline::builder`].
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("devices", &self.sources.len())
            .field("ashift", &self.ashift)
            .field("defaults", &self.defaults)
            .finish_non_exhaustive()
    }
}

/// Where blocks stand on a device: behind the front labels, before the back
/// ones, in whole multiples of 256 KiB (spec 8.5).
fn leaf_space(vdev: &Arc<dyn Vdev>, ashift: Option<u32>) -> Result<LeafSpace, BuildError> {
    let geometry = vdev.geometry();
    let sector_shift = geometry.sector_bytes.max(512).trailing_zeros();
    let natural = geometry.physical_bytes.max(4096).trailing_zeros().min(16);
    let ashift = ashift.unwrap_or(natural.max(sector_shift));
    if !(9..=16).contains(&ashift) || ashift < sector_shift {
        return Err(BuildError::Ashift {
            vdev: Arc::clone(vdev),
            ashift,
            sector_bytes: geometry.sector_bytes,
        });
    }
    let whole = geometry.size_bytes / LEAF_ALIGN_BYTES * LEAF_ALIGN_BYTES;
    let labels_bytes = DATA_START_BYTES + LABELS_END_BYTES;
    match whole.checked_sub(labels_bytes) {
        Some(data_bytes) if data_bytes >= 1 << ashift => {
            Ok(LeafSpace { data_start_bytes: DATA_START_BYTES, data_bytes, ashift })
        }
        _ => Err(BuildError::TooSmall {
            vdev: Arc::clone(vdev),
            size_bytes: geometry.size_bytes,
            labels_bytes,
        }),
    }
}

/// Whoever waits goes straight through; write-back merges; background I/O has the device when it
/// is alone, and its measured share beside others.
fn fast_leaf_queue() -> vdev_queue::Config {
    let depth = vdev_queue::Depth::Fixed;
    let mut config = vdev_queue::Config { depth, ..vdev_queue::Config::default() };
    for class in [Class::SyncRead, Class::SyncWrite, Class::AsyncRead] {
        config.classes[class].active_max = FAST_LEAF_ACTIVE_MAX;
    }
    config.classes[Class::AsyncWrite].active_max = FAST_LEAF_ASYNC_WRITES_MAX;
    for class in [Class::Scrub, Class::Rebuild] {
        config.classes[class].active_max = FAST_LEAF_BACKGROUND_MAX;
    }
    config
}

fn distinct_reactors<'a>(vdevs: impl Iterator<Item = &'a Arc<dyn Vdev>>) -> Vec<Arc<dyn Reactor>> {
    let mut reactors: Vec<Arc<dyn Reactor>> = Vec::new();
    for reactor in vdevs.filter_map(|vdev| vdev.reactor()) {
        if !reactors.iter().any(|known| Arc::ptr_eq(known, &reactor)) {
            reactors.push(reactor);
        }
    }
    reactors
}

/// One thread that reaps while nobody waits; one more for each reactor beyond
/// the first, which no waiter drives.
fn start_reapers(engine: &Arc<Engine>) -> Result<Vec<Service>, BuildError> {
    let mut services = Vec::new();
    if engine.has_reactor() {
        let (reaper, waker) = (Arc::clone(engine), Arc::clone(engine));
        let body = move |stop: taskq::StopFlag| reaper.reap_in_background(&|| stop.is_set());
        let wake = move || waker.wake_background();
        services.push(Service::spawn_with("zio-reaper", wake, body).map_err(BuildError::Thread)?);
    }
    for (index, reactor) in engine.further_reactors().iter().enumerate() {
        let (turned, woken) = (Arc::clone(reactor), Arc::clone(reactor));
        let body = move |stop: taskq::StopFlag| {
            while !stop.is_set() {
                turned.turn(Wait::Block);
            }
        };
        let name = format!("zio-reaper-{}", index + 1);
        let service = Service::spawn_with(&name, move || woken.wake(), body);
        services.push(service.map_err(BuildError::Thread)?);
    }
    Ok(services)
}
