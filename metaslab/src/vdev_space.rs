//! One device: the core behind its lock, and the way between DVAs and units.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;
use zio_core::{Dva, SpaceError, Txg, VdevId};

use crate::config::ExtentsConfig;
use crate::extent::{Extent, ExtentError};
use crate::extents::{Deferral, Extents};

/// Copies of one block on one vdev are kept 1/8 of it apart (spec 3.8).
const APART_SHIFT: u32 = 3;

/// Extents released in one hold of the lock: some ten microseconds.
const RELEASE_MAX: usize = 64;

/// A vdev's space. The lock is held for one operation of the core at a time.
#[derive(Debug)]
pub(crate) struct VdevSpace {
    id: VdevId,
    ashift: u32,
    size_units: u64,
    extents: Mutex<Extents>,
    /// Copy of the core's figure for those who need no exact one.
    free_units: AtomicU64,
}

impl VdevSpace {
    pub(crate) fn new(id: VdevId, size_units: u64, ashift: u32, defer_txgs: u64) -> Self {
        let config = ExtentsConfig { defer_txgs, ..ExtentsConfig::for_ashift(ashift) };
        Self {
            id,
            ashift,
            size_units,
            extents: Mutex::new(Extents::new(size_units, config)),
            free_units: AtomicU64::new(size_units),
        }
    }

    pub(crate) const fn id(&self) -> VdevId {
        self.id
    }

    pub(crate) const fn size_bytes(&self) -> u64 {
        self.size_units << self.ashift
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        self.free_units.load(Ordering::Relaxed) << self.ashift
    }

    pub(crate) fn deferred_bytes(&self) -> u64 {
        self.extents.lock().deferred_units() << self.ashift
    }

    /// The longest extent that one DVA can name.
    pub(crate) fn longest_bytes(&self) -> u64 {
        let units_max = Dva::ASIZE_BYTES_MAX >> self.ashift;
        self.extents.lock().longest_units().min(units_max) << self.ashift
    }

    pub(crate) fn fragmentation_permille(&self, block_bytes: u64) -> u32 {
        let units = block_bytes.div_ceil(1 << self.ashift);
        let k = units.checked_next_power_of_two().map_or(u64::BITS, u64::ilog2);
        self.extents.lock().fragmentation_permille(k)
    }

    /// An extent for `size_bytes`, rounded up to whole units; with `apart_from`
    /// the other copies here, an eighth of the vdev away from each.
    pub(crate) fn allocate(&self, size_bytes: u64, txg: Txg, apart_from: &[Dva]) -> Option<Dva> {
        let units = size_bytes.div_ceil(1 << self.ashift);
        if units > Dva::ASIZE_BYTES_MAX >> self.ashift
            || units > self.free_units.load(Ordering::Relaxed)
        {
            return None;
        }
        let offset = self.with(|extents| {
            if apart_from.is_empty() {
                return extents.allocate(units, txg);
            }
            let others: SmallVec<[Extent; 3]> =
                apart_from.iter().map(|&dva| self.extent_of(dva)).collect();
            let gap_units = self.size_units.div_ceil(1 << APART_SHIFT);
            extents.allocate_apart(units, txg, &others, gap_units)
        })?;
        Some(Dva::new(self.id, offset << self.ashift, units << self.ashift))
    }

    pub(crate) fn free(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        let extent = self.checked(dva, SpaceError::NotAllocated { dva })?;
        self.with(|extents| extents.free(extent, txg)).map_err(|e| space_error(dva, e))
    }

    pub(crate) fn unallocate(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        let extent = self.checked(dva, SpaceError::NotAllocated { dva })?;
        self.with(|extents| extents.unallocate(extent, txg)).map_err(|e| space_error(dva, e))
    }

    /// Takes back what [`Self::allocate`] just returned and nobody else knows of.
    pub(crate) fn retract(&self, dva: Dva) {
        let retracted = self.with(|extents| extents.retract(self.extent_of(dva)));
        debug_assert_eq!(retracted, Ok(()));
    }

    pub(crate) fn claim(&self, dva: Dva) -> Result<(), SpaceError> {
        let extent = self.checked(dva, SpaceError::NotFree { dva })?;
        self.with(|extents| extents.claim(extent)).map_err(|e| space_error(dva, e))
    }

    pub(crate) fn check_claim(&self, dva: Dva) -> Result<(), SpaceError> {
        let extent = self.checked(dva, SpaceError::NotFree { dva })?;
        self.extents.lock().check_claim(extent).map_err(|e| space_error(dva, e))
    }

    /// Ends a transaction group. The lock is let go between small portions.
    pub(crate) fn end_of_txg(&self, txg: Txg, deferral: Deferral) {
        self.extents.lock().ripen(txg, deferral);
        while self.with(|extents| extents.release_some(RELEASE_MAX)) {}
    }

    fn with<R>(&self, work: impl FnOnce(&mut Extents) -> R) -> R {
        let mut extents = self.extents.lock();
        let result = work(&mut extents);
        self.free_units.store(extents.free_units(), Ordering::Relaxed);
        result
    }

    /// The extent of any DVA; `misfit` is what to say of one that this vdev
    /// could not have handed out although it lies inside.
    fn checked(&self, dva: Dva, misfit: SpaceError) -> Result<Extent, SpaceError> {
        let own_bytes = self.own_bytes(dva);
        let end = dva.offset_bytes().checked_add(own_bytes);
        if end.is_none_or(|end| end > self.size_bytes()) {
            return Err(SpaceError::Outside { dva });
        }
        let unit_mask = (1 << self.ashift) - 1;
        if !dva.is_valid() || (dva.offset_bytes() | own_bytes) & unit_mask != 0 {
            return Err(misfit);
        }
        Ok(self.extent_of(dva))
    }

    /// What a gang DVA occupies itself is its header, one unit; the rest of
    /// its size counts the members, which have DVAs of their own (spec 3.6).
    fn own_bytes(&self, dva: Dva) -> u64 {
        if dva.is_gang() { 1 << self.ashift } else { dva.asize_bytes() }
    }

    fn extent_of(&self, dva: Dva) -> Extent {
        Extent::new(dva.offset_bytes() >> self.ashift, self.own_bytes(dva) >> self.ashift)
    }
}

fn space_error(dva: Dva, error: ExtentError) -> SpaceError {
    match error {
        ExtentError::NotFree { .. } => SpaceError::NotFree { dva },
        ExtentError::NotAllocated { .. } => SpaceError::NotAllocated { dva },
        ExtentError::Outside { .. } => SpaceError::Outside { dva },
    }
}
