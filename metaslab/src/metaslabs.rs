//! Space of several devices behind the trait [`Allocator`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use smallvec::SmallVec;
use thiserror::Error;
use zio_core::{Allocator, Dva, Dvas, NoSpace, Slots, SpaceError, Txg, VdevId, Want};

use crate::config::Config;
use crate::extents::Deferral;
use crate::rotor::{Rotor, quota_bytes};
use crate::vdev_space::VdevSpace;

/// Smallest and largest unit, as powers of two (spec 2.4).
const ASHIFT_MIN: u32 = 9;
const ASHIFT_MAX: u32 = 16;

/// A vdev's number has 24 bits in a DVA.
const VDEV_ID_MAX: u32 = (1 << 24) - 1;

/// Copies a block can have.
const COPIES_MAX: u8 = 3;

/// Bound of one reservation and of all together, so that their sum stays in a `u64`.
const RESERVE_BYTES_MAX: u64 = u64::MAX / 4;

/// A vdev that [`Metaslabs::add_vdev`] did not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddVdevError {
    /// There is one of this number.
    #[error("{vdev} is there already")]
    Duplicate {
        /// The number.
        vdev: VdevId,
    },
    /// The number does not fit a DVA.
    #[error("{vdev} is above {VDEV_ID_MAX}, the largest number a DVA can hold")]
    IdTooLarge {
        /// The number.
        vdev: VdevId,
    },
    /// The unit is not one of 512 bytes to 64 KiB.
    #[error("{vdev} has ashift {ashift}, allowed are {ASHIFT_MIN} to {ASHIFT_MAX}")]
    Ashift {
        /// The number of the vdev.
        vdev: VdevId,
        /// What was asked for.
        ashift: u32,
    },
    /// Not one unit fits.
    #[error("{vdev} has {data_size_bytes} bytes of data area, less than one unit of 2^{ashift}")]
    TooSmall {
        /// The number of the vdev.
        vdev: VdevId,
        /// Size of its data area.
        data_size_bytes: u64,
        /// Its unit.
        ashift: u32,
    },
}

/// The space of a pool: implements [`Allocator`] over one or more vdevs.
///
/// Everything takes `&self`; each vdev has its own lock, held for a few tree
/// steps. See the crate's page for the model.
pub struct Metaslabs {
    config: Config,
    vdevs: RwLock<Vec<Arc<VdevSpace>>>,
    rotor: Rotor,
    reserved_bytes: Arc<AtomicU64>,
}

/// How far apart the copies on one vdev have to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    /// An eighth of the vdev.
    Apart,
    /// Anywhere, as long as they do not overlap.
    Anywhere,
}

