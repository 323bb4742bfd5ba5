//! Limits of a destroy.

/// Limits of a destroy: at most so much in one transaction group, whichever is reached first. The rest
/// comes with the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Pointers taken from the source in one transaction group, those to nothing included: 100,000, as
    /// spec 8.2.
    pub txg_pointers_max: u64,
    /// Bytes freed in one transaction group, as allocated: 16 GiB. A block that is larger comes alone.
    pub txg_bytes_max: u64,
    /// Time in one transaction group: 500 ms, a tenth of what it is open. A most, not a least. It is looked at
    /// every 256 pointers.
    pub txg_ns_max: u64,
    /// Frees that need I/O (headers of gangs) under way at once: 256.
    pub in_flight_max: usize,
    /// Blocks that could not be freed and are [kept](crate::destroy::Destroy::take_not_freed) in memory: 1024.
    /// Those beyond are told and counted.
    pub not_freed_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            txg_pointers_max: 100_000,
            txg_bytes_max: 16 << 30,
            txg_ns_max: 500_000_000,
            in_flight_max: 256,
            not_freed_max: 1024,
        }
    }
}
