//! A region: a piece of one device with a core and a lock of its own.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use zio_core::Txg;

use crate::borders::Edges;
use crate::config::ExtentsConfig;
use crate::extent::Extent;
use crate::extents::Extents;
use crate::runs::Run;

/// A piece of a device. Its core counts units from the region's begin; all units here
/// are the device's.
#[derive(Debug)]
pub(crate) struct Region {
    units: Run,
    extents: Mutex<Extents>,
    seen: Seen,
}

/// What the core said when its lock was last let go, for those who look
/// for a region without taking locks.
#[derive(Debug)]
struct Seen {
    free_units: AtomicU64,
    longest_units: AtomicU64,
    head_units: AtomicU64,
    tail_units: AtomicU64,
}

impl Region {
    /// All free.
    pub(crate) fn new(units: Run, config: ExtentsConfig) -> Self {
        let all_free = || AtomicU64::new(units.len());
        Self {
            units,
            extents: Mutex::new(Extents::new(units.len(), config)),
            seen: Seen {
                free_units: all_free(),
                longest_units: all_free(),
                head_units: all_free(),
                tail_units: all_free(),
            },
        }
    }

    /// Its first unit.
    pub(crate) const fn start(&self) -> u64 {
        self.units.start
    }

    pub(crate) fn free_units(&self) -> u64 {
        self.seen.free_units.load(Ordering::Relaxed)
    }

    pub(crate) fn longest_units(&self) -> u64 {
        self.seen.longest_units.load(Ordering::Relaxed)
    }

    /// What is free at its borders.
    pub(crate) fn edges(&self) -> Edges {
        Edges {
            units: self.units,
            head_units: self.seen.head_units.load(Ordering::Relaxed),
            tail_units: self.seen.tail_units.load(Ordering::Relaxed),
        }
    }

    /// The same of a core whose lock is held.
    pub(crate) fn edges_of(&self, extents: &Extents) -> Edges {
        Edges {
            units: self.units,
            head_units: extents.head_units(),
            tail_units: extents.tail_units(),
        }
    }

    /// Takes so many units; returns the first.
    pub(crate) fn allocate(&self, size_units: u64, txg: Txg) -> Option<u64> {
        if self.longest_units() < size_units {
            return None;
        }
        self.lock().allocate(size_units, txg).map(|at| self.units.start + at)
    }

    /// Takes so many units inside `window`; returns the first.
    pub(crate) fn allocate_within(&self, window: Run, size_units: u64, txg: Txg) -> Option<u64> {
        let window = self.own(window)?;
        if window.len() < size_units || self.longest_units() < size_units {
            return None;
        }
        self.lock().allocate_within(&[window], size_units, txg).map(|at| self.units.start + at)
    }

    /// The part of these units that lies here, as the core counts.
    fn own(&self, units: Run) -> Option<Run> {
        let Run { start, end } = units.meet(self.units)?;
        Some(Run { start: start - self.units.start, end: end - self.units.start })
    }

    /// The part of an extent that lies here, as the core counts. Nothing of
    /// it: no units.
    pub(crate) fn own_extent(&self, units: Run) -> Extent {
        self.own(units).map_or(Extent::new(0, 0), |run| Extent::new(run.start, run.len()))
    }

    pub(crate) fn lock(&self) -> Locked<'_> {
        Locked { seen: &self.seen, extents: self.extents.lock() }
    }
}

/// A region's core, for as long as its lock is held.
pub(crate) struct Locked<'a> {
    seen: &'a Seen,
    extents: MutexGuard<'a, Extents>,
}

impl Deref for Locked<'_> {
    type Target = Extents;

    fn deref(&self) -> &Extents {
        &self.extents
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Extents {
        &mut self.extents
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let (seen, extents) = (self.seen, &*self.extents);
        seen.free_units.store(extents.free_units(), Ordering::Relaxed);
        seen.longest_units.store(extents.longest_units(), Ordering::Relaxed);
        seen.head_units.store(extents.head_units(), Ordering::Relaxed);
        seen.tail_units.store(extents.tail_units(), Ordering::Relaxed);
    }
}
