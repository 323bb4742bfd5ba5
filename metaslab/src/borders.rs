//! Free runs that cross the border between two regions.

use crate::runs::Run;

/// What is free at the two ends of a region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edges {
    /// The region.
    pub(crate) units: Run,
    /// Free units from its begin on.
    pub(crate) head_units: u64,
    /// Free units up to its end.
    pub(crate) tail_units: u64,
}

/// The free runs that end a region, each with what follows it in the next ones:
/// every free run that crosses a border is among them, whole.
///
/// ```text
/// regions   |....##..|........|..####..|        . free   # not
/// runs            └────────────┘    └──┘
/// ```
pub(crate) fn runs_at_borders(
    mut regions: impl Iterator<Item = Edges>,
) -> impl Iterator<Item = Run> {
    let mut open: Option<Run> = None;
    std::iter::from_fn(move || {
        loop {
            let Some(edges) = regions.next() else { return open.take() };
            let Edges { units, head_units, tail_units } = edges;
            let tail = Run { start: units.end - tail_units, end: units.end };
            let before = match open.take() {
                // Free from end to end: the run goes on.
                Some(run) if head_units == units.len() => {
                    open = Some(Run { end: units.end, ..run });
                    continue;
                }
                Some(run) => Some(Run { end: units.start + head_units, ..run }),
                None => None,
            };
            open = (tail_units > 0).then_some(tail);
            if before.is_some() {
                return before;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(regions: &[(u64, u64, u64)]) -> Vec<(u64, u64)> {
        let mut at = 0;
        let edges = regions.iter().map(|&(len, head_units, tail_units)| {
            let units = Run { start: at, end: at + len };
            at = units.end;
            Edges { units, head_units, tail_units }
        });
        let edges: Vec<_> = edges.collect();
        runs_at_borders(edges.into_iter()).map(|run| (run.start, run.end)).collect()
    }

    #[test]
    fn runs_are_joined_at_the_borders() {
        assert_eq!(runs(&[(8, 4, 2), (8, 8, 8), (8, 2, 2)]), [(6, 18), (22, 24)]);
        assert_eq!(runs(&[(8, 8, 8), (8, 8, 8)]), [(0, 16)]);
        assert_eq!(runs(&[(8, 0, 3), (8, 0, 0), (8, 5, 0)]), [(5, 8)]);
        assert_eq!(runs(&[(8, 3, 0), (4, 2, 1)]), [(11, 12)]);
        assert_eq!(runs(&[]), []);
    }
}