impl Metaslabs {
    /// A pool without devices yet.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            vdevs: RwLock::new(Vec::new()),
            rotor: Rotor::default(),
            reserved_bytes: Arc::default(),
        }
    }

    /// Adds a vdev, all of it free. Its offsets count from the begin of its
    /// data area; `data_size_bytes` is rounded down to units of `2^ashift`.
    ///
    /// # Errors
    /// [`AddVdevError`]; then nothing is changed.
    pub fn add_vdev(
        &self,
        vdev: VdevId,
        data_size_bytes: u64,
        ashift: u32,
    ) -> Result<(), AddVdevError> {
        if vdev.0 > VDEV_ID_MAX {
            return Err(AddVdevError::IdTooLarge { vdev });
        }
        if !(ASHIFT_MIN..=ASHIFT_MAX).contains(&ashift) {
            return Err(AddVdevError::Ashift { vdev, ashift });
        }
        let size_units = data_size_bytes >> ashift;
        if size_units == 0 {
            return Err(AddVdevError::TooSmall { vdev, data_size_bytes, ashift });
        }
        let mut vdevs = self.vdevs.write();
        if vdevs.iter().any(|v| v.id() == vdev) {
            return Err(AddVdevError::Duplicate { vdev });
        }
        vdevs.push(Arc::new(VdevSpace::new(vdev, size_units, ashift, self.config.defer_txgs)));
        Ok(())
    }

    /// Says that transaction group `txg` is safely on disk: what was freed
    /// in `txg − defer_txgs` or before may be handed out again. When less than
    /// 1/`skip_deferral_divisor` of all space is unallocated, what was freed in
    /// `txg` or before comes back as well (spec 8.5).
    pub fn end_of_txg(&self, txg: Txg) {
        // Releasing takes long: a copy of the list, so that `add_vdev` need not wait.
        let vdevs = self.vdevs.read().clone();
        let size: u128 = vdevs.iter().map(|v| u128::from(v.size_bytes())).sum();
        let unallocated: u128 =
            vdevs.iter().map(|v| u128::from(v.free_bytes()) + u128::from(v.deferred_bytes())).sum();
        let nearly_full =
            unallocated.saturating_mul(u128::from(self.config.skip_deferral_divisor)) < size;
        let skips = self.config.skip_deferral_divisor > 0 && nearly_full;
        let deferral = if skips { Deferral::Skip } else { Deferral::Keep };
        for vdev in &vdevs {
            vdev.end_of_txg(txg, deferral);
        }
    }

    /// Bytes of all vdevs together.
    pub fn size_bytes(&self) -> u64 {
        self.sum(VdevSpace::size_bytes)
    }

    /// Bytes freed and held back; they count as allocated.
    pub fn deferred_bytes(&self) -> u64 {
        self.sum(VdevSpace::deferred_bytes)
    }

    /// Bytes under reservation now.
    pub fn reserved_bytes(&self) -> u64 {
        self.reserved_bytes.load(Ordering::Relaxed)
    }

    /// Free bytes of one vdev, `None` when there is no such vdev.
    pub fn vdev_free_bytes(&self, vdev: VdevId) -> Option<u64> {
        self.vdevs.read().iter().find(|v| v.id() == vdev).map(|v| v.free_bytes())
    }

    /// Share of a vdev's free space that stands in extents too short for a
    /// block of `block_bytes` (rounded up to a power-of-two number of units), in
    /// thousandths; `None` when there is no such vdev.
    pub fn vdev_fragmentation_permille(&self, vdev: VdevId, block_bytes: u64) -> Option<u32> {
        let vdevs = self.vdevs.read();
        vdevs.iter().find(|v| v.id() == vdev).map(|v| v.fragmentation_permille(block_bytes))
    }

    fn sum(&self, of: impl Fn(&VdevSpace) -> u64) -> u64 {
        self.vdevs.read().iter().map(|v| of(v)).fold(0, u64::saturating_add)
    }

    fn longest_bytes_of(vdevs: &[Arc<VdevSpace>]) -> u64 {
        vdevs.iter().map(|v| v.longest_bytes()).max().unwrap_or(0)
    }

    fn on_vdev<R>(
        &self,
        dva: Dva,
        work: impl FnOnce(&VdevSpace) -> Result<R, SpaceError>,
    ) -> Result<R, SpaceError> {
        let vdevs = self.vdevs.read();
        work(vdevs.iter().find(|v| v.id() == dva.vdev()).ok_or(SpaceError::Outside { dva })?)
    }

    /// Places all copies in one round, or none.
    fn place(&self, vdevs: &[Arc<VdevSpace>], want: &Want, round: Round) -> Option<Dvas> {
        let preferred = want.prefer.and_then(|id| vdevs.iter().position(|v| v.id() == id));
        let start = preferred.unwrap_or_else(|| self.rotor.at(vdevs.len()));
        let mut placed = Dvas::new();
        for _ in 0..want.copies {
            let Some(dva) = place_one(vdevs, want, round, start, &placed) else {
                undo(vdevs, &placed);
                return None;
            };
            placed.push(dva);
        }
        if preferred.is_none() {
            self.charge(vdevs, placed.first().copied());
        }
        Some(placed)
    }

    fn charge(&self, vdevs: &[Arc<VdevSpace>], leader: Option<Dva>) {
        let Some(dva) = leader else { return };
        let Some(index) = vdevs.iter().position(|v| v.id() == dva.vdev()) else { return };
        self.rotor.charge(index, vdevs.len(), dva.asize_bytes(), || {
            let all_free = vdevs.iter().map(|v| v.free_bytes()).fold(0, u64::saturating_add);
            let free = vdevs[index].free_bytes();
            quota_bytes(self.config.aliquot_bytes, free, all_free, vdevs.len())
        });
    }
}

