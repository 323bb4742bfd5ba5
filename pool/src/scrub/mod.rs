//! Scrub: every copy of every block is read and verified, and the bad ones are written anew from
//! the good ones (spec 8.6).
//!
//! ```text
//!  source ──▶ collecting ──▶ waiting, by vdev and offset ──▶ under way ──▶ verified ──▶ checkpoint
//!    │         holes, embedded,     a batch at a time;         so many        │         when all before
//!    │         born later, met:     adjacent ones merge in     bytes          │         are verified and
//!    │         skipped              the device's queue         at once        ▼         repairs flushed
//!    └─ position of the last block of each batch          bad copies: repaired, read again
//! ```
//!
//! * **Order.** A tree's blocks come in the order of its keys, which costs a disk one
//!   seek for each. So pointers are collected up to a bound in memory, and read in the order of
//!   the disks, all vdevs at once. While one batch is read the next one is collected.
//! * **Pace.** All reads are of class [`Priority::Scrub`](zio_pipeline::Priority::Scrub):
//!   the device queues let a handful through between two reads that somebody waits for, and all
//!   of them on an idle device. The scrub itself never sleeps; it keeps a bounded number of
//!   bytes with the queues.
//! * **Repair.** What a read found bad is written by the read itself, only where it was bad. The
//!   scrub reads such a block once more, and counts as repaired what is good then.
//! * **Crash.** A [`Checkpoint`] says up to where all is verified, repaired durably, or
//!   reported. A scrub that goes on from it verifies the rest, some of it perhaps twice.
//! * **A part.** [`Config::only`] names transaction groups; blocks of others are not visited. A
//!   [resilver](crate::resilver) is made of that.
//! * **Flush.** One that fails everywhere may have lost repairs: the checkpoint stays from then on. One
//!   that fails on a leaf beside others that have everything does not hold it: what that leaf
//!   may have lost is [missing](zio_pipeline::Pipeline::missing) there.

mod batch;
mod budget;
mod config;
pub(crate) mod control;
mod met;
mod report;
mod run;
mod source;

pub use config::Config;
pub use control::Control;
pub use report::{Checkpoint, Event, Stats};
pub use run::{Scrub, State};
pub use source::{Block, Found, Source};
