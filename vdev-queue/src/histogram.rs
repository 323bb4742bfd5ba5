//! How long things took, by size.

use std::array;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets for each doubling: a value is known to a quarter of itself at worst.
const PER_OCTAVE_LOG2: u32 = 2;
const PER_OCTAVE: u64 = 1 << PER_OCTAVE_LOG2;
/// The last doubling that is told apart ends at 2^41 ns, 36 minutes; what took longer counts as that.
const OCTAVE_LAST: u32 = 40;
const BUCKETS: usize = ((OCTAVE_LAST - 1) as usize + 1) * PER_OCTAVE as usize;

/// Where a value is counted.
const fn bucket_of(ns: u64) -> usize {
    if ns < PER_OCTAVE {
        return ns as usize;
    }
    let octave = ns.ilog2();
    if octave > OCTAVE_LAST {
        return BUCKETS - 1;
    }
    let within = (ns >> (octave - PER_OCTAVE_LOG2)) & (PER_OCTAVE - 1);
    ((octave - 1) as u64 * PER_OCTAVE + within) as usize
}

/// The smallest value that is counted in a bucket.
const fn start_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PER_OCTAVE {
        return bucket;
    }
    let (octave, within) = (bucket / PER_OCTAVE + 1, bucket % PER_OCTAVE);
    (PER_OCTAVE + within) << (octave - PER_OCTAVE_LOG2 as u64)
}

/// A number that one thread writes and any may read. No read-modify-write is needed for that.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Whoever has seen this value also sees what the writer had counted before it.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// To be called by the only writer.
    pub(crate) fn add(&self, more: u64) {
        let now = self.0.load(Ordering::Relaxed).wrapping_add(more);
        self.0.store(now, Ordering::Release);
    }

    /// To be called by the only writer.
    pub(crate) fn subtract(&self, less: u64) {
        let now = self.0.load(Ordering::Relaxed).wrapping_sub(less);
        self.0.store(now, Ordering::Release);
    }
}

/// A histogram under way.
pub(crate) struct Recorder([Counter; BUCKETS]);

impl Recorder {
    pub(crate) fn new() -> Self {
        Self(array::from_fn(|_| Counter::default()))
    }

    pub(crate) fn record(&self, ns: u64) {
        self.0[bucket_of(ns)].add(1);
    }

    pub(crate) fn read(&self) -> Histogram {
        Histogram { counts: self.0.iter().map(Counter::get).collect() }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

/// Durations in ns, each known to within a quarter of itself.
///
/// ```
/// use vdev_queue::{Class, Config, Issue, Queue, Request};
/// let mut queue = Queue::new(Config::default())?;
/// queue.enqueue(Request::read(Class::SyncRead, 0, 512)?, (), 0);
/// let Some(Issue::Io(io)) = queue.poll_issue(5_000) else { panic!("an idle device") };
/// queue.complete(io.ticket, 105_000);
/// let took = queue.counters().latencies(Class::SyncRead);
/// assert_eq!(took.device.count(), 1);
/// assert!((100_000..125_000).contains(&took.device.percentile_ns(99.0).unwrap()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    /// On the heap: a reader takes dozens of them at a time, 1.25 KiB each.
    counts: Box<[u64]>,
}

impl Default for Histogram {
    /// Of no duration.
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into() }
    }
}

impl Histogram {
    /// Adds what another one has counted: that of another device, say.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// What was counted since `earlier`, a reading of the same counters.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let pairs = self.counts.iter().zip(&earlier.counts);
        Self { counts: pairs.map(|(now, then)| now.saturating_sub(*then)).collect() }
    }

    /// Durations counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// A duration that `percent` of all did not exceed: the longest of the bucket in which that
    /// falls. `None`: nothing was counted.
    pub fn percentile_ns(&self, percent: f64) -> Option<u64> {
        let total = self.count();
        // At least one: the 0th percentile is the smallest.
        let wanted = ((total as f64 * percent / 100.0).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        self.buckets().find_map(|(ns, count)| {
            seen += count;
            (seen >= wanted).then_some(*ns.end())
        })
    }

    /// Each range of durations in which some fell, shortest first, and how many. The last range
    /// that can be told apart also has all that took longer.
    pub fn buckets(&self) -> impl Iterator<Item = (std::ops::RangeInclusive<u64>, u64)> {
        self.counts
            .iter()
            .enumerate()
            .filter(|&(_, &count)| count > 0)
            .map(|(bucket, &count)| (start_of(bucket)..=start_of(bucket + 1) - 1, count))
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.buckets()).finish()
    }
}
