//! Blocks that were collected, in the order of the disks.

use std::collections::BTreeMap;

use zio_core::Dva;
use zio_pipeline::{BlockPointer, Bookmark, VdevId};

use super::Stats;

/// What two pointers to the same stored block have in common: addresses and physical birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BlockKey {
    /// Of the first address, so that keys of one vdev sort by place.
    offset_bytes: u64,
    addresses: [u64; 6],
    birth: u64,
}

impl BlockKey {
    pub(crate) fn of(bp: &BlockPointer) -> Self {
        let words = bp.words();
        let [a, b, c, d, e, f] = [words[0], words[1], words[2], words[3], words[4], words[5]];
        Self {
            offset_bytes: first_address(bp).offset_bytes(),
            addresses: [a, b, c, d, e, f],
            birth: bp.physical_birth(),
        }
    }
}

fn first_address(bp: &BlockPointer) -> Dva {
    bp.dvas().next().unwrap_or(Dva::EMPTY)
}

/// A block whose turn will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) bookmark: Bookmark,
    pub(crate) bp: BlockPointer,
}

/// Memory for one block in a batch, about: its node of the tree is two thirds full.
const ENTRY_BYTES: usize = (size_of::<BlockKey>() + size_of::<Waiting>()) * 3 / 2;

/// Pointers of one batch, those included that are not visited: a stretch of holes has checkpoints too.
const POINTERS_MAX: usize = 1 << 18;

/// A stretch of the source: its blocks by vdev and offset, and the position it ends at. It is
/// over when none of them waits or is under way.
#[derive(Debug)]
pub(crate) struct Batch<P> {
    by_vdev: BTreeMap<VdevId, BTreeMap<BlockKey, Waiting>>,
    waiting: usize,
    pointers: usize,
    pub(crate) under_way: usize,
    /// There may be repaired copies that are not known to be durable.
    pub(crate) to_be_flushed: bool,
    pub(crate) stats: Stats,
    end: Option<P>,
}

impl<P> Batch<P> {
    pub(crate) fn new() -> Self {
        Self {
            by_vdev: BTreeMap::new(),
            waiting: 0,
            pointers: 0,
            under_way: 0,
            to_be_flushed: false,
            stats: Stats::default(),
            end: None,
        }
    }

    /// Has it room for more, in so many bytes?
    pub(crate) fn has_room(&self, bytes_max: usize) -> bool {
        let has_memory = self.waiting == 0 || (self.waiting + 1) * ENTRY_BYTES <= bytes_max;
        has_memory && self.pointers < POINTERS_MAX
    }

    /// Nothing has come yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.pointers == 0
    }

    /// It reaches up to here, whatever there is.
    pub(crate) fn reach(&mut self, position: P) {
        self.pointers += 1;
        self.end = Some(position);
    }

    /// Where it ends; `None` if some of it was given up.
    pub(crate) fn into_end(self) -> Option<P> {
        self.end
    }

    /// Forgets what waits. It has no end then: nobody can say that all of it was visited.
    pub(crate) fn give_up(&mut self) {
        if self.waiting > 0 {
            self.by_vdev.clear();
            self.waiting = 0;
            self.end = None;
        }
    }

    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Adds a block; false when it is in the batch already.
    pub(crate) fn add(&mut self, block: Waiting) -> bool {
        let of_vdev = self.by_vdev.entry(first_address(&block.bp).vdev()).or_default();
        let is_new = of_vdev.insert(BlockKey::of(&block.bp), block).is_none();
        self.waiting += usize::from(is_new);
        is_new
    }

    /// Takes a block out; false when it does not wait here.
    pub(crate) fn remove(&mut self, bp: &BlockPointer) -> bool {
        let of_vdev = self.by_vdev.get_mut(&first_address(bp).vdev());
        let removed = of_vdev.is_some_and(|blocks| blocks.remove(&BlockKey::of(bp)).is_some());
        self.waiting -= usize::from(removed);
        removed
    }

    /// Takes one block out for each vdev whose next one `admits` lets through.
    pub(crate) fn take_round(
        &mut self,
        taken: &mut Vec<Waiting>,
        mut admits: impl FnMut(&Waiting) -> bool,
    ) {
        let before = taken.len();
        for blocks in self.by_vdev.values_mut() {
            if let Some(next) = blocks.first_entry()
                && admits(next.get())
            {
                taken.push(next.remove());
            }
        }
        self.waiting -= taken.len() - before;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zio_core::bp::Properties;

    use super::*;

    fn pointer(vdev: u32, sector: u64, birth: u64) -> BlockPointer {
        let mut bp = BlockPointer::with_properties(&Properties::plain(4096));
        bp.set_dva(0, Dva::new(VdevId(vdev), sector * 4096, 4096));
        bp.set_birth(birth, birth);
        bp
    }

    proptest! {
        /// Against a list that is sorted, with one block of each kind.
        #[test]
        fn blocks_come_by_offset_from_each_vdev_once(
            places in prop::collection::vec((0..4u32, 0..40u64, 1..3u64), 0..200),
            gone in prop::collection::vec((0..4u32, 0..40u64, 1..3u64), 0..40),
        ) {
            let mut batch = Batch::<()>::new();
            let mut model = Vec::new();
            for (vdev, sector, birth) in places {
                let bp = pointer(vdev, sector, birth);
                let is_new = !model.contains(&(vdev, sector, birth));
                prop_assert_eq!(batch.add(Waiting { bookmark: Bookmark::default(), bp }), is_new);
                if is_new {
                    model.push((vdev, sector, birth));
                }
            }
            for (vdev, sector, birth) in gone {
                let was = model.len();
                model.retain(|known| *known != (vdev, sector, birth));
                prop_assert_eq!(batch.remove(&pointer(vdev, sector, birth)), model.len() < was);
            }
            model.sort_unstable();
            let bytes = (model.len() + 1) * ENTRY_BYTES;
            prop_assert!(batch.has_room(bytes));
            prop_assert_eq!(batch.has_room(bytes - 1), model.is_empty());
            let mut came = Vec::new();
            while batch.has_waiting() {
                let mut round = Vec::new();
                batch.take_round(&mut round, |_| true);
                let vdevs: Vec<_> = round.iter().map(|b| first_address(&b.bp).vdev()).collect();
                prop_assert!(vdevs.windows(2).all(|two| two[0] < two[1]), "{:?}", vdevs);
                came.extend(round.iter().map(|block| {
                    let dva = first_address(&block.bp);
                    (dva.vdev().0, dva.offset_bytes() / 4096, block.bp.birth())
                }));
            }
            for vdev in 0..4 {
                let of = |all: &[(u32, u64, u64)]| -> Vec<_> {
                    all.iter().filter(|place| place.0 == vdev).map(|place| place.1).collect()
                };
                prop_assert_eq!(of(&came), of(&model));
            }
            came.sort_unstable();
            prop_assert_eq!(came, model);
        }
    }
}
