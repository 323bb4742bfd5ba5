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

/// What a leaf has missed.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    txgs: TxgRanges,
    /// Start and end, in bytes of the data area; disjoint.
    extents: BTreeMap<u64, u64>,
    /// Not every gap's place is in `extents`.
    places_unknown: bool,
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
        if self.extents.len() >= EXTENTS_MAX {
            self.places_unknown = true;
            return;
        }
        let mut joined = place;
        while let Some((start, end)) = self.overlapping(&joined) {
            self.extents.remove(&start);
            joined = joined.start.min(start)..joined.end.max(end);
        }
        self.extents.insert(joined.start, joined.end);
    }

    /// Blocks of these groups are missing, nobody knows where.
    pub(crate) fn insert_somewhere(&mut self, txgs: &TxgRanges) {
        if !txgs.is_empty() {
            self.txgs.merge(txgs);
            self.places_unknown = true;
        }
    }

    /// Something has been written to this place: whatever was missing there no longer is.
    pub(crate) fn landed(&mut self, place: &Range<u64>) {
        while let Some((start, end)) = self.overlapping(place) {
            self.extents.remove(&start);
            if start < place.start {
                self.extents.insert(start, place.start);
            }
            if place.end < end {
                self.extents.insert(place.end, end);
            }
        }
        if self.extents.is_empty() && !self.places_unknown {
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

    /// May a block of this group be missing in this place?
    pub(crate) fn has(&self, txg: Txg, place: &Range<u64>) -> bool {
        self.txgs.contains(txg) && (self.places_unknown || self.overlapping(place).is_some())
    }

    /// Is a block of this group known to be missing in this very place?
    pub(crate) fn has_exactly(&self, txg: Txg, place: &Range<u64>) -> bool {
        self.txgs.contains(txg) && self.overlapping(place).is_some()
    }

    fn overlapping(&self, place: &Range<u64>) -> Option<(u64, u64)> {
        let (start, end) = self.extents.range(..place.end).next_back()?;
        (*end > place.start).then_some((*start, *end))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Event {
        Missed(Txg, Range<u64>),
        Landed(Range<u64>),
    }

    fn event() -> impl Strategy<Value = Event> {
        let place = || (0_u64..60, 1_u64..8).prop_map(|(at, len)| at..at + len);
        prop_oneof![
            (1_u64..9, place()).prop_map(|(txg, place)| Event::Missed(txg, place)),
            place().prop_map(Event::Landed),
        ]
    }

    proptest! {
        /// The model remembers each byte.
        #[test]
        fn places_are_exact(events in prop::collection::vec(event(), 0..40)) {
            let mut missing = Missing::default();
            let (mut bytes, mut txgs) = ([false; 80], [false; 16]);
            for event in events {
                match event {
                    Event::Missed(txg, place) => {
                        place.clone().for_each(|byte| bytes[byte as usize] = true);
                        txgs[txg as usize] = true;
                        missing.insert(txg, place);
                    }
                    Event::Landed(place) => {
                        place.clone().for_each(|byte| bytes[byte as usize] = false);
                        missing.landed(&place);
                        if !bytes.contains(&true) {
                            txgs = [false; 16];
                        }
                    }
                }
                for txg in 1..9 {
                    prop_assert_eq!(missing.txgs().contains(txg), txgs[txg as usize]);
                    for byte in 0..70 {
                        let expected = txgs[txg as usize] && bytes[byte as usize];
                        prop_assert_eq!(missing.has(txg, &(byte..byte + 1)), expected);
                        prop_assert_eq!(missing.has_exactly(txg, &(byte..byte + 1)), expected);
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
        assert!(!missing.has_exactly(4, &(700..800)));
        missing.subtract(&TxgRanges::from_iter([3..=9]));
        assert!(missing.is_empty() && !missing.has(4, &(700..800)));
    }
}
