//! A deduplication table as a pure state machine.
//!
//! Deduplication stores the same contents once. The table knows, for each block's contents, where
//! they are stored and how many pointers share them, and decides for each write what is to be done.
//! It does no I/O, starts no thread, reads no clock and calls nobody: a call goes in, a value comes
//! out, and the caller acts on it.
//!
//! # Model
//!
//! A [`Key`] is what contents are known by: checksum, sizes, compression. An entry holds the stored
//! blocks ([`Phys`]) with these contents, one for each number of [`Copies`] asked for, each with its
//! references. In the life of a block:
//!
//! ```text
//!   lookup_write ──► Lead(token) ──► complete(token, phys) ──► stored, 1 + waiters references
//!        │                  └─────► fail(token) ─────────────► nothing stored, waiters told
//!        ├────────► Wait             a twin is in flight: comes back from complete or fail
//!        ├────────► Share(phys)      one more reference
//!        └────────► Full             no place: write without deduplication
//!   free ──► StillReferenced · LastReference(phys): free its space · NotFound: not ours
//! ```
//!
//! Looking and acting are one step: when `lookup_write` returns `Share`, the reference has been
//! counted, so nobody can free the block under the writer. A writer that wants the bytes compared
//! reads them after `Share`, and gives the reference back by `free` if they differ.
//!
//! ```
//! use ddt::{Copies, Decision, FreeOutcome, Key, Phys, Table};
//!
//! let mut table = Table::new();
//! let key = Key::new([1, 2, 3, 4], 128 << 10, 64 << 10, 15, false)?;
//!
//! let Decision::Lead { token, .. } = table.lookup_write(&key, Copies::One, "first") else { panic!() };
//! assert!(matches!(table.lookup_write(&key, Copies::One, "second"), Decision::Wait));
//!
//! let phys = Phys::new([[0x80, 0x1000], [0; 2], [0; 2]], 42)?;
//! let completed = table.complete(token, phys)?;
//! assert_eq!(completed.references, 2);
//! assert_eq!(completed.waiters.into_iter().collect::<Vec<_>>(), ["second"]);
//!
//! assert_eq!(table.free(&key, [0x80, 0x1000], 42), FreeOutcome::StillReferenced { references: 1 });
//! assert_eq!(table.free(&key, [0x80, 0x1000], 42), FreeOutcome::LastReference { phys });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A block with very many references is worth extra copies: [`Table::lead_ditto`] says when, and
//! [`Table::release_ditto`] when no more. [`Table::hold`] keeps a block from being freed while it is read.
//!
//! [`SharedTable`] is the same for many threads, and a [`Quota`] limits the entries of several tables. [`Table::add_references`] rebuilds a table from the
//! pointers of a pool. [`Table::begin_recount`] verifies a table in use, and [`Table::repair`] mends
//! it to the safe side. [`Classes`], [`Histogram`] and [`Totals`] say what deduplication gains.
//!
//! # What is never so
//!
//! * No decision is separated from its effect: nothing that `lookup_write` found can change before
//!   it is used.
//! * No writer is lost. Who waits comes back from `complete` or `fail`; a [`LeadToken`] that is
//!   dropped counts as failed, and its waiters come back from [`Table::take_orphans`].
//! * No write in flight is completed twice, or after it failed: the token is taken by value.
//! * No stored block is found by counting its addresses. Its identity is its first address and its
//!   birth.
//! * The references of a block are the pointers handed out and not given back: at all times their
//!   sum is [`Totals::references`].
//! * No lock is held while anything of the caller's runs.
//!
//! # Memory
//!
//! A unique entry takes at most 64 bytes, its key included, at any size from ten thousand entries on
//! and at every moment of growth: a 56-byte record and 6.7 to 7.2 bytes of index (62.7 to 63.2
//! bytes, measured by a counting allocator; `tests/memory.rs` holds the bound). The table grows by 32 records
//! and by one short list of the index at a time; nothing is ever rebuilt as a whole or doubled. A
//! [`SharedTable`] adds up to 4 KiB a shard. An entry of another shape (several stored blocks or
//! addresses, a write in flight, extra copies, numbers that exceed a record's fields) takes 120 to
//! 230 bytes more, for as long as it has it. Removing entries gives their memory back.
//!
//! # Sources
//!
//! Spec 6 (the table), 10 (traps 15 to 17). The entry's shape, its locking and the recount are this
//! crate's own.
#![forbid(unsafe_code)]

mod answer;
mod arena;
mod entries;
mod flight;
mod index;
mod key;
mod phys;
mod quota;
mod record;
mod recount;
mod shared;
mod table;
mod totals;

pub use answer::{Completed, Decision, FreeOutcome, TableFull};
pub use flight::{DittoToken, ForeignToken, LeadToken, Waiters, WaitersIter};
pub use key::{Key, KeyError};
pub use phys::{Copies, Dva, Identity, Phys, PhysError};
pub use quota::Quota;
pub use recount::{Discrepancy, LivePointer, Recount, Repair};
pub use shared::SharedTable;
pub use table::{DITTO_REFERENCES_MIN, Table};
pub use totals::{Classes, Histogram, StoredBlock, Totals};
