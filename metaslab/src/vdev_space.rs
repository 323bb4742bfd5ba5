//! One device: its regions, and the way between DVAs and units.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use smallvec::SmallVec;
use zio_core::{Dva, SpaceClass, SpaceError, Txg, VdevId, Want};

use crate::borders::runs_at_borders;
use crate::changes::Changes;
use crate::config::{Config, ExtentsConfig};
use crate::drain::Drain;
use crate::extent::{Extent, ExtentError};
use crate::extents::{Deferral, Extents, permille};
use crate::free_space::place_within;
use crate::region::{Locked, Region};
use crate::runs::Run;
use crate::spacemap::SpaceMap;
use crate::windows::windows_between;

/// Copies of one block on one vdev are kept 1/8 of it apart (spec 3.8).
const APART_SHIFT: u32 = 3;

/// Extents released in one hold of a lock: some ten microseconds.
const RELEASE_MAX: usize = 64;

/// Regions of one vdev: a bit each in a word. ZFS has about 200.
const REGIONS_MAX: u64 = 64;

/// Which of a vdev's regions an extent may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but the one that is set apart for logs.
    Open,
    /// That one. Not every vdev has it.
    OfLogs,
    /// Any.
    Whole,
}

/// What a vdev is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) id: VdevId,
    pub(crate) class: SpaceClass,
    /// Not 0.
    pub(crate) size_units: u64,
    pub(crate) ashift: u32,
}

/// A vdev's space, in regions with a lock each, held for one operation of the core at a time.
///
/// Each shard allocates from a region of its own, its *active* one, and turns to another
/// one only for what does not fit there.
#[derive(Debug)]
pub(crate) struct VdevSpace {
    id: VdevId,
    class: SpaceClass,
    ashift: u32,
    size_units: u64,
    /// The units open to all; behind them comes the region of the logs, if there is one.
    open_units: u64,
    /// Units of every region but the last, as a power of two.
    region_shift: u32,
    regions: Box<[Region]>,
    /// Number of the active region, by shard.
    active: Box<[AtomicUsize]>,
    /// A region without an extent of this length is used up.
    usual_units: u64,
    drain: Arc<Drain>,
}

impl VdevSpace {
    pub(crate) fn new(shape: Shape, shards: usize, config: &Config, drain: Arc<Drain>) -> Self {
        let Shape { id, class, size_units, ashift } = shape;
        let core = ExtentsConfig {
            defer_txgs: config.defer_txgs,
            keeps_changes: config.keeps_changes,
            ..ExtentsConfig::for_ashift(ashift)
        };
        let region_units = size_units
            .div_ceil(REGIONS_MAX)
            .max(config.region_bytes_min >> ashift)
            .checked_next_power_of_two();
        let region_shift = region_units.map_or(u64::BITS - 1, u64::ilog2);
        // What is left over belongs to the last one.
        let count = (size_units >> region_shift).max(1);
        let region = |number: u64| {
            let end = if number + 1 == count { size_units } else { (number + 1) << region_shift };
            Region::new(Run { start: number << region_shift, end }, core)
        };
        let regions: Box<[Region]> = (0..count).map(region).collect();
        let for_logs = sets_apart_for_logs(class, regions.len(), config.log_regions_min);
        let open = regions.len() - usize::from(for_logs);
        let first = |shard: usize| AtomicUsize::new(shard % open);
        Self {
            id,
            class,
            ashift,
            size_units,
            open_units: if for_logs { (open as u64) << region_shift } else { size_units },
            region_shift,
            active: (0..shards).map(first).collect(),
            regions,
            usual_units: core.best_fit_longest_units,
            drain,
        }
    }

    pub(crate) const fn id(&self) -> VdevId {
        self.id
    }

    pub(crate) const fn class(&self) -> SpaceClass {
        self.class
    }

    /// Smallest extent.
    pub(crate) const fn unit_bytes(&self) -> u64 {
        1 << self.ashift
    }

    pub(crate) const fn drain(&self) -> &Arc<Drain> {
        &self.drain
    }

    pub(crate) const fn size_units(&self) -> u64 {
        self.size_units
    }

    pub(crate) const fn size_bytes(&self) -> u64 {
        self.size_units << self.ashift
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        self.free_bytes_in(Part::Whole)
    }

    pub(crate) fn free_bytes_in(&self, part: Part) -> u64 {
        self.regions_in(part).iter().map(Region::free_units).sum::<u64>() << self.ashift
    }

