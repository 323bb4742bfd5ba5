//! A set of units, kept as disjoint runs that never touch each other.

use std::collections::BTreeMap;

/// Units `start..end`, never empty. Unlike an extent it has been checked, so
/// its arithmetic cannot overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Run {
    pub(crate) const fn len(self) -> u64 {
        self.end - self.start
    }

    pub(crate) const fn contains(self, part: Self) -> bool {
        self.start <= part.start && part.end <= self.end
    }

    /// The units of both.
    pub(crate) fn meet(self, other: Self) -> Option<Self> {
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (start < end).then_some(Self { start, end })
    }
}

/// The runs that an insertion grew together with.
pub(crate) struct Joined {
    pub(crate) left: Option<Run>,
    pub(crate) right: Option<Run>,
}

/// Disjoint, non-adjacent runs in address order.
///
/// The tree's key is the *end* of a run and its value the start: taking units
/// from the front of a run, which is what allocation does, then changes a value in
/// place and leaves the tree's shape alone.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    start_by_end: BTreeMap<u64, u64>,
    units: u64,
}

impl Runs {
    /// Units in the set.
    pub(crate) const fn units(&self) -> u64 {
        self.units
    }

    /// Runs that end after `unit`, in address order. The first may begin before it.
    pub(crate) fn after(&self, unit: u64) -> impl Iterator<Item = Run> + '_ {
        // No run ends at 0, so a saturated key is still right.
        self.start_by_end.range(unit.saturating_add(1)..).map(|(&end, &start)| Run { start, end })
    }

    /// The run of lowest address.
    pub(crate) fn lowest(&self) -> Option<Run> {
        self.start_by_end.first_key_value().map(|(&end, &start)| Run { start, end })
    }

    /// The run of highest address.
    pub(crate) fn highest(&self) -> Option<Run> {
        self.start_by_end.last_key_value().map(|(&end, &start)| Run { start, end })
    }

    /// Is any unit of `run` in the set?
    pub(crate) fn overlaps(&self, run: Run) -> bool {
        self.after(run.start).next().is_some_and(|next| next.start < run.end)
    }

    /// The run that holds all of `part`.
    pub(crate) fn containing(&self, part: Run) -> Option<Run> {
        self.after(part.start).next().filter(|whole| whole.contains(part))
    }

    /// Adds a run. `None`, and no change, when any unit is there already.
    pub(crate) fn insert(&mut self, run: Run) -> Option<Joined> {
        let mut near = self
            .start_by_end
            .range_mut(run.start..)
            .map(|(&end, start)| (Run { start: *start, end }, start));
        let mut next = near.next();
        let mut left = None;
        if let Some((neighbour, _)) = next.as_ref().filter(|(n, _)| n.end == run.start) {
            left = Some(*neighbour);
            next = near.next();
        }
        if next.as_ref().is_some_and(|(n, _)| n.start < run.end) {
            return None;
        }
        let start = left.map_or(run.start, |l| l.start);
        let right = match next.filter(|(n, _)| n.start == run.end) {
            Some((neighbour, start_of_it)) => {
                *start_of_it = start;
                Some(neighbour)
            }
            None => None,
        };
        if let Some(left) = left {
            self.start_by_end.remove(&left.end);
        }
        if right.is_none() {
            self.start_by_end.insert(run.end, start);
        }
        self.units += run.len();
        Some(Joined { left, right })
    }

    /// Takes `part` out of `whole`, which is a run of the set that holds it.
    pub(crate) fn cut(&mut self, whole: Run, part: Run) {
        debug_assert!(
            whole.contains(part) && self.start_by_end.get(&whole.end) == Some(&whole.start)
        );
        if part.end == whole.end {
            self.start_by_end.remove(&whole.end);
        } else if let Some(start) = self.start_by_end.get_mut(&whole.end) {
            *start = part.end;
        }
        if whole.start < part.start {
            self.start_by_end.insert(part.start, whole.start);
        }
        self.units -= part.len();
    }

    /// Takes out whatever units of `run` are in the set.
    pub(crate) fn subtract(&mut self, run: Run) {
        loop {
            let next = self.after(run.start).next();
            let Some(whole) = next.filter(|next| next.start < run.end) else { return };
            let part = Run { start: whole.start.max(run.start), end: whole.end.min(run.end) };
            self.cut(whole, part);
        }
    }

    /// Takes out whatever units of `run` are in the set, and tells those that are not.
    pub(crate) fn carve(&mut self, run: Run, mut missing: impl FnMut(Run)) {
        let mut start = run.start;
        loop {
            let next = self.after(start).next();
            let Some(whole) = next.filter(|next| next.start < run.end) else { break };
            let part = Run { start: whole.start.max(start), end: whole.end.min(run.end) };
            if start < part.start {
                missing(Run { start, end: part.start });
            }
            self.cut(whole, part);
            start = part.end;
        }
        if start < run.end {
            missing(Run { start, end: run.end });
        }
    }

    /// Takes out the run of lowest address.
    pub(crate) fn pop_first(&mut self) -> Option<Run> {
        let (end, start) = self.start_by_end.pop_first()?;
        let run = Run { start, end };
        self.units -= run.len();
        Some(run)
    }
}
