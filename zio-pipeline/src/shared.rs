//! What the stages of one pipeline share.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use checksum::{Algorithm, Context, Salt};
use transform::{Compression, Scratch, ZstdLevel};
use zio_core::bp::{GANG_HEADER_BYTES, PoolShape};
use zio_core::{Allocator, BlockPointer, Dva, Error, ErrorKind, Txg, VdevId, WriteProps, Zio};

use crate::crypt::Keys;
use crate::dedup::{Dedup, DedupConfig};
use crate::events::Events;
use crate::fan_out::Fan;
use crate::inject::Delays;
use crate::leaf::Leaf;
use crate::stages::Throttle;
use crate::stages::flush::Flushes;
use crate::suspend::{FailMode, Suspension};
use crate::top_vdev::TopVdev;

/// What the stages of one pipeline share.
pub(crate) struct Shared {
    pub(crate) vdevs: Vec<TopVdev>,
    pub(crate) allocator: Arc<dyn Allocator>,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) dedup: Dedup,
    pub(crate) checksums: Checksums,
    pub(crate) fan: Fan,
    pub(crate) keys: Keys,
    pub(crate) suspension: Arc<Suspension>,
    pub(crate) flushes: Flushes,
    pub(crate) events: Arc<Events>,
    /// `None`: the allocator is not ours.
    pub(crate) frees_deferred_txgs: Option<u64>,
    /// What is held back, where faults can be injected.
    pub(crate) delays: Option<Arc<Delays>>,
    /// Gang headers as large as their unit of allocation, not of 512 bytes.
    large_gang_headers: bool,
    /// Space that was given up: a device may still write to it, or nobody knows what belongs to it.
    leaked_bytes: AtomicU64,
    txg: AtomicU64,
}

/// What a builder has decided.
pub(crate) struct Settings {
    pub(crate) vdevs: Vec<TopVdev>,
    pub(crate) allocator: Arc<dyn Allocator>,
    pub(crate) salt: Salt,
    pub(crate) hash_threads: usize,
    pub(crate) txg: Txg,
    pub(crate) keys: Keys,
    pub(crate) dedup: DedupConfig,
    pub(crate) large_gang_headers: bool,
    pub(crate) frees_deferred_txgs: Option<u64>,
    pub(crate) fail_mode: FailMode,
    pub(crate) events: Arc<Events>,
    pub(crate) delays: Option<Arc<Delays>>,
}

impl Shared {
    pub(crate) fn new(with: Settings) -> Self {
        Self {
            vdevs: with.vdevs,
            throttle: Throttle::new(Arc::clone(&with.allocator)),
            allocator: with.allocator,
            dedup: Dedup::new(with.dedup),
            checksums: Checksums::new(&with.salt),
            fan: Fan::new(with.hash_threads),
            keys: with.keys,
            suspension: Suspension::new(with.fail_mode, Arc::clone(&with.events)),
            flushes: Flushes::default(),
            events: with.events,
            frees_deferred_txgs: with.frees_deferred_txgs,
            delays: with.delays,
            large_gang_headers: with.large_gang_headers,
            leaked_bytes: AtomicU64::new(0),
            txg: AtomicU64::new(with.txg.max(1)),
        }
    }

    pub(crate) fn txg(&self) -> Txg {
        self.txg.load(Ordering::Acquire)
    }