    pub(crate) fn deferred_bytes(&self) -> u64 {
        self.sum(Extents::deferred_units) << self.ashift
    }

    /// The longest extent that one DVA can name.
    pub(crate) fn longest_bytes_in(&self, part: Part) -> u64 {
        let units = self.units_in(part);
        let within = self.regions_in(part).iter().map(Region::longest_units).max();
        let across = self.runs_at_borders().filter_map(|run| run.meet(units)).map(Run::len).max();
        let units_max = Dva::ASIZE_BYTES_MAX >> self.ashift;
        within.max(across).unwrap_or(0).min(units_max) << self.ashift
    }

    /// Of the part that is open to all.
    pub(crate) fn fragmentation_permille(&self, block_bytes: u64) -> u32 {
        let (below, free) = self.free_units_below(block_bytes);
        permille(below, free)
    }

    /// The same as bytes: of extents that are too short, and of all.
    pub(crate) fn free_bytes_below(&self, block_bytes: u64) -> (u64, u64) {
        let (below, free) = self.free_units_below(block_bytes);
        (below << self.ashift, free << self.ashift)
    }

    fn free_units_below(&self, block_bytes: u64) -> (u64, u64) {
        let k = self.units_of(block_bytes).checked_next_power_of_two();
        let k = k.map_or(u64::BITS, u64::ilog2);
        let mut sum = (0, 0);
        for region in self.regions_in(Part::Open) {
            let extents = region.lock();
            sum = (sum.0 + extents.free_units_below(k), sum.1 + extents.free_units());
        }
        sum
    }

    /// An extent for `want`, rounded up to whole units.
    pub(crate) fn allocate(&self, want: &Want, part: Part, shard: usize) -> Option<Dva> {
        let units = self.units_of_one(want.size_bytes)?;
        self.allocate_in_shard(units, want.txg, part, shard)
            .or_else(|| self.allocate_across(&[self.units_in(part)], units, want.txg))
            .map(|offset| self.dva(offset, units))
    }

    /// The same from the front of a free extent, also where that began in another region.
    pub(crate) fn allocate_packed(&self, want: &Want, part: Part, shard: usize) -> Option<Dva> {
        let units = self.units_of_one(want.size_bytes)?;
        self.allocate_across(&[self.units_in(part)], units, want.txg)
            .or_else(|| self.allocate_in_shard(units, want.txg, part, shard))
            .map(|offset| self.dva(offset, units))
    }

    /// The same an eighth of the vdev away from each of the other copies here.
    pub(crate) fn allocate_apart(&self, want: &Want, part: Part, others: &[Dva]) -> Option<Dva> {
        let (units, txg) = (self.units_of_one(want.size_bytes)?, want.txg);
        let others: SmallVec<[Extent; 3]> = others.iter().map(|&dva| self.extent_of(dva)).collect();
        let gap_units = self.size_units.div_ceil(1 << APART_SHIFT);
        let windows: SmallVec<[Run; 4]> = windows_between(self.size_units, &others, gap_units)
            .into_iter()
            .filter_map(|window| window.meet(self.units_in(part)))
            .collect();
        let within = windows.iter().find_map(|&window| self.allocate_within(window, units, txg));
        within
            .or_else(|| self.allocate_across(&windows, units, txg))
            .map(|offset| self.dva(offset, units))
    }

    /// From the shard's active region, else from the best of the others. That becomes the
    /// active one when the old one is used up: while only large blocks do not fit there, small
    /// ones had better stay.
    fn allocate_in_shard(&self, units: u64, txg: Txg, part: Part, shard: usize) -> Option<u64> {
        if part == Part::OfLogs {
            return self.regions_in(part).iter().find_map(|region| region.allocate(units, txg));
        }
        let active = &self.active[shard];
        let at = active.load(Ordering::Relaxed);
        if let Some(offset) = self.regions[at].allocate(units, txg) {
            return Some(offset);
        }
        let mut tried = 1_u64 << at;
        while let Some(next) = self.best_region(units, tried, shard) {
            if let Some(offset) = self.regions[next].allocate(units, txg) {
                if self.regions[at].longest_units() < self.usual_units {
                    active.store(next, Ordering::Relaxed);
                }
                return Some(offset);
            }
            // It had room when it was last seen.
            tried |= 1 << next;
        }
        match part {
            Part::Whole => self.allocate_in_shard(units, txg, Part::OfLogs, shard),
            Part::Open | Part::OfLogs => None,
        }
    }

