//! Space of several devices behind the trait [`Allocator`].

use std::fmt;
use std::sync::Arc;

use parking_lot::{RwLockReadGuard, RwLockWriteGuard};
use smallvec::SmallVec;
use thiserror::Error;
use zio_core::{
    Allocator, Dva, Dvas, NoSpace, Share, Slots, SpaceClass, SpaceError, Txg, VdevId, Want,
};

use crate::changes::Changes;
use crate::config::{Config, shards_for};
use crate::drain::{Clock, Drain};
use crate::extents::{Deferral, permille};
use crate::placing::{Placing, Round};
use crate::shard::Shard;
use crate::spacemap::SpaceMap;
use crate::vdev_space::{Part, Shape, VdevSpace};
use crate::vdevs::{Group, Vdevs, free_bytes_in, size_bytes};

/// Smallest and largest unit, as powers of two (spec 2.4).
const ASHIFT_MIN: u32 = 9;
const ASHIFT_MAX: u32 = 16;

/// A vdev's number has 24 bits in a DVA.
const VDEV_ID_MAX: u32 = (1 << 24) - 1;

/// Shards there can be: more only cost memory.
const SHARDS_MAX: usize = 64;

/// Neighbours up to 2^this bytes use the same shard's list of vdevs.
const SPREAD_SHIFT: u32 = 20;

/// Bound of one reservation and of all of one account, so that their sum stays in a `u64`.
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

/// A vdev that [`Metaslabs::load_vdev`] did not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LoadVdevError {
    /// It could not be added without a map either.
    #[error(transparent)]
    Add(#[from] AddVdevError),
    /// The map is of a device of another size.
    #[error("{vdev} has {vdev_units} units, its space map is of {map_units}")]
    Size {
        /// The number of the vdev.
        vdev: VdevId,
        /// Its units.
        vdev_units: u64,
        /// Those of the map's device.
        map_units: u64,
    },
}

