//! The small vocabularies: types, child types, wait types, priorities (spec 1.2–1.4, 4.1, 4.8).

/// What a zio does (spec 1.2). The order is the row order of the task-queue table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ZioType {
    /// A point of synchronisation: the root of a tree.
    Null,
    /// Reads a block, or a raw range of a leaf.
    Read,
    /// Writes a block, rewrites one in place, or writes a raw range.
    Write,
    /// Gives a block's space back.
    Free,
    /// Marks a given block as allocated.
    Claim,
    /// Device control: flush.
    Ioctl,
    /// Tells a leaf that a range is unused.
    Trim,
}

impl ZioType {
    /// Number of types.
    pub const COUNT: usize = 7;

    /// All types in table order.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Null, Self::Read, Self::Write, Self::Free, Self::Claim, Self::Ioctl, Self::Trim];

    /// Position in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Lower-case name, as it stands in thread names and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Read => "read",
            Self::Write => "write",
            Self::Free => "free",
            Self::Claim => "claim",
            Self::Ioctl => "ioctl",
            Self::Trim => "trim",
        }
    }
}

/// Who a zio is to its parent (spec 1.3). A child's type is at most its parent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChildType {
    /// Physical I/O of a device.
    Vdev,
    /// Member or header of a gang block.
    Gang,
    /// I/O made by the dedup stages.
    Ddt,
    /// What a client asked for.
    Logical,
}

impl ChildType {
    /// Number of child types.
    pub const COUNT: usize = 4;

    /// All child types, lowest first.
    pub const ALL: [Self; Self::COUNT] = [Self::Vdev, Self::Gang, Self::Ddt, Self::Logical];

    /// Position in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

bitflags::bitflags! {
    /// A set of child types, for waits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct ChildSet: u8 {
        /// Vdev children.
        const VDEV = 1 << 0;
        /// Gang children.
        const GANG = 1 << 1;
        /// DDT children.
        const DDT = 1 << 2;
        /// Logical children.
        const LOGICAL = 1 << 3;
    }
}

impl ChildSet {
    /// Does the set hold this type?
    pub const fn has(self, child: ChildType) -> bool {
        self.bits() & (1 << child.index()) != 0
    }
}

/// What a parent can wait for (spec 1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitType {
    /// The child's block pointer is final.
    Ready,
    /// The child is finished.
    Done,
}

impl WaitType {
    /// Number of wait types.
    pub const COUNT: usize = 2;

    /// Position in a counter row.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// I/O class: who wants it (spec 4.1, 4.8). Lower is more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Somebody waits for this read.
    SyncRead,
    /// Somebody waits for this write.
    SyncWrite,
    /// Prefetch.
    AsyncRead,
    /// Write-back.
    AsyncWrite,
    /// Scrub and resilver.
    Scrub,
    /// Evacuation of a device.
    Removal,
    /// First-time initialisation of free space.
    Initializing,
    /// Trim.
    Trim,
    /// Sequential rebuild.
    Rebuild,
    /// Not queued at all: flushes, frees, parents of aggregates.
    Now,
}

impl Priority {
    /// All classes, the most urgent first.
    pub const ALL: [Self; 10] = [
        Self::SyncRead,
        Self::SyncWrite,
        Self::AsyncRead,
        Self::AsyncWrite,
        Self::Scrub,
        Self::Removal,
        Self::Initializing,
        Self::Trim,
        Self::Rebuild,
        Self::Now,
    ];

    /// The class corrected to fit the type of a queued I/O (spec 4.2): a read
    /// that is not in a class for reads becomes an asynchronous read, a write
    /// an asynchronous write. So repair and scrub writes are asynchronous writes.
    pub const fn fit(self, ty: ZioType) -> Self {
        match (ty, self) {
            (_, Self::Now) => Self::Now,
            (ZioType::Read, Self::SyncWrite | Self::AsyncWrite | Self::Trim) => Self::AsyncRead,
            (ZioType::Read, Self::Initializing) => Self::AsyncRead,
            (ZioType::Write, Self::SyncRead | Self::AsyncRead | Self::Scrub | Self::Trim) => {
                Self::AsyncWrite
            }
            (ZioType::Trim, _) => Self::Trim,
            (_, same) => same,
        }
    }

    /// Background classes: nobody waits for them.
    pub const fn is_background(self) -> bool {
        matches!(
            self,
            Self::Scrub | Self::Removal | Self::Initializing | Self::Trim | Self::Rebuild
        )
    }
}

/// Transaction group number. 0 means "none".
pub type Txg = u64;

/// Index of a top-level vdev in a pool (24 bits on disk).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VdevId(pub u32);

impl std::fmt::Display for VdevId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "vdev {}", self.0)
    }
}
