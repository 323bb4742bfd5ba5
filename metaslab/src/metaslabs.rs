//! Space of several devices behind the trait [`Allocator`].

use std::fmt;
use std::sync::Arc;

use parking_lot::{RwLockReadGuard, RwLockWriteGuard};
use smallvec::SmallVec;
use thiserror::Error;
use zio_core::{Allocator, Dva, Dvas, NoSpace, Share, Slots, SpaceError, Txg, VdevId, Want};

use crate::config::{Config, shards_for};
use crate::drain::{Clock, Drain};
use crate::extents::Deferral;
use crate::rotor::quota_bytes;
use crate::shard::Shard;
use crate::slop::slop_bytes;
use crate::turns::{Crowded, crowded};
use crate::vdev_space::VdevSpace;

/// Smallest and largest unit, as powers of two (spec 2.4).
const ASHIFT_MIN: u32 = 9;
const ASHIFT_MAX: u32 = 16;

/// A vdev's number has 24 bits in a DVA.
const VDEV_ID_MAX: u32 = (1 << 24) - 1;

/// Copies a block can have.
const COPIES_MAX: u8 = 3;

/// Shards there can be: more only cost memory.
const SHARDS_MAX: usize = 64;

/// Neighbours up to 2^this bytes use the same shard's list of vdevs.
const SPREAD_SHIFT: u32 = 20;

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
/// Everything takes `&self`; each region of each vdev has its own lock, held for a few tree
/// steps. See the crate's page for the model.
pub struct Metaslabs {
    config: Config,
    clock: Clock,
    shards: Box<[Shard]>,
}

/// How far apart the copies on one vdev have to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    /// An eighth of the vdev.
    Apart,
    /// Anywhere, as long as they do not overlap.
    Anywhere,
    /// The same, from the front of what is free, whatever region that is in: so that as
    /// many find room as possible.
    Packed,
}

impl Round {
    const ALL: [Self; 3] = [Self::Apart, Self::Anywhere, Self::Packed];
    /// Of somebody who is not alone.
    const QUICK: [Self; 2] = [Self::Apart, Self::Anywhere];
}

impl Metaslabs {
    /// A pool without devices yet.
    pub fn new(config: Config) -> Self {
        Self::on_clock(config, Clock::system())
    }

    /// The same with a clock of the caller's, in nanoseconds, that never goes backwards. It is
    /// asked how long vdevs take for what they are given.
    pub fn with_clock(config: Config, now_ns: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self::on_clock(config, Clock::given(now_ns))
    }

    fn on_clock(config: Config, clock: Clock) -> Self {
        let cpus = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let shards = config.shards.unwrap_or_else(|| shards_for(cpus())).clamp(1, SHARDS_MAX);
        Self { config, clock, shards: (0..shards).map(|_| Shard::default()).collect() }
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
        let mut lists = self.alone();
        if lists[0].iter().any(|v| v.id() == vdev) {
            return Err(AddVdevError::Duplicate { vdev });
        }
        let drain = Drain::new(self.clock.clone());
        let shards = self.shards.len();
        let space = VdevSpace::new(vdev, size_units, ashift, shards, &self.config, drain);
        let space = Arc::new(space);
        lists.iter_mut().for_each(|list| list.push(Arc::clone(&space)));
        Ok(())
    }

    /// Says that transaction group `txg` is safely on disk: what was freed
    /// in `txg − defer_txgs` or before may be handed out again. When less than
    /// 1/`skip_deferral_divisor` of all space is unallocated, what was freed in
    /// `txg` or before comes back as well (spec 8.5).
    pub fn end_of_txg(&self, txg: Txg) {
        // Releasing takes long: a copy of the list, so that `add_vdev` need not wait.
        let vdevs = self.vdevs().clone();
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
        self.shards.iter().map(Shard::reserved_bytes).sum()
    }

    /// Free bytes of one vdev, `None` when there is no such vdev.
    pub fn vdev_free_bytes(&self, vdev: VdevId) -> Option<u64> {
        self.vdevs().iter().find(|v| v.id() == vdev).map(|v| v.free_bytes())
    }

    /// Bytes [sent](Allocator::sent) to one vdev and not yet done, `None` when there is no such vdev.
    pub fn vdev_sent_bytes(&self, vdev: VdevId) -> Option<u64> {
        self.vdevs().iter().find(|v| v.id() == vdev).map(|v| v.drain().sent_bytes())
    }

