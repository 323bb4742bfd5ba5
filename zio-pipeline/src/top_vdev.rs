//! A top-level vdev: what an address names. One leaf, or a mirror of several
//! that all hold the same bytes.

use std::sync::Arc;

use smallvec::SmallVec;
use zio_core::VdevId;

use crate::leaf::Leaf;

/// Most leaves of a mirror.
pub(crate) const MIRROR_LEAVES_MAX: usize = 16;

/// Reads of blocks this close together like to be served by the same leaf of
/// a mirror: 2^21 bytes (spec 1.13).
const LOCALITY_SHIFT: u32 = 21;

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

    /// The leaf to read from: of those not in `tried` (bit n is leaf n) the one with
    /// the least to do; of several, the one whose turn this part of the device is.
    pub(crate) fn choose(&self, tried: u64, offset_bytes: u64) -> Option<usize> {
        if !self.is_mirror() {
            return (tried & 1 == 0).then_some(0);
        }
        let untried = || (0..self.leaves.len()).filter(|leaf| tried & (1 << leaf) == 0);
        let load = |leaf: usize| self.leaves[leaf].load();
        let least = untried().map(load).min()?;
        let ties: SmallVec<[usize; MIRROR_LEAVES_MAX]> =
            untried().filter(|leaf| load(*leaf) <= least).collect();
        // A load may have risen meanwhile; then any untried leaf will do.
        let turn = (offset_bytes >> LOCALITY_SHIFT) as usize;
        ties.get(turn % ties.len().max(1)).copied().or_else(|| untried().next())
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
