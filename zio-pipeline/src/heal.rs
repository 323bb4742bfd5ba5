//! Self-healing: a read that found a good copy writes it over the bad ones it
//! met on its way (spec 1.13).
//!
//! Only places that failed in this very read are written, and only with data that
//! has just verified; the place it came from is never touched, so that a power cut
//! in the middle of a repair cannot cost the last good copy. The read ends after
//! its repairs. A repair that fails harms nobody: the copy is as bad as it was.

use zio_core::bp::PoolShape;
use zio_core::{Counter, Dva, Dvas, Flags, Priority, Stages, Zio, ZioType};

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

/// The same, being counted.
#[derive(Debug, Default)]
pub(crate) struct Heal {
    copies: Counter,
    bytes: Counter,
    failed: Counter,
}

impl Heal {
    pub(crate) fn so_far(&self) -> Healed {
        Healed { copies: self.copies.get(), bytes: self.bytes.get(), failed: self.failed.get() }
    }

    /// Counts the repairs that have come home to their read.
    pub(crate) fn take_repairs(&self, zio: &mut Zio) {
        while let Some(mut child) = zio.take_finished_child() {
            if child.take_error().is_some() {
                self.failed.add(1);
            } else {
                self.copies.add(1);
                self.bytes.add(child.get().size_bytes as u64);
            }
        }
    }
}

/// Starts one write for each place that did not give the block to this read,
/// which holds it now.
pub(crate) fn repair(shared: &Shared, zio: &Zio) {
    if zio.flags().contains(Flags::DONT_REPAIR) || places_overlap(shared, zio) {
        return;
    }
    for place in (0..u64::BITS).filter(|place| zio.bad & (1 << place) != 0) {
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
