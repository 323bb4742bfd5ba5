//! Destroying in the background: millions of blocks are freed, a bounded part in each transaction group
//! (spec 8.2).
//!
//! ```text
//!              begin_txg        run                         end_txg
//!  txg t      ──────┬────────────────────────────────────────┬──────── stored, durable ── Pipeline::end_txg
//!                   │ source ─▶ freed, freed, … up to limits │              │
//!  txg t + 1        └ the rest comes with the next one       └─ checkpoint ─┘
//! ```
//!
//! * **Limits.** So many pointers, so many bytes and so much time in each transaction group, whichever is first. No
//!   share is due to it: nothing of a commit waits for a minimum.
//! * **Cost.** A plain block is freed where it stands, without a request ([`Pipeline::free_at_once`]). One that is shared, or a
//!   gang whose headers have to be read, is a request; a bounded number of them is under way.
//! * **Dirty data.** Frees never count as any: they make room.
//! * **Errors.** A block that cannot be freed is told, counted and [kept](Destroy::take_not_freed), and the destroy goes on. Its space
//!   is leaked, not used for something else.
//! * **Passes.** What a sync itself frees goes through [`SyncFrees`], which defers it from the second pass on.
//!
//! # What a crash finds
//!
//! The frees of transaction group *t* and the checkpoint that tells of them belong together: [`Destroy::end_txg`] gives the
//! checkpoint after the last of these frees, and it is stored *in t*. Three rules make that enough:
//!
//! 1. What is freed in *t* is handed out to nobody before *t* is durable: the pipeline
//!    [defers frees](zio_pipeline::Builder::defer_frees) (by one transaction group at least; [`NotDeferred`] if it does not), and its
//!    `end_txg` comes after *t* is durable.
//! 2. All frees of *t* have ended before the checkpoint of *t* is taken: `end_txg` refuses while one is under way. And none is done
//!    in another transaction group than the one begun: [`State::Spent`].
//! 3. After a crash the books of space are those of the last durable transaction group: the allocator is told
//!    ([claimed](zio_pipeline::Pipeline::claim)) what is reachable from it, the blocks *behind the checkpoint* among that, those
//!    before it not.
//!
//! So if *t* became durable, its frees count: the blocks before its checkpoint are claimed by nobody, and are free. If
//! not, the checkpoint of *t − 1* rules, the same blocks are claimed once more, and are freed once more, from
//! a book that knows nothing of the first time. Headers of gangs among them are whole, because nobody was given
//! their space. Neither way is a block freed twice, and none is leaked. Were the checkpoint stored a transaction group
//! before the frees, a crash between them would be no harm while books are rebuilt by claims, and a leak
//! where they are kept on disk; stored one after, a crash would have blocks claimed that are
//! somebody else's by then.
//!
//! A block that a scrub may be reading is not to be freed: a source asks [`Scrub::forget`](crate::scrub::Scrub::forget) before it
//! gives it out, and says [`Found::NotYet`] where that says no.
//!
//! [`Pipeline::free_at_once`]: zio_pipeline::Pipeline::free_at_once

mod config;
mod passes;
mod report;
mod run;

pub use crate::scrub::{Block, Control, Found, Source};
pub use config::Config;
pub use passes::{DEFER_PASS_MIN, SyncFrees};
pub use report::{Checkpoint, Event, NotFreed, Stats};
pub use run::{Destroy, NotDeferred, State};