    /// Of the open regions that seem to have room and are not in `tried` one that no other shard is
    /// at; of those the one with the longest extents, then the most free space, then the first.
    fn best_region(&self, units: u64, tried: u64, shard: usize) -> Option<usize> {
        let taken = self.active.iter().enumerate().filter(|(other, _)| *other != shard);
        let taken = taken.fold(0_u64, |set, (_, at)| set | 1 << at.load(Ordering::Relaxed));
        let weight = |(number, region): (usize, &Region)| {
            let longest = region.longest_units();
            let fits = longest >= units && tried & (1 << number) == 0;
            let is_taken = taken & (1 << number) != 0;
            fits.then(|| (!is_taken, longest.ilog2(), region.free_units(), usize::MAX - number))
        };
        let best = self.regions_in(Part::Open).iter().enumerate().filter_map(weight).max()?;
        Some(usize::MAX - best.3)
    }

    fn allocate_within(&self, window: Run, units: u64, txg: Txg) -> Option<u64> {
        let mut regions = self.regions_of(window).iter();
        regions.find_map(|region| region.allocate_within(window, units, txg))
    }

    /// An extent over a border, which no region has alone.
    fn allocate_across(&self, windows: &[Run], units: u64, txg: Txg) -> Option<u64> {
        let has_room =
            |run: Run| windows.iter().any(|&window| place_within(run, window, units).is_some());
        if !self.runs_at_borders().any(has_room) {
            return None;
        }
        let mut locked: SmallVec<[Locked<'_>; 1]> = self.regions.iter().map(Region::lock).collect();
        // Nobody can change what is seen now.
        let part = self
            .runs_at_borders_of(&locked)
            .find_map(|run| windows.iter().find_map(|&window| place_within(run, window, units)))?;
        for (region, extents) in self.regions.iter().zip(&mut locked) {
            let own = region.own_extent(part);
            let taken = own.size_units == 0 || extents.allocate_at(own, txg).is_ok();
            debug_assert!(taken, "{own} of a free run is not free");
        }
        Some(part.start)
    }

    fn runs_at_borders(&self) -> impl Iterator<Item = Run> + '_ {
        runs_at_borders(self.regions.iter().map(Region::edges))
    }

