//! Checksummed, compressed, encrypted, deduplicated, self-healing, scheduled block
//! I/O on files and devices.
//!
//! Blocks go in, pointers of 128 bytes come out. A pointer knows where its
//! block stands, how it was packed, and what it must hash to: with it, the
//! block comes back as it was written or not at all. This crate wires the parts
//! of the house into that: the zio and its executor from [`zio_core`], device
//! queues, files, space, checksums, compression, dedup table, threads. It
//! decides nothing that one of them can decide.
//!
//! ```
//! use zio_pipeline::{BlockPointer, Compression, Pipeline};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("disk");
//! let text = b"to be, or not to be: ".repeat(400)[..8192].to_vec();
//! let pipeline = Pipeline::builder().create(&path, 64 << 20).build()?;
//! let bp = pipeline.write(&text).compression(Compression::Lz4).copies(2).wait()?;
//! pipeline.flush().wait()?;                                 // durable from here on
//! let saved: [u8; 128] = bp.to_bytes();                     // keep this
//! drop(pipeline);
//!
//! let pipeline = Pipeline::builder().file(&path).build()?;  // another day
//! let bp = pipeline.check(&BlockPointer::from_bytes(&saved))?;
//! pipeline.claim(&bp).wait()?;                              // it is live: do not write over it
//! assert!(pipeline.read(&bp).wait()? == text);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What you ask for, and how you hear of its end
//!
//! [`Pipeline::read`], [`write`](Pipeline::write), [`free`](Pipeline::free),
//! [`claim`](Pipeline::claim), [`flush`](Pipeline::flush) and
//! [`trim`](Pipeline::trim) make a [`Pending`] request. It does nothing until one
//! of these starts it:
//!
//! | style | for | runs the devices |
//! |---|---|---|
//! | [`.wait()`](Pending::wait) | one thing at a time; any number of threads may | the waiting thread itself |
//! | [`.start()`](Pending::start), later `.wait()` | a few at once | whoever waits |
//! | `.await` | any executor, no runtime wanted | a background thread |
//! | [`.nowait(callback)`](Pending::nowait) | state machines; the callback may start more | a background thread |
//! | [`.send_to(&completions, tag)`](Pending::send_to) | thousands in flight from one thread, nothing allocated | the thread in [`Completions::next`] |
//!
//! [`Pipeline::root`] is a group: requests made [`under`](Pending::under) it end
//! before it does, and it ends with the worst of their errors.
//!
//! # The life of a read
//!
//! READ_BP_INIT notes what will have to be undone. VDEV_IO_START makes a child
//! for one address of the block; the child passes the device's queue and goes to
//! the device. When the answer comes, the child verifies it against the pointer,
//! and its end makes its parent run on the same thread: expand, deliver. That is
//! one entry into the executor, no task dispatched and, for a thread that waits, no
//! other thread involved.
//!
//! A copy that fails to read or to verify makes way for the next one, on another leaf of a
//! [`Mirror`] or at another address; when none is left, all of them are tried once more. The
//! bad ones are written anew from the good one before the read ends
//! ([`healed`](Pipeline::healed) counts them); [`every_copy`](Read::every_copy) looks for
//! them where a plain read would not. Repair believes the pointer: read with
//! [`repair(false)`](Read::repair) by one that may itself be damaged. Of a block shared by a strong
//! checksum, others of the same contents (written with another number of copies, or
//! [extra ones](Builder::dedup_ditto)) are read when its own copies fail, and these are written anew;
//! those of a gang stay as they are.
//!
//! A gang, a block in pieces, has all its headers read before its pieces are; the whole is
//! verified once more. An encrypted block is verified and healed as it is stored, and
//! decrypted last.
//!
//! # The life of a write
//!
//! WRITE_COMPRESS decides the form: a hole (zeros take no space), embedded in the
//! pointer (112 bytes or less), compressed where an eighth is saved, or as it is. ENCRYPT, for
//! those who [ask](Write::encrypt). CHECKSUM_GENERATE; for dedup, DDT_WRITE asks the table: share what is stored,
//! wait for a twin in flight, or lead. Where a checksum is too weak to tell blocks apart, or the writer
//! [does not believe it](Write::dedup_verify), the bytes are compared first; a block that differs starts
//! over with SHA-256, or stands by itself. DVA_THROTTLE keeps allocation from running far
//! ahead of the devices, DVA_ALLOCATE finds a place for each copy, or for each piece of it
//! where no extent is long enough. READY: the pointer
//! is final ([`on_ready`](Write::on_ready)). Then one child per copy writes. All
//! copies, or an error, and the space is free again.
//!
//! A write may say what it takes the place of ([`over`](Write::over)). If that turns out to be
//! equal, NOP_WRITE keeps it; if it was born in the group that is being synced, it may be
//! [written over](Write::sync_pass); else it is yours to free. A parent's block may wait for its
//! children's pointers ([`on_children_ready`](Write::on_children_ready)), so that a tree is
//! written in one go. What was [written ahead](Write::already_written) of its group is
//! committed without I/O, and what another pipeline has compressed or encrypted is
//! [taken as it is](Pipeline::write_raw).
//!
//! Light work stays on the thread that brings it; what costs more than a change of
//! threads (large blocks, slow compression) goes to the task queues.
//!
//! # Where blocks go
//!
//! To all devices in turn, each by its free space; unless some are [for a class](Builder::for_class) of
//! blocks. Then metadata and [small blocks](Builder::small_blocks), the blocks of logs, and those found by
//! dedup have devices of their own, and others when those are full: a full class is no error. What is set
//! apart is not among the [free bytes](Pipeline::free_bytes) of ordinary blocks. Without a device for them,
//! logs have a piece of each large one that ordinary blocks do not touch while anything else is left.
//!
//! # When data is durable
//!
//! * A write that is done is on the device, perhaps in its cache. What was
//!   done before a [`flush`](Pipeline::flush) *started* is durable once the flush has
//!   *succeeded*. A flush that fails made nothing durable; it is not retried, and a
//!   later one that succeeds does not make it good: write again.
//! * The pipeline keeps no list of blocks. A pointer is yours to keep, and it
//!   is worth keeping durably only after its block is durable.
//! * A pipeline opened again knows of no block. [`claim`](Pipeline::claim) every
//!   pointer that is live before the first write. Of blocks shared through dedup,
//!   claim every pointer: that rebuilds the table.
//! * A freed block may be written over at once: forget its pointer durably
//!   *before* the free. Or keep freed space back with
//!   [`defer_frees`](Builder::defer_frees), and call
//!   [`end_txg`](Pipeline::end_txg) whenever your own state is durable.
//!
//! # When devices fail
//!
//! * An error of a device comes back, after a second try, as the error of the request. With
//!   [`FailMode::Wait`], or for a request that [must succeed](Pending::must_succeed), it does not: the request
//!   is *suspended* where it failed, and goes on from there at [`resume`](Pipeline::resume).
//! * A write to a mirror succeeds with one good leaf for each address. The birth groups of what the others
//!   miss are [`missing`](Pipeline::missing) on them, also where a flush failed beside one that did not; reads
//!   go elsewhere, and reading [every copy](Read::every_copy) of those blocks makes it good.
//! * A leaf of a mirror that fails is probed. One that is dead is left alone but for one I/O a second; one that is four times
//!   slower than its siblings sits reads out, but for one a second.
//! * A device that does not answer can be [given up](Pipeline::give_up_overdue), by hand or by a
//!   [`Deadman`]. A late answer is nobody's, and what a late write may hit is not used again.
//! * [`close_now`](Pipeline::close_now) is the way out that no device can block.
//! * [`Builder::on_event`] tells what goes wrong as it happens; a bad copy that was healed is reported bit
//!   by bit. Feature `tracing` sends the same there.
//! * What waits in a queue can be cancelled, or put into another class, by a [`Control`].
//! * [`inject`] puts faults into the stages, for the tests of whoever builds on them.
//!
//! # Threads
//!
//! With files a background reaper that sleeps while somebody waits or nothing is
//! under way, and task queues whose threads exist once they are needed. Without
//! io_uring, or with [`Builder::threads`], a pool for blocking calls. With
//! [`Builder::task_queue`] none: whoever brings the queues drives the devices, as the
//! simulated machine of `vdev-sim` does. Callbacks run on whatever thread ends
//! their request. They must not block; a `wait()` inside one is an error.
//!
//! # Looking at it
//!
//! [`Pipeline::stats`] is a snapshot of what is counted, per leaf, class and stage; the difference of two
//! ([`PipelineStats::since`]) is what happened between them. [`Pending::trace`] writes down the story of one
//! request. [`Builder::on_event`] tells what goes wrong as it happens. `examples/iostat.rs` shows
//! the first of them live.
//!
//! # What is never so
//!
//! * Data that does not match its pointer is never given out.
//! * No request ends twice, or not at all. One that is dropped unstarted does
//!   nothing; one that is started goes on when its handle is dropped.
//! * A failed write holds no space, and a failed claim none either. A free of what
//!   is not allocated is an error.
//! * No error is swallowed: not of a flush, not of one copy out of three.
//! * No pointer is trusted: [`Pipeline::check`] is the way in, and no pointer makes a
//!   device do I/O outside its data area.
//! * What can be written can be checked and read again: properties that a pointer
//!   cannot carry are refused before anything is written.
//! * In the steady state a read allocates nothing, and neither does a write
//!   that is not merged with its neighbours.
//! * A pipeline that is gone has closed its files and ended its threads.
//!
//! # What it does not do
//!
//! * Parity: a vdev is a device, or a mirror.
//! * Keep what a leaf of a mirror has [missed](Pipeline::missing) beyond its own life: that is to be kept
//!   with the pointers.
//! * Take a block that was written ahead into the dedup table: it is written once more.
//! * Encrypted log blocks and dnodes, of which parts stay in plain: they are refused by name,
//!   unless they are carried raw. MACs
//!   of parents, which cover their children's, are not checked; such blocks are plain, and verified.
//!
//! # Sources
//!
//! Spec 1.6 and 1.15 (pipelines, stages), 1.13 (assessment, retry, mirrors), 1.14 (transforms),
//! 2 (formats), 3 (write rules, gangs), 6.4 to 6.6 (dedup), 8.1 to 8.4 (claim, free, flush, trim). The stages
//! each operation passes are in `tests/golden/traces.md`, from the running code. `tests/openzfs.rs`
//! and `examples/read_openzfs.rs` read pools that OpenZFS wrote.
#![forbid(unsafe_code)]

