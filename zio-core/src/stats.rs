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