/// Space of the vdevs of one [class](Metaslabs::class_space).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassSpace {
    /// How many there are.
    pub vdevs: usize,
    /// Bytes in all.
    pub size_bytes: u64,
    /// Bytes neither allocated nor deferred.
    pub free_bytes: u64,
    /// Those of them in regions that are set apart for logs.
    pub free_of_logs_bytes: u64,
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

    /// Adds a vdev for ordinary blocks, all of it free. Its offsets count from the begin of its
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
        self.add_vdev_for(SpaceClass::Normal, vdev, data_size_bytes, ashift)
    }

    /// Adds a vdev for the blocks of one class. What has no room on the vdevs of its class goes to
    /// others by the class's [order](SpaceClass::order); but for the ordinary ones, no vdev takes
    /// what is not for it.
    ///
    /// # Errors
    /// [`AddVdevError`]; then nothing is changed.
    pub fn add_vdev_for(
        &self,
        class: SpaceClass,
        vdev: VdevId,
        data_size_bytes: u64,
        ashift: u32,
    ) -> Result<(), AddVdevError> {
        self.add(class, vdev, data_size_bytes, ashift, |_| Ok(()))
    }

    /// Adds a vdev with what its [space map](crate::spacemap) says is allocated, as after a restart.
    /// What is not is free, whenever it was freed: see [`Extents::load`](crate::Extents::load).
    ///
    /// # Errors
    /// [`LoadVdevError`]; then nothing is changed. A map that is damaged is refused when
    /// [it is loaded](crate::spacemap::SpaceMap::load).
    pub fn load_vdev(
        &self,
        class: SpaceClass,
        vdev: VdevId,
        data_size_bytes: u64,
        ashift: u32,
        map: &SpaceMap,
    ) -> Result<(), LoadVdevError> {
        self.add(class, vdev, data_size_bytes, ashift, |space| {
            let (vdev_units, map_units) = (space.size_units(), map.device_units());
            if vdev_units != map_units {
                return Err(LoadVdevError::Size { vdev, vdev_units, map_units });
            }
            space.load(map);
            Ok(())
        })
    }

    /// Adds a vdev once `prepare` has done its part.
    fn add<E: From<AddVdevError>>(
        &self,
        class: SpaceClass,
        vdev: VdevId,
        data_size_bytes: u64,
        ashift: u32,
        prepare: impl FnOnce(&VdevSpace) -> Result<(), E>,
    ) -> Result<(), E> {
        let invalid = |error: AddVdevError| Err(error.into());
        if vdev.0 > VDEV_ID_MAX {
            return invalid(AddVdevError::IdTooLarge { vdev });
        }
        if !(ASHIFT_MIN..=ASHIFT_MAX).contains(&ashift) {
            return invalid(AddVdevError::Ashift { vdev, ashift });
        }
        let size_units = data_size_bytes >> ashift;
        if size_units == 0 {
            return invalid(AddVdevError::TooSmall { vdev, data_size_bytes, ashift });
        }
        let drain = Drain::new(self.clock.clone());
        let shape = Shape { id: vdev, class, size_units, ashift };
        let space = Arc::new(VdevSpace::new(shape, self.shards.len(), &self.config, drain));
        // Takes long; nobody has to wait for it.
        prepare(&space)?;
        let mut lists = self.alone();
        if lists[0].find(vdev).is_some() {
            return invalid(AddVdevError::Duplicate { vdev });
        }
        lists.iter_mut().for_each(|list| list.add(Arc::clone(&space)));
        Ok(())
    }

    /// Says that transaction group `txg` is safely on disk: what was freed
    /// in `txg − defer_txgs` or before may be handed out again. When less than
    /// 1/`skip_deferral_divisor` of a class's space is unallocated, what was freed there in
    /// `txg` or before comes back as well (spec 8.5).
    pub fn end_of_txg(&self, txg: Txg) {
        for class in SpaceClass::ALL {
            // Releasing takes long: a copy of the list, so that `add_vdev` need not wait.
            let vdevs = self.vdevs().of(class).clone();
            self.end_of_txg_on(&vdevs, txg);
        }
    }

    fn end_of_txg_on(&self, vdevs: &Group, txg: Txg) {
        let size: u128 = vdevs.iter().map(|v| u128::from(v.size_bytes())).sum();
        let unallocated: u128 =
            vdevs.iter().map(|v| u128::from(v.free_bytes()) + u128::from(v.deferred_bytes())).sum();
        let nearly_full =
            unallocated.saturating_mul(u128::from(self.config.skip_deferral_divisor)) < size;
        let skips = self.config.skip_deferral_divisor > 0 && nearly_full;
        let deferral = if skips { Deferral::Skip } else { Deferral::Keep };
        for vdev in vdevs {
            vdev.end_of_txg(txg, deferral);
        }
    }

    /// Takes out what the transaction groups up to `txg` have changed on each vdev since it was last
    /// asked, in units of that vdev, oldest first: to be told to its [space map](crate::spacemap), which
    /// must be on disk before [`end_of_txg`](Self::end_of_txg). Vdevs without changes are left out;
    /// so is everything unless told to [keep changes](Config::keeps_changes).
    ///
    /// ```
    /// use metaslab::spacemap::SpaceMap;
    /// use metaslab::{Config, Metaslabs};
    /// use zio_core::{Allocator, SpaceClass, VdevId, Want};
    ///
    /// let config = Config { keeps_changes: true, ..Config::default() };
    /// let (vdev, size_bytes, ashift) = (VdevId(0), 64 << 20, 12);
    /// let mut map = SpaceMap::new(size_bytes >> ashift, 512);
    /// let space = Metaslabs::new(config);
    /// space.add_vdev(vdev, size_bytes, ashift)?;
    /// let dva = space.allocate(&Want { size_bytes: 8192, copies: 1, txg: 1, ..Want::default() })?[0];
    /// for (_, groups) in space.take_changes(1) {
    ///     for changes in groups {
    ///         map.append(&changes, 1)?;
    ///     }
    /// }
    /// space.end_of_txg(1);
    ///
    /// let after = Metaslabs::new(config);
    /// after.load_vdev(SpaceClass::Normal, vdev, size_bytes, ashift, &map)?;
    /// assert_eq!(after.allocated_bytes(), 8192);
    /// assert!(after.check_claim(dva).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_changes(&self, txg: Txg) -> Vec<(VdevId, Vec<Changes>)> {
        let vdevs = self.vdevs().all().clone();
        let changes = vdevs.iter().map(|vdev| (vdev.id(), vdev.take_changes(txg)));
        changes.filter(|(_, changes)| !changes.is_empty()).collect()
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
        self.shards.iter().map(Shard::reserved_bytes).fold(0, u64::saturating_add)
    }

    /// Free bytes of one vdev, `None` when there is no such vdev.
    pub fn vdev_free_bytes(&self, vdev: VdevId) -> Option<u64> {
        self.vdevs().find(vdev).map(|v| v.free_bytes())
    }

    /// Bytes [sent](Allocator::sent) to one vdev and not yet done, `None` when there is no such vdev.
    pub fn vdev_sent_bytes(&self, vdev: VdevId) -> Option<u64> {
        self.vdevs().find(vdev).map(|v| v.drain().sent_bytes())
    }

    /// Share of a vdev's free space that stands in extents too short for a
    /// block of `block_bytes` (rounded up to a power-of-two number of units), in
    /// thousandths, a region set apart for logs not counted; `None` when there is no such vdev.
    pub fn vdev_fragmentation_permille(&self, vdev: VdevId, block_bytes: u64) -> Option<u32> {
        self.vdevs().find(vdev).map(|v| v.fragmentation_permille(block_bytes))
    }

    /// What a vdev is for, `None` when there is no such vdev.
    pub fn vdev_class(&self, vdev: VdevId) -> Option<SpaceClass> {
        self.vdevs().find(vdev).map(|v| v.class())
    }

    /// Bytes of the vdevs of one class, free and in all.
    pub fn class_space(&self, class: SpaceClass) -> ClassSpace {
        let vdevs = self.vdevs();
        let group = vdevs.of(class);
        ClassSpace {
            vdevs: group.len(),
            size_bytes: size_bytes(group),
            free_bytes: free_bytes_in(group, Part::Whole),
            free_of_logs_bytes: free_bytes_in(group, Part::OfLogs),
        }
    }

    /// What [`vdev_fragmentation_permille`](Self::vdev_fragmentation_permille) says of all vdevs of
    /// a class together; `None` when it has none.
    pub fn class_fragmentation_permille(&self, class: SpaceClass, block_bytes: u64) -> Option<u32> {
        let vdevs = self.vdevs();
        let (mut below, mut free) = (0_u64, 0_u64);
        for vdev in vdevs.of(class) {
            let (vdev_below, vdev_free) = vdev.free_bytes_below(block_bytes);
            below = below.saturating_add(vdev_below);
            free = free.saturating_add(vdev_free);
        }
        (!vdevs.of(class).is_empty()).then(|| permille(below, free))
    }

    /// The vdevs, for those who have no shard.
    fn vdevs(&self) -> RwLockReadGuard<'_, Vdevs> {
        self.shards[0].vdevs.read()
    }

    /// The shard of an affinity.
    fn shard(&self, affinity: u32) -> (usize, &Shard) {
        let number = affinity as usize % self.shards.len();
        (number, &self.shards[number])
    }

    /// The lists of all shards; while they are held nobody allocates, frees or claims.
    fn alone(&self) -> SmallVec<[RwLockWriteGuard<'_, Vdevs>; 4]> {
        self.shards.iter().map(|shard| shard.vdevs.write()).collect()
    }

    fn sum(&self, of: impl Fn(&VdevSpace) -> u64) -> u64 {
        self.vdevs().all().iter().map(|v| of(v)).fold(0, u64::saturating_add)
    }

    fn on_vdev<R>(
        &self,
        dva: Dva,
        work: impl FnOnce(&VdevSpace) -> Result<R, SpaceError>,
    ) -> Result<R, SpaceError> {
        // Any shard's list will do; not all the same one.
        let (_, shard) = self.shard((dva.offset_bytes() >> SPREAD_SHIFT) as u32);
        let vdevs = shard.vdevs.read();
        work(vdevs.find(dva.vdev()).ok_or(SpaceError::Outside { dva })?)
    }

    /// A reservation from the account of a class.
    fn reserve_of(
        &self,
        class: SpaceClass,
        share: Share,
        affinity: u32,
        bytes: u64,
    ) -> Option<Slots> {
        let (_, shard) = self.shard(affinity);
        let (vdevs, all_vdevs) = {
            let vdevs = shard.vdevs.read();
            (vdevs.of(class).len().max(1) as u64, vdevs.all().len().max(1) as u64)
        };
        let bytes_max = match self.config.reserve_bytes_max {
            None => self.config.aliquot_bytes.saturating_mul(4).saturating_mul(vdevs),
            Some(bytes_max) if vdevs == all_vdevs => bytes_max,
            Some(bytes_max) => {
                (u128::from(bytes_max) * u128::from(vdevs) / u128::from(all_vdevs)) as u64
            }
        };
        let of_shard = bytes_max.min(RESERVE_BYTES_MAX) / self.shards.len() as u64;
        shard.reserve(class, share, of_shard, bytes.min(RESERVE_BYTES_MAX))
    }

    fn placing<'a>(&'a self, vdevs: &'a Vdevs, want: &'a Want) -> Placing<'a> {
        let (number, shard) = self.shard(want.affinity);
        Placing { config: &self.config, vdevs, want, shard, number }
    }
}

