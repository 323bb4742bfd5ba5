//! Counters of the classes.

use crate::class::{Class, Kind, PerClass};
use crate::histogram::{Counter, Histogram, Recorder};

/// I/Os and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// I/Os; a merged I/O counts once.
    pub ios: u64,
    /// Their bytes, those between merged reads that nobody asked for included.
    pub bytes: u64,
}

impl Traffic {
    /// Adds what another one has counted.
    pub fn merge(&mut self, other: &Self) {
        self.ios += other.ios;
        self.bytes += other.bytes;
    }

    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            ios: self.ios.saturating_sub(earlier.ios),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }
}

/// What a class has now and has had so far. The totals count since the queue was made.
///
/// Summed over all classes, `enqueued_total = queued + issued_total + merged_total +
/// unneeded_total + cancelled_total`; within one class the sum also moves by requests that were
/// re-prioritised. Always `issued_total = completed_total + active`. (Read while another thread
/// is in the queue, each number is right, and the sums are off by what that thread is about; what
/// was completed is never more than what was issued.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassStats {
    /// Requests waiting.
    pub queued: usize,
    /// I/Os at the device; a merged I/O counts once.
    pub active: u32,
    /// Requests that entered in this class.
    pub enqueued_total: u64,
    /// I/Os given to the device; a merged I/O counts once.
    pub issued_total: u64,
    /// I/Os the device has finished, well or badly: reads, writes and trims.
    pub completed_total: u64,
    /// The reads among them.
    pub reads: Traffic,
    /// The writes among them.
    pub writes: Traffic,
    /// The trims among them.
    pub trims: Traffic,
    /// Requests that rode along in another request's I/O.
    pub merged_total: u64,
    /// Optional requests that ended without I/O.
    pub unneeded_total: u64,
    /// Requests cancelled while queued.
    pub cancelled_total: u64,
    /// Sum over the requests issued of the time from enqueue to issue.
    pub wait_ns_total: u64,
    /// Sum over the I/Os completed of the time from issue to completion.
    pub service_ns_total: u64,
}

impl ClassStats {
    /// Adds those of another queue's class.
    pub fn merge(&mut self, other: &Self) {
        self.queued += other.queued;
        self.active += other.active;
        self.totals(other, |total, more| *total += more);
        self.reads.merge(&other.reads);
        self.writes.merge(&other.writes);
        self.trims.merge(&other.trims);
    }

    /// What was counted since `earlier`, a reading of the same counters; what waits and what is at
    /// the device is as it is now.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = *self;
        since.totals(earlier, |total, then| *total = total.saturating_sub(then));
        since.reads = self.reads.since(&earlier.reads);
        since.writes = self.writes.since(&earlier.writes);
        since.trims = self.trims.since(&earlier.trims);
        since
    }

    fn totals(&mut self, other: &Self, combine: impl Fn(&mut u64, u64)) {
        combine(&mut self.enqueued_total, other.enqueued_total);
        combine(&mut self.issued_total, other.issued_total);
        combine(&mut self.completed_total, other.completed_total);
        combine(&mut self.merged_total, other.merged_total);
        combine(&mut self.unneeded_total, other.unneeded_total);
        combine(&mut self.cancelled_total, other.cancelled_total);
        combine(&mut self.wait_ns_total, other.wait_ns_total);
        combine(&mut self.service_ns_total, other.service_ns_total);
    }
}

/// How long the requests of a class have taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    /// From enqueue to issue, of each request issued.
    pub queue: Histogram,
    /// From issue to completion, of each I/O completed.
    pub device: Histogram,
    /// From enqueue to completion, of each I/O completed; of a merged I/O, that of the request
    /// that came first.
    pub total: Histogram,
}

impl Latencies {
    /// Adds those of another queue's class.
    pub fn merge(&mut self, other: &Self) {
        self.queue.merge(&other.queue);
        self.device.merge(&other.device);
        self.total.merge(&other.total);
    }

    /// Those since `earlier`, a reading of the same counters.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            queue: self.queue.since(&earlier.queue),
            device: self.device.since(&earlier.device),
            total: self.total.since(&earlier.total),
        }
    }
}

