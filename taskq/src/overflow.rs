//! Tasks that no worker will run (after shutdown, or where no thread can be had): run by the
//! threads that dispatch them, so that nothing is lost.

use zio_core::Task;

use crate::list::Stack;
use crate::park::Outcome;
use crate::sync::Mutex;

/// A line of tasks in the order of their arrival. Whoever adds to it when nobody works on it
/// works until it is empty; so each task runs once, and one that dispatches more does not recurse.
pub(crate) struct Overflow<T: Task> {
    line: Mutex<Line<T>>,
}

struct Line<T: Task> {
    arrived: Stack<T>,
    turned: Stack<T>,
    working: bool,
    counts: OverflowCounts,
}

/// Counters of an [`Overflow`]. They never decrease.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OverflowCounts {
    pub(crate) dispatched: u64,
    pub(crate) finished: u64,
    pub(crate) panics: u64,
}

impl<T: Task> Overflow<T> {
    pub(crate) fn new() -> Self {
        Self {
            line: Mutex::new(Line {
                arrived: Stack::new(),
                turned: Stack::new(),
                working: false,
                counts: OverflowCounts::default(),
            }),
        }
    }

    /// Adds a task and returns its number, from 1. `true`: nobody works here, so the caller does
    /// now, by [`Self::next`] until that gives `None`.
    #[must_use]
    pub(crate) fn push(&self, task: T) -> (u64, bool) {
        let mut line = self.line.lock();
        line.arrived.push(task);
        line.counts.dispatched += 1;
        (line.counts.dispatched, !std::mem::replace(&mut line.working, true))
    }

    /// The next task for the one who works here; `outcome` is what became of the one before.
    pub(crate) fn next(&self, outcome: Option<Outcome>) -> Option<T> {
        let mut line = self.line.lock();
        if let Some(outcome) = outcome {
            line.counts.finished += 1;
            line.counts.panics += u64::from(outcome == Outcome::Panicked);
        }
        if line.turned.is_empty() {
            let arrived = line.arrived.take();
            line.turned.pour(arrived);
        }
        let task = line.turned.pop();
        line.working = task.is_some();
        task
    }

    pub(crate) fn counts(&self) -> OverflowCounts {
        self.line.lock().counts
    }
}
