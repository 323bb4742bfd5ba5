//! The pure core: the space of one device, from free to allocated to deferred
//! and back.

use zio_core::Txg;

use crate::changes::{Changes, Journal};
use crate::config::ExtentsConfig;
use crate::epochs::Epochs;
use crate::extent::{Extent, ExtentError};
use crate::free_space::FreeSpace;
use crate::runs::Run;
use crate::spacemap::{Change, SpaceMap};
use crate::windows::windows_between;

/// Is the deferral of the transaction group that ends kept, or skipped
/// because the pool is nearly full (spec 8.5)?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deferral {
    /// What was freed waits its full time.
    #[default]
    Keep,
    /// All that was freed up to the group that just ended comes back now.
    /// Safe against a crash (the group is on disk), but a rollback past it may
    /// find its blocks overwritten.
    Skip,
}

/// The space of one device, in units of `2^ashift` bytes. A state machine: no
/// clock, no lock, no I/O, and every search is bounded.
///
/// Every unit is in exactly one state:
///
/// * *free*: may be handed out by [`allocate`](Self::allocate);
/// * *allocated*: all that is neither free nor deferred;
/// * *deferred*: freed in transaction group `t`, free again at
///   `end_of_txg(t + defer_txgs)`.
///
/// A transaction group that has ended already (0 has, from the start) counts
/// as the one after the last that ended, so a late free is held back longer, never
/// shorter. Groups must be ended: what is remembered of each is given up only then.
///
/// ```
/// use metaslab::{Deferral, Extent, Extents, ExtentsConfig};
///
/// let mut space = Extents::new(1000, ExtentsConfig::for_ashift(12));
/// let at = space.allocate(8, 1).expect("all is free");
/// space.free(Extent::new(at, 8), 1)?;
/// assert_eq!(space.free_units(), 992);          // freed in 1: held back
/// space.end_of_txg(1, Deferral::Keep);
/// space.end_of_txg(2, Deferral::Keep);
/// assert_eq!(space.free_units(), 992);
/// space.end_of_txg(3, Deferral::Keep);
/// assert_eq!(space.longest_units(), 1000);      // free, and one piece again
/// # Ok::<(), metaslab::ExtentError>(())
/// ```
#[derive(Debug)]
pub struct Extents {
    size_units: u64,
    config: ExtentsConfig,
    best_fit_free_units: u64,
    free: FreeSpace,
    /// By the group that allocated; empty when nothing is deferred, since
    /// then taking back is the same as freeing.
    allocating: Epochs,
    /// By the group that freed.
    deferred: Epochs,
    /// What no space map was told of yet, if one is to be.
    journal: Option<Journal>,
    /// Where the last search ended, by the power of two that divides the size.
    cursors: [u64; u64::BITS as usize],
    ended: Txg,
    /// Deferred groups up to this one may be released.
    ripe: Txg,
}

impl Extents {
    /// A device of `size_units`, all free.
    pub fn new(size_units: u64, config: ExtentsConfig) -> Self {
        let mut free = FreeSpace::new();
        if size_units > 0 {
            free.insert(Run { start: 0, end: size_units });
        }
        let best_fit_free_units = u128::from(size_units) * u128::from(config.best_fit_free_percent);
        Self {
            size_units,
            config,
            best_fit_free_units: u64::try_from(best_fit_free_units / 100).unwrap_or(u64::MAX),
            free,
            allocating: Epochs::default(),
            deferred: Epochs::default(),
            journal: config.keeps_changes.then(Journal::default),
            cursors: [0; u64::BITS as usize],
            ended: 0,
            ripe: 0,
        }
    }

    /// The device of a map: what is not allocated there is free, whenever it was freed. That is safe
    /// against another crash, for the group that the map is of is on disk; but blocks that it freed,
    /// which a return to the groups before it would need, are not held back any more.
    pub fn load(map: &SpaceMap, config: ExtentsConfig) -> Self {
        let mut space = Self::new(map.device_units(), config);
        for extent in map.allocated() {
            let marked = space.mark(extent);
            debug_assert_eq!(marked, Ok(()), "extents of a map do not overlap");
        }
        space
    }