    /// Share of a vdev's free space that stands in extents too short for a
    /// block of `block_bytes` (rounded up to a power-of-two number of units), in
    /// thousandths; `None` when there is no such vdev.
    pub fn vdev_fragmentation_permille(&self, vdev: VdevId, block_bytes: u64) -> Option<u32> {
        let vdevs = self.vdevs();
        vdevs.iter().find(|v| v.id() == vdev).map(|v| v.fragmentation_permille(block_bytes))
    }

    /// The vdevs, for those who have no shard.
    fn vdevs(&self) -> RwLockReadGuard<'_, Vec<Arc<VdevSpace>>> {
        self.shards[0].vdevs.read()
    }

    /// The shard of an affinity.
    fn shard(&self, affinity: u32) -> (usize, &Shard) {
        let number = affinity as usize % self.shards.len();
        (number, &self.shards[number])
    }

    /// The lists of all shards; while they are held nobody allocates, frees or claims.
    fn alone(&self) -> SmallVec<[RwLockWriteGuard<'_, Vec<Arc<VdevSpace>>>; 4]> {
        self.shards.iter().map(|shard| shard.vdevs.write()).collect()
    }

    fn sum(&self, of: impl Fn(&VdevSpace) -> u64) -> u64 {
        self.vdevs().iter().map(|v| of(v)).fold(0, u64::saturating_add)
    }

    fn on_vdev<R>(
        &self,
        dva: Dva,
        work: impl FnOnce(&VdevSpace) -> Result<R, SpaceError>,
    ) -> Result<R, SpaceError> {
        // Any shard's list will do; not all the same one.
        let (_, shard) = self.shard((dva.offset_bytes() >> SPREAD_SHIFT) as u32);
        let vdevs = shard.vdevs.read();
        work(vdevs.iter().find(|v| v.id() == dva.vdev()).ok_or(SpaceError::Outside { dva })?)
    }

    /// Places all copies, or none.
    fn place(&self, vdevs: &[Arc<VdevSpace>], want: &Want, rounds: &[Round]) -> Option<Dvas> {
        let sensible = want.size_bytes > 0 && (1..=COPIES_MAX).contains(&want.copies);
        let holds_back = self.config.slop_divisor > 0 && !want.uses_slop;
        if !sensible || vdevs.is_empty() || holds_back && self.check_slop(vdevs, want).is_err() {
            return None;
        }
        rounds.iter().find_map(|&round| self.place_in(vdevs, want, round))
    }

    /// Places all copies in one round, or none.
    fn place_in(&self, vdevs: &[Arc<VdevSpace>], want: &Want, round: Round) -> Option<Dvas> {
        let (number, shard) = self.shard(want.affinity);
        let preferred = want.prefer.and_then(|id| vdevs.iter().position(|v| v.id() == id));
        let start = preferred.unwrap_or_else(|| shard.rotor.at(vdevs.len()));
        let on_turn = preferred.or_else(|| shard.rotor.on_turn(vdevs.len()));
        let crowded = crowded(vdevs.iter().map(|v| &**v), self.config.aliquot_bytes, on_turn);
        let ring = Ring { vdevs, start, crowded, shard: number };
        let mut placed = Dvas::new();
        for _ in 0..want.copies {
            let Some(dva) = ring.place_one(want, round, &placed) else {
                undo(vdevs, &placed);
                return None;
            };
            placed.push(dva);
        }
        if preferred.is_none() {
            self.charge(shard, vdevs, placed.first().copied());
        }
        Some(placed)
    }

    fn charge(&self, shard: &Shard, vdevs: &[Arc<VdevSpace>], leader: Option<Dva>) {
        let Some(dva) = leader else { return };
        let Some(index) = vdevs.iter().position(|v| v.id() == dva.vdev()) else { return };
        shard.rotor.charge(index, vdevs.len(), dva.asize_bytes(), || {
            let free = vdevs[index].free_bytes();
            quota_bytes(self.config.aliquot_bytes, free, free_bytes(vdevs), vdevs.len())
        });
    }

    /// Would what is held back be left alone?
    fn check_slop(&self, vdevs: &[Arc<VdevSpace>], want: &Want) -> Result<(), NoSpace> {
        let all_bytes = vdevs.iter().map(|v| v.size_bytes()).fold(0, u64::saturating_add);
        let slop = match want.uses_slop {
            true => 0,
            false => slop_bytes(all_bytes, self.config.slop_divisor),
        };
        let needed = want.size_bytes.saturating_mul(want.copies.into()).saturating_add(slop);
        if free_bytes(vdevs) >= needed { Ok(()) } else { Err(no_space(vdevs, want)) }
    }
}

