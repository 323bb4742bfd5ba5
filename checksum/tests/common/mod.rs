//! What several tests need.

use proptest::sample::Index;

/// Cuts `data` at the given places, in any order, with repeats.
pub(crate) fn cut<'a>(data: &'a [u8], places: &[Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = places.iter().map(|i| i.index(data.len() + 1)).collect();
    ends.push(data.len());
    ends.sort_unstable();
    let mut from = 0;
    ends.into_iter()
        .map(|to| {
            let segment = &data[from..to];
            from = to;
            segment
        })
        .collect()
}
