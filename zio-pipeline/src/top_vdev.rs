//! A top-level vdev: what an address names. One leaf, or a mirror of several
//! that all hold the same bytes.

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;
use zio_core::{Txg, VdevId};

use crate::leaf::{Leaf, units};

/// Most leaves of a mirror.
pub(crate) const MIRROR_LEAVES_MAX: usize = 16;

/// Reads of blocks this close together like to be served by the same leaf of
/// a mirror: 2^21 bytes (spec 1.13).
const LOCALITY_SHIFT: u32 = 21;

/// A leaf this many times slower than its quickest sibling sits reads out …
const SLOW_FACTOR: u64 = 4;

/// … unless it is as quick as this all the same.
const SLOW_NS_MIN: u64 = 200_000;

/// Number of a leaf that may be chosen.
type Candidate = usize;

/// What a leaf is good for as the source of a block, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fitness {
    Fit,
    /// Much slower than another.
    Slow,
    /// It has missed the block.
    Lacking,
    /// It failed its probe.
    Dead,
}

/// A top-level vdev.
#[derive(Debug)]
pub(crate) struct TopVdev {
    id: VdevId,
    leaves: SmallVec<[Arc<Leaf>; 1]>,
    data_bytes: u64,
    ashift: u32,
}

impl TopVdev {
    /// Of leaves that hold the same; they agree in all that matters to space.
    pub(crate) fn new(id: VdevId, leaves: SmallVec<[Arc<Leaf>; 1]>) -> Self {
        let data_bytes = leaves.iter().map(|leaf| leaf.data_bytes()).min().unwrap_or(0);
        let ashift = leaves.iter().map(|leaf| leaf.ashift()).max().unwrap_or(9);
        Self { id, leaves, data_bytes, ashift }
    }

    pub(crate) fn id(&self) -> VdevId {
        self.id
    }

    pub(crate) fn leaves(&self) -> &[Arc<Leaf>] {
        &self.leaves
    }

    pub(crate) fn is_mirror(&self) -> bool {
        self.leaves.len() > 1
    }

    /// Bytes that blocks can stand in, on every leaf.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    pub(crate) fn ashift(&self) -> u32 {
        self.ashift
    }

    /// Unit of allocation and of block I/O.
    pub(crate) fn unit_bytes(&self) -> u64 {
        1 << self.ashift
    }

    /// The units that so many bytes at this offset stand in; the same on every leaf.
    pub(crate) fn units(&self, offset_bytes: u64, len_bytes: usize) -> Range<u64> {
        units(offset_bytes, len_bytes, self.unit_bytes())
    }

    /// The leaf to read a block born in `birth` from, in a place of the data area: of those not in `tried` (bit n is leaf n)
    /// and fit for it the one with the least to do; of several, the one whose turn this part
    /// of the device is. Now and then, one that is not thought fit: it may be by now.
    pub(crate) fn choose(&self, tried: u64, place: &Range<u64>, birth: Txg) -> Option<usize> {
        if !self.is_mirror() {
            return (tried & 1 == 0).then_some(0);
        }
        let mut candidates: SmallVec<[Candidate; MIRROR_LEAVES_MAX]> =
            (0..self.leaves.len()).filter(|leaf| tried & (1 << leaf) == 0).collect();
        let fitness: SmallVec<[Fitness; MIRROR_LEAVES_MAX]> = self.fitness(place, birth);
        if let Some(doubtful) = candidates
            .iter()
            .copied()
            .filter(|leaf| matches!(fitness[*leaf], Fitness::Slow | Fitness::Dead))
            .find(|leaf| self.leaves[*leaf].begin_read_trial())
        {
            return Some(doubtful);
        }
        let best = candidates.iter().map(|leaf| fitness[*leaf]).min()?;
        candidates.retain(|leaf| fitness[*leaf] == best);
        let load = |leaf: &Candidate| self.leaves[*leaf].load();
        let least = candidates.iter().map(load).min()?;
        let ties: SmallVec<[Candidate; MIRROR_LEAVES_MAX]> =
            candidates.iter().filter(|leaf| load(leaf) <= least).copied().collect();
        // A load may have risen meanwhile; then any of them will do.
        let turn = (place.start >> LOCALITY_SHIFT) as usize;
        ties.get(turn % ties.len().max(1)).or(candidates.first()).copied()
    }

    /// What each leaf is good for.
    fn fitness(&self, place: &Range<u64>, birth: Txg) -> SmallVec<[Fitness; MIRROR_LEAVES_MAX]> {
        let service_ns = |leaf: &Arc<Leaf>| leaf.health().service_ns();
        let quickest_ns = self.leaves.iter().map(service_ns).filter(|ns| *ns > 0).min();
        let slow_ns = quickest_ns.map_or(u64::MAX, |ns| (SLOW_FACTOR * ns).max(SLOW_NS_MIN));
        let of = |leaf: &Arc<Leaf>| match leaf.health() {
            health if !health.is_readable() => Fitness::Dead,
            health if health.is_missing(birth, place) => Fitness::Lacking,
            health if health.service_ns() > slow_ns => Fitness::Slow,
            _ => Fitness::Fit,
        };
        self.leaves.iter().map(of).collect()
    }
}

/// The places of a block as bits of one word: each of its three addresses, on
/// each leaf of the vdev it names.
pub(crate) mod places {
    use super::MIRROR_LEAVES_MAX;

    const WIDTH: usize = MIRROR_LEAVES_MAX;
    const _: () = assert!(WIDTH * zio_core::bp::DVAS_MAX <= u64::BITS as usize);

    /// Number of a place: its bit.
    pub(crate) const fn number(dva: usize, leaf: usize) -> u32 {
        (dva * WIDTH + leaf) as u32
    }

    /// Address and leaf of a place.
    pub(crate) const fn of(number: u32) -> (usize, usize) {
        (number as usize / WIDTH, number as usize % WIDTH)
    }

    /// The places of one address, its first `leaves` leaves.
    pub(crate) const fn of_dva(dva: usize, leaves: usize) -> u64 {
        ((1 << leaves) - 1) << (dva * WIDTH)
    }

    /// The numbers of the places in `set`.
    pub(crate) fn each(set: u64) -> impl Iterator<Item = u32> {
        (0..u64::BITS).filter(move |place| set & (1 << place) != 0)
    }

    /// The leaves of one address that are in `set`, leaf n as bit n.
    pub(crate) const fn leaves_in(set: u64, dva: usize) -> u64 {
        (set >> (dva * WIDTH)) & ((1 << WIDTH) - 1)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn numbers_and_places_agree() {
            for dva in 0..3 {
                for leaf in 0..WIDTH {
                    assert_eq!(of(number(dva, leaf)), (dva, leaf));
                    assert_eq!(leaves_in(1 << number(dva, leaf), dva), 1 << leaf);
                }
                assert_eq!(leaves_in(of_dva(dva, 3), dva), 0b111);
                assert_eq!(leaves_in(of_dva(dva, WIDTH), (dva + 1) % 3), 0);
            }
        }
    }
}