/// One more copy: on the next vdev of the ring that has room and no copy yet;
/// else beside the copies on a vdev that has some.
fn place_one(
    vdevs: &[Arc<VdevSpace>],
    want: &Want,
    round: Round,
    start: usize,
    placed: &[Dva],
) -> Option<Dva> {
    let ring = || (start..vdevs.len()).chain(0..start);
    let is_used = |index: usize| placed.iter().any(|dva| dva.vdev() == vdevs[index].id());
    let fresh = ring()
        .filter(|&index| !is_used(index))
        .find_map(|index| vdevs[index].allocate(want.size_bytes, want.txg, &[]));
    fresh.or_else(|| {
        ring().filter(|&index| is_used(index)).find_map(|index| {
            let vdev = &vdevs[index];
            let others: SmallVec<[Dva; 3]> = match round {
                Round::Apart => placed.iter().copied().filter(|d| d.vdev() == vdev.id()).collect(),
                Round::Anywhere => SmallVec::new(),
            };
            vdev.allocate(want.size_bytes, want.txg, &others)
        })
    })
}

fn undo(vdevs: &[Arc<VdevSpace>], placed: &[Dva]) {
    for &dva in placed {
        if let Some(vdev) = vdevs.iter().find(|v| v.id() == dva.vdev()) {
            vdev.retract(dva);
        }
    }
}

impl Allocator for Metaslabs {
    /// Copies stand on distinct vdevs while enough of them have room; else
    /// those on one vdev are at least an eighth of it apart; else anywhere without
    /// overlap. Refused with [`NoSpace`] as well: a size of 0, and copies not 1 to 3.
    fn allocate(&self, want: &Want) -> Result<Dvas, NoSpace> {
        let vdevs = self.vdevs.read();
        let sensible = want.size_bytes > 0 && (1..=COPIES_MAX).contains(&want.copies);
        let placed = if sensible && !vdevs.is_empty() {
            self.place(&vdevs, want, Round::Apart)
                .or_else(|| self.place(&vdevs, want, Round::Anywhere))
        } else {
            None
        };
        placed.ok_or_else(|| NoSpace {
            size_bytes: want.size_bytes,
            copies: want.copies,
            free_bytes: vdevs.iter().map(|v| v.free_bytes()).fold(0, u64::saturating_add),
            largest_bytes: Self::longest_bytes_of(&vdevs),
        })
    }

    /// Of a gang DVA the header is freed, one unit; its members have DVAs of their own.
    fn free(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        self.on_vdev(dva, |vdev| vdev.free(dva, txg))
    }

    fn unallocate(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        self.on_vdev(dva, |vdev| vdev.unallocate(dva, txg))
    }

    fn claim(&self, dva: Dva, _txg: Txg) -> Result<(), SpaceError> {
        self.on_vdev(dva, |vdev| vdev.claim(dva))
    }

    fn check_claim(&self, dva: Dva) -> Result<(), SpaceError> {
        self.on_vdev(dva, |vdev| vdev.check_claim(dva))
    }

    fn reserve(&self, bytes: u64) -> Option<Slots> {
        let bytes_max = self.config.reserve_bytes_max.unwrap_or_else(|| {
            let vdevs = self.vdevs.read().len().max(1) as u64;
            self.config.aliquot_bytes.saturating_mul(4).saturating_mul(vdevs)
        });
        let bytes = bytes.min(RESERVE_BYTES_MAX);
        Slots::take(&self.reserved_bytes, bytes_max.min(RESERVE_BYTES_MAX), bytes)
    }

    fn largest_bytes(&self) -> u64 {
        Self::longest_bytes_of(&self.vdevs.read())
    }

    fn free_bytes(&self) -> u64 {
        self.sum(VdevSpace::free_bytes)
    }

    fn allocated_bytes(&self) -> u64 {
        self.sum(|vdev| vdev.size_bytes() - vdev.free_bytes())
    }
}

impl fmt::Debug for Metaslabs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for vdev in self.vdevs.read().iter() {
            map.entry(&vdev.id(), &format_args!("{}/{}", vdev.free_bytes(), vdev.size_bytes()));
        }
        map.finish()
    }
}