impl Allocator for Metaslabs {
    /// Copies stand on distinct vdevs while enough of them have room; else
    /// those on one vdev are at least an eighth of it apart; else anywhere without
    /// overlap. Refused with [`NoSpace`] as well: a size of 0, and copies not 1 to 3.
    fn allocate(&self, want: &Want) -> Result<Dvas, NoSpace> {
        {
            let vdevs = self.shard(want.affinity).1.vdevs.read();
            if let Some(dvas) = self.placing(&vdevs, want).place(&Round::QUICK) {
                return Ok(dvas);
            }
        }
        // Others may have held for a moment what they gave back: before it says no it looks
        // once more, alone.
        let lists = self.alone();
        let placed = self.placing(&lists[0], want).place(&Round::ALL);
        placed.ok_or_else(|| lists[0].no_space(want, &self.config))
    }

    /// Of a gang DVA the header is freed, one unit; its members have DVAs of their own.
    fn free(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        self.on_vdev(dva, |vdev| vdev.free(dva, txg))
    }

    fn unallocate(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        self.on_vdev(dva, |vdev| vdev.unallocate(dva, txg))
    }

    fn claim(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        self.on_vdev(dva, |vdev| vdev.claim(dva, txg))
    }

    fn check_claim(&self, dva: Dva) -> Result<(), SpaceError> {
        self.on_vdev(dva, |vdev| vdev.check_claim(dva))
    }