/// The counters of a queue, for any thread to read at any time: nothing is stopped, locked or
/// taken along for it.
///
/// Boxed class by class: the histograms of all together, 34 KiB, would be built on the stack of
/// whoever makes a queue.
#[derive(Debug)]
pub struct Counters(PerClass<Box<ClassCounters>>);

impl Counters {
    pub(crate) fn new() -> Self {
        Self(PerClass::from_fn(|_| {
            Box::new(ClassCounters {
                queued: Counter::default(),
                active: Counter::default(),
                enqueued_total: Counter::default(),
                issued_total: Counter::default(),
                completed: Default::default(),
                merged_total: Counter::default(),
                unneeded_total: Counter::default(),
                cancelled_total: Counter::default(),
                wait_ns_total: Counter::default(),
                service_ns_total: Counter::default(),
                queue: Recorder::new(),
                device: Recorder::new(),
                total: Recorder::new(),
            })
        }))
    }

    pub(crate) fn of(&self, class: Class) -> &ClassCounters {
        &self.0[class]
    }

    /// What a class has now and has had.
    pub fn stats(&self, class: Class) -> ClassStats {
        let counters = &self.0[class];
        // Before those issued, which are never less.
        let [reads, writes, trims] = counters.completed.each_ref().map(KindCounters::get);
        ClassStats {
            completed_total: reads.ios + writes.ios + trims.ios,
            reads,
            writes,
            trims,
            queued: counters.queued.get() as usize,
            // There never are more than a u32 of them.
            active: counters.active.get() as u32,
            enqueued_total: counters.enqueued_total.get(),
            issued_total: counters.issued_total.get(),
            merged_total: counters.merged_total.get(),
            unneeded_total: counters.unneeded_total.get(),
            cancelled_total: counters.cancelled_total.get(),
            wait_ns_total: counters.wait_ns_total.get(),
            service_ns_total: counters.service_ns_total.get(),
        }
    }

    /// How long its requests have taken.
    pub fn latencies(&self, class: Class) -> Latencies {
        let counters = &self.0[class];
        Latencies {
            queue: counters.queue.read(),
            device: counters.device.read(),
            total: counters.total.read(),
        }
    }
}

/// Written by whoever has the queue.
#[derive(Debug)]
pub(crate) struct ClassCounters {
    pub(crate) queued: Counter,
    active: Counter,
    pub(crate) enqueued_total: Counter,
    issued_total: Counter,
    /// By kind.
    completed: [KindCounters; 3],
    merged_total: Counter,
    pub(crate) unneeded_total: Counter,
    pub(crate) cancelled_total: Counter,
    wait_ns_total: Counter,
    service_ns_total: Counter,
    queue: Recorder,
    device: Recorder,
    total: Recorder,
}

impl ClassCounters {
    /// An I/O for so many requests leaves for the device.
    pub(crate) fn issued(&self, members: usize) {
        self.issued_total.add(1);
        self.active.add(1);
        self.merged_total.add(members as u64 - 1);
    }

    /// One of these requests has waited so long.
    pub(crate) fn waited(&self, wait_ns: u64) {
        self.wait_ns_total.add(wait_ns);
        self.queue.record(wait_ns);
    }

    /// An I/O has come back.
    pub(crate) fn completed(&self, kind: Kind, len_bytes: u64, service_ns: u64, total_ns: u64) {
        self.active.subtract(1);
        let completed = &self.completed[kind as usize];
        completed.bytes.add(len_bytes);
        completed.ios.add(1);
        self.service_ns_total.add(service_ns);
        self.device.record(service_ns);
        self.total.record(total_ns);
    }
}

/// [`Traffic`] of one kind, being counted.
#[derive(Debug, Default)]
struct KindCounters {
    ios: Counter,
    bytes: Counter,
}

impl KindCounters {
    fn get(&self) -> Traffic {
        Traffic { ios: self.ios.get(), bytes: self.bytes.get() }
    }
}
