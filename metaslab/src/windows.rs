//! Where on a device a copy may stand, given the others.

use smallvec::SmallVec;

use crate::extent::Extent;
use crate::runs::Run;

/// What is left of `0..size_units` at a distance of `gap_units` from each of
/// `others`. The window behind the last of `others` comes first.
///
/// Size 100, gap 12, others {40 units 8}: windows 60..100, 0..28.
pub(crate) fn windows_between(
    size_units: u64,
    others: &[Extent],
    gap_units: u64,
) -> SmallVec<[Run; 4]> {
    let mut zones: SmallVec<[Run; 3]> = others
        .iter()
        .map(|other| Run {
            start: other.offset_units.saturating_sub(gap_units),
            end: other
                .offset_units
                .saturating_add(other.size_units)
                .saturating_add(gap_units)
                .min(size_units),
        })
        .collect();
    let behind = zones.last().map_or(0, |zone| zone.end);
    zones.sort_unstable_by_key(|zone| zone.start);
    let mut windows: SmallVec<[Run; 4]> = SmallVec::new();
    let mut start = 0;
    for zone in zones {
        if start < zone.start.min(size_units) {
            windows.push(Run { start, end: zone.start.min(size_units) });
        }
        start = start.max(zone.end);
    }
    if start < size_units {
        windows.push(Run { start, end: size_units });
    }
    let first = windows.iter().position(|w| w.start >= behind).unwrap_or(0);
    windows.rotate_left(first);
    windows
}
