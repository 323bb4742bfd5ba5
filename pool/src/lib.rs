//! Clients of the pipeline: what a pool does with its blocks besides reading and writing them.
//!
//! * [`scrub`]: every copy of every block is read, verified, and repaired from a good one; in the
//!   order of the disks, within bounds, with checkpoints that survive a crash.
//! * [`resilver`]: a leaf of a mirror gets what it has missed while it was away, and nothing else is
//!   read; the pipeline is told when all of it is there, durably.
//! * [`log`]: what must be durable now, before its transaction group is: a chain of blocks,
//!   commits that share a flush, claim and replay after a crash.
//! * [`dirty`]: how much a store may accept before it is written, and how fast, by what the devices
//!   are seen to take; when a transaction group is to be closed.
//! * [`destroy`]: all blocks of something are freed, however many, a bounded part in each
//!   transaction group; from a checkpoint after a crash.
//!
//! All work for a [`Pipeline`](zio_pipeline::Pipeline) and keep no state of their own on disk: what has
//! to survive (a checkpoint, the head of a log) is a value, and its place is the caller's.
//!
//! # A scrub
//!
//! ```
//! use pool::scrub::{Block, Config, Event, Scrub, State};
//! use zio_pipeline::Pipeline;
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("disk");
//! let pipeline = Pipeline::builder().create(&path, 64 << 20).build()?;
//! let blocks: Vec<_> =
//!     (0..50).map(|n| pipeline.write(&[n; 8192]).copies(2).wait()).collect::<Result<_, _>>()?;
//!
//! let mut saved = None;                             // to be kept somewhere durable
//! let source = blocks.iter().enumerate().map(|(n, bp)| Block::new(n, *bp));
//! let mut scrub = Scrub::new(&pipeline, source, Config::default()).on_event(|event| match event {
//!     Event::Checkpoint(checkpoint) => saved = Some(checkpoint.clone()),
//!     Event::Unrecoverable { bookmark, error, .. } => eprintln!("{bookmark:?} is lost: {error}"),
//!     _ => {}
//! });
//! assert_eq!(scrub.run(), State::Done);
//! assert_eq!(scrub.stats().blocks, 50);
//! drop(scrub);
//! assert_eq!(saved.map(|checkpoint| checkpoint.position), Some(Some(49)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A log
//!
//! See [`log::Log`] for one from its birth to its replay.
//!
//! # A transaction group
//!
//! [`dirty::DirtyData`] shows one from the first admission to the sync, [`destroy::Destroy`] what it may free besides.
//!
//! # Mirrors that do not agree
//!
//! A write, and so a commit, succeeds with one good leaf; what the others miss, the pipeline
//! [remembers](zio_pipeline::Pipeline::missing) by transaction group. Three things follow:
//!
//! * The log ends only where every leaf has answered and none has the next block. While one that may have it
//!   is away a claim fails and [names it](log::ClaimError::Unreadable); nothing is claimed, and the claim succeeds when it
//!   is back. [`log::Claimed::claim_what_is_left`] goes on without it, and says what that may have cost.
//! * A flush that fails on one leaf beside one that has everything holds neither a commit nor a scrub's
//!   checkpoint. One that fails for all who have a block holds both.
//! * A [`resilver`] visits exactly the blocks of the groups that a leaf has missed. If any of them is not
//!   good, or not durable there, or the leaf missed something meanwhile, the groups stay missing.
//!
//! # What is never so
//!
//! * A checkpoint does not pass a block that was not verified, a repair that is not durable, or a
//!   damaged block that was not reported.
//! * No good copy is written: a power cut during a repair costs nothing.
//! * Nothing unbounded: pointers that wait, blocks and bytes under way, records that wait, dirty data, what a
//!   transaction group frees each have a limit.
//! * No sleep, no thread, no clock, with one exception: who brings dirty data may block, by [`dirty::DirtyData`], whose
//!   clock may be the caller's. A scrub is paced by the class of its reads, a log by its flushes.
//! * No commit is acknowledged before a flush that began after its blocks were written has
//!   succeeded. One that fails says which transaction group to commit instead.
//! * No acknowledged record is missing after a crash, out of order, or there twice. None survives
//!   one before it that was lost. If the only leaf that has it is away, that is an error, not a shorter log.
//! * No block is freed twice by a destroy that crashed, and none is forgotten.
//! * Frees wait for no dirty data.
//! * No leaf is called whole because it was not looked at.
//! * Nothing that comes from a disk is believed: pointers of a chain are checked, records are taken
//!   apart without a panic.
//!
//! # What it does not do
//!
//! * Find the blocks of a pool: a [`Source`](scrub::Source) does.
//! * Write transaction groups: [`dirty`] says when, the caller does.
//! * Remember what a leaf has missed, or which blocks are damaged: the caller keeps what it is told.
//! * Cancel reads that wait in a device queue; those of a cancelled scrub are waited for.
//! * Encrypted logs.
//!
//! # Sources
//!
//! Spec 8.6 (scrub), 4.8 (classes nobody waits for), 8.7 and 8.1 (log, claim), 2.6 and 7.3 (log
//! blocks), 3.10 and 4.3 (dirty data), 8.2 and 3.4 (frees, passes), 8.5 (transaction groups), 8.8 (bounds). The framing of records inside a log block is ours; OpenZFS's records are
//! those of its own file system.
#![forbid(unsafe_code)]

pub mod destroy;
pub mod dirty;
pub mod log;
pub mod resilver;
pub mod scrub;

pub use zio_pipeline::TxgRanges;

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
