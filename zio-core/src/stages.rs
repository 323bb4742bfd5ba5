//! Stages and pipelines: the road of a zio as a bit mask (spec 1.5, 1.6).
//!
//! One declaration holds each stage's bit, name, and the operations that use
//! it; the executor, the printed table and the docs are all derived from it.
//! Stage numbers are ours alone and never persisted.

use crate::types::ZioType;

/// Number of stages.
pub const STAGE_COUNT: usize = 25;

macro_rules! stages {
    ($($(#[doc = $doc:literal])* $name:ident = $bit:literal, $ops:literal;)*) => {
        bitflags::bitflags! {
            /// A set of stages; lowest bit first is the order of execution.
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
            pub struct Stages: u32 {
                $($(#[doc = $doc])* const $name = 1 << $bit;)*
            }
        }

        /// Name and users of each stage, by bit.
        const TABLE: [(&str, &str); STAGE_COUNT] = [$((stringify!($name), $ops)),*];
    };
}

stages! {
    /// Start marker; runs nothing.
    OPEN = 0, "RWFCIT";
    /// Read: transforms, embedded data, switch to a dedup read.
    READ_BP_INIT = 1, "R-----";
    /// Write: apply an override pointer.
    WRITE_BP_INIT = 2, "-W----";
    /// Free: switch to a dedup free.
    FREE_BP_INIT = 3, "--F---";
    /// Hand over to the ISSUE task queue.
    ISSUE_ASYNC = 4, "-WF--T";
    /// Wait for children's pointers, compress, find holes, embed.
    WRITE_COMPRESS = 5, "-W----";
    /// Encrypt or authenticate.
    ENCRYPT = 6, "-W----";
    /// Checksum into the pointer.
    CHECKSUM_GENERATE = 7, "-W----";
    /// Same content as before: keep the old block.
    NOP_WRITE = 8, "-W----";
    /// Start the real read as a DDT child.
    DDT_READ_START = 9, "R-----";
    /// Wait for it; on failure read the other copies.
    DDT_READ_DONE = 10, "R-----";
    /// Share, wait for a twin, or create the block.
    DDT_WRITE = 11, "-W----";
    /// Drop one reference.
    DDT_FREE = 12, "--F---";
    /// Read all gang headers into a tree.
    GANG_ASSEMBLE = 13, "RWFC--";
    /// Apply the operation to every node of the tree.
    GANG_ISSUE = 14, "RWFC--";
    /// Wait for a place in the allocation throttle.
    DVA_THROTTLE = 15, "-W----";
    /// Allocate the addresses.
    DVA_ALLOCATE = 16, "-W----";
    /// Free the addresses.
    DVA_FREE = 17, "--F---";
    /// Claim the addresses.
    DVA_CLAIM = 18, "---C--";
    /// The pointer is final; parents may know.
    READY = 19, "RWFCIT";
    /// To the device.
    VDEV_IO_START = 20, "RW--IT";
    /// Back from the device; more children possible.
    VDEV_IO_DONE = 21, "RW---T";
    /// Classify errors, retry once.
    VDEV_IO_ASSESS = 22, "RW--IT";
    /// Verify data against the pointer.
    CHECKSUM_VERIFY = 23, "R-----";
    /// Settle, deliver, tell the parents.
    DONE = 24, "RWFCIT";
}

const _: () = assert!(Stages::all().bits() == (1 << STAGE_COUNT) - 1);

impl Stages {
    /// Stages after which a worker of a completion queue could have to wait
    /// for what only completion queues deliver (spec 1.8): there a zio without
    /// a device changes to the ISSUE side first.
    pub const BLOCKING: Self = Self::DVA_ALLOCATE.union(Self::DVA_CLAIM).union(Self::VDEV_IO_START);

    /// The lowest stage of this set above `at`; `at` is a single stage.
    pub const fn next_after(self, at: Self) -> Option<Self> {
        // All bits above the one bit of `at`.
        let above = self.bits() & !(at.bits() | (at.bits().wrapping_sub(1)));
        if above == 0 { None } else { Some(Self::from_bits_retain(1 << above.trailing_zeros())) }
    }

    /// Bit number of a single stage (of a set: of its lowest).
    pub const fn index(self) -> usize {
        self.bits().trailing_zeros() as usize
    }

    /// Name of a single stage (of a set: of its lowest).
    pub const fn name(self) -> &'static str {
        if self.index() < STAGE_COUNT { TABLE[self.index()].0 } else { "none" }
    }

    /// Which types use this single stage: letters out of `RWFCIT` (read,
    /// write, free, claim, ioctl, trim), `-` elsewhere.
    pub const fn users(self) -> &'static str {
        if self.index() < STAGE_COUNT { TABLE[self.index()].1 } else { "------" }
    }

    /// The stages one by one, in order of execution.
    pub fn ordered(self) -> impl Iterator<Item = Self> {
        let mut at = Some(Self::empty());
        std::iter::from_fn(move || {
            let next = match at? {
                none if none.is_empty() && self.contains(Self::OPEN) => Some(Self::OPEN),
                none if none.is_empty() => self.next_after(Self::OPEN),
                stage => self.next_after(stage),
            };
            at = next;
            next
        })
    }
}

/// Named pipelines (spec 1.6).
impl Stages {
    /// Synchronise only.
    ///
    #[doc = include_str!("../docs/pipelines/INTERLOCK.md")]
    pub const INTERLOCK: Self = Self::READY.union(Self::DONE);

    /// A root without parents: saves one wake-up per tree.
    ///
    #[doc = include_str!("../docs/pipelines/ROOT.md")]
    pub const ROOT: Self = Self::DONE;

    const VDEV_IO: Self = Self::VDEV_IO_START.union(Self::VDEV_IO_DONE).union(Self::VDEV_IO_ASSESS);

    /// Physical I/O of one leaf.
    ///
    #[doc = include_str!("../docs/pipelines/VDEV_CHILD.md")]
    pub const VDEV_CHILD: Self = Self::VDEV_IO.union(Self::DONE);

    /// Physical I/O of one leaf that verifies what it read.
    ///
    #[doc = include_str!("../docs/pipelines/VDEV_CHILD_VERIFY.md")]
    pub const VDEV_CHILD_VERIFY: Self = Self::VDEV_CHILD.union(Self::CHECKSUM_VERIFY);

    /// Read a raw range.
    ///
    #[doc = include_str!("../docs/pipelines/READ_PHYS.md")]
    pub const READ_PHYS: Self = Self::INTERLOCK.union(Self::VDEV_IO).union(Self::CHECKSUM_VERIFY);

    /// Read a block.
    ///
    #[doc = include_str!("../docs/pipelines/READ.md")]
    pub const READ: Self = Self::READ_PHYS.union(Self::READ_BP_INIT);

    /// Read one copy of a deduplicated block.
    ///
    #[doc = include_str!("../docs/pipelines/DDT_CHILD_READ.md")]
    pub const DDT_CHILD_READ: Self = Self::READ_PHYS;

    /// Read a deduplicated block.
    ///
    #[doc = include_str!("../docs/pipelines/DDT_READ.md")]
    pub const DDT_READ: Self = Self::INTERLOCK
        .union(Self::READ_BP_INIT)
        .union(Self::DDT_READ_START)
        .union(Self::DDT_READ_DONE);

    /// Assemble a gang, then act on all of it.
    ///
    #[doc = include_str!("../docs/pipelines/GANG.md")]
    pub const GANG: Self = Self::GANG_ASSEMBLE.union(Self::GANG_ISSUE);

    const WRITE_COMMON: Self = Self::INTERLOCK
        .union(Self::VDEV_IO)
        .union(Self::ISSUE_ASYNC)
        .union(Self::CHECKSUM_GENERATE);

    /// Write a raw range.
    ///
    #[doc = include_str!("../docs/pipelines/WRITE_PHYS.md")]
    pub const WRITE_PHYS: Self = Self::WRITE_COMMON;

    /// Write over a block in place.
    ///
    #[doc = include_str!("../docs/pipelines/REWRITE.md")]
    pub const REWRITE: Self = Self::WRITE_COMMON
        .union(Self::WRITE_BP_INIT)
        .union(Self::WRITE_COMPRESS)
        .union(Self::ENCRYPT);

    /// Write a new block.
    ///
    #[doc = include_str!("../docs/pipelines/WRITE.md")]
    pub const WRITE: Self = Self::REWRITE.union(Self::DVA_THROTTLE).union(Self::DVA_ALLOCATE);

    /// Write what the dedup stage decided to store.
    ///
    #[doc = include_str!("../docs/pipelines/DDT_CHILD_WRITE.md")]
    pub const DDT_CHILD_WRITE: Self =
        Self::INTERLOCK.union(Self::VDEV_IO).union(Self::DVA_THROTTLE).union(Self::DVA_ALLOCATE);

    /// Write a block through the dedup table.
    ///
    #[doc = include_str!("../docs/pipelines/DDT_WRITE.md")]
    pub const DDT_WRITE_PIPELINE: Self = Self::INTERLOCK
        .union(Self::WRITE_BP_INIT)
        .union(Self::ISSUE_ASYNC)
        .union(Self::WRITE_COMPRESS)
        .union(Self::ENCRYPT)
        .union(Self::CHECKSUM_GENERATE)
        .union(Self::DDT_WRITE);

    /// Give a block back.
    ///
    #[doc = include_str!("../docs/pipelines/FREE.md")]
    pub const FREE: Self = Self::INTERLOCK.union(Self::FREE_BP_INIT).union(Self::DVA_FREE);

    /// Give a reference to a deduplicated block back.
    ///
    #[doc = include_str!("../docs/pipelines/DDT_FREE.md")]
    pub const DDT_FREE_PIPELINE: Self =
        Self::INTERLOCK.union(Self::FREE_BP_INIT).union(Self::ISSUE_ASYNC).union(Self::DDT_FREE);

    /// Mark a block as allocated.
    ///
    #[doc = include_str!("../docs/pipelines/CLAIM.md")]
    pub const CLAIM: Self = Self::INTERLOCK.union(Self::DVA_CLAIM);

    /// Flush a leaf.
    ///
    #[doc = include_str!("../docs/pipelines/IOCTL.md")]
    pub const IOCTL: Self = Self::INTERLOCK.union(Self::VDEV_IO_START).union(Self::VDEV_IO_ASSESS);

    /// Trim a range of a leaf.
    ///
    #[doc = include_str!("../docs/pipelines/TRIM.md")]
    pub const TRIM: Self = Self::INTERLOCK.union(Self::VDEV_IO).union(Self::ISSUE_ASYNC);
}

/// Each named pipeline with its name and the type that runs it.
pub const PIPELINES: [(&str, ZioType, Stages); 17] = [
    ("INTERLOCK", ZioType::Null, Stages::INTERLOCK),
    ("ROOT", ZioType::Null, Stages::ROOT),
    ("VDEV_CHILD", ZioType::Read, Stages::VDEV_CHILD),
    ("READ_PHYS", ZioType::Read, Stages::READ_PHYS),
    ("READ", ZioType::Read, Stages::READ),
    ("DDT_CHILD_READ", ZioType::Read, Stages::DDT_CHILD_READ),
    ("DDT_READ", ZioType::Read, Stages::DDT_READ),
    ("WRITE_PHYS", ZioType::Write, Stages::WRITE_PHYS),
    ("REWRITE", ZioType::Write, Stages::REWRITE),
    ("WRITE", ZioType::Write, Stages::WRITE),
    ("DDT_CHILD_WRITE", ZioType::Write, Stages::DDT_CHILD_WRITE),
    ("DDT_WRITE", ZioType::Write, Stages::DDT_WRITE_PIPELINE),
    ("FREE", ZioType::Free, Stages::FREE),
    ("DDT_FREE", ZioType::Free, Stages::DDT_FREE_PIPELINE),
    ("CLAIM", ZioType::Claim, Stages::CLAIM),
    ("IOCTL", ZioType::Ioctl, Stages::IOCTL),
    ("TRIM", ZioType::Trim, Stages::TRIM),
];

/// Characters of a line of a diagram.
const DIAGRAM_WIDTH: usize = 90;

/// The road of a zio as text: its stages in order, with arrows between them.
///
/// ```
/// use zio_core::stages::{Stages, diagram};
/// assert_eq!(diagram(Stages::INTERLOCK), "READY → DONE\n");
/// ```
pub fn diagram(stages: Stages) -> String {
    let mut out = String::new();
    let mut width = 0;
    for stage in stages.ordered() {
        let name = stage.name();
        let arrow = if width == 0 { "" } else { " → " };
        if width + arrow.chars().count() + name.len() > DIAGRAM_WIDTH {
            out.push_str("\n  → ");
            width = "  → ".chars().count();
        } else {
            out.push_str(arrow);
            width += arrow.chars().count();
        }
        out.push_str(name);
        width += name.len();
    }
    out.push('\n');
    out
}

/// What the documentation shows of each named pipeline, as markdown, by the name of its file.
pub fn diagrams() -> Vec<(&'static str, String)> {
    let parts =
        [("VDEV_CHILD_VERIFY", Stages::VDEV_CHILD_VERIFY), ("GANG", Stages::GANG)].into_iter();
    let pipelines = PIPELINES.into_iter().map(|(name, _, stages)| (name, stages));
    let page = |stages| format!("```text\n{}```\n", diagram(stages));
    pipelines.chain(parts).map(|(name, stages)| (name, page(stages))).collect()
}

/// The table "stage × pipeline" as markdown, printed from the code.
pub fn stage_table() -> String {
    use std::fmt::Write as _;
    let mut out = String::from("| stage | used by |");
    for (name, ..) in PIPELINES {
        let _ = write!(out, " {name} |");
    }
    out.push_str("\n|---|---|");
    out.push_str(&"---|".repeat(PIPELINES.len()));
    out.push('\n');
    for stage in Stages::all().ordered() {
        let _ = write!(out, "| {} | `{}` |", stage.name(), stage.users());
        for (.., stages) in PIPELINES {
            out.push_str(if stages.contains(stage) { " x |" } else { "   |" });
        }
        out.push('\n');
    }
    out
}
