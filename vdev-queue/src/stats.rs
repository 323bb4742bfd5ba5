//! Counters of one class.

/// What a class has now and has had so far. The totals count since the queue was made.
///
/// Summed over all classes, `enqueued_total = queued + issued_total + merged_total +
/// unneeded_total + cancelled_total`; within one class the sum also moves by requests that were
/// re-prioritised. Always `issued_total = completed_total + active`.
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