    fn reserve(&self, bytes: u64) -> Option<Slots> {
        self.reserve_from(Share::Client, 0, bytes)
    }

    fn reserve_for(&self, share: Share, want: &Want) -> Option<Slots> {
        let class = self.shard(want.affinity).1.vdevs.read().likely_class(want, &self.config);
        self.reserve_of(class, share, want.affinity, want.all_bytes())
    }

    fn reserve_from(&self, share: Share, affinity: u32, bytes: u64) -> Option<Slots> {
        self.reserve_of(SpaceClass::Normal, share, affinity, bytes)
    }

    fn shards(&self) -> usize {
        self.shards.len()
    }

    fn sent(&self, vdev: VdevId, bytes: u64) -> Option<Slots> {
        let vdevs = self.shard(vdev.0).1.vdevs.read();
        // With one of its class there is no choice.
        let vdev = vdevs.find(vdev).filter(|vdev| vdevs.of(vdev.class()).len() > 1)?;
        vdev.drain().sent(bytes)
    }

    fn admit(&self, want: &Want) -> Result<(), NoSpace> {
        let vdevs = self.shard(want.affinity).1.vdevs.read();
        match vdevs.room_for(want, &self.config) >= want.all_bytes() {
            true => Ok(()),
            false => Err(vdevs.no_space(want, &self.config)),
        }
    }

    fn largest_bytes(&self) -> u64 {
        self.vdevs().longest_bytes(SpaceClass::Normal, &self.config)
    }

    fn free_bytes(&self) -> u64 {
        self.sum(VdevSpace::free_bytes)
    }

    fn free_bytes_for(&self, want: &Want) -> u64 {
        self.shard(want.affinity).1.vdevs.read().room_for(want, &self.config)
    }

    fn allocated_bytes(&self) -> u64 {
        self.sum(|vdev| vdev.size_bytes() - vdev.free_bytes())
    }
}

impl fmt::Debug for Metaslabs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for vdev in self.vdevs().all() {
            map.entry(&vdev.id(), &format_args!("{}/{}", vdev.free_bytes(), vdev.size_bytes()));
        }
        map.finish()
    }
}
