//! What a scrub has to tell.

use std::ops::AddAssign;

use zio_pipeline::{BlockPointer, Bookmark, Error, Txg};

/// What a scrub has done so far, its runs before a crash included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Blocks of which every copy that could be read was verified.
    pub blocks: u64,
    /// Bytes of these, as stored, of all copies. On a mirror each leaf has as many.
    pub bytes: u64,
    /// Copies that did not hold what they should, of blocks that had a good one.
    pub bad_copies: u64,
    /// Of those, the ones that do now: they were written, read again and found good.
    pub repaired: u64,
    /// Blocks that no copy gave.
    pub unrecoverable: u64,
    /// Pointers to nothing that is stored: holes, embedded data.
    pub without_block: u64,
    /// Blocks born after the scrub began.
    pub born_later: u64,
    /// Blocks of transaction groups that were not asked for.
    pub not_asked_for: u64,
    /// Pointers to a block that was met already.
    pub met_before: u64,
    /// Blocks that were freed before their turn came.
    pub forgotten: u64,
    /// Flushes after repairs that failed, on every leaf of a mirror. From the first one on the checkpoint stays.
    pub failed_flushes: u64,
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.blocks += other.blocks;
        self.bytes += other.bytes;
        self.bad_copies += other.bad_copies;
        self.repaired += other.repaired;
        self.unrecoverable += other.unrecoverable;
        self.without_block += other.without_block;
        self.born_later += other.born_later;
        self.not_asked_for += other.not_asked_for;
        self.met_before += other.met_before;
        self.forgotten += other.forgotten;
        self.failed_flushes += other.failed_flushes;
    }
}

/// How far a scrub has come: to be kept wherever it survives a crash, and given to
/// [`Scrub::resume`](crate::scrub::Scrub::resume).
///
/// Everything up to `position` has been verified, what could be repaired there is, durably, and
/// what could not has been reported before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint<P> {
    /// The last transaction group whose blocks are visited, fixed when the scrub began.
    pub txg_max: Txg,
    /// Position of the last of these blocks; `None` before the first.
    pub position: Option<P>,
    /// What was done up to there.
    pub stats: Stats,
}

/// What a scrub tells while it goes on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a, P> {
    /// A block had bad copies, and a good one.
    BadCopies {
        /// Whose block it is.
        bookmark: Bookmark,
        /// Its pointer.
        bp: &'a BlockPointer,
        /// How many were bad.
        bad: u32,
        /// How many of them are good now.
        repaired: u32,
    },
    /// No copy of a block could be had.
    Unrecoverable {
        /// Whose block it is. Of a block that several pointers share, the first that was met.
        bookmark: Bookmark,
        /// Its pointer.
        bp: &'a BlockPointer,
        /// What was wrong with the worst of them; [`Error::place`] says where it stands.
        error: &'a Error,
    },
    /// What was repaired may not be durable. The checkpoint stays where it is from here on.
    FlushFailed(&'a Error),
    /// Another part is behind us.
    Checkpoint(&'a Checkpoint<P>),
}