fn free_bytes(vdevs: &[Arc<VdevSpace>]) -> u64 {
    vdevs.iter().map(|v| v.free_bytes()).fold(0, u64::saturating_add)
}

fn longest_bytes(vdevs: &[Arc<VdevSpace>]) -> u64 {
    vdevs.iter().map(|v| v.longest_bytes()).max().unwrap_or(0)
}

fn no_space(vdevs: &[Arc<VdevSpace>], want: &Want) -> NoSpace {
    NoSpace {
        size_bytes: want.size_bytes,
        copies: want.copies,
        free_bytes: free_bytes(vdevs),
        largest_bytes: longest_bytes(vdevs),
    }
}

/// The vdevs in the order in which one wish tries them.
struct Ring<'a> {
    vdevs: &'a [Arc<VdevSpace>],
    start: usize,
    crowded: Crowded,
    shard: usize,
}

impl Ring<'_> {
    /// One more copy: on the next vdev of the ring that has room and no copy yet, those with
    /// enough to do after all others; else beside the copies on a vdev that has some.
    fn place_one(&self, want: &Want, round: Round, placed: &[Dva]) -> Option<Dva> {
        let is_used = |index: usize| placed.iter().any(|d| d.vdev() == self.vdevs[index].id());
        let ring = || (self.start..self.vdevs.len()).chain(0..self.start);
        let idle = ring().filter(|&index| !self.crowded[index]);
        let busy = ring().filter(|&index| self.crowded[index]);
        let fresh = idle
            .chain(busy)
            .filter(|&index| !is_used(index))
            .find_map(|index| self.allocate(index, want, round, &[]));
        fresh.or_else(|| {
            ring().filter(|&index| is_used(index)).find_map(|index| {
                let id = self.vdevs[index].id();
                let others: SmallVec<[Dva; 3]> = match round {
                    Round::Apart => placed.iter().copied().filter(|d| d.vdev() == id).collect(),
                    Round::Anywhere | Round::Packed => SmallVec::new(),
                };
                self.allocate(index, want, round, &others)
            })
        })
    }

    fn allocate(&self, index: usize, want: &Want, round: Round, others: &[Dva]) -> Option<Dva> {
        let vdev = &self.vdevs[index];
        match round {
            _ if !others.is_empty() => vdev.allocate_apart(want.size_bytes, want.txg, others),
            Round::Packed => vdev.allocate_packed(want.size_bytes, want.txg, self.shard),
            Round::Apart | Round::Anywhere => vdev.allocate(want.size_bytes, want.txg, self.shard),
        }
    }
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
        {
            let vdevs = self.shard(want.affinity).1.vdevs.read();
            if let Some(dvas) = self.place(&vdevs, want, &Round::QUICK) {
                return Ok(dvas);
            }
        }
        // Others may have held for a moment what they gave back: before it says no it looks
        // once more, alone.
        let lists = self.alone();
        self.place(&lists[0], want, &Round::ALL).ok_or_else(|| no_space(&lists[0], want))
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
        self.reserve_from(Share::Client, 0, bytes)
    }

    fn reserve_from(&self, share: Share, affinity: u32, bytes: u64) -> Option<Slots> {
        let (_, shard) = self.shard(affinity);
        let bytes_max = self.config.reserve_bytes_max.unwrap_or_else(|| {
            let vdevs = shard.vdevs.read().len().max(1) as u64;
            self.config.aliquot_bytes.saturating_mul(4).saturating_mul(vdevs)
        });
        let of_shard = bytes_max.min(RESERVE_BYTES_MAX) / self.shards.len() as u64;
        shard.reserve(share, of_shard, bytes.min(RESERVE_BYTES_MAX))
    }

    fn shards(&self) -> usize {
        self.shards.len()
    }

    fn sent(&self, vdev: VdevId, bytes: u64) -> Option<Slots> {
        let vdevs = self.shard(vdev.0).1.vdevs.read();
        // With one there is no choice.
        let vdev = vdevs.iter().find(|v| v.id() == vdev).filter(|_| vdevs.len() > 1)?;
        vdev.drain().sent(bytes)
    }

    fn admit(&self, want: &Want) -> Result<(), NoSpace> {
        self.check_slop(&self.shard(want.affinity).1.vdevs.read(), want)
    }

    fn largest_bytes(&self) -> u64 {
        longest_bytes(&self.vdevs())
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
        for vdev in self.vdevs().iter() {
            map.entry(&vdev.id(), &format_args!("{}/{}", vdev.free_bytes(), vdev.size_bytes()));
        }
        map.finish()
    }
}
