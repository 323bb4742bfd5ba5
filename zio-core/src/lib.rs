//! # The ZFS I/O object, and the executor that runs it
//!
//! A **zio** is one I/O request: what to do, the data, the block pointer, a
//! place in a tree of parents and children, and the **stages** it still has to
//! pass, as a bit set. One function runs any zio: lowest bit first. A stage
//! never sleeps. One that has to wait gives the zio away, and whoever ends the
//! wait runs it on from there. So ten thousand reads in flight hold no thread.
//!
//! This crate has the object, the graph, the executor, the block pointer and
//! the traits at its borders. It has no thread, no system call, no policy and
//! no stage that does real work; those are plugged in.
//!
//! ## The life of a zio
//!
//! 1. [`Engine::make`] takes a recycled zio and sets its type, [`Flags`] and
//!    pipeline ([`Stages`]). In a [`Request`] it does nothing yet; it can become
//!    a child ([`Request::under`]) and a parent ([`Request::as_parent`]).
//! 2. Starting it executes it on the caller's thread, stage by stage, until it
//!    ends or is given away: to its own *node*, to wait for children
//!    ([`Zio::wait_children`]) or for a device ([`Zio::park_for_device`]); to a
//!    task queue ([`IssueAsync`]); to a queue of a stage's own.
//! 3. READY says that its block pointer is final, DONE that all is over. At
//!    both, parents that waited for just that become runnable. The first parent
//!    that DONE makes runnable is run next on the same thread: the three zios of
//!    a read end in one go.
//! 4. The result goes where the start said: to the thread in
//!    [`Request::wait`], to a [`Handle`] (wait, or `.await` on any executor), to a
//!    callback ([`Request::nowait`]), or to a collection ([`Completions`]).
//!
//! ## Ownership is the right to execute
//!
//! Stages take a [`ZioBox`] and return [`Next`]: the zio to run next, the same
//! or another one, or `None` when it has a new owner. Whoever holds the box is
//! the only one who can touch stage, pipeline, flags and buffers, so these have
//! no lock, and no two threads can process one I/O: it would not compile.
//! What others touch (children counted, the worst error per child type, the
//! parents) is in the node. **Waiting is moving the box into the node**, under
//! the lock under which it will be taken out: a resume can neither overtake the
//! park nor happen twice.
//!
//! ## The borders
//!
//! | trait | what it does | contract in one line |
//! |---|---|---|
//! | [`Stage`] | one step on the road | takes the zio, returns the next; never sleeps |
//! | [`Vdev`] | a device | answers each I/O once, through its one-shot [`Token`]; a lost token answers for itself |
//! | [`TaskQueue`] | other threads | runs each task once; dispatch cannot fail and does not allocate |
//! | [`Allocator`] | space on devices | all copies or none |
//! | [`Reactor`] | who must be driven for devices to answer | turned by one thread at a time |
//!
//! There is one *reaper role* per engine: a thread that waits takes it, turns
//! the [`Reactor`] until its own zio is finished, and hands the role to the next
//! waiter. [`Engine::reap_in_background`] takes it only while callbacks or
//! futures are outstanding and nobody waits.
//!
//! ## Example
//!
//! A pipeline of two stages over a device in memory
//! (`examples/tiny_pipeline.rs` adds the vdev child, the data on its way up, and
//! an error).
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use zio_core::*;
//!
//! # #[derive(Debug)]
//! struct Memory(Mutex<Vec<u8>>);
//!
//! impl Vdev for Memory {
//! #   fn geometry(&self) -> Geometry {
//! #       Geometry { size_bytes: 1 << 20, sector_bytes: 512, physical_bytes: 512,
//! #                  memory_align_bytes: 1, rotational: false, read_only: false }
//! #   }
//!     fn start(&self, mut io: VdevIo) {
//!         let at = io.offset_bytes() as usize;
//!         if let VdevOp::Read(buffers) = io.op_mut() {
//!             let len = buffers[0].len();
//!             buffers[0].copy_from_slice(&self.0.lock().unwrap()[at..at + len]);
//!         }
//!         io.finish(Ok(())); // here and now; a real device answers later, on any thread
//!     }
//! }
//!
//! struct ToDevice(Memory);
//! impl Stage for ToDevice {
//!     fn stage(&self) -> Stages { Stages::VDEV_IO_START }
//!     fn run(&self, zio: ZioBox) -> Next {
//!         let op = VdevOp::Read([zio.engine().buffers().take(zio.size_bytes)].into_iter().collect());
//!         let offset_bytes = zio.offset_bytes;
//!         let token = zio.park_for_device();   // the zio is in its node now …
//!         self.0.start(VdevIo::new(op, offset_bytes, token));
//!         None                                 // … and no longer ours
//!     }
//! }
//!
//! struct FromDevice;
//! impl Stage for FromDevice {
//!     fn stage(&self) -> Stages { Stages::VDEV_IO_DONE }
//!     fn run(&self, mut zio: ZioBox) -> Next {
//!         if let Some(VdevDone { op: Some(VdevOp::Read(buffers)), result: Ok(()) }) = zio.answer.take() {
//!             zio.data = Data::from_buffers(buffers);
//!         }
//!         Some(zio)
//!     }
//! }
//! # struct Here;
//! # impl TaskQueue<ZioBox> for Here {
//! #     fn dispatch(&self, task: ZioBox, _: Route) { task.run() }
//! #     fn on_worker(&self) -> Option<(ZioType, QueueKind)> { None }
//! #     fn shutdown(&self) {}
//! # }
//!
//! # fn main() -> Result<(), Error> {
//! let memory = Memory(Mutex::new(vec![7; 1 << 20]));
//! let engine = Engine::new(Parts {
//!     stages: vec![Arc::new(ToDevice(memory)), Arc::new(FromDevice), Arc::new(Ready), Arc::new(Done)],
//!     queue: Arc::new(Here), // a `TaskQueue`; this one runs tasks where they are dispatched
//!     reactors: Vec::new(),
//!     buffers: BufferPool::new(),
//!     shared: Arc::new(()),
//!     hand_over: true,
//! });
//! let mut request = Request::new(engine.make(ZioType::Read, Flags::empty(), Stages::READ_PHYS));
//! request.zio().offset_bytes = 4096;
//! request.zio().size_bytes = 512;
//! let finished = request.wait()?;
//! assert!(finished.get().data == [7; 512]);
//! engine.close();
//! # Ok(())
//! # }
//! ```
//!
//! ## What is never so
//!
//! * No stage sleeps, or takes a lock that another stage holds across its end.
//!   So any thread may run any zio, and "run this one next" cannot deadlock.
//! * Nobody but the holder of the box changes a zio.
//! * An I/O is not answered twice, and none remains unanswered: a [`Token`] is
//!   consumed by its answer, and answers for itself when it is dropped.
//! * A zio is not forgotten: one that is dropped unfinished, by a stage that
//!   panicked or lost it, tells parents and waiters [`ErrorKind::Lost`]. A
//!   panic does not unwind into a device or a reactor.
//! * The stack does not grow with the depth of the tree, the length of a chain
//!   of callbacks, or a device that answers inside `start`.
//! * In the steady state nothing is allocated: zios, nodes and buffers are
//!   recycled, links are inside what they link.
//! * Nothing that came from a disk is believed: [`bp::RawPointer::check`] is the
//!   only way to a [`BlockPointer`], and what passes lies within its devices.
//! * Waiting inside a completion does not hang: it is an error.
//! * Stage numbers and flag bits are never persisted; the table
//!   [`stages::stage_table`] is printed from the code.
//!
//! The price: an engine and the zios it keeps for reuse hold each other, so an
//! engine lives until [`Engine::close`].
//!
//! ## Modules
//!
//! [`stages`] and [`types`]: the vocabulary. [`mod@bp`]: block pointers.
//! [`segment`]: buffers. [`vdev`], [`task`], [`alloc`]: the borders. [`error`].
//! [`done`]: the end of a zio, for pipelines with a DONE of their own.
//!
//! ## Sources
//!
//! The spec, sections 1 (the I/O object) and 2 (block pointers), and the traps of
//! section 10; the ZFS I/O pipeline as OpenZFS shapes it since 2018, when
//! stages learned to return the zio to run next. The model of the hand-overs is
//! checked with shuttle (`tests/shuttle.rs`).
#![forbid(unsafe_code)]

