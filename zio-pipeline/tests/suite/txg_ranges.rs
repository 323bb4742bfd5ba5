//! Ranges of transaction groups against a set of numbers.

use std::collections::BTreeSet;

use proptest::prelude::*;
use zio_pipeline::TxgRanges;

/// Numbers at both ends of what there is.
fn txg() -> impl Strategy<Value = u64> {
    prop_oneof![0..40u64, u64::MAX - 40..=u64::MAX]
}

fn range() -> impl Strategy<Value = std::ops::RangeInclusive<u64>> {
    (txg(), 0..6u64, any::<bool>()).prop_map(|(first, len, empty)| match empty && first > 0 {
        true => first..=first - 1,
        false => first..=first.saturating_add(len),
    })
}

fn model_of(ranges: &[std::ops::RangeInclusive<u64>]) -> BTreeSet<u64> {
    ranges.iter().cloned().flatten().collect()
}

proptest! {
    #[test]
    fn a_set_of_ranges_is_a_set_of_numbers(
        ranges in prop::collection::vec(range(), 0..20),
        others in prop::collection::vec(range(), 0..20),
        asked in range(),
    ) {
        let mut set: TxgRanges = ranges.iter().cloned().collect();
        let mut model = model_of(&ranges);
        prop_assert_eq!(set.iter().flatten().collect::<Vec<_>>(), Vec::from_iter(model.clone()));
        prop_assert_eq!(set.is_empty(), model.is_empty());
        for txg in (0..50).chain(u64::MAX - 50..=u64::MAX) {
            prop_assert_eq!(set.contains(txg), model.contains(&txg));
        }
        let meets = asked.clone().any(|txg| model.contains(&txg));
        prop_assert_eq!(set.intersects(asked), meets);

        set.merge(&others.iter().cloned().collect());
        model.extend(model_of(&others));
        prop_assert_eq!(set.iter().flatten().collect::<Vec<_>>(), Vec::from_iter(model));
        let mut rest = model_of(&ranges);
        rest.extend(model_of(&others));
        let gone: TxgRanges = others.iter().cloned().collect();
        let mut left = set.clone();
        left.subtract(&gone);
        rest.retain(|txg| !gone.contains(*txg));
        prop_assert_eq!(left.iter().flatten().collect::<Vec<_>>(), Vec::from_iter(rest));
        // As few ranges as can be, in order.
        let ends: Vec<_> = set.iter().map(|range| range.into_inner()).collect();
        prop_assert!(ends.windows(2).all(|two| two[0].1 + 1 < two[1].0), "{ends:?}");
    }
}

#[test]
fn the_whole_of_time_is_one_range() {
    let mut set = TxgRanges::new();
    set.insert(5..=7);
    set.insert(0..=u64::MAX);
    assert_eq!(set.iter().collect::<Vec<_>>(), [0..=u64::MAX]);
    assert!(set.contains(0) && set.contains(u64::MAX));
}

#[test]
#[expect(clippy::reversed_empty_ranges, reason = "what nobody should write, and somebody will")]
fn a_range_that_ends_before_it_begins_is_empty() {
    let mut ranges = TxgRanges::from_iter([1..=9]);
    ranges.remove(7..=3);
    assert_eq!(ranges, TxgRanges::from_iter([1..=9]));
}
