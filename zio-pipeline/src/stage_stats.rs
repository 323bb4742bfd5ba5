//! Stages that count, for those who ask for it.
//!
//! Counting takes two looks at the clock for each stage, so it has to be
//! [asked for](crate::Builder::count_stages); a pipeline without it has none of this on its path.

use std::sync::Arc;

use zio_core::{Counter, Next, Stage, Stages, ZioBox};

use crate::clock::Clock;

/// What one stage has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageStats {
    /// Which: a single one.
    pub stage: Stages,
    /// How often it was run: once for each zio that comes to it, and again for each that goes on
    /// after having waited in it, or is sent back to it.
    pub runs: u64,
    /// Zios that came without an error and were passed on with one. Those that end in the stage
    /// are not seen, nor are large blocks that [other threads](crate::Builder::hash_threads)
    /// found to be bad.
    pub errors: u64,
    /// Time spent in it, in ns: work, since no stage waits. Without the hashes of large blocks,
    /// which other threads do.
    pub busy_ns: u64,
}

impl StageStats {
    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            stage: self.stage,
            runs: self.runs.saturating_sub(earlier.runs),
            errors: self.errors.saturating_sub(earlier.errors),
            busy_ns: self.busy_ns.saturating_sub(earlier.busy_ns),
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    runs: Counter,
    errors: Counter,
    busy_ns: Counter,
}

/// The counters of a pipeline's stages.
#[derive(Debug, Default)]
pub(crate) struct StageCounters(Vec<(Stages, Arc<Counters>)>);

impl StageCounters {
    /// The same stages, counted.
    pub(crate) fn around(stages: &mut [Arc<dyn Stage>], clock: &Clock) -> Self {
        let around = |stage: &mut Arc<dyn Stage>| {
            let (inner, counters) = (Arc::clone(stage), Arc::new(Counters::default()));
            let own = (inner.stage(), Arc::clone(&counters));
            *stage = Arc::new(Counted { inner, counters, clock: clock.clone() });
            own
        };
        let mut all: Vec<_> = stages.iter_mut().map(around).collect();
        all.sort_by_key(|(stage, _)| stage.index());
        Self(all)
    }

    pub(crate) fn stats(&self) -> Vec<StageStats> {
        let of = |(stage, counters): &(Stages, Arc<Counters>)| StageStats {
            stage: *stage,
            runs: counters.runs.get(),
            errors: counters.errors.get(),
            busy_ns: counters.busy_ns.get(),
        };
        self.0.iter().map(of).collect()
    }
}

/// A stage that is counted.
struct Counted {
    inner: Arc<dyn Stage>,
    counters: Arc<Counters>,
    clock: Clock,
}

impl Stage for Counted {
    fn stage(&self) -> Stages {
        self.inner.stage()
    }

    fn run(&self, zio: ZioBox) -> Next {
        self.counters.runs.add(1);
        let (was_good, whose) = (zio.error.is_none(), &raw const *zio);
        let start_ns = self.clock.now_ns();
        let next = self.inner.run(zio);
        self.counters.busy_ns.add(self.clock.now_ns().saturating_sub(start_ns));
        let has_failed = |next: &ZioBox| {
            was_good && std::ptr::eq(&raw const **next, whose) && next.error.is_some()
        };
        if next.as_ref().is_some_and(has_failed) {
            self.counters.errors.add(1);
        }
        next
    }
}