    fn runs_at_borders_of(&self, locked: &[Locked<'_>]) -> impl Iterator<Item = Run> {
        let edges: Vec<_> = self.regions.iter().zip(locked).map(|(r, l)| r.edges_of(l)).collect();
        runs_at_borders(edges.into_iter())
    }

    pub(crate) fn free(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        let extent = self.checked(dva, SpaceError::NotAllocated { dva })?;
        let free = |extents: &mut Extents, part| extents.free(part, txg);
        self.change(extent, |extents, part| extents.allocated(part).map(drop), free)
            .map_err(|error| space_error(dva, error))
    }

    pub(crate) fn unallocate(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        let extent = self.checked(dva, SpaceError::NotAllocated { dva })?;
        let unallocate = |extents: &mut Extents, part| extents.unallocate(part, txg);
        self.change(extent, |extents, part| extents.takes_back(part, txg).map(drop), unallocate)
            .map_err(|error| space_error(dva, error))
    }

    /// Takes back what [`Self::allocate`] just returned and nobody else knows of.
    pub(crate) fn retract(&self, dva: Dva) {
        let retracted = self.change(self.extent_of(dva), |_, _| Ok(()), Extents::retract);
        debug_assert_eq!(retracted, Ok(()));
    }

    pub(crate) fn claim(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        let extent = self.checked(dva, SpaceError::NotFree { dva })?;
        let claim = |extents: &mut Extents, part| extents.claim(part, txg);
        self.change(extent, Extents::check_claim, claim).map_err(|error| space_error(dva, error))
    }

    pub(crate) fn check_claim(&self, dva: Dva) -> Result<(), SpaceError> {
        let extent = self.checked(dva, SpaceError::NotFree { dva })?;
        self.change(extent, Extents::check_claim, |extents, part| extents.check_claim(part))
            .map_err(|error| space_error(dva, error))
    }

    /// Marks as allocated what a map says is, on a vdev that is all free.
    pub(crate) fn load(&self, map: &SpaceMap) {
        for extent in map.allocated() {
            let marked = self.change(extent, Extents::check_claim, Extents::mark);
            debug_assert_eq!(marked, Ok(()), "extents of a map do not overlap");
        }
    }

    /// What the transaction groups up to `txg` have changed, oldest first.
    pub(crate) fn take_changes(&self, txg: Txg) -> Vec<Changes> {
        let mut all: BTreeMap<Txg, Changes> = BTreeMap::new();
        for region in &self.regions {
            let of_region = region.lock().take_changes(txg);
            for changes in of_region {
                let txg = changes.txg;
                let of_txg =
                    all.entry(txg).or_insert_with(|| Changes { txg, ..Changes::default() });
                of_txg.extend(&changes, region.start());
            }
        }
        all.into_values().collect()
    }

    /// Ends a transaction group. The locks are let go between small portions.
    pub(crate) fn end_of_txg(&self, txg: Txg, deferral: Deferral) {
        for region in &self.regions {
            region.lock().ripen(txg, deferral);
            while region.lock().release_some(RELEASE_MAX) {}
        }
    }

    /// Does something to an extent: to its part in each region it touches, or, where the check
    /// of one of them fails, to none. In one region alone `act` checks for itself.
    fn change(
        &self,
        extent: Extent,
        check: impl Fn(&Extents, Extent) -> Result<(), ExtentError>,
        act: impl Fn(&mut Extents, Extent) -> Result<(), ExtentError>,
    ) -> Result<(), ExtentError> {
        let units =
            Run { start: extent.offset_units, end: extent.offset_units + extent.size_units };
        let regions = self.regions_of(units);
        // In order, as everybody does who takes more than one.
        let mut locked: SmallVec<[Locked<'_>; 1]> = regions.iter().map(Region::lock).collect();
        if regions.len() > 1 {
            for (region, extents) in regions.iter().zip(&locked) {
                check(extents, region.own_extent(units))?;
            }
        }
        for (region, extents) in regions.iter().zip(&mut locked) {
            act(extents, region.own_extent(units))?;
        }
        Ok(())
    }

    /// The regions that hold any of these units, which lie inside the vdev.
    fn regions_of(&self, units: Run) -> &[Region] {
        let last = self.regions.len() - 1;
        let number = |unit: u64| ((unit >> self.region_shift) as usize).min(last);
        &self.regions[number(units.start)..=number(units.end.saturating_sub(1).max(units.start))]
    }

    fn sum(&self, of: impl Fn(&Extents) -> u64) -> u64 {
        self.regions.iter().map(|region| of(&region.lock())).sum()
    }

    fn regions_in(&self, part: Part) -> &[Region] {
        let open = match self.open_units == self.size_units {
            true => self.regions.len(),
            false => self.regions.len() - 1,
        };
        match part {
            Part::Open => &self.regions[..open],
            Part::OfLogs => &self.regions[open..],
            Part::Whole => &self.regions,
        }
    }

    const fn units_in(&self, part: Part) -> Run {
        match part {
            Part::Open => Run { start: 0, end: self.open_units },
            Part::OfLogs => Run { start: self.open_units, end: self.size_units },
            Part::Whole => Run { start: 0, end: self.size_units },
        }
    }

    const fn dva(&self, offset_units: u64, units: u64) -> Dva {
        Dva::new(self.id, offset_units << self.ashift, units << self.ashift)
    }

    /// Units of an extent for so many bytes, if one DVA can name it.
    fn units_of_one(&self, bytes: u64) -> Option<u64> {
        let units = self.units_of(bytes);
        (units <= Dva::ASIZE_BYTES_MAX >> self.ashift).then_some(units)
    }

    const fn units_of(&self, bytes: u64) -> u64 {
        bytes.div_ceil(1 << self.ashift)
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

/// Is a region of such a vdev set apart for logs? Where there are few it would be too much.
fn sets_apart_for_logs(class: SpaceClass, regions: usize, regions_min: usize) -> bool {
    matches!(class, SpaceClass::Normal | SpaceClass::Special)
        && regions_min > 0
        && regions >= regions_min.max(2)
}

fn space_error(dva: Dva, error: ExtentError) -> SpaceError {
    match error {
        ExtentError::NotFree { .. } => SpaceError::NotFree { dva },
        ExtentError::NotAllocated { .. } => SpaceError::NotAllocated { dva },
        ExtentError::Outside { .. } => SpaceError::Outside { dva },
    }
}