pub mod alloc;
pub mod bp;
pub mod error;
pub mod segment;
pub mod task;
pub mod types;
pub mod vdev;

pub use alloc::{Allocator, Dvas, NoSpace, Released, Share, Slots, SpaceClass, SpaceError, Want};
pub use bp::Dva;
pub use error::{Error, ErrorKind};
pub use segment::{Buffer, BufferPool, Buffers, Data, Segment};
pub use task::{QueueKind, Route, Task, TaskQueue};
pub use types::{ChildSet, ChildType, Priority, Txg, VdevId, WaitType, ZioType};
pub use vdev::{
    Complete, Geometry, Reactor, Token, Vdev, VdevDone, VdevError, VdevErrorKind, VdevIo, VdevOp,
    Wait,
};
mod collect;
mod control;
pub mod done;
mod engine;
mod flags;
mod handle;
mod node;
mod stage;
pub mod stages;
mod stats;
mod sync;
mod trace;
mod wait;
mod zio;

pub use bp::BlockPointer;
pub use collect::Completions;
pub use control::{Control, Entered, Holding};
pub use engine::{Context, Engine, Parts};
pub use flags::Flags;
pub use handle::{Handle, Request};
pub use stage::{Done, IssueAsync, Ready, Stage};
pub use stages::Stages;
pub use stats::{Counter, EngineCounts, EngineStats};
pub use trace::{Trace, TracedZio};
pub use zio::{
    Bookmark, DoneCallback, Finished, Next, Parent, ReadyCallback, Sink, Undo, WriteProps, Zio,
    ZioBox,
};