    /// Marks units as allocated that always were.
    pub(crate) fn mark(&mut self, extent: Extent) -> Result<(), ExtentError> {
        let (whole, part) = self.claimable(extent)?;
        self.free.cut(whole, part);
        Ok(())
    }

    /// Takes out what the transaction groups up to `txg` have changed since it was last asked, oldest
    /// first: to be told to a space map before they end. Calls that come late for
    /// one of them count when they come. Nothing unless told to
    /// [keep changes](ExtentsConfig::keeps_changes).
    pub fn take_changes(&mut self, txg: Txg) -> Vec<Changes> {
        self.journal.as_mut().map_or_else(Vec::new, |journal| journal.take_to(txg))
    }

    fn record(&mut self, change: Change, run: Run, txg: Txg) {
        let txg = self.open(txg);
        if let Some(journal) = &mut self.journal {
            journal.record(change, run, txg);
        }
    }

    /// Takes `size_units` contiguous free units in transaction group `txg` and
    /// returns the first. `None` when no free extent is that long, or for zero units.
    ///
    /// First fit from a cursor kept per power-of-two alignment of the size,
    /// so that equal sizes stand in a row; best fit when the device is under
    /// pressure or when the first fit has looked at enough extents. The units are
    /// taken from the front of a free extent.
    pub fn allocate(&mut self, size_units: u64, txg: Txg) -> Option<u64> {
        let longest = self.free.longest();
        if size_units == 0 || size_units > longest {
            return None;
        }
        let cursor = self.cursors[size_units.trailing_zeros() as usize];
        let pressed = longest < self.config.best_fit_longest_units
            || self.free.units() < self.best_fit_free_units;
        let first = if pressed {
            None
        } else {
            self.free.first_fit(cursor, size_units, self.config.looks_max)
        };
        let whole = first.or_else(|| self.free.best_fit(size_units))?;
        let part = Run { start: whole.start, end: whole.start + size_units };
        self.take(whole, part, txg);
        Some(part.start)
    }

    /// The same, with at least `gap_units` between the result and each of
    /// `others` (spec 3.8: copies of one block on one device).
    ///
    /// Looks behind the last of `others` first, then elsewhere; looks at
    /// `looks_max` free extents in each window between them and at the `looks_max`
    /// longest ones, so on a badly fragmented device it may say `None` although
    /// a place exists.
    pub fn allocate_apart(
        &mut self,
        size_units: u64,
        txg: Txg,
        others: &[Extent],
        gap_units: u64,
    ) -> Option<u64> {
        let windows = windows_between(self.size_units, others, gap_units);
        self.allocate_within(&windows, size_units, txg)
    }

    /// The same inside these windows, the first of which is the dearest.
    pub(crate) fn allocate_within(
        &mut self,
        windows: &[Run],
        size_units: u64,
        txg: Txg,
    ) -> Option<u64> {
        if size_units == 0 {
            return None;
        }
        let looks_max = self.config.looks_max;
        let (whole, part) = windows
            .iter()
            .find_map(|&w| self.free.first_fit_within(w, size_units, looks_max))
            .or_else(|| self.free.longest_fit_within(windows, size_units, looks_max))?;
        self.take(whole, part, txg);
        Some(part.start)
    }

    /// Takes these very units, as [`allocate`](Self::allocate) does with those it finds.
    pub(crate) fn allocate_at(&mut self, extent: Extent, txg: Txg) -> Result<(), ExtentError> {
        let (whole, part) = self.claimable(extent)?;
        self.take(whole, part, txg);
        Ok(())
    }

    /// Gives units back in `txg`. They are deferred, or free at once when
    /// `defer_txgs` is 0.
    ///
    /// # Errors
    /// [`ExtentError::Outside`]; [`ExtentError::NotAllocated`] when any unit
    /// is free or deferred already, or there are none. Then nothing is changed:
    /// the extent leaks rather than being used twice.
    pub fn free(&mut self, extent: Extent, txg: Txg) -> Result<(), ExtentError> {
        if self.config.defer_txgs == 0 {
            let run = self.put_back(extent)?;
            self.record(Change::Free, run, txg);
            return Ok(());
        }
        let run = self.allocated(extent)?;
        self.record(Change::Free, run, txg);
        self.allocating.subtract(run);
        let txg = self.open(txg);
        // Cannot meet itself: no unit of it is deferred.
        self.deferred.of(txg).insert(run);
        Ok(())
    }

