//! What the pipeline has done, in numbers.
//!
//! A [`PipelineStats`] is a snapshot. Totals count since the pipeline was built; the difference of
//! two snapshots, [`PipelineStats::since`], counts what happened between them. Taking one stops
//! nobody: the counters are written without contention where the work is done, and summed here.
//! While work is under way the numbers of one snapshot are not those of one moment; each of them
//! only grows from one snapshot to the next, unless its description says that it is of now.

use std::sync::atomic::{AtomicU64, Ordering};

use vdev_queue::{ClassStats, Latencies, PerClass, Traffic};
use zio_core::{EngineCounts, VdevId, VdevOp};

use crate::heal::Healed;
use crate::outage::LeafErrors;
use crate::pipeline::Pipeline;
use crate::stage_stats::StageStats;
use crate::txg_ranges::TxgRanges;

/// A snapshot of everything that is counted. See [`Pipeline::stats`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PipelineStats {
    /// When it was taken, in ns of the pipeline's clock.
    pub at_ns: u64,
    /// The time that its totals cover, in ns: since the pipeline was built, or since the
    /// snapshot it was compared with.
    pub over_ns: u64,
    /// What the executor did.
    pub engine: EngineCounts,
    /// What each stage did, in order of execution. Empty unless the pipeline was
    /// [told to count](crate::Builder::count_stages).
    pub stages: Vec<StageStats>,
    /// Each leaf of each vdev, in order.
    pub leaves: Vec<LeafStats>,
    /// Requests started, or made, and not finished; now.
    pub live: usize,
    /// The allocation throttle.
    pub throttle: ThrottleStats,
    /// Space.
    pub space: SpaceStats,
    /// Requests that wait for devices to come back; now.
    pub suspended: usize,
    /// References held by the dedup table; now.
    pub dedup_references: u64,
}

/// One leaf: its device, and the queue in front of it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LeafStats {
    /// Its vdev.
    pub vdev: VdevId,
    /// Its number within the vdev; 0 where the vdev is one device.
    pub leaf: usize,
    /// Reads the device has finished, well or badly.
    pub reads: Traffic,
    /// Writes the device has finished, well or badly.
    pub writes: Traffic,
    /// Trims the device has finished, well or badly.
    pub trims: Traffic,
    /// Flushes the device has finished, well or badly.
    pub flushes: u64,
    /// I/Os of all kinds that the device has failed; refusals of a flush or trim by a device that
    /// has none do not count.
    pub failed: u64,
    /// Errors as clients were told or spared them: failed I/Os less those that were to be tried
    /// again and those that nobody counted on.
    pub errors: LeafErrors,
    /// What reads have repaired here.
    pub healed: Healed,
    /// I/Os at the device; now.
    pub in_flight: u64,
    /// Smoothed time of a read at the device, in ns: of leaves of a mirror, once they have read; now.
    pub read_ns_smoothed: Option<u64>,
    /// Is it left alone, after a probe that failed? Now.
    pub is_dead: bool,
    /// Birth groups of the blocks that it has missed; now.
    pub missing: TxgRanges,
    /// Its queue, class by class. What goes around the queue, flushes among it, is in
    /// the figures above only.
    pub classes: PerClass<ClassReport>,
}

/// One class of a leaf's queue, or of several leaves' together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassReport {
    /// Requests queued, issued, merged, …, and their bytes.
    pub counts: ClassStats,
    /// How long they took: in the queue, at the device, altogether. Each I/O that was
    /// [completed](ClassStats::completed_total) is in the latter two.
    pub took: Latencies,
}

/// The allocation throttle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThrottleStats {
    /// Writes that wait for a place; now.
    pub waiting: usize,
    /// Their bytes before they are allocated, all copies; now.
    pub waiting_bytes: u64,
    /// Writes that found no place at once.
    pub waited_total: u64,
}

/// Space of all vdevs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceStats {
    /// Bytes that can be allocated for ordinary blocks; now.
    pub free_bytes: u64,
    /// Bytes allocated, freed ones that are still kept back included; now.
    pub allocated_bytes: u64,
}

impl Pipeline {
    /// What the pipeline, its stages, leaves and queues have done so far.
    ///
    /// Takes no lock that I/O waits for, but that of the allocation throttle. Allocates, so that it is for
    /// somebody who looks now and then.
    pub fn stats(&self) -> PipelineStats {
        let shared = self.shared();
        let at_ns = shared.events.now_ns();
        PipelineStats {
            at_ns,
            over_ns: at_ns.saturating_sub(self.built_ns()),
            engine: self.engine().stats().counts(),
            stages: self.stage_counters().map(|counters| counters.stats()).unwrap_or_default(),
            leaves: shared
                .vdevs
                .iter()
                .flat_map(|vdev| vdev.leaves().iter().enumerate())
                .map(|(number, leaf)| leaf.stats(number))
                .collect(),
            live: self.live(),
            throttle: shared.throttle.stats(),
            space: SpaceStats {
                free_bytes: self.free_bytes(),
                allocated_bytes: self.allocated_bytes(),
            },
            suspended: self.suspended().requests,
            dedup_references: self.dedup_references(),
        }
    }
}

