//! Files, block devices and memory as devices of the ZFS I/O pipeline.
//!
//! A device moves bytes: read, write, flush, trim, by offset and list of
//! buffers. It never verifies, compresses, retries or orders. This crate has
//! the devices that are made of system calls, and the system calls.
//!
//! | device | what | answers arrive |
//! |---|---|---|
//! | [`Disk`] on a [`Ring`] | file or block device through io_uring; one ring serves many | on the thread inside [`Reactor::turn`](zio_core::Reactor::turn) |
//! | [`Disk`] on threads | the same through blocking calls, where io_uring is refused or not wanted | on the threads |
//! | [`Memory`] | a sparse RAM disk | inside [`Vdev::start`](zio_core::Vdev::start) |
//!
//! # Model
//!
//! An I/O is handed over whole: [`VdevIo`](zio_core::VdevIo) owns the buffers
//! and a one-shot [`Token`](zio_core::Token), and both come back together as
//! one answer. While it is under way nobody else can touch the buffers,
//! because nobody else has them.
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use vdev_disk::{Disk, OpenOptions, Ring};
//! use zio_core::{
//!     BufferPool, Complete, Reactor, Token, Vdev, VdevDone, VdevIo, VdevOp, Wait,
//! };
//!
//! #[derive(Default)]
//! struct Answers(Mutex<Vec<VdevDone>>);
//!
//! impl Complete for Answers {
//!     fn complete(self: Arc<Self>, _ticket: u64, done: VdevDone) {
//!         self.0.lock().unwrap().push(done);
//!     }
//! }
//!
//! let dir = tempfile::tempdir()?;
//! let ring = Ring::new(32)?;
//! let options = OpenOptions::new().create(1 << 20).ring(ring.clone());
//! let disk = Disk::open(dir.path().join("disk"), &options)?;
//!
//! let (pool, answers) = (BufferPool::new(), Arc::new(Answers::default()));
//! let go = |op, offset_bytes| {
//!     disk.start(VdevIo::new(op, offset_bytes, Token::new(answers.clone(), 0)));
//!     while ring.in_flight() > 0 {
//!         ring.turn(Wait::Block); // submits, sleeps and delivers
//!     }
//!     answers.0.lock().unwrap().pop().expect("one answer each")
//! };
//! go(VdevOp::Write(pool.copy_of(&[7; 8192]).into()), 4096).result?;
//! go(VdevOp::Flush, 0).result?;
//! let done = go(VdevOp::Read([pool.take(8192)].into_iter().collect()), 4096);
//! done.result?;
//! assert!(matches!(done.op, Some(VdevOp::Read(buffers)) if buffers[0][..] == [7; 8192]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Where one I/O at a time will do, [`perform`] does it on any device.
//!
//! # Direct
//!
//! A file is opened past the page cache where its file system allows that,
//! and [`Disk::is_direct`] says whether it does; a block device is direct or
//! not opened, unless [`Direct::Never`] asks for the page cache. Sector and memory alignment are
//! asked from the system and stand in the [`Geometry`](zio_core::Geometry).
//!
//! # Submission
//!
//! Started I/O goes to the kernel in groups of four, with
//! [`Reactor::submit`](zio_core::Reactor::submit), or with the next turn; a
//! turn that sleeps submits and waits in one system call. Answers that start
//! new I/O keep the device busy while the rest of them are being handled.
//! Any number may be started; beyond the ring's depth they queue in memory.
//!
//! # What is never so
//!
//! * An I/O is never answered twice, and never left without an answer: the
//!   token is consumed by its answer, and one that is dropped answers "lost".
//! * The kernel never holds an address of memory that somebody else may free or
//!   write. A ring that goes away waits for its I/O first.
//! * A request that is out of range, misaligned, or against a read-only
//!   device never reaches a system call.
//! * A short transfer is never success. An error of a flush is never dropped.
//! * No lock is held while an answer is delivered.
//! * Steady state on a ring allocates nothing.
//! * Nobody writes to a device that somebody else has open through this crate.
//!
//! Sources: spec 4.9 (what a driver must provide), 8.3 (flush and trim), 8.4
//! (physical I/O); the groups of four are measured.
#![deny(unsafe_code)]

mod answer;
#[cfg(feature = "baseline")]
pub mod baseline;
mod disk;
mod error;
mod file;
mod file_options;
mod memory;
mod options;
mod perform;
mod psync;
mod ring;
mod sys;

pub use answer::{SEGMENTS_MAX, TRANSFER_BYTES_MAX};
pub use disk::Disk;
pub use error::{OpenError, RingError};
pub use file_options::Direct;
pub use memory::Memory;
pub use options::OpenOptions;
pub use perform::perform;
pub use psync::DiskTask;
pub use ring::{RING_DEPTH_MAX, Ring};