    /// Takes back an allocation that nobody was told of, so that its group
    /// does not matter: it may have ended meanwhile.
    pub(crate) fn retract(&mut self, extent: Extent) -> Result<(), ExtentError> {
        let run = self.put_back(extent)?;
        let open = self.open(0);
        if let Some(journal) = &mut self.journal {
            journal.retract(run, open);
        }
        Ok(())
    }

    /// Makes allocated units free at once.
    fn put_back(&mut self, extent: Extent) -> Result<Run, ExtentError> {
        let run = self.run_of(extent, ExtentError::NotAllocated { extent })?;
        if self.deferred.overlaps(run) || !self.free.insert(run) {
            return Err(ExtentError::NotAllocated { extent });
        }
        self.allocating.subtract(run);
        Ok(run)
    }

    /// Takes back an allocation of this same `txg`; its units are free at
    /// once. With `defer_txgs` 0 this is [`free`](Self::free), and `txg` is not looked at.
    ///
    /// # Errors
    /// [`ExtentError::Outside`]; [`ExtentError::NotAllocated`] when any unit
    /// was not allocated in `txg`, was claimed, was freed since, or `txg` has ended. Then
    /// nothing is changed.
    pub fn unallocate(&mut self, extent: Extent, txg: Txg) -> Result<(), ExtentError> {
        let run = self.takes_back(extent, txg)?;
        if self.config.defer_txgs == 0 {
            return self.free(extent, txg);
        }
        self.record(Change::Free, run, txg);
        self.allocating.take_from(self.open(txg), run);
        self.release(run);
        Ok(())
    }

    /// Could [`unallocate`](Self::unallocate) succeed?
    pub(crate) fn takes_back(&self, extent: Extent, txg: Txg) -> Result<Run, ExtentError> {
        if self.config.defer_txgs == 0 {
            return self.allocated(extent);
        }
        let run = self.run_of(extent, ExtentError::NotAllocated { extent })?;
        let known = self.allocating.holds(self.open(txg), run);
        known.then_some(run).ok_or(ExtentError::NotAllocated { extent })
    }

    /// Marks units as allocated in `txg`, as found in a log after a crash (spec 8.1). They
    /// cannot be taken back by [`unallocate`](Self::unallocate): something is written there.
    ///
    /// # Errors
    /// What [`check_claim`](Self::check_claim) says. Then nothing is changed.
    pub fn claim(&mut self, extent: Extent, txg: Txg) -> Result<(), ExtentError> {
        let (whole, part) = self.claimable(extent)?;
        self.free.cut(whole, part);
        self.record(Change::Allocate, part, txg);
        Ok(())
    }

    /// Could [`claim`](Self::claim) succeed?
    ///
    /// # Errors
    /// [`ExtentError::Outside`]; [`ExtentError::NotFree`] when any unit is
    /// not free, or there are none.
    pub fn check_claim(&self, extent: Extent) -> Result<(), ExtentError> {
        self.claimable(extent).map(|_| ())
    }

    /// Are all units free? False for no units and for units outside the device.
    pub fn is_free(&self, extent: Extent) -> bool {
        self.claimable(extent).is_ok()
    }

    /// Are all units allocated? False for no units and for units outside the device.
    pub fn is_allocated(&self, extent: Extent) -> bool {
        self.allocated(extent).is_ok()
    }

    /// Says that transaction group `txg` is safely on disk, and frees what
    /// was freed in `txg − defer_txgs` or before (with [`Deferral::Skip`]: in `txg` or
    /// before). Takes time in proportion to what is freed; under a lock,
    /// prefer [`ripen`](Self::ripen) and [`release_some`](Self::release_some).
    pub fn end_of_txg(&mut self, txg: Txg, deferral: Deferral) {
        self.ripen(txg, deferral);
        while self.release_some(usize::MAX) {}
    }

