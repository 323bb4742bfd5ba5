//! What the table answers: values for the caller to act on.

use crate::flight::{LeadToken, Waiters};
use crate::phys::Phys;

/// What a writer is to do, decided and acted on in one step.
///
/// Each variant hands back what the table did not keep.
#[must_use = "the table has already acted on this decision"]
#[derive(Debug)]
pub enum Decision<W> {
    /// The block is stored: point at it. A reference has been counted; who cannot use it after all
    /// (the stored bytes differ, the transaction fails) gives it back by [`Table::free`](crate::Table::free).
    Share {
        /// Where the block is.
        phys: Phys,
        /// The writer.
        waiter: W,
    },
    /// A twin of this block is being written. The writer is kept, and comes back from
    /// [`Table::complete`](crate::Table::complete) or [`Table::fail`](crate::Table::fail).
    Wait,
    /// Nobody has the block: write it.
    Lead {
        /// To be given to [`Table::complete`](crate::Table::complete) or [`Table::fail`](crate::Table::fail).
        token: LeadToken,
        /// The writer.
        waiter: W,
    },
    /// The table may not grow. Write the block as if there were no deduplication, and without the
    /// dedup bit.
    Full {
        /// The writer.
        waiter: W,
    },
}

/// A write in flight that has landed.
#[must_use = "these writes wait to be told where their block is"]
#[derive(Debug)]
pub struct Completed<W> {
    /// The twins that joined; each holds one reference.
    pub waiters: Waiters<W>,
    /// References of the block now: the leader's and its twins'.
    pub references: u64,
}

/// What became of a reference.
#[must_use = "the last reference's block is to be freed, an unknown block as well"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FreeOutcome {
    /// Others share the block: it stays.
    StillReferenced {
        /// How many.
        references: u64,
    },
    /// That was the last: the table has forgotten the block, and its space is to be freed.
    LastReference {
        /// Where the block is.
        phys: Phys,
    },
    /// The table does not know the block. It was never shared through this table, or its entry was
    /// dropped as unique: free it as one without the dedup bit.
    NotFound,
}

/// The table has run out of places for entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("table of {entries} entries has no place for another")]
pub struct TableFull {
    /// Entries in the table.
    pub entries: usize,
}