impl PipelineStats {
    /// What happened since `earlier`, a snapshot of the same pipeline: totals become differences,
    /// what is of now stays.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        since.over_ns = self.at_ns.saturating_sub(earlier.at_ns);
        since.engine = self.engine.since(&earlier.engine);
        for (now, then) in since.stages.iter_mut().zip(&earlier.stages) {
            *now = now.since(then);
        }
        for (now, then) in since.leaves.iter_mut().zip(&earlier.leaves) {
            *now = now.since(then);
        }
        since.throttle.waited_total -=
            earlier.throttle.waited_total.min(self.throttle.waited_total);
        since
    }

    /// One leaf's part. `leaf` counts within the vdev, and is 0 where the vdev is one device.
    pub fn leaf(&self, vdev: VdevId, leaf: usize) -> Option<&LeafStats> {
        self.leaves.iter().find(|stats| stats.vdev == vdev && stats.leaf == leaf)
    }

    /// The queues of all leaves together, class by class.
    pub fn classes(&self) -> PerClass<ClassReport> {
        PerClass::from_fn(|class| {
            let mut all = ClassReport::default();
            self.leaves.iter().for_each(|leaf| all.merge(&leaf.classes[class]));
            all
        })
    }
}

impl LeafStats {
    /// What happened since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            reads: self.reads.since(&earlier.reads),
            writes: self.writes.since(&earlier.writes),
            trims: self.trims.since(&earlier.trims),
            flushes: self.flushes.saturating_sub(earlier.flushes),
            failed: self.failed.saturating_sub(earlier.failed),
            errors: self.errors.since(&earlier.errors),
            healed: self.healed.since(&earlier.healed),
            classes: PerClass::from_fn(|class| self.classes[class].since(&earlier.classes[class])),
            ..self.clone()
        }
    }

    /// All classes of its queue together.
    pub fn all_classes(&self) -> ClassReport {
        let mut all = ClassReport::default();
        self.classes.iter().for_each(|(_, class)| all.merge(class));
        all
    }
}

impl ClassReport {
    /// Adds those of another queue, or of another class.
    pub fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts);
        self.took.merge(&other.took);
    }

    /// What happened since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self { counts: self.counts.since(&earlier.counts), took: self.took.since(&earlier.took) }
    }
}

/// What an operation does to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpKind {
    Read,
    Write,
    Trim,
    Flush,
}

impl OpKind {
    pub(crate) fn of(op: &VdevOp) -> Self {
        match op {
            VdevOp::Read(_) => Self::Read,
            VdevOp::Write(_) => Self::Write,
            VdevOp::Trim { .. } => Self::Trim,
            VdevOp::Flush => Self::Flush,
        }
    }

    /// Does it change what is stored?
    pub(crate) fn changes(self) -> bool {
        matches!(self, Self::Write | Self::Trim)
    }
}

/// What one leaf does that its queue does not count. Plain counters: all of it is rare, flushes and
/// probes, reads for which nothing may be waited for, and trouble.
#[derive(Debug, Default)]
pub(crate) struct LeafCounters {
    /// I/Os started that go around the queue.
    around_started: AtomicU64,
    /// Those of them that have ended, and their bytes, by kind.
    around: [(AtomicU64, AtomicU64); 4],
    failed: AtomicU64,
}

impl LeafCounters {
    pub(crate) fn around_started(&self) {
        self.around_started.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn around_ended(&self, kind: OpKind, len_bytes: u64) {
        let (ios, bytes) = &self.around[kind as usize];
        bytes.fetch_add(len_bytes, Ordering::Relaxed);
        ios.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Puts the figures that are not the queue's into `stats`, which has those of its classes.
    pub(crate) fn tell(&self, stats: &mut LeafStats) {
        let around = |kind: OpKind| {
            let (ios, bytes) = &self.around[kind as usize];
            Traffic { ios: ios.load(Ordering::Acquire), bytes: bytes.load(Ordering::Relaxed) }
        };
        let (reads, writes, trims) =
            (around(OpKind::Read), around(OpKind::Write), around(OpKind::Trim));
        stats.flushes = around(OpKind::Flush).ios;
        (stats.reads, stats.writes, stats.trims) = (reads, writes, trims);
        let ended = reads.ios + writes.ios + trims.ios + stats.flushes;
        // Read after those that have ended, which are never more.
        stats.in_flight = self.around_started.load(Ordering::Relaxed).saturating_sub(ended);
        for (_, class) in stats.classes.iter() {
            stats.reads.merge(&class.counts.reads);
            stats.writes.merge(&class.counts.writes);
            stats.trims.merge(&class.counts.trims);
            stats.in_flight += u64::from(class.counts.active);
        }
        stats.failed = self.failed.load(Ordering::Relaxed);
    }
}
