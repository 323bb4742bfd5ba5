//! How much may be under way at once: on each leaf, and in all.

use std::collections::BTreeMap;

use zio_core::Dva;
use zio_pipeline::{BlockPointer, Pipeline, VdevId};

use super::Config;

/// A vdev's share.
#[derive(Clone, Copy, Debug)]
struct Share {
    leaves: u64,
    /// Of each leaf: a mirror's leaves all read the same.
    in_flight_bytes: u64,
}

/// What is under way, and what may be. A block larger than a limit passes when nothing else is there.
#[derive(Debug)]
pub(crate) struct Budget {
    blocks_max: usize,
    bytes_max: u64,
    leaf_bytes_max: u64,
    blocks: usize,
    bytes: u64,
    shares: BTreeMap<VdevId, Share>,
}

impl Budget {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            blocks_max: config.in_flight_blocks_max.max(1),
            bytes_max: config.in_flight_bytes_max,
            leaf_bytes_max: config.leaf_in_flight_bytes_max,
            blocks: 0,
            bytes: 0,
            shares: BTreeMap::new(),
        }
    }

    /// Bytes that a read of every copy would bring to each leaf of each vdev.
    fn costs(bp: &BlockPointer) -> impl Iterator<Item = (VdevId, u64)> + use<> {
        let bytes = bp.psize_bytes();
        bp.dvas().map(Dva::vdev).map(move |vdev| (vdev, bytes))
    }

    /// Counts a block as under way, if there is room for it.
    pub(crate) fn take(&mut self, pipeline: &Pipeline, bp: &BlockPointer) -> bool {
        let (mut bytes, mut fits) = (0, self.blocks < self.blocks_max);
        for (vdev, cost) in Self::costs(bp) {
            let share = self
                .shares
                .entry(vdev)
                .or_insert_with(|| Share { leaves: leaves(pipeline, vdev), in_flight_bytes: 0 });
            let here = bp.dvas().filter(|dva| dva.vdev() == vdev).count() as u64;
            fits &= admits(share.in_flight_bytes, here * cost, self.leaf_bytes_max);
            bytes += cost * share.leaves;
        }
        if !fits || !admits(self.bytes, bytes, self.bytes_max) {
            return false;
        }
        for (vdev, cost) in Self::costs(bp) {
            if let Some(share) = self.shares.get_mut(&vdev) {
                share.in_flight_bytes += cost;
            }
        }
        self.blocks += 1;
        self.bytes += bytes;
        true
    }

    /// A block is not under way any more.
    pub(crate) fn give_back(&mut self, bp: &BlockPointer) {
        self.blocks -= 1;
        for (vdev, cost) in Self::costs(bp) {
            if let Some(share) = self.shares.get_mut(&vdev) {
                share.in_flight_bytes -= cost;
                self.bytes -= cost * share.leaves;
            }
        }
    }
}

fn admits(in_flight: u64, cost: u64, max: u64) -> bool {
    in_flight == 0 || in_flight.saturating_add(cost) <= max
}

fn leaves(pipeline: &Pipeline, vdev: VdevId) -> u64 {
    (0..).take_while(|leaf| pipeline.physical(vdev, *leaf).is_ok()).count() as u64
}
