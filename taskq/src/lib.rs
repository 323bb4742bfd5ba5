//! Task queues with threads, as the ZFS I/O pipeline wants them.
//!
//! A pipeline stage that is heavy on the CPU (compression, a slow checksum) or that must leave a
//! completion thread sends its I/O through a task queue. There are many such queues: one cell for
//! each I/O type and each of four kinds (issue and interrupt, plain and urgent), so that reads do
//! not stand behind the compression of writes, and completions behind neither. Each cell has its
//! own threads, or none.
//!
//! ```
//! use std::sync::mpsc;
//! use taskq::{Config, Job, Taskq};
//! use zio_core::{QueueKind, Route, TaskQueue, ZioType};
//!
//! let queue = Taskq::<Job>::new(Config::small(4).named("pool"));
//! let (sender, receiver) = mpsc::channel();
//! let job = Job::new(move || {
//!     sender.send(std::thread::current().name().unwrap().to_owned()).unwrap();
//! });
//! queue.dispatch(job, Route::back(ZioType::Write, QueueKind::Issue));
//! assert!(receiver.recv().unwrap().starts_with("pool-write-iss"));
//! queue.shutdown();
//! ```
//!
//! # The model
//!
//! * A **task** ([`zio_core::Task`]) brings the link by which it is queued. So dispatch does not
//!   allocate and cannot fail. [`Job`] makes one of a closure.
//! * A [`Config`] is a table of [`Mode`]s: how many queues and threads each cell gets, as a pure
//!   function of the number of CPUs. Cells without a queue lean on their neighbours by fixed
//!   rules. [`Config::small`] suits a process on few cores, [`Config::zfs`] a storage server,
//!   [`Config::single`] is one queue for everything.
//! * A [`Taskq`] is the table at work. A queue's first thread starts with its first task; others
//!   come when all are busy and leave, slowly, when they are not needed. The **keeper**, one thread
//!   of each set, sees to that.
//! * A **shard** is one of several queues side by side in one cell; equal affinities meet on one
//!   shard. Idle workers of others help a shard that cannot keep up.
//! * A **lane** is how strong a queue's threads are against other programs. Background classes
//!   (scrub, rebuild, trim, …) have a [`Background`] lane of their own: weak threads, which yield
//!   before each task and keep to a share of the CPUs while others want them.
//! * A [`TaskId`] is what a caller keeps of a task to wait for it or to cancel it; tasks can be
//!   delayed ([`Taskq::dispatch_after`]). [`ManualClock`] makes all that takes time testable.
//! * [`FanOut`] has rayon do the work of one task on many CPUs, without blocking a worker.
//! * [`Inline`] is the same without threads, for tests. [`Service`] is a single thread that runs
//!   for long and stops when dropped.
//!
//! A thread that sleeps costs 20 to 30 µs to wake, more than all else in an I/O, so the crate's
//! one subtle part is when to wake whom. `src/park/README.md` tells it, and a model checker runs
//! the real code under thousands of schedules with each `cargo test`.
//!
//! # What is never so
//!
//! * A task is never lost, nor run twice: not at shutdown, not when a thread cannot be started.
//! * A task never waits while a worker of its queue sleeps.
//! * A dispatch never allocates, never fails, never starts a thread.
//! * A dispatch never wakes more than one worker, and none while one is awake and looking.
//! * More than one thread is never started at a time for one shard, and more than one never leaves
//!   in five seconds.
//! * A task never runs under a lock of this crate.
//! * A panic of a task never ends a worker.
//! * A worker that serves issue routes never says it is an interrupt worker: a pipeline that moves
//!   issue work off interrupt workers would move it in a circle.
//!
//! # Sources
//!
//! Spec 5 (table, modes, semantics); the formulas of [`Mode::threads`] are golden-tested against
//! the published figures. Waking one searcher at a time, who wakes the next, is the scheme of the
//! Go scheduler and of rayon.
#![forbid(unsafe_code)]

mod bell;
mod budget;
mod clock;
mod config;
mod crew;
mod delayed;
mod engine;
#[cfg(feature = "rayon")]
mod fan;
mod id;
mod idle;
mod info;
mod inline;
mod job;
mod keeper;
mod list;
mod member;
#[cfg(test)]
mod models;
mod overflow;
mod park;
mod service;
mod spread;
mod stats;
mod strength;
mod sync;
mod taskq;
mod track;
mod trouble;

pub use clock::ManualClock;
pub use config::{Background, Config, Lane, Mode, Threads};
#[cfg(feature = "rayon")]
pub use fan::{FanOut, WorkPanicked};
pub use id::{Cancel, TaskId};
pub use info::WorkerInfo;
pub use inline::Inline;
pub use job::Job;
pub use service::{Service, ServicePanicked, StopFlag, Woken};
pub use stats::Stats;
pub use taskq::Taskq;
pub use trouble::Trouble;
