//! Counters of the classes.

use crate::class::{Class, PerClass};
use crate::histogram::{Counter, Histogram, Recorder};

/// What a class has now and has had so far. The totals count since the queue was made.
///
/// Summed over all classes, `enqueued_total = queued + issued_total + merged_total +
/// unneeded_total + cancelled_total`; within one class the sum also moves by requests that were
/// re-prioritised. Always `issued_total = completed_total + active`. (Read while another thread
/// is in the queue, each number is right, and the sums are off by what that thread is about.)
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
    /// I/Os the device has finished.
    pub completed_total: u64,
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

/// How long the requests of a class have taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latencies {
    /// From enqueue to issue, of each request issued.
    pub queue: Histogram,
    /// From issue to completion, of each I/O completed.
    pub device: Histogram,
    /// From enqueue to completion, of each I/O completed; of a merged I/O, that of the request
    /// that came first.
    pub total: Histogram,
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
                completed_total: Counter::default(),
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
        ClassStats {
            queued: counters.queued.get() as usize,
            // There never are more than a u32 of them.
            active: counters.active.get() as u32,
            enqueued_total: counters.enqueued_total.get(),
            issued_total: counters.issued_total.get(),
            completed_total: counters.completed_total.get(),
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
    completed_total: Counter,
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
    pub(crate) fn completed(&self, service_ns: u64, total_ns: u64) {
        self.active.subtract(1);
        self.completed_total.add(1);
        self.service_ns_total.add(service_ns);
        self.device.record(service_ns);
        self.total.record(total_ns);
    }
}
