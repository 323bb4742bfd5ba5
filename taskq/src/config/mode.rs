//! How many threads a queue gets: pure arithmetic over the number of CPUs (spec 5.2).

use crate::config::Lane;

/// How a cell of the table is staffed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No queue of its own; see [`Config`](crate::Config) for where its tasks go.
    Null,
    /// So many threads in each of so many queues, whatever the machine. Zero counts as one.
    Fixed {
        /// Threads of each queue.
        threads: usize,
        /// Number of queues.
        queues: usize,
    },
    /// One queue with this percentage of the CPUs as threads, rounded down, at least one.
    Percent(usize),
    /// One queue with 75 % of the CPUs as threads, one step weaker than the others
    /// ([`Lane::Batch`](crate::Lane::Batch)) and all there from the first task on: for compression
    /// and checksums.
    Batch,
    /// Both numbers grow with the machine: 80 % of the CPUs in all, in about as many queues as
    /// each has threads.
    Scale {
        /// Never fewer threads than this in all (0 for none).
        threads_min: usize,
    },
    /// 80 % of the CPUs in queues of about 16 threads, but not more queues than there are
    /// allocators, and as many allocators to each queue: so the blocks of one object can meet
    /// one queue and one allocator. One step weaker than the others, as [`Mode::Batch`].
    Sync {
        /// Number of allocators of the pool. Zero counts as one.
        allocators: usize,
    },
}

/// Result of [`Mode::threads`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads {
    /// Number of queues, at least 1.
    pub queues: usize,
    /// Threads of each queue, at least 1.
    pub threads: usize,
}

impl Threads {
    /// Threads in all.
    pub const fn total(self) -> usize {
        self.queues.saturating_mul(self.threads)
    }
}

/// The share of the CPUs that [`Mode::Batch`] uses.
const BATCH_PERCENT: usize = 75;
/// The share of the CPUs that the scaled modes use.
const SHARE_PERCENT: usize = 80;
/// [`Mode::Scale`] starts from one queue per so many threads and goes down from there.
const SCALE_THREADS_PER_QUEUE: usize = 6;
/// [`Mode::Sync`] starts from one queue per so many threads.
const SYNC_THREADS_PER_QUEUE: usize = 16;
/// [`Mode::Scale`]: outside this range of percentages the count of threads is taken as it is.
const SCALE_PERCENT: std::ops::RangeInclusive<usize> = 5..=100;

impl Mode {
    /// Queues and threads on a machine with `cpus` CPUs (0 counts as 1), or `None` for
    /// [`Mode::Null`].
    ///
    /// Worked example: [`Mode::Scale`] on 32 CPUs. 80 % are 25 threads; 1 + 25/6 = 5 queues,
    /// and 5² is not above 25, so 5 they are; each gets 25/5 = 5 threads, which is 16 % of 32,
    /// which is 5. On 64 CPUs: 51 threads, 9 queues, reduced to 7; 11 % of 64 are 7 threads each.
    pub fn threads(self, cpus: usize) -> Option<Threads> {
        let cpus = cpus.max(1);
        let threads = match self {
            Self::Null => return None,
            Self::Fixed { threads, queues } => {
                Threads { queues: queues.max(1), threads: threads.max(1) }
            }
            Self::Percent(percent) => {
                Threads { queues: 1, threads: percent_of(percent, cpus).max(1) }
            }
            Self::Batch => return Self::Percent(BATCH_PERCENT).threads(cpus),
            Self::Scale { threads_min } => scale(cpus, threads_min),
            Self::Sync { allocators } => sync(cpus, allocators.max(1)),
        };
        Some(threads)
    }

    /// Do its threads come and go by need?
    pub(crate) const fn is_dynamic(self) -> bool {
        !matches!(self, Self::Batch)
    }

    /// How strong its threads are: those of write issue, whichever mode it has, are one step
    /// weaker, since they compress.
    pub(crate) const fn lane(self) -> Lane {
        match self {
            Self::Batch | Self::Sync { .. } => Lane::Batch,
            Self::Null | Self::Fixed { .. } | Self::Percent(_) | Self::Scale { .. } => Lane::Normal,
        }
    }
}

fn percent_of(percent: usize, cpus: usize) -> usize {
    percent.saturating_mul(cpus) / 100
}

fn scale(cpus: usize, threads_min: usize) -> Threads {
    let total = percent_of(SHARE_PERCENT, cpus).max(threads_min).max(1);
    let mut queues = 1 + total / SCALE_THREADS_PER_QUEUE;
    while queues.saturating_mul(queues) > total.min(cpus) {
        queues -= 1;
    }
    let divisor = cpus.saturating_mul(queues);
    let percent = (total.saturating_mul(100) + divisor / 2) / divisor;
    let threads = if SCALE_PERCENT.contains(&percent) {
        percent_of(percent, cpus)
    } else {
        (total + queues / 2) / queues
    };
    Threads { queues, threads: threads.max(1) }
}

fn sync(cpus: usize, allocators: usize) -> Threads {
    let wanted = (percent_of(SHARE_PERCENT, cpus) / SYNC_THREADS_PER_QUEUE).max(1);
    let mut queues = wanted.min(allocators);
    while !allocators.is_multiple_of(queues) {
        queues -= 1;
    }
    let percent = (SHARE_PERCENT + queues / 2) / queues;
    Threads { queues, threads: percent_of(percent, cpus).max(1) }
}
