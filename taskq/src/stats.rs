//! What a set of queues has done so far.

/// Counters of one queue or of a whole set. They never decrease, and cost nothing extra: they are
/// kept under locks that are held anyway, each shard its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks that went into a queue.
    pub dispatched: u64,
    /// Tasks that workers have run to their end, panics included.
    pub run: u64,
    /// Tasks that panicked.
    pub panics: u64,
    /// Tasks that were taken back before they began.
    pub cancelled: u64,
    /// Tasks that workers of other shards of the same queue have run, or, where no worker could be
    /// had, the keeper.
    pub stolen: u64,
    /// Times a worker went to sleep.
    pub sleeps: u64,
    /// Times a sleeping worker was woken: the dear ones.
    pub wakes: u64,
    /// Tasks that found no worker and were run by threads that dispatch; counted by the set, not
    /// by its queues, and not among the other counters, except that their panics are.
    pub overflow: u64,
}
