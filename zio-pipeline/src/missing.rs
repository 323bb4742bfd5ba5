//! What a leaf of a mirror has missed.
//!
//! Told by birth groups, as its owner keeps them durably and a resilver wants them; and as long
//! as they are few enough, by place as well. By place a copy that is stale is known even if it would
//! verify (a gang header of an earlier block in the same place and group), and a leaf whose every gap
//! has been written over is whole again without any resilver.

use std::collections::BTreeMap;
use std::ops::Range;

use zio_core::Txg;

use crate::txg_ranges::TxgRanges;

/// Most places remembered for one leaf. A leaf that has missed more has been away, and will have
/// to be resilvered.
const EXTENTS_MAX: usize = 1 << 16;

/// Disjoint places, in bytes of the data area: start and end of each.
#[derive(Debug, Default)]
struct Places(BTreeMap<u64, u64>);

impl Places {
    fn insert(&mut self, place: Range<u64>) {
        let mut joined = place;
        while let Some((start, end)) = self.overlapping(&joined) {
            self.0.remove(&start);
            joined = joined.start.min(start)..joined.end.max(end);
        }
        self.0.insert(joined.start, joined.end);
    }

    fn remove(&mut self, place: &Range<u64>) {
        while let Some((start, end)) = self.overlapping(place) {
            self.0.remove(&start);
            if start < place.start {
                self.0.insert(start, place.start);
            }
            if place.end < end {
                self.0.insert(place.end, end);
            }
        }
    }

    fn overlapping(&self, place: &Range<u64>) -> Option<(u64, u64)> {
        let (start, end) = self.0.range(..place.end).next_back()?;
        (*end > place.start).then_some((*start, *end))
    }

    /// Is all of the place in one of these?
    fn cover(&self, place: &Range<u64>) -> bool {
        self.overlapping(place).is_some_and(|(start, end)| start <= place.start && place.end <= end)
    }
}

/// What a leaf has missed.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    txgs: TxgRanges,
    /// Where it is.
    gaps: Places,
    /// Not every gap is in `gaps`: it may be anywhere …
    places_unknown: bool,
    /// … but here, where something was written since.
    restored: Places,
}

impl Missing {
    pub(crate) fn is_empty(&self) -> bool {
        self.txgs.is_empty()
    }

    pub(crate) fn txgs(&self) -> &TxgRanges {
        &self.txgs
    }

    /// A block of this group is not in this place.
    pub(crate) fn insert(&mut self, txg: Txg, place: Range<u64>) {
        self.txgs.insert(txg..=txg);
        self.restored.remove(&place);
        if self.gaps.0.len() >= EXTENTS_MAX {
            self.places_unknown = true;
        } else {
            self.gaps.insert(place);
        }
    }

    /// Blocks of these groups are missing, nobody knows where.
    pub(crate) fn insert_somewhere(&mut self, txgs: &TxgRanges) {
        if !txgs.is_empty() {
            self.txgs.merge(txgs);
            self.places_unknown = true;
            self.restored = Places::default();
        }
    }

    /// Something has been written to this place: whatever was missing there no longer is.
    pub(crate) fn landed(&mut self, place: &Range<u64>) {
        self.gaps.remove(place);
        if self.places_unknown {
            // Without room for it, the place is still taken for a gap.
            if self.restored.0.len() < EXTENTS_MAX {
                self.restored.insert(place.clone());
            }
        } else if self.gaps.0.is_empty() {
            self.txgs = TxgRanges::new();
        }
    }

    /// All blocks of these groups are there.
    pub(crate) fn subtract(&mut self, txgs: &TxgRanges) {
        self.txgs.subtract(txgs);
        if self.txgs.is_empty() {
            *self = Self::default();
        }
    }

    /// Is a block of this group missing in this very place?
    pub(crate) fn has_here(&self, txg: Txg, place: &Range<u64>) -> bool {
        self.txgs.contains(txg) && self.gaps.overlapping(place).is_some()
    }

