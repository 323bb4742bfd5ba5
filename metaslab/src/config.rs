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
    /// Bytes that may be reserved at a time; the last reservation may
    /// overshoot once. `None`: four aliquots for each vdev (spec 3.7, in bytes).
    pub reserve_bytes_max: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            defer_txgs: 2,
            skip_deferral_divisor: 32,
            aliquot_bytes: 512 << 10,
            reserve_bytes_max: None,
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
            looks_max: 64,
        }
    }
}
