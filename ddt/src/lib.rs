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
//! [`SharedTable`] is the same for many threads. [`Table::add_references`] rebuilds a table from the
//! pointers of a pool. [`Table::begin_recount`] verifies a table in use, and [`Table::repair`] mends
//! it to the safe side. [`Histogram`] and [`Totals`] say what deduplication gains.
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
//! An entry with one stored block of one address takes a 64-byte record and a place in the index of
//! 5.7 to 11.4 bytes, as full as that happens to be. An entry of another shape takes 110 to 210 bytes
//! more, for as long as it has it. Removing entries gives their records and places back.
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
mod key;
mod phys;
mod record;
mod recount;
mod shared;
mod table;
mod totals;

pub use answer::{Completed, Decision, FreeOutcome, TableFull};
pub use flight::{ForeignToken, LeadToken, Waiters, WaitersIter};
pub use key::{Key, KeyError};
pub use phys::{Copies, Dva, Identity, Phys, PhysError};
pub use recount::{Discrepancy, LivePointer, Recount, Repair};
pub use shared::SharedTable;
pub use table::Table;
pub use totals::{Histogram, StoredBlock, Totals};
