//! The intent log: what has to be durable before its transaction group is (spec 8.7).
//!
//! ```text
//!  head, in the pool's own state
//!    │
//!    ▼              ┌─────────────┐            ┌ ─ ─ ─ ─ ─ ─ ┐
//!  ┌────────────┐   │             ▼            │             ▼
//!  │ next ──────────┘  ┌────────────┐   ┌─────────────┐   nothing yet
//!  │ record 1   │      │ next ──────────┘             │
//!  │ record 2   │      │ record 3   │        placed before it was known
//!  └────────────┘      └────────────┘        what comes into it
//!   sequence 1          sequence 2            sequence 3
//! ```
//!
//! A commit packs all records that were appended into the block that waits, places the block
//! behind it, writes, flushes, and then, only then, says so. Committers that come while that is
//! under way share the next round. Blocks are OpenZFS's (ZILOG2); the records inside are framed as
//! [`Record`] says, which is ours.
//!
//! # With transaction groups
//!
//! The log bridges the time until a transaction group is durable. The owner of the pool's
//! state does, for each group *t*:
//!
//! 1. [`Log::append`] and [`Log::commit`] while *t* is open, for what somebody waits for;
//! 2. when *t* is written, [`Log::head_at`]\(*t*): this pointer is stored as part of *t*;
//! 3. when *t* is durable, [`Log::synced`]\(*t*): blocks before that head go back.
//!
//! A new log has no head yet, and no commit succeeds before the first round of this.
//!
//! After a crash, before anything else is allocated: [`Claimed::claim`] with the stored head walks
//! the chain while its blocks verify, and marks them as allocated. [`Claimed::replay`] gives the
//! records in order; those of groups that are durable are to be skipped. The result becomes
//! durable as a group of its own, together with the head of a *new* log, and [`Claimed::free`] gives
//! the old chain back. A crash in between begins again, with the same records.
//!
//! # Mirrors
//!
//! A block is acknowledged once it is durable on one leaf of its mirror. So a chain ends only where
//! *every* leaf was read and none has the next block. While one of them does not answer, a claim fails
//! ([`ClaimError::Unreadable`] names it) and claims nothing, unless the block is on another;
//! [`Claimed::claim_what_is_left`] is for those who do not want to wait for it.
//!
//! # When it cannot
//!
//! A block that is not placed or not written, a flush that fails: [`NotDurable`] names the
//! transaction group to commit instead, and until that is [synced](Log::synced) no commit
//! succeeds: a later record must not survive an earlier one that was lost.

mod claim;
mod commit;
mod record;
mod sizes;
mod writer;

pub use claim::{ClaimError, Claimed, End, MissingLeaf, Replay};
pub use commit::{Commit, NotDurable};
pub use record::Record;
pub use writer::{AppendError, Config, Log};
