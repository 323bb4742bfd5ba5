//! Where a scrub's blocks come from.

use zio_pipeline::{BlockPointer, Bookmark};

/// A block to be visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<P> {
    /// Where in its source the block stands: what the source has to be told to go on behind it.
    pub position: P,
    /// Whose block it is, for reports.
    pub bookmark: Bookmark,
    /// Its pointer.
    pub bp: BlockPointer,
}

impl<P> Block<P> {
    /// A block that belongs to nobody in particular.
    pub fn new(position: P, bp: BlockPointer) -> Self {
        Self { position, bookmark: Bookmark::default(), bp }
    }
}

/// What a source has to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<P> {
    /// The next block.
    Block(Block<P>),
    /// Nothing at the moment; more comes later.
    NotYet,
    /// There is no more.
    End,
}

/// The blocks to be visited, in an order that is the same each time: a tree that is walked, a
/// list. Any iterator of [`Block`]s is one.
///
/// A source that was given a position goes on behind the block of that position. What changes
/// while it is walked may come or not: blocks born after the scrub began are not visited
/// anyway, and of those that are freed meanwhile the scrub [is told](crate::scrub::Scrub::forget).
pub trait Source {
    /// How a source knows where it is.
    type Position: Clone;

    /// The next block. Called again after [`Found::NotYet`], never after [`Found::End`].
    fn next_block(&mut self) -> Found<Self::Position>;
}

impl<I, P> Source for I
where
    I: Iterator<Item = Block<P>>,
    P: Clone,
{
    type Position = P;

    fn next_block(&mut self) -> Found<P> {
        self.next().map_or(Found::End, Found::Block)
    }
}