    /// Goes to the next transaction group and returns the one that ended.
    pub(crate) fn advance_txg(&self) -> Txg {
        // The last number there is stays: after it would come 0, "never written".
        let next = |txg: Txg| Some(txg.saturating_add(1));
        self.txg.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).unwrap_or_else(|txg| txg)
    }

    /// New blocks are younger than every block that was claimed.
    pub(crate) fn after_txg(&self, claimed: Txg) {
        self.txg.fetch_max(claimed.saturating_add(1), Ordering::AcqRel);
    }

    /// # Errors
    /// [`ErrorKind::DeviceGone`] when there is no such vdev.
    pub(crate) fn vdev(&self, vdev: VdevId) -> Result<&TopVdev, Error> {
        self.vdevs.get(vdev.0 as usize).ok_or_else(|| {
            let there = self.vdevs.len();
            Error::msg(ErrorKind::DeviceGone, format!("{vdev} of a pool of {there}"))
        })
    }

    /// Every leaf of every vdev.
    pub(crate) fn leaves(&self) -> impl Iterator<Item = &Arc<Leaf>> {
        self.vdevs.iter().flat_map(TopVdev::leaves)
    }

    /// The leaf that a zio of a device is for.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceGone`] when there is no such vdev or leaf.
    pub(crate) fn leaf_of(&self, zio: &Zio) -> Result<&Arc<Leaf>, Error> {
        let vdev = zio.vdev.ok_or_else(|| Error::new(ErrorKind::Invalid))?;
        let leaf = zio.leaf.unwrap_or(0);
        self.vdev(vdev)?
            .leaves()
            .get(leaf as usize)
            .ok_or_else(|| Error::msg(ErrorKind::DeviceGone, format!("no leaf {leaf} of {vdev}")))
    }

    /// Ends all injected delays. Returns how many there were.
    pub(crate) fn end_delays(&self) -> usize {
        self.delays.as_ref().map_or(0, |delays| delays.end(|_| true))
    }

    /// Leaks an extent that a device may still write to, by an I/O that was given up.
    pub(crate) fn leaks(&self, dva: Dva) -> bool {
        let leaks = self.is_haunted(dva);
        if leaks {
            self.has_leaked(dva.asize_bytes());
        }
        leaks
    }

    /// So much space is nobody's, and allocated until the next life.
    pub(crate) fn has_leaked(&self, bytes: u64) {
        self.leaked_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn leaked_bytes(&self) -> u64 {
        self.leaked_bytes.load(Ordering::Relaxed)
    }

    fn is_haunted(&self, dva: Dva) -> bool {
        let place = dva.offset_bytes()..dva.offset_bytes().saturating_add(dva.asize_bytes());
        let leaves = self.vdev(dva.vdev()).map_or(&[][..], TopVdev::leaves);
        leaves.iter().any(|leaf| leaf.is_haunted_at(&place))
    }

    /// Smallest unit of allocation of all vdevs, as a shift (spec 2.4).
    pub(crate) fn ashift_min(&self) -> u32 {
        self.vdevs.iter().map(TopVdev::ashift).min().unwrap_or(9)
    }

    /// Bytes of a gang header that is to be written at these addresses: what
    /// every reader knows, or as much as there is room for.
    pub(crate) fn gang_header_bytes(&self, headers: &[Dva]) -> usize {
        if !self.large_gang_headers {
            return GANG_HEADER_BYTES;
        }
        let units = headers.iter().map(|dva| self.unit_bytes(dva.vdev()));
        units.min().map_or(GANG_HEADER_BYTES, |unit| (unit as usize).max(GANG_HEADER_BYTES))
    }

    /// The vdev an address names, if the whole extent lies inside its data
    /// area and begins at a unit: a pointer made for other devices need not.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceGone`] or [`ErrorKind::Invalid`].
    pub(crate) fn locate(&self, dva: Dva, len_bytes: u64) -> Result<&TopVdev, Error> {
        let vdev = self.vdev(dva.vdev())?;
        let end = dva.offset_bytes().checked_add(len_bytes);
        let inside = end.is_some_and(|end| end <= vdev.data_bytes());
        if inside && dva.offset_bytes().is_multiple_of(vdev.unit_bytes()) {
            return Ok(vdev);
        }
        Err(Error::msg(
            ErrorKind::Invalid,
            format!(
                "{dva} for {len_bytes} bytes, not within the {} of its vdev in units of {}",
                vdev.data_bytes(),
                vdev.unit_bytes()
            ),
        ))
    }
}

impl PoolShape for Shared {
    fn data_bytes(&self, vdev: VdevId) -> Option<u64> {
        self.vdev(vdev).ok().map(TopVdev::data_bytes)
    }

    fn unit_bytes(&self, vdev: VdevId) -> u64 {
        self.vdev(vdev).map_or(1, TopVdev::unit_bytes)
    }
}

/// The checksum functions, prepared for this pool, by id.
pub(crate) struct Checksums(Vec<Option<Context>>);

impl Checksums {
    fn new(salt: &Salt) -> Self {
        let prepared = |id| {
            let algorithm = Algorithm::from_id(id).ok()?;
            Context::new(algorithm, Some(salt)).ok()
        };
        Self((0..zio_core::bp::CHECKSUM_IDS).map(prepared).collect())
    }

    /// Can a block be verified by this pointer? By its checksum, or as a block
    /// of a log, which holds its own.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`].
    pub(crate) fn check_pointer(&self, bp: &BlockPointer) -> Result<(), Error> {
        match Algorithm::from_id(bp.checksum_id()) {
            Ok(Algorithm::Zilog | Algorithm::Zilog2) => Ok(()),
            _ => self.get(bp.checksum_id()).map(|_| ()),
        }
    }

    /// # Errors
    /// [`ErrorKind::Unsupported`]: no block checksum, or not one of this build.
    pub(crate) fn get(&self, id: u8) -> Result<&Context, Error> {
        self.0.get(usize::from(id)).and_then(Option::as_ref).ok_or_else(|| {
            let words = match Algorithm::from_id(id) {
                Ok(algorithm) => format!("{algorithm} is not the checksum of a block"),
                Err(error) => error.to_string(),
            };
            Error::msg(ErrorKind::Unsupported, words)
        })
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new());
}

/// Lends this thread's working memory of the codecs.
pub(crate) fn with_scratch<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with(|scratch| work(&mut scratch.borrow_mut()))
}

/// The compression that properties ask for.
pub(crate) fn compression_of(props: &WriteProps) -> Result<Compression, Error> {
    let by_id = Compression::from_id(props.compression)
        .map_err(|error| Error::because(ErrorKind::Unsupported, error))?;
    Ok(match by_id {
        Compression::Zstd(_) => {
            Compression::Zstd(ZstdLevel::from_id(props.compression_level).unwrap_or_default())
        }
        other => other,
    })
}

/// The byte order of a block's writer, in the checksum crate's words.
pub(crate) fn order_of(bp: &BlockPointer) -> checksum::ByteOrder {
    match bp.order() {
        zio_core::bp::ByteOrder::Little => checksum::ByteOrder::Little,
        zio_core::bp::ByteOrder::Big => checksum::ByteOrder::Big,
    }
}
