//! A set of transaction groups, as the few ranges it consists of.

use std::ops::RangeInclusive;

use zio_core::Txg;

/// A set of transaction groups: what a leaf has missed, what a resilver is to visit.
///
/// Kept as ranges, sorted, with a gap between any two; both ends of a range belong to it, so
/// that every group there is can be in the set.
///
/// ```
/// use pool::TxgRanges;
///
/// let mut missing = TxgRanges::new();
/// missing.insert(10..=14);
/// missing.insert(20..=20);
/// missing.insert(15..=17);
/// assert_eq!(missing.iter().collect::<Vec<_>>(), [10..=17, 20..=20]);
/// assert!(missing.contains(17) && !missing.contains(18));
/// // Is there anything for us below a block of birth 25 that was 19 before?
/// assert!(missing.intersects(&(19..=25)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxgRanges(Vec<Range>);

/// First and last of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: Txg,
    last: Txg,
}

impl TxgRanges {
    /// Nothing.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Puts a range in. An empty one changes nothing.
    pub fn insert(&mut self, range: RangeInclusive<Txg>) {
        let (mut first, mut last) = range.into_inner();
        if first > last {
            return;
        }
        // Those from `from` to `to` touch the new one, and become one with it.
        let from = self.0.partition_point(|r| r.last < first.saturating_sub(1));
        let to = self.0.partition_point(|r| r.first <= last.saturating_add(1));
        if let [lowest, ..] = &self.0[from..to] {
            first = first.min(lowest.first);
        }
        if let [.., highest] = &self.0[from..to] {
            last = last.max(highest.last);
        }
        self.0.splice(from..to, [Range { first, last }]);
    }

    /// Puts all of another set in.
    pub fn merge(&mut self, other: &Self) {
        other.iter().for_each(|range| self.insert(range));
    }

    /// Is this group in the set?
    pub fn contains(&self, txg: Txg) -> bool {
        self.intersects(&(txg..=txg))
    }

    /// Is any group of this range in the set?
    pub fn intersects(&self, range: &RangeInclusive<Txg>) -> bool {
        let at = self.0.partition_point(|r| r.last < *range.start());
        !range.is_empty() && self.0.get(at).is_some_and(|r| r.first <= *range.end())
    }

    /// Is there nothing in it?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = RangeInclusive<Txg>> {
        self.0.iter().map(|r| r.first..=r.last)
    }
}

impl Extend<RangeInclusive<Txg>> for TxgRanges {
    fn extend<I: IntoIterator<Item = RangeInclusive<Txg>>>(&mut self, ranges: I) {
        ranges.into_iter().for_each(|range| self.insert(range));
    }
}

impl FromIterator<RangeInclusive<Txg>> for TxgRanges {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<Txg>>>(ranges: I) -> Self {
        let mut set = Self::new();
        set.extend(ranges);
        set
    }
}
