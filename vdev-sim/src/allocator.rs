//! [`SimAllocator`]: correct, and as mean as it may be.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use zio_core::{Allocator, Dva, Dvas, NoSpace, Slots, SpaceError, Txg, VdevId, Want};

use crate::rng::Rng;

/// What kind of mean allocator.
#[derive(Clone, Debug)]
pub struct SimAllocatorConfig {
    /// Sizes of the vdevs 0, 1, …, in bytes.
    pub vdev_bytes: Vec<u64>,
    /// Allocation unit, a power of two, at least 512.
    pub unit_bytes: u64,
    /// Largest extent it ever hands out: space is always fragmented to this.
    pub contiguous_bytes_max: u64,
    /// So many of a thousand allocations fail, though there is space.
    pub fail_permille: u32,
    /// Bytes of allocation under way before [`Allocator::reserve`] says no.
    pub reserve_bytes_max: u64,
    /// Seed of places and failures.
    pub seed: u64,
}

impl SimAllocatorConfig {
    /// Vdevs of these sizes, units of 4 KiB, no limits and no failures.
    pub fn new(seed: u64, vdev_bytes: &[u64]) -> Self {
        Self {
            vdev_bytes: vdev_bytes.to_vec(),
            unit_bytes: 4096,
            contiguous_bytes_max: u64::MAX,
            fail_permille: 0,
            reserve_bytes_max: u64::MAX,
            seed,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Free,
    /// Allocated in this txg.
    Taken(Txg),
    /// Freed in this txg; not to be handed out before it settles.
    Deferred(Txg),
}

/// A promise of allocators that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenPromise {
    /// Nothing is taken back: it says that it was never given out.
    Frees,
    /// One address too few is given out, and nothing is taken back.
    Copies,
}

struct State {
    rng: Rng,
    broken: Option<BrokenPromise>,
    vdevs: Vec<Vec<Unit>>,
    free_units: u64,
    contiguous_bytes_max: u64,
    fail_permille: u32,
}

/// An [`Allocator`] that keeps its contract and otherwise does what a caller
/// likes least: places are drawn from the seed, hints are ignored, extents are
/// never larger than a limit (so blocks must gang), and allocations fail now
/// and then though there is space.
///
/// Space freed in a txg comes back with [`SimAllocator::settle`].
///
/// One word of memory per unit and a search over the units: for small vdevs.
pub struct SimAllocator {
    unit_bytes: u64,
    reserve_bytes_max: u64,
    reserved_bytes: Arc<AtomicU64>,
    state: Mutex<State>,
}

impl SimAllocator {
    /// All space free.
    ///
    /// # Panics
    /// When the unit is not a power of two of at least 512.
    pub fn new(config: SimAllocatorConfig) -> Arc<Self> {
        let unit = config.unit_bytes;
        assert!(unit.is_power_of_two() && unit >= 512, "an allocation unit of {unit} bytes");
        let units = |&bytes: &u64| vec![Unit::Free; (bytes / unit) as usize];
        let vdevs: Vec<_> = config.vdev_bytes.iter().map(units).collect();
        Arc::new(Self {
            unit_bytes: unit,
            reserve_bytes_max: config.reserve_bytes_max,
            reserved_bytes: Arc::default(),
            state: Mutex::new(State {
                rng: Rng::stream(config.seed, 0xa110c),
                broken: None,
                free_units: vdevs.iter().map(|v| v.len() as u64).sum(),
                vdevs,
                contiguous_bytes_max: config.contiguous_bytes_max,
                fail_permille: config.fail_permille,
            }),
        })
    }

    /// Space freed in `txg` or before may be handed out again.
    pub fn settle(&self, txg: Txg) {
        let mut state = self.state.lock();
        let mut freed = 0;
        for unit in state.vdevs.iter_mut().flatten() {
            if matches!(unit, Unit::Deferred(of) if *of <= txg) {
                *unit = Unit::Free;
                freed += 1;
            }
        }
        state.free_units += freed;
    }

    /// Sets the largest extent from now on.
    pub fn set_contiguous_bytes_max(&self, bytes: u64) {
        self.state.lock().contiguous_bytes_max = bytes;
    }

    /// Sets how many of a thousand allocations fail from now on.
    pub fn set_fail_permille(&self, permille: u32) {
        self.state.lock().fail_permille = permille;
    }

