//! Self-healing: a read that found a good copy writes it over the bad ones it
//! met on its way (spec 1.13).
//!
//! Only places that failed in this very read are written, and only with data that
//! has just verified; the place it came from is never touched, so that a power cut
//! in the middle of a repair cannot cost the last good copy. The read ends after
//! its repairs. A repair that fails harms nobody: the copy is as bad as it was.

use std::sync::atomic::{AtomicU64, Ordering};

use zio_core::bp::PoolShape;
use zio_core::{Dva, Dvas, Flags, Priority, Stages, Zio, ZioType};

use crate::shared::Shared;
use crate::stages::{overlapping, vdev_child};
use crate::top_vdev::places;

/// What reads have repaired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Healed {
    /// Bad copies that were written anew.
    pub copies: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Bad copies that could not be written.
    pub failed: u64,
}

impl Healed {
    /// Adds those of another leaf.
    pub fn merge(&mut self, other: &Self) {
        self.copies += other.copies;
        self.bytes += other.bytes;
        self.failed += other.failed;
    }

    /// What was repaired since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            copies: self.copies.saturating_sub(earlier.copies),
            bytes: self.bytes.saturating_sub(earlier.bytes),
            failed: self.failed.saturating_sub(earlier.failed),
        }
    }
}

/// The same of one leaf, being counted. Plain counters: repairs are rare.
#[derive(Debug, Default)]
pub(crate) struct Heal {
    copies: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
}

impl Heal {
    pub(crate) fn so_far(&self) -> Healed {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Healed { copies: of(&self.copies), bytes: of(&self.bytes), failed: of(&self.failed) }
    }
}

/// Counts the repairs that have come home to their read.
pub(crate) fn take_repairs(shared: &Shared, zio: &mut Zio) {
    while let Some(mut child) = zio.take_finished_child() {
        let Ok(leaf) = shared.leaf_of(child.get()) else { continue };
        let heal = leaf.health().heal();
        if child.take_error().is_some() {
            heal.failed.fetch_add(1, Ordering::Relaxed);
        } else {
            heal.copies.fetch_add(1, Ordering::Relaxed);
            heal.bytes.fetch_add(child.get().size_bytes as u64, Ordering::Relaxed);
        }
    }
}

/// Starts one write for each place that did not give the block to this read,
/// which holds it now.
pub(crate) fn repair(shared: &Shared, zio: &Zio) {
    if zio.flags().contains(Flags::DONT_REPAIR) || places_overlap(shared, zio) {
        return;
    }
    for place in places::each(zio.bad) {
        let (index, number) = places::of(place);
        let Some(dva) = zio.bp.dvas().nth(index) else { continue };
        let Ok(vdev) = shared.locate(dva, zio.size_bytes as u64) else { continue };
        let Some(leaf) = vdev.leaves().get(number).filter(|leaf| !leaf.is_read_only()) else {
            continue;
        };
        let mut child = vdev_child(zio, ZioType::Write, dva, leaf, Stages::VDEV_CHILD);
        child.add_flags(Flags::IO_REPAIR | Flags::SELF_HEAL);
        child.remove_flags(Flags::SPECULATIVE);
        child.priority = Priority::AsyncWrite;
        child.txg = zio.bp.physical_birth();
        // Nobody's but the pipeline's: a client who cancels the read does not mean this.
        child.control = None;
        child.data = zio.data.clone();
        child.start();
    }
}

/// Do two of the block's addresses lie over each other? No pointer of ours is like that; a
/// repair of the one copy would spoil the other, which is good.
fn places_overlap(shared: &Shared, zio: &Zio) -> bool {
    let place = |dva: Dva| {
        let unit_bytes = shared.unit_bytes(dva.vdev());
        dva.with_asize_bytes((zio.size_bytes as u64).next_multiple_of(unit_bytes))
    };
    let places: Dvas = zio.bp.dvas().map(place).collect();
    overlapping(&places).is_some()
}
