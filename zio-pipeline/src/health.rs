//! What is known of a leaf's health: does it answer, how fast, and what has it missed?

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use zio_core::Txg;

use crate::heal::Heal;
use crate::missing::Missing;
use crate::outage::LeafErrors;
use crate::txg_ranges::TxgRanges;

/// A leaf that was found dead, or far slower than its siblings, is tried again so often.
const TRIAL_NS: u64 = 1_000_000_000;

/// Each answer moves the smoothed service time by an eighth of the difference.
const SMOOTHING_SHIFT: u32 = 3;

/// Health of one leaf.
#[derive(Debug, Default)]
pub(crate) struct Health {
    unreadable: AtomicBool,
    unwritable: AtomicBool,
    probing: AtomicBool,
    /// When it was last read from, or written to, although it was thought dead or slow.
    read_trial_ns: AtomicU64,
    write_trial_ns: AtomicU64,
    /// Smoothed time of a read at the device; 0 before the first.
    service_ns: AtomicU64,
    missing: Mutex<Missing>,
    misses_any: AtomicBool,
    /// How often something was noted there.
    times_missed: AtomicU64,
    /// Those of blocks written since the last flush that succeeded.
    unflushed: Mutex<TxgRanges>,
    /// Raw ranges were written since the last flush that succeeded.
    unflushed_physically: AtomicBool,
    errors: ErrorCounters,
    heal: Heal,
}

fn begin_trial(last_ns: &AtomicU64, now_ns: u64) -> bool {
    let last = last_ns.load(Ordering::Relaxed);
    now_ns.saturating_sub(last) >= TRIAL_NS
        && last_ns.compare_exchange(last, now_ns, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// What is on a leaf and not durable, when a flush starts.
#[derive(Debug)]
pub(crate) struct Unflushed {
    /// Birth groups of blocks.
    pub(crate) groups: TxgRanges,
    /// Raw ranges.
    pub(crate) physical: bool,
    /// What the leaf had missed at that moment.
    pub(crate) missing: TxgRanges,
}

/// Errors of a leaf, as clients were told or spared them (spec 1.13).
#[derive(Debug, Default)]
pub(crate) struct ErrorCounters {
    pub(crate) read: AtomicU64,
    pub(crate) write: AtomicU64,
    pub(crate) checksum: AtomicU64,
}

impl ErrorCounters {
    pub(crate) fn so_far(&self) -> LeafErrors {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LeafErrors { read: of(&self.read), write: of(&self.write), checksum: of(&self.checksum) }
    }
}

impl Health {
    pub(crate) fn errors(&self) -> &ErrorCounters {
        &self.errors
    }

    /// What has been repaired on it.
    pub(crate) fn heal(&self) -> &Heal {
        &self.heal
    }

    // -- Dead or alive. --

    pub(crate) fn is_readable(&self) -> bool {
        !self.unreadable.load(Ordering::Relaxed)
    }

    pub(crate) fn is_writable(&self) -> bool {
        !self.unwritable.load(Ordering::Relaxed)
    }

    /// Is it left alone, for reads or for writes?
    pub(crate) fn is_dead(&self) -> bool {
        !self.is_readable() || !self.is_writable()
    }

    /// What a probe has found. Good news wipes out the bad.
    pub(crate) fn found(&self, readable: bool, writable: bool, now_ns: u64) {
        self.unreadable.store(!readable, Ordering::Relaxed);
        self.unwritable.store(!writable, Ordering::Relaxed);
        self.read_trial_ns.store(now_ns, Ordering::Relaxed);
        self.write_trial_ns.store(now_ns, Ordering::Relaxed);
    }

    /// An I/O of this kind went well. True if that is news.
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

    /// Is it time to try a leaf that is not trusted with reads? True for one caller per second.
    pub(crate) fn begin_read_trial(&self, now_ns: u64) -> bool {
        begin_trial(&self.read_trial_ns, now_ns)
    }

    /// May it be written to? Trusted, or it is time to try; then true for one caller per second.
    pub(crate) fn may_write(&self, now_ns: u64) -> bool {
        self.is_writable() || begin_trial(&self.write_trial_ns, now_ns)
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
        self.read_trial_ns.store(now_ns, Ordering::Relaxed);
    }

    /// Smoothed time of a read at the device; 0 while nothing is known.
    pub(crate) fn service_ns(&self) -> u64 {
        self.service_ns.load(Ordering::Relaxed)
    }

    // -- What it has missed. --

    /// A block of this group is not in this place of the data area.
    pub(crate) fn missed(&self, txg: Txg, place: Range<u64>) {
        self.change_missing(|missing| missing.insert(txg, place));
        self.times_missed.fetch_add(1, Ordering::Release);
    }

    /// How often something was noted as missing. It rises after that was noted.
    pub(crate) fn times_missed(&self) -> u64 {
        self.times_missed.load(Ordering::Acquire)
    }

    /// Has it missed what is in this place, for certain?
    pub(crate) fn is_missing_here(&self, txg: Txg, place: &Range<u64>) -> bool {
        self.misses_any.load(Ordering::Relaxed) && self.missing.lock().has_here(txg, place)
    }

    /// May it have missed it?
    pub(crate) fn is_missing(&self, txg: Txg, place: &Range<u64>) -> bool {
        self.misses_any.load(Ordering::Relaxed) && self.missing.lock().has(txg, place)
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
        self.unflushed.lock().insert(txg..=txg);
    }

    /// A raw range is on the device, perhaps in its cache only.
    pub(crate) fn wrote_physically(&self) {
        self.unflushed_physically.store(true, Ordering::Release);
    }

    /// What a flush that starts now is to make durable.
    pub(crate) fn begin_flush(&self) -> Unflushed {
        Unflushed {
            groups: std::mem::take(&mut self.unflushed.lock()),
            physical: self.unflushed_physically.swap(false, Ordering::AcqRel),
            missing: self.missing(),
        }
    }

    /// The flush failed everywhere; the next one is to make this durable as well.
    pub(crate) fn put_back(&self, unflushed: &Unflushed) {
        self.unflushed.lock().merge(&unflushed.groups);
        self.unflushed_physically.fetch_or(unflushed.physical, Ordering::AcqRel);
    }

    /// The flush failed here and not elsewhere: what it was to make durable may be lost.
    pub(crate) fn flush_failed(&self, lost: &Unflushed) {
        if lost.groups.is_empty() {
            return;
        }
        self.change_missing(|missing| missing.insert_somewhere(&lost.groups));
        self.times_missed.fetch_add(1, Ordering::Release);
    }
}