    /// The first half of [`end_of_txg`](Self::end_of_txg): settles what may be freed, and frees nothing.
    pub fn ripen(&mut self, txg: Txg, deferral: Deferral) {
        // The last number stays open, so that what is freed after the end of
        // time is held back for ever.
        let txg = txg.min(Txg::MAX - 1);
        self.ended = self.ended.max(txg);
        self.allocating.forget_to(txg);
        let ripe = match deferral {
            Deferral::Keep => txg.checked_sub(self.config.defer_txgs),
            Deferral::Skip => Some(txg),
        };
        self.ripe = self.ripe.max(ripe.unwrap_or(0));
    }

    /// The second half: frees up to `extents_max` of the extents that are
    /// ripe. True while there may be more.
    pub fn release_some(&mut self, extents_max: usize) -> bool {
        for _ in 0..extents_max {
            let Some(run) = self.deferred.pop_to(self.ripe) else { return false };
            self.release(run);
        }
        true
    }

    /// Units of the device.
    pub const fn size_units(&self) -> u64 {
        self.size_units
    }

    /// Units that may be handed out now.
    pub const fn free_units(&self) -> u64 {
        self.free.units()
    }

    /// Units freed and held back.
    pub fn deferred_units(&self) -> u64 {
        self.deferred.units()
    }

    /// Length of the longest free extent, 0 when there is none.
    pub fn longest_units(&self) -> u64 {
        self.free.longest()
    }

    /// Free units from the begin on.
    pub(crate) fn head_units(&self) -> u64 {
        self.free.lowest().filter(|run| run.start == 0).map_or(0, Run::len)
    }

    /// Free units up to the end.
    pub(crate) fn tail_units(&self) -> u64 {
        self.free.highest().filter(|run| run.end == self.size_units).map_or(0, Run::len)
    }

    /// Free units in extents shorter than `2^k` units.
    pub(crate) fn free_units_below(&self, k: u32) -> u64 {
        self.free.units_below(k)
    }

    /// Share of the free units that stand in extents shorter than `2^k`
    /// units, in thousandths: what a block of that size could use only as a gang. 0 when
    /// nothing is free.
    ///
    /// Free extents of 1, 3 and 12 units: for k = 2 it is 4 of 16, so 250.
    pub fn fragmentation_permille(&self, k: u32) -> u32 {
        permille(self.free.units_below(k), self.free.units())
    }

    fn take(&mut self, whole: Run, part: Run, txg: Txg) {
        self.free.cut(whole, part);
        self.cursors[part.len().trailing_zeros() as usize] = part.end;
        self.record(Change::Allocate, part, txg);
        if self.config.defer_txgs > 0 {
            let txg = self.open(txg);
            self.allocating.of(txg).insert(part);
        }
    }

    /// Makes units free that are known not to be.
    fn release(&mut self, run: Run) {
        let inserted = self.free.insert(run);
        debug_assert!(inserted, "units that were allocated or deferred were free as well");
    }

    /// A group that has not ended: `txg`, or the first after the last that has.
    fn open(&self, txg: Txg) -> Txg {
        txg.max(self.ended + 1)
    }

    /// The checked form of an extent; `none` is the error for no units.
    fn run_of(&self, extent: Extent, none: ExtentError) -> Result<Run, ExtentError> {
        let outside = ExtentError::Outside { extent, device_units: self.size_units };
        let start = extent.offset_units;
        let end = start.checked_add(extent.size_units).ok_or(outside)?;
        if end > self.size_units {
            return Err(outside);
        }
        if start == end {
            return Err(none);
        }
        Ok(Run { start, end })
    }

    pub(crate) fn allocated(&self, extent: Extent) -> Result<Run, ExtentError> {
        let run = self.run_of(extent, ExtentError::NotAllocated { extent })?;
        if self.free.overlaps(run) || self.deferred.overlaps(run) {
            return Err(ExtentError::NotAllocated { extent });
        }
        Ok(run)
    }

    fn claimable(&self, extent: Extent) -> Result<(Run, Run), ExtentError> {
        let part = self.run_of(extent, ExtentError::NotFree { extent })?;
        let whole = self.free.containing(part).ok_or(ExtentError::NotFree { extent })?;
        Ok((whole, part))
    }
}

/// `part` in thousandths of `whole`; 0 of nothing.
pub(crate) fn permille(part: u64, whole: u64) -> u32 {
    (u128::from(part) * 1000).checked_div(u128::from(whole)).map_or(0, |permille| permille as u32)
}
