//! Counters of the executor, sharded so that threads do not share cache lines.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const SHARDS: usize = 8;

#[repr(align(128))]
#[derive(Default)]
struct Shard(AtomicU64);

/// A counter that many threads add to and few read.
#[derive(Default)]
pub struct Counter([Shard; SHARDS]);

impl Counter {
    /// Adds to the calling thread's shard.
    pub fn add(&self, n: u64) {
        self.0[shard()].0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sum of all shards.
    pub fn get(&self) -> u64 {
        self.0.iter().map(|s| s.0.load(Ordering::Relaxed)).sum()
    }
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    std::thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        mine.get()
    })
}

/// What the executor has done.
#[derive(Debug, Default)]
pub struct EngineStats {
    /// Entries into the executor by a client that starts a zio.
    pub entries_submit: Counter,
    /// Entries into the executor by the answer of a device.
    pub entries_completion: Counter,
    /// Entries into the executor by a worker of a task queue.
    pub entries_task: Counter,
    /// Zios queued to a task queue.
    pub dispatches: Counter,
    /// Parents run by the thread that finished their last child.
    pub handovers: Counter,
    /// Answers of devices that came when nobody waited for them any more.
    pub late_answers: Counter,
    /// Zios made.
    pub zios: Counter,
    /// Stages and callbacks that panicked.
    pub panics: Counter,
}

impl EngineStats {
    /// The numbers of this moment.
    pub fn counts(&self) -> EngineCounts {
        EngineCounts {
            entries_submit: self.entries_submit.get(),
            entries_completion: self.entries_completion.get(),
            entries_task: self.entries_task.get(),
            dispatches: self.dispatches.get(),
            handovers: self.handovers.get(),
            late_answers: self.late_answers.get(),
            zios: self.zios.get(),
            panics: self.panics.get(),
        }
    }
}

/// [`EngineStats`] as plain numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineCounts {
    /// Entries into the executor by a client that starts a zio.
    pub entries_submit: u64,
    /// Entries into the executor by the answer of a device.
    pub entries_completion: u64,
    /// Entries into the executor by a worker of a task queue.
    pub entries_task: u64,
    /// Zios queued to a task queue.
    pub dispatches: u64,
    /// Parents run by the thread that finished their last child.
    pub handovers: u64,
    /// Answers of devices that came when nobody waited for them any more.
    pub late_answers: u64,
    /// Zios made.
    pub zios: u64,
    /// Stages and callbacks that panicked.
    pub panics: u64,
}

impl EngineCounts {
    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let since = |now: u64, then: u64| now.saturating_sub(then);
        Self {
            entries_submit: since(self.entries_submit, earlier.entries_submit),
            entries_completion: since(self.entries_completion, earlier.entries_completion),
            entries_task: since(self.entries_task, earlier.entries_task),
            dispatches: since(self.dispatches, earlier.dispatches),
            handovers: since(self.handovers, earlier.handovers),
            late_answers: since(self.late_answers, earlier.late_answers),
            zios: since(self.zios, earlier.zios),
            panics: since(self.panics, earlier.panics),
        }
    }
}
