//! What a destroy has to tell.

use zio_pipeline::{BlockPointer, Bookmark, Error};

/// What a destroy has done so far, its runs before a crash included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Pointers taken from the source.
    pub pointers: u64,
    /// Blocks freed; of a shared one, this pointer's reference.
    pub blocks: u64,
    /// Bytes of these, as allocated. What other pointers share is not free yet.
    pub bytes: u64,
    /// Of the blocks, those that needed more than the allocator: shared ones and gangs.
    pub by_request: u64,
    /// Pointers to nothing that is stored: holes, embedded data.
    pub without_block: u64,
    /// Blocks that could not be freed. Their space is leaked, as long as the pool is open.
    pub not_freed: u64,
    /// Bytes of these, as allocated.
    pub not_freed_bytes: u64,
    /// Transaction groups that took part.
    pub txgs: u64,
}

/// How far a destroy has come: to be stored with the transaction group that [gave](crate::destroy::Destroy::end_txg)
/// it, and given to [`Destroy::resume`](crate::destroy::Destroy::resume) after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint<P> {
    /// All blocks up to this position are free in this transaction group, and none behind it; `None` before the first.
    pub position: Option<P>,
    /// There are none behind it: nothing of this destroy needs to be kept.
    pub done: bool,
    /// What was done up to there.
    pub stats: Stats,
}

/// A block that could not be freed.
#[derive(Clone, Debug)]
pub struct NotFreed {
    /// Whose block it was.
    pub bookmark: Bookmark,
    /// Its pointer.
    pub bp: BlockPointer,
    /// Why: a header that cannot be read, space that is not allocated, …
    pub error: Error,
}

/// What a destroy tells while it goes on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a, P> {
    /// A block could not be freed: nothing of it was. It is behind the checkpoint all the same.
    NotFreed(&'a NotFreed),
    /// A transaction group's part is done.
    Checkpoint(&'a Checkpoint<P>),
}
