//! The allocatable units of one device, found by address and by size.

use crate::runs::{Run, Runs};
use crate::sizes::Sizes;

/// Free runs in both orders. The two always hold the same runs.
#[derive(Debug)]
pub(crate) struct FreeSpace {
    runs: Runs,
    sizes: Sizes,
}

impl FreeSpace {
    pub(crate) fn new() -> Self {
        Self { runs: Runs::default(), sizes: Sizes::new() }
    }

    pub(crate) const fn units(&self) -> u64 {
        self.runs.units()
    }

    pub(crate) fn longest(&self) -> u64 {
        self.sizes.longest()
    }

    pub(crate) fn units_below(&self, k: u32) -> u64 {
        self.sizes.units_below(k)
    }

    /// The run of lowest address.
    pub(crate) fn lowest(&self) -> Option<Run> {
        self.runs.lowest()
    }

    /// The run of highest address.
    pub(crate) fn highest(&self) -> Option<Run> {
        self.runs.highest()
    }

    pub(crate) fn overlaps(&self, run: Run) -> bool {
        self.runs.overlaps(run)
    }

    pub(crate) fn containing(&self, part: Run) -> Option<Run> {
        self.runs.containing(part)
    }

    /// Adds a run and grows it together with its neighbours. False, and no
    /// change, when any unit of it is free already.
    pub(crate) fn insert(&mut self, run: Run) -> bool {
        let Some(joined) = self.runs.insert(run) else { return false };
        let mut grown = run;
        if let Some(left) = joined.left {
            self.sizes.remove(left);
            grown.start = left.start;
        }
        if let Some(right) = joined.right {
            self.sizes.remove(right);
            grown.end = right.end;
        }
        self.sizes.insert(grown);
        true
    }

    /// Takes `part` out of `whole`, which is a free run that holds it.
    pub(crate) fn cut(&mut self, whole: Run, part: Run) {
        self.runs.cut(whole, part);
        self.sizes.remove(whole);
        if whole.start < part.start {
            self.sizes.insert(Run { start: whole.start, end: part.start });
        }
        if part.end < whole.end {
            self.sizes.insert(Run { start: part.end, end: whole.end });
        }
    }

    /// The shortest free run that holds `len` units.
    pub(crate) fn best_fit(&self, len: u64) -> Option<Run> {
        self.sizes.best_fit(len)
    }

    /// The first run of at least `len` units that ends after `cursor`, then
    /// from the device's start; looks at `looks_max` runs and then gives up.
    pub(crate) fn first_fit(&self, cursor: u64, len: u64, looks_max: usize) -> Option<Run> {
        let ahead = self.runs.after(cursor);
        let wrapped = self.runs.after(0).take_while(|run| run.end <= cursor);
        ahead.chain(wrapped).take(looks_max).find(|run| run.len() >= len)
    }

    /// A free run, and the place of `len` units in it that lie inside
    /// `window`: the lowest such place among the first `looks_max` runs there.
    pub(crate) fn first_fit_within(
        &self,
        window: Run,
        len: u64,
        looks_max: usize,
    ) -> Option<(Run, Run)> {
        self.runs
            .after(window.start)
            .take_while(|run| run.start < window.end)
            .take(looks_max)
            .find_map(|run| place_within(run, window, len).map(|part| (run, part)))
    }

    /// The same among the `looks_max` longest runs of the device.
    pub(crate) fn longest_fit_within(
        &self,
        windows: &[Run],
        len: u64,
        looks_max: usize,
    ) -> Option<(Run, Run)> {
        self.sizes.longest_first().take(looks_max).take_while(|run| run.len() >= len).find_map(
            |run| windows.iter().find_map(|&w| place_within(run, w, len)).map(|part| (run, part)),
        )
    }
}

/// The lowest place of `len` units inside both `run` and `window`.
pub(crate) fn place_within(run: Run, window: Run, len: u64) -> Option<Run> {
    let start = run.start.max(window.start);
    let end = start.checked_add(len)?;
    (end <= run.end.min(window.end)).then_some(Run { start, end })
}
