//! The knobs of the core and of the pool, with the sources of their defaults.

/// Configuration of [`Metaslabs`](crate::Metaslabs). `Config::default()` is ZFS's behaviour; with struct update
/// syntax single values change:
///
/// ```
/// use metaslab::Config;
///
/// let without_txgs = Config { defer_txgs: 0, ..Config::default() };
/// assert_eq!(without_txgs.aliquot_bytes, 512 << 10);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Transaction groups that must end after the one that freed an extent
    /// before it is handed out again: 2 in ZFS (spec 8.5).
    ///
    /// **0 means at once.** That is for a pipeline that runs without
    /// transaction groups: every free extent can then overwrite what was reachable a
    /// moment ago, so after a crash or a power cut nothing on the device can be
    /// relied on (spec 10, trap 18).
    pub defer_txgs: u64,
    /// The deferral is skipped at the end of a transaction group while less
    /// than 1/this of all space is unallocated (spec 8.5, "nearly full"); 32 is the slop
    /// share of spec 9. 0 means never.
    pub skip_deferral_divisor: u64,
    /// Bytes allocated from one vdev before the rotor moves on, at average
    /// free space (spec 3.8: 512 KiB).
    pub aliquot_bytes: u64,
    /// Bytes that clients may have reserved at a time, in equal parts for all
    /// vdevs and shards; those of one class share. The last reservation may overshoot once.
    /// Background writes have an eighth of it beside that. `None`: four aliquots for each
    /// vdev (spec 3.7, in bytes).
    pub reserve_bytes_max: Option<u64>,
    /// Allocators that do not get in each other's way: each takes from regions of its
    /// own, and the [affinity](zio_core::Want::affinity) of a wish says which one it is for.
    /// `None`: a quarter of the CPUs, 1 to 4 (spec 9).
    pub shards: Option<usize>,
    /// Least size of a region, a piece of a vdev with a lock of its own; a
    /// vdev has 64 of them at most. A block larger than a region is possible and slow.
    pub region_bytes_min: u64,
    /// Of a vdev with at least so many regions the last one is set apart for the blocks of logs, so
    /// that one of those can be had however full and fragmented the rest is. Other blocks get it
    /// only when nothing else is left for them. With the default, 16, it is a 17th to a 64th of
    /// the vdev. 0 sets nothing apart.
    pub log_regions_min: usize,
    /// Share of the space set apart for a class that [contents leave](zio_core::Want::leaves_reserve)
    /// to metadata. 25 as in OpenZFS 2.
    pub special_reserve_percent: u64,
    /// Remember what each transaction group changes until that is
    /// [taken](crate::Metaslabs::take_changes), to be told to a [space map](crate::spacemap). Who asks
    /// for it must take it.
    pub keeps_changes: bool,
    /// 1/this of the pool, in bounds, is held back from all who do not say that they
    /// [may take it](zio_core::Want::uses_slop): for writes that make space, as deletion is in a
    /// copy-on-write pool. 32 in ZFS (spec 9). 0, the default, holds nothing back: here a free
    /// takes no space. The pool is its ordinary space: neither what is set apart for a class counts,
    /// nor does a log's region care.
    pub slop_divisor: u64,
}

/// Shards of a machine with so many CPUs (spec 9).
pub(crate) fn shards_for(cpus: usize) -> usize {
    (cpus / 4).clamp(1, 4)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            defer_txgs: 2,
            skip_deferral_divisor: 32,
            aliquot_bytes: 512 << 10,
            reserve_bytes_max: None,
            shards: None,
            region_bytes_min: 64 << 20,
            log_regions_min: 16,
            special_reserve_percent: 25,
            keeps_changes: false,
            slop_divisor: 0,
        }
    }
}

/// The largest block that is common: extents shorter than this cost gang blocks.
const BLOCK_BYTES_USUAL: u64 = 128 << 10;

/// How [`Extents`](crate::Extents) searches and how long it holds freed units back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtentsConfig {
    /// Transaction groups that must end after the one that freed an extent
    /// before it is handed out again. 2 in ZFS (spec 8.5). **0 hands it out at once: only
    /// for a device without transaction groups, where nothing is expected to
    /// survive a crash** (spec 10, trap 18).
    pub defer_txgs: u64,
    /// Best fit instead of first fit while the longest free extent is shorter than this.
    pub best_fit_longest_units: u64,
    /// Best fit instead of first fit while less than this share of the device is free.
    pub best_fit_free_percent: u64,
    /// Remember what each transaction group changes until that is
    /// [taken](crate::Extents::take_changes), to be told to a [space map](crate::spacemap).
    pub keeps_changes: bool,
    /// Free extents a first fit looks at before it falls back to best fit.
    /// Bounds every search (pain 18); 64 neighbours stand in about six tree nodes.
    pub looks_max: usize,
}

impl ExtentsConfig {
    /// Constants of spec 3.8 and 9 for a unit of `2^ashift` bytes: best fit
    /// below 128 KiB or 4 % free, deferral of two transaction groups.
    pub const fn for_ashift(ashift: u32) -> Self {
        Self {
            defer_txgs: 2,
            best_fit_longest_units: match BLOCK_BYTES_USUAL.checked_shr(ashift) {
                Some(units) => units,
                None => 0,
            },
            best_fit_free_percent: 4,
            keeps_changes: false,
            looks_max: 64,
        }
    }
}
