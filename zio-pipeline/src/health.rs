//! What is known of a leaf's health: does it answer, how fast, and what has it missed?

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use zio_core::Txg;

use crate::missing::Missing;
use crate::txg_ranges::TxgRanges;

/// A leaf that was found dead, or far slower than its siblings, is tried again so often.
pub(crate) const TRIAL_NS: u64 = 1_000_000_000;

/// Each answer moves the smoothed service time by an eighth of the difference.
const SMOOTHING_SHIFT: u32 = 3;

/// Health of one leaf.
#[derive(Debug, Default)]
pub(crate) struct Health {
    unreadable: AtomicBool,
    unwritable: AtomicBool,
    probing: AtomicBool,
    /// When it was last tried although it was thought dead or slow.
    trial_ns: AtomicU64,
    /// Smoothed time of a read at the device; 0 before the first.
    service_ns: AtomicU64,
    missing: Mutex<Missing>,
    misses_any: AtomicBool,
    unflushed: Mutex<Unflushed>,
    errors: ErrorCounters,
}

/// Birth groups of blocks written since the last flush that succeeded.
#[derive(Debug, Default)]
struct Unflushed {
    /// Written since the last flush began.
    since: TxgRanges,
    /// What the flushes that are under way are to make durable. Each of them answers for all of it.
    covered: TxgRanges,
    flushes: u32,
    /// One of them has failed.
    failed: bool,
}

/// Errors of a leaf, as clients were told or spared them (spec 1.13).
#[derive(Debug, Default)]
pub(crate) struct ErrorCounters {
    pub(crate) read: AtomicU64,
    pub(crate) write: AtomicU64,
    pub(crate) checksum: AtomicU64,
}

impl Health {
    pub(crate) fn errors(&self) -> &ErrorCounters {
        &self.errors
    }

    // -- Dead or alive. --

    pub(crate) fn is_readable(&self) -> bool {
        !self.unreadable.load(Ordering::Relaxed)
    }

    pub(crate) fn is_writable(&self) -> bool {
        !self.unwritable.load(Ordering::Relaxed)
    }

    /// What a probe has found. Good news wipes out the bad.
    pub(crate) fn found(&self, readable: bool, writable: bool, now_ns: u64) {
        self.unreadable.store(!readable, Ordering::Relaxed);
        self.unwritable.store(!writable, Ordering::Relaxed);
        self.trial_ns.store(now_ns, Ordering::Relaxed);
    }

    /// An I/O of this kind went well.
    /// True if it was thought dead.
    pub(crate) fn proved(&self, write: bool) -> bool {
        let flag = if write { &self.unwritable } else { &self.unreadable };
        flag.load(Ordering::Relaxed) && flag.swap(false, Ordering::Relaxed)
    }

    /// The right to probe, for one at a time.
    pub(crate) fn begin_probe(&self) -> bool {
        !self.probing.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn end_probe(&self) {
        self.probing.store(false, Ordering::Release);
    }

    /// Is it time to try a leaf that is not trusted? True for one caller per second.
    pub(crate) fn begin_trial(&self, now_ns: u64) -> bool {
        let last = self.trial_ns.load(Ordering::Relaxed);
        now_ns.saturating_sub(last) >= TRIAL_NS
            && self
                .trial_ns
                .compare_exchange(last, now_ns, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    // -- Fast or slow. --

    /// The device took so long for a read.
    pub(crate) fn served(&self, took_ns: u64, now_ns: u64) {
        let before = self.service_ns.load(Ordering::Relaxed);
        let after = if before == 0 {
            took_ns
        } else {
            before - (before >> SMOOTHING_SHIFT) + (took_ns >> SMOOTHING_SHIFT)
        };
        self.service_ns.store(after.max(1), Ordering::Relaxed);
        self.trial_ns.store(now_ns, Ordering::Relaxed);
    }

    /// Smoothed time of a read at the device; 0 while nothing is known.
    pub(crate) fn service_ns(&self) -> u64 {
        self.service_ns.load(Ordering::Relaxed)
    }

    // -- What it has missed. --

    /// A block of this group is not in this place of the data area.
    pub(crate) fn missed(&self, txg: Txg, place: Range<u64>) {
        self.change_missing(|missing| missing.insert(txg, place));
    }

    pub(crate) fn is_missing(&self, txg: Txg, place: &Range<u64>) -> bool {
        self.misses_any.load(Ordering::Relaxed) && self.missing.lock().has(txg, place)
    }

    /// The same, where the place is known and not just the group.
    pub(crate) fn is_missing_exactly(&self, txg: Txg, place: &Range<u64>) -> bool {
        self.misses_any.load(Ordering::Relaxed) && self.missing.lock().has_exactly(txg, place)
    }

    pub(crate) fn missing(&self) -> TxgRanges {
        self.missing.lock().txgs().clone()
    }

    pub(crate) fn change_missing(&self, change: impl FnOnce(&mut Missing)) {
        let mut missing = self.missing.lock();
        change(&mut missing);
        self.misses_any.store(!missing.is_empty(), Ordering::Relaxed);
    }

    /// A block of this group is on the device, perhaps in its cache only.
    pub(crate) fn wrote(&self, txg: Txg, place: &Range<u64>) {
        if self.misses_any.load(Ordering::Relaxed) {
            self.change_missing(|missing| missing.landed(place));
        }
        self.unflushed.lock().since.insert(txg..=txg);
    }

    /// What a flush that starts now is to make durable. [`end_flush`](Self::end_flush) follows.
    pub(crate) fn begin_flush(&self) -> TxgRanges {
        let mut unflushed = self.unflushed.lock();
        let since = std::mem::take(&mut unflushed.since);
        unflushed.covered.merge(&since);
        unflushed.flushes += 1;
        unflushed.covered.clone()
    }

    /// If one of several that were under way together has failed, the next one is to make all of it durable
    /// once more.
    pub(crate) fn end_flush(&self, failed: bool) {
        let mut unflushed = self.unflushed.lock();
        unflushed.failed |= failed;
        unflushed.flushes = unflushed.flushes.saturating_sub(1);
        if unflushed.flushes == 0 {
            let covered = std::mem::take(&mut unflushed.covered);
            if std::mem::take(&mut unflushed.failed) {
                unflushed.since.merge(&covered);
            }
        }
    }

    /// The flush failed here, and went well on a leaf that has all of this: what it was to make durable may be lost.
    pub(crate) fn flush_failed(&self, lost: &TxgRanges) {
        self.change_missing(|missing| missing.insert_somewhere(lost));
    }
}
