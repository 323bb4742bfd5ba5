//! Flags of a zio and what a child inherits of them (spec 1.7).
//!
//! The original inherits by bit order ("all bits below X"). Here each
//! inheritance set is spelled out and golden-tested; bit numbers mean nothing.

bitflags::bitflags! {
    /// How a zio is to be treated.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Flags: u32 {
        /// Never merged in the device queue.
        const DONT_AGGREGATE = 1 << 0;
        /// A write that repairs a bad copy.
        const IO_REPAIR = 1 << 1;
        /// A repair because an error was seen, not a resilver.
        const SELF_HEAL = 1 << 2;
        /// Part of a resilver.
        const RESILVER = 1 << 3;
        /// Read every copy.
        const SCRUB = 1 << 4;
        /// Issued by the scanner.
        const SCAN_THREAD = 1 << 5;
        /// A raw range of a device; sector alignment is enough.
        const PHYSICAL = 1 << 6;
        /// An error may be returned; without it the I/O must succeed.
        const CANFAIL = 1 << 7;
        /// Errors are neither counted nor reported.
        const SPECULATIVE = 1 << 8;
        /// The caller holds the configuration; use the NULL queue.
        const CONFIG_WRITER = 1 << 9;
        /// No second try in ASSESS.
        const DONT_RETRY = 1 << 10;
        /// Skip the device read cache.
        const DONT_CACHE = 1 << 11;
        /// No buffer: allocate only, or an optional write of zeros.
        const NODATA = 1 << 12;
        /// Test aid.
        const INDUCE_DAMAGE = 1 << 13;
        /// Holds a reservation of the allocation throttle.
        const IO_ALLOCATING = 1 << 14;
        /// This is the second try.
        const IO_RETRY = 1 << 15;
        /// Probe of a device; never probes itself.
        const PROBE = 1 << 16;
        /// Ask the device to retry.
        const TRYHARD = 1 << 17;
        /// Padding, useful only for merging.
        const OPTIONAL = 1 << 18;
        /// Skip the device queue, or: has been through it.
        const DONT_QUEUE = 1 << 19;
        /// Its own error is not merged into the parent.
        const DONT_PROPAGATE = 1 << 20;
        /// Completed without device I/O.
        const IO_BYPASS = 1 << 21;
        /// In-place write.
        const IO_REWRITE = 1 << 22;
        /// The buffer is the compressed form.
        const RAW_COMPRESS = 1 << 23;
        /// The buffer is the encrypted form.
        const RAW_ENCRYPT = 1 << 24;
        /// Makes the child type GANG.
        const GANG_CHILD = 1 << 25;
        /// Makes the child type DDT.
        const DDT_CHILD = 1 << 26;
        /// Counts children only: inherits neither errors nor re-execution (spec 1.9).
        const GODFATHER = 1 << 27;
        /// The pointer was kept unchanged.
        const NOPWRITE = 1 << 28;
        /// Ran before; informational.
        const REEXECUTED = 1 << 29;
        /// Made by the device queue on behalf of others.
        const DELEGATED = 1 << 30;
        /// A read that leaves bad copies as they are.
        const DONT_REPAIR = 1 << 31;
    }
}

impl Flags {
    /// Both raw forms.
    pub const RAW: Self = Self::RAW_COMPRESS.union(Self::RAW_ENCRYPT);

    /// Must be equal for two queued I/Os to merge; the aggregate carries them.
    pub const AGGREGATE_INHERIT: Self = Self::DONT_AGGREGATE
        .union(Self::IO_REPAIR)
        .union(Self::SELF_HEAL)
        .union(Self::RESILVER)
        .union(Self::SCRUB)
        .union(Self::SCAN_THREAD)
        .union(Self::PHYSICAL);

    /// What a gang or DDT child takes from its parent.
    pub const LOGICAL_INHERIT: Self = Self::AGGREGATE_INHERIT
        .union(Self::CANFAIL)
        .union(Self::SPECULATIVE)
        .union(Self::CONFIG_WRITER)
        .union(Self::DONT_RETRY)
        .union(Self::DONT_CACHE)
        .union(Self::NODATA)
        .union(Self::INDUCE_DAMAGE)
        .union(Self::IO_ALLOCATING)
        .union(Self::DONT_REPAIR);

    /// What a vdev child takes from its parent.
    pub const VDEV_INHERIT: Self = Self::LOGICAL_INHERIT
        .union(Self::IO_RETRY)
        .union(Self::PROBE)
        .union(Self::TRYHARD)
        .union(Self::OPTIONAL);

    /// Flags of a gang child.
    #[must_use]
    pub const fn for_gang_child(self) -> Self {
        self.intersection(Self::LOGICAL_INHERIT).union(Self::GANG_CHILD).union(Self::CANFAIL)
    }

    /// Flags of a DDT child.
    #[must_use]
    pub const fn for_ddt_child(self) -> Self {
        self.intersection(Self::LOGICAL_INHERIT).union(Self::DDT_CHILD).union(Self::CANFAIL)
    }

    /// Flags of a vdev child; `top_level` says whether the child's vdev is a
    /// top-level one.
    #[must_use]
    pub const fn for_vdev_child(self, top_level: bool) -> Self {
        let mut flags =
            self.intersection(Self::VDEV_INHERIT).union(Self::DONT_PROPAGATE).union(Self::CANFAIL);
        if flags.contains(Self::IO_REPAIR) {
            flags = flags.difference(Self::SPECULATIVE);
        }
        if !top_level || flags.contains(Self::IO_RETRY) {
            flags = flags.difference(Self::IO_ALLOCATING);
        }
        flags
    }
}
