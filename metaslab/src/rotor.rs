//! Whose turn it is: some space from one vdev, then the next (spec 3.8).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A ring over vdevs. Each gets one quota of bytes in turn; a quota is the
/// aliquot, made larger or smaller by how free the vdev is against the average.
///
/// Three atomics and no lock: threads that race may let a vdev run over its
/// quota by a block each, which harms nothing.
#[derive(Debug, Default)]
pub(crate) struct Rotor {
    at: AtomicUsize,
    used_bytes: AtomicU64,
    quota_bytes: AtomicU64,
}

impl Rotor {
    /// Position among `vdevs`, which is not 0.
    pub(crate) fn at(&self, vdevs: usize) -> usize {
        self.at.load(Ordering::Relaxed) % vdevs
    }

    /// The vdev in the middle of its turn.
    pub(crate) fn on_turn(&self, vdevs: usize) -> Option<usize> {
        (self.used_bytes.load(Ordering::Relaxed) > 0).then(|| self.at(vdevs))
    }

    /// `bytes` came from vdev `index`. `quota` is asked for when a turn begins.
    pub(crate) fn charge(
        &self,
        index: usize,
        vdevs: usize,
        bytes: u64,
        quota: impl FnOnce() -> u64,
    ) {
        if self.at(vdevs) != index {
            // The one whose turn it was had no room.
            self.at.store(index, Ordering::Relaxed);
            self.used_bytes.store(0, Ordering::Relaxed);
        }
        let used_before = self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        if used_before == 0 {
            self.quota_bytes.store(quota(), Ordering::Relaxed);
        }
        if used_before.saturating_add(bytes) >= self.quota_bytes.load(Ordering::Relaxed) {
            self.used_bytes.store(0, Ordering::Relaxed);
            self.at.store((index + 1) % vdevs, Ordering::Relaxed);
        }
    }
}

/// Quota of a vdev with `free_bytes` where all `vdevs` together have `all_free_bytes`.
///
/// ```text
/// ratio = free·vdevs·100 / (all_free + 1)          100 is average
/// quota = aliquot + (ratio − 100)·aliquot / 100
///
/// two vdevs, free 10 GiB and 90 GiB, aliquot 512 KiB:
///   ratios 19 and 179, so quotas 97 KiB and 916 KiB
/// ```
pub(crate) fn quota_bytes(
    aliquot_bytes: u64,
    free_bytes: u64,
    all_free_bytes: u64,
    vdevs: usize,
) -> u64 {
    let ratio_percent =
        u128::from(free_bytes) * vdevs as u128 * 100 / (u128::from(all_free_bytes) + 1);
    // aliquot + (ratio − 100)·aliquot/100 is ratio·aliquot/100.
    let quota = u128::from(aliquot_bytes).saturating_mul(ratio_percent) / 100;
    u64::try_from(quota).unwrap_or(u64::MAX)
}