    /// Breaks a promise from now on, or keeps all of them again: what is above must say so, and
    /// go on. Unlike everything else here this is no allocator that a caller has to bear.
    pub fn set_broken(&self, promise: Option<BrokenPromise>) {
        self.state.lock().broken = promise;
    }

    fn takes_back(&self, dva: Dva) -> Result<(), SpaceError> {
        match self.state.lock().broken {
            None => Ok(()),
            Some(BrokenPromise::Frees | BrokenPromise::Copies) => {
                Err(SpaceError::NotAllocated { dva })
            }
        }
    }

    /// Everything that is allocated and not freed, in order, adjacent extents
    /// joined: what a test compares with what it can reach.
    pub fn taken(&self) -> Vec<(VdevId, Range<u64>)> {
        let state = self.state.lock();
        let mut taken: Vec<(VdevId, Range<u64>)> = Vec::new();
        for (number, units) in state.vdevs.iter().enumerate() {
            let vdev = VdevId(number as u32);
            for (i, _) in units.iter().enumerate().filter(|(_, u)| matches!(u, Unit::Taken(_))) {
                let start = i as u64 * self.unit_bytes;
                match taken.last_mut() {
                    Some((v, range)) if *v == vdev && range.end == start => {
                        range.end += self.unit_bytes;
                    }
                    _ => taken.push((vdev, start..start + self.unit_bytes)),
                }
            }
        }
        taken
    }

    /// The units of an extent.
    fn units(&self, state: &State, dva: Dva) -> Result<(usize, Range<usize>), SpaceError> {
        let outside = SpaceError::Outside { dva };
        let (offset, len) = (dva.offset_bytes(), dva.asize_bytes());
        let vdev = dva.vdev().0 as usize;
        let size = state.vdevs.get(vdev).ok_or(outside)?.len() as u64 * self.unit_bytes;
        let end = offset.checked_add(len).filter(|&end| end <= size).ok_or(outside)?;
        let whole = offset.is_multiple_of(self.unit_bytes) && len.is_multiple_of(self.unit_bytes);
        if len == 0 || !whole {
            return Err(outside);
        }
        Ok((vdev, (offset / self.unit_bytes) as usize..(end / self.unit_bytes) as usize))
    }

    /// Moves a whole extent from one state to another, or nothing.
    fn change(
        &self,
        dva: Dva,
        from: impl Fn(Unit) -> bool,
        to: Unit,
        otherwise: SpaceError,
    ) -> Result<(), SpaceError> {
        let mut state = self.state.lock();
        let (vdev, range) = self.units(&state, dva)?;
        let units = &mut state.vdevs[vdev][range];
        if !units.iter().all(|&unit| from(unit)) {
            return Err(otherwise);
        }
        let count = units.len() as u64;
        let was_free = units.first() == Some(&Unit::Free);
        units.fill(to);
        match (was_free, to == Unit::Free) {
            (true, false) => state.free_units -= count,
            (false, true) => state.free_units += count,
            _ => {}
        }
        Ok(())
    }
}

impl State {
    /// A free run of units, found from a random place on; not within `apart`
    /// units of any of these.
    fn place(
        &mut self,
        vdev: usize,
        count: usize,
        others: &[usize],
        apart: usize,
    ) -> Option<usize> {
        let units = &self.vdevs[vdev];
        let last = units.len().checked_sub(count)?;
        let from = self.rng.index(last + 1);
        let far = |at: usize| others.iter().all(|&other| other.abs_diff(at) >= apart);
        let free = |at: usize| units[at..at + count].iter().all(|&unit| unit == Unit::Free);
        (from..=last).chain(0..from).find(|&at| far(at) && free(at))
    }

