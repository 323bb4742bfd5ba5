//! What the stages of one pipeline share.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use checksum::{Algorithm, Context, Salt};
use transform::{Compression, Scratch, ZstdLevel};
use zio_core::bp::PoolShape;
use zio_core::{Allocator, BlockPointer, Dva, Error, ErrorKind, Txg, VdevId, WriteProps};

use crate::dedup::Dedup;
use crate::leaf::Leaf;
use crate::stages::Throttle;

/// What the stages of one pipeline share.
pub(crate) struct Shared {
    pub(crate) leaves: Vec<Arc<Leaf>>,
    pub(crate) allocator: Arc<dyn Allocator>,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) dedup: Dedup,
    pub(crate) checksums: Checksums,
    txg: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        leaves: Vec<Arc<Leaf>>,
        allocator: Arc<dyn Allocator>,
        salt: &Salt,
        txg: Txg,
    ) -> Self {
        Self {
            leaves,
            throttle: Throttle::new(Arc::clone(&allocator)),
            allocator,
            dedup: Dedup::new(),
            checksums: Checksums::new(salt),
            txg: AtomicU64::new(txg.max(1)),
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
    pub(crate) fn leaf(&self, vdev: VdevId) -> Result<&Arc<Leaf>, Error> {
        self.leaves.get(vdev.0 as usize).ok_or_else(|| {
            let there = self.leaves.len();
            Error::msg(ErrorKind::DeviceGone, format!("{vdev} of a pool of {there}"))
        })
    }

    /// Smallest unit of allocation of all vdevs, as a shift (spec 2.4).
    pub(crate) fn ashift_min(&self) -> u32 {
        self.leaves.iter().map(|leaf| leaf.ashift()).min().unwrap_or(9)
    }

    /// The leaf an address names, if the whole extent lies inside its data
    /// area and begins at a unit: a pointer made for other devices need not.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceGone`] or [`ErrorKind::Invalid`].
    pub(crate) fn locate(&self, dva: Dva, len_bytes: u64) -> Result<&Arc<Leaf>, Error> {
        let leaf = self.leaf(dva.vdev())?;
        let end = dva.offset_bytes().checked_add(len_bytes);
        let inside = end.is_some_and(|end| end <= leaf.data_bytes());
        if inside && dva.offset_bytes().is_multiple_of(leaf.unit_bytes()) {
            return Ok(leaf);
        }
        Err(Error::msg(
            ErrorKind::Invalid,
            format!(
                "{dva} for {len_bytes} bytes, not within the {} of its vdev in units of {}",
                leaf.data_bytes(),
                leaf.unit_bytes()
            ),
        ))
    }
}

impl PoolShape for Shared {
    fn data_bytes(&self, vdev: VdevId) -> Option<u64> {
        self.leaf(vdev).ok().map(|leaf| leaf.data_bytes())
    }

    fn unit_bytes(&self, vdev: VdevId) -> u64 {
        self.leaf(vdev).map_or(1, |leaf| leaf.unit_bytes())
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
