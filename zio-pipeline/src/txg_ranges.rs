//! Sets of transaction groups: what a leaf has missed.

use std::ops::RangeInclusive;

use zio_core::Txg;

/// A set of transaction groups, kept as ranges: disjoint, ascending, none touching the next.
///
/// ```
/// use zio_pipeline::TxgRanges;
///
/// let mut missing = TxgRanges::new();
/// missing.insert(5..=6);
/// missing.insert(7..=7);
/// assert_eq!(missing.iter().collect::<Vec<_>>(), [5..=7]);
/// missing.remove(6..=6);
/// assert!(missing.contains(5) && !missing.contains(6) && missing.intersects(6..=9));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxgRanges(Vec<(Txg, Txg)>);

impl TxgRanges {
    /// The empty set.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Has it no member?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = RangeInclusive<Txg>> + '_ {
        self.0.iter().map(|&(first, last)| first..=last)
    }

    /// Is this group a member?
    pub fn contains(&self, txg: Txg) -> bool {
        self.intersects(txg..=txg)
    }

    /// Is any group of the range a member?
    pub fn intersects(&self, range: RangeInclusive<Txg>) -> bool {
        let (first, last) = range.into_inner();
        let at = self.0.partition_point(|held| held.1 < first);
        first <= last && self.0.get(at).is_some_and(|held| held.0 <= last)
    }

    /// Adds the groups of the range. An empty range adds nothing.
    pub fn insert(&mut self, range: RangeInclusive<Txg>) {
        let (mut first, mut last) = range.into_inner();
        if first > last {
            return;
        }
        // Those that overlap it or touch it become one with it.
        let from = self.0.partition_point(|held| held.1.saturating_add(1) < first);
        let to = self.0.partition_point(|held| held.0 <= last.saturating_add(1));
        if let Some(joined) = self.0.get(from..to).filter(|joined| !joined.is_empty()) {
            first = first.min(joined[0].0);
            last = last.max(joined[joined.len() - 1].1);
        }
        self.0.splice(from..to, [(first, last)]);
    }

    /// Takes the groups of the range out.
    pub fn remove(&mut self, range: RangeInclusive<Txg>) {
        let (first, last) = range.into_inner();
        if first > last {
            return;
        }
        let from = self.0.partition_point(|held| held.1 < first);
        let to = self.0.partition_point(|held| held.0 <= last);
        let cut = &self.0[from..to];
        let before = cut.first().filter(|held| held.0 < first).map(|held| (held.0, first - 1));
        let after = cut.last().filter(|held| held.1 > last).map(|held| (last + 1, held.1));
        let rest: Vec<_> = before.into_iter().chain(after).collect();
        self.0.splice(from..to, rest);
    }

    /// Adds all groups of another set.
    pub fn merge(&mut self, other: &Self) {
        other.iter().for_each(|range| self.insert(range));
    }

    /// Takes all groups of another set out.
    pub fn subtract(&mut self, other: &Self) {
        other.iter().for_each(|range| self.remove(range));
    }
}

impl Extend<RangeInclusive<Txg>> for TxgRanges {
    fn extend<I: IntoIterator<Item = RangeInclusive<Txg>>>(&mut self, ranges: I) {
        ranges.into_iter().for_each(|range| self.insert(range));
    }
}

impl FromIterator<RangeInclusive<Txg>> for TxgRanges {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<Txg>>>(ranges: I) -> Self {
        let mut all = Self::new();
        all.extend(ranges);
        all
    }
}