mod builder;
mod clock;
mod cost;
mod crypt;
mod deadman;
mod dedup;
mod events;
mod fan_out;
mod flight;
mod heal;
mod health;
pub mod inject;
mod leaf;
mod log_block;
mod missing;
mod outage;
mod parents;
mod pending;
mod physical;
mod pipeline;
mod probe;
mod props;
mod raw_write;
mod read;
mod replace;
mod shared;
mod source;
mod space_class;
mod stage_stats;
mod stages;
mod stats;
mod suspend;
mod top_vdev;
mod tuning;
mod txg_ranges;
mod wishes;

pub use builder::{BuildError, Builder, DATA_START_BYTES};
pub use checksum::Algorithm as Checksum;
#[cfg(feature = "crypt")]
pub use crypt::DatasetKeys;
pub use deadman::{Deadman, Overdue};
pub use dedup::{DedupDiscrepancy, DedupRepair, DedupStats};
pub use events::{ChecksumReport, Damage, EVENTS_PER_SECOND_MAX, Event, EventCount, EventKind};
pub use heal::Healed;
pub use log_block::LogSeed;
pub use outage::LeafErrors;
pub use pending::{Awaited, Outcome, Pending, Started};
pub use physical::Physical;
pub use pipeline::{IntoData, Pipeline, Root};
pub use props::Write;
pub use read::Read;
pub use replace::{NO_COMPRESSION_PASS_MIN, REWRITE_PASS_MIN};
pub use source::Mirror;
pub use stage_stats::StageStats;
pub use stats::{ClassReport, LeafStats, PipelineStats, SpaceStats, ThrottleStats};
pub use suspend::{FailMode, Suspended};
#[cfg(feature = "crypt")]
pub use transform::crypt::{KeyError, Suite};
pub use transform::{Compression, GzipLevel, ZstdLevel};
pub use txg_ranges::TxgRanges;
pub use vdev_disk::OpenOptions;
pub use vdev_queue::{Class, ClassStats, Histogram, Latencies, Load, PerClass, Traffic};
pub use zio_core::bp::{ByteOrder, RawPointer};
pub use zio_core::{
    BlockPointer, Bookmark, Buffer, BufferPool, Completions, Control, Data, EngineCounts, Error,
    ErrorKind, Finished, Priority, SpaceClass, Stages, Trace, TracedZio, Txg, VdevId,
};

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