    /// Places for all copies: a vdev each as long as there are vdevs.
    fn places(&mut self, count: usize, copies: usize) -> Option<Vec<(usize, usize)>> {
        let mut order: Vec<usize> = (0..self.vdevs.len()).collect();
        self.rng.shuffle(&mut order);
        let mut places: Vec<(usize, usize)> = Vec::new();
        for copy in 0..copies {
            let fresh = order.iter().copied().filter(|v| places.iter().all(|(p, _)| p != v));
            let fresh: Vec<usize> = fresh.collect();
            let again: Vec<usize> =
                if copies - copy > fresh.len() { order.clone() } else { vec![] };
            let found = fresh.into_iter().chain(again).find_map(|vdev| {
                let others: Vec<usize> =
                    places.iter().filter(|(v, _)| *v == vdev).map(|&(_, at)| at).collect();
                let apart = self.vdevs[vdev].len() / 8;
                self.place(vdev, count, &others, apart.max(count)).map(|at| (vdev, at))
            });
            places.push(found?);
        }
        Some(places)
    }

    fn largest_run(&self) -> u64 {
        let run = |units: &Vec<Unit>| {
            units.split(|&u| u != Unit::Free).map(<[Unit]>::len).max().unwrap_or(0) as u64
        };
        self.vdevs.iter().map(run).max().unwrap_or(0)
    }
}

impl Allocator for SimAllocator {
    fn allocate(&self, want: &Want) -> Result<Dvas, NoSpace> {
        let mut state = self.state.lock();
        let asize = want.size_bytes.max(1).checked_next_multiple_of(self.unit_bytes);
        let largest = state.contiguous_bytes_max.min(Dva::ASIZE_BYTES_MAX);
        let asize = asize.filter(|&asize| asize <= largest);
        let sane = (1..=3).contains(&want.copies);
        let unlucky = {
            let permille = state.fail_permille;
            state.rng.chance(permille)
        };
        let places = asize.filter(|_| sane && !unlucky).and_then(|asize| {
            let count = (asize / self.unit_bytes) as usize;
            state.places(count, usize::from(want.copies)).map(|places| (asize, count, places))
        });
        let Some((asize, count, mut places)) = places else {
            let (free_units, run) = (state.free_units, state.largest_run());
            return Err(NoSpace {
                size_bytes: want.size_bytes,
                copies: want.copies,
                free_bytes: free_units * self.unit_bytes,
                largest_bytes: (run * self.unit_bytes).min(largest),
            });
        };
        if state.broken == Some(BrokenPromise::Copies) {
            places.pop();
        }
        let mut dvas = Dvas::new();
        for (vdev, at) in places {
            state.vdevs[vdev][at..at + count].fill(Unit::Taken(want.txg));
            state.free_units -= count as u64;
            dvas.push(Dva::new(VdevId(vdev as u32), at as u64 * self.unit_bytes, asize));
        }
        Ok(dvas)
    }

    fn free(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        self.takes_back(dva)?;
        let taken = |unit| matches!(unit, Unit::Taken(_));
        self.change(dva, taken, Unit::Deferred(txg), SpaceError::NotAllocated { dva })
    }

    fn unallocate(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        self.takes_back(dva)?;
        let taken = |unit| unit == Unit::Taken(txg);
        self.change(dva, taken, Unit::Free, SpaceError::NotAllocated { dva })
    }

    fn claim(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        let free = |unit| unit == Unit::Free;
        self.change(dva, free, Unit::Taken(txg), SpaceError::NotFree { dva })
    }

    fn check_claim(&self, dva: Dva) -> Result<(), SpaceError> {
        let free = |unit| unit == Unit::Free;
        self.change(dva, free, Unit::Free, SpaceError::NotFree { dva })
    }

    fn reserve(&self, bytes: u64) -> Option<Slots> {
        Slots::take(&self.reserved_bytes, self.reserve_bytes_max, bytes)
    }

    fn largest_bytes(&self) -> u64 {
        let state = self.state.lock();
        let largest = state.contiguous_bytes_max.min(Dva::ASIZE_BYTES_MAX);
        let whole_units = largest - largest % self.unit_bytes;
        (state.largest_run() * self.unit_bytes).min(whole_units)
    }

    fn free_bytes(&self) -> u64 {
        self.state.lock().free_units * self.unit_bytes
    }

    fn allocated_bytes(&self) -> u64 {
        let state = self.state.lock();
        let all: u64 = state.vdevs.iter().map(|v| v.len() as u64).sum();
        (all - state.free_units) * self.unit_bytes
    }
}

impl fmt::Debug for SimAllocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimAllocator")
            .field("free_bytes", &self.free_bytes())
            .field("allocated_bytes", &self.allocated_bytes())
            .finish_non_exhaustive()
    }
}