    /// May a block of this group be missing in this place?
    pub(crate) fn has(&self, txg: Txg, place: &Range<u64>) -> bool {
        let may_be_here = || {
            self.gaps.overlapping(place).is_some()
                || (self.places_unknown && !self.restored.cover(place))
        };
        self.txgs.contains(txg) && may_be_here()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Event {
        Missed(Txg, Range<u64>),
        MissedSomewhere(Txg),
        Landed(Range<u64>),
    }

    fn event() -> impl Strategy<Value = Event> {
        let place = || (0_u64..60, 1_u64..8).prop_map(|(at, len)| at..at + len);
        prop_oneof![
            4 => (1_u64..9, place()).prop_map(|(txg, place)| Event::Missed(txg, place)),
            1 => (1_u64..9).prop_map(Event::MissedSomewhere),
            6 => place().prop_map(Event::Landed),
        ]
    }

    /// Of more places than are remembered, all that were not written since are taken for gaps.
    #[test]
    fn too_many_places_are_somewhere() {
        let mut missing = Missing::default();
        let place = |number: u64| 2 * number..2 * number + 1;
        let count = EXTENTS_MAX as u64;
        (0..count).for_each(|number| missing.insert(7, place(number)));
        assert!(!missing.has(7, &place(count)) && missing.has(7, &place(count - 1)));
        missing.insert(7, place(count));
        assert!(missing.has(7, &place(count)) && missing.has(7, &(999_999..1_000_000)));
        assert!(!missing.has(8, &place(count)), "another group");
        // What is written is there; as many places of these are remembered, and no more.
        (0..=count).for_each(|number| missing.landed(&place(number)));
        assert!(!missing.has(7, &place(0)) && !missing.has(7, &place(count - 1)));
        assert!(missing.has(7, &place(count)), "taken for a gap still");
        assert!(!missing.is_empty());
        missing.subtract(&TxgRanges::from_iter([7..=7]));
        assert!(missing.is_empty() && !missing.has(7, &place(count)));
    }

    proptest! {
        /// The model remembers each byte.
        #[test]
        fn places_are_exact(events in prop::collection::vec(event(), 0..40)) {
            let mut missing = Missing::default();
            let (mut bytes, mut txgs, mut unknown) = ([false; 80], [false; 16], false);
            for event in events {
                match event {
                    Event::Missed(txg, place) => {
                        place.clone().for_each(|byte| bytes[byte as usize] = true);
                        txgs[txg as usize] = true;
                        missing.insert(txg, place);
                    }
                    Event::MissedSomewhere(txg) => {
                        bytes = [true; 80];
                        (txgs[txg as usize], unknown) = (true, true);
                        missing.insert_somewhere(&TxgRanges::from_iter([txg..=txg]));
                    }
                    Event::Landed(place) => {
                        place.clone().for_each(|byte| bytes[byte as usize] = false);
                        missing.landed(&place);
                        if !unknown && !bytes.contains(&true) {
                            txgs = [false; 16];
                        }
                    }
                }
                for txg in 1..9 {
                    prop_assert_eq!(missing.txgs().contains(txg), txgs[txg as usize]);
                    for byte in 0..70 {
                        let expected = txgs[txg as usize] && bytes[byte as usize];
                        prop_assert_eq!(missing.has(txg, &(byte..byte + 1)), expected);
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_missing_somewhere_stays_until_it_is_subtracted() {
        let mut missing = Missing::default();
        missing.insert_somewhere(&TxgRanges::from_iter([3..=5]));
        missing.insert(9, 0..10);
        missing.landed(&(0..100));
        assert!(missing.has(4, &(700..800)) && missing.txgs().contains(9));
        missing.subtract(&TxgRanges::from_iter([3..=9]));
        assert!(missing.is_empty() && !missing.has(4, &(700..800)));
    }
}
