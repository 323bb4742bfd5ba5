//! A machine that lies, from a seed.
//!
//! Storage code is right when it survives what storage does: errors, bit rot,
//! writes that tear, get lost or land elsewhere, devices that stall or vanish,
//! power that fails. None of it happens on the developer's laptop. Here it
//! happens thousands of times a second, in virtual time, on one thread, and one
//! `u64` brings the same history back bit for bit.
//!
//! # The model
//!
//! * [`Machine`]: a virtual clock in nanoseconds and a scheduler. It is the
//!   [`Reactor`](zio_core::Reactor) of all its disks: whoever waits drives it,
//!   and each turn lets exactly one thing happen, drawn from the seed among all
//!   that could: a queued task runs, a device answers, a timer fires. When
//!   nothing is ready the clock jumps. When nothing *can* happen although
//!   somebody waits, the code under test has deadlocked, and the machine
//!   panics with its seed.
//! * [`SimDisk`]: a [`Vdev`](zio_core::Vdev) with real bytes (sparse), a model of
//!   time ([`Latency`]: hard disk, SATA and NVMe flash, network volume), a
//!   volatile cache, and faults: by script ([`Fault`]), by chance
//!   ([`FaultProfile`]) and by hand ([`SimDisk::corrupt`], [`SimDisk::hold`],
//!   [`SimDisk::offline`], [`SimDisk::power_cut`]). It logs all it saw.
//! * [`SimQueue`]: a [`TaskQueue`](zio_core::TaskQueue) whose workers are turns
//!   of the machine.
//! * [`SimAllocator`]: a correct [`Allocator`](zio_core::Allocator) that
//!   fragments, fails and scatters as its contract allows.
//! * [`conformance`]: suites that any implementor of these borders can run,
//!   simulated or not.
//! * [`explore`]: many seeds, with the failing one as the last line printed.
//! * [`Client`]: a plain client of any device, for tests.
//!
//! ```
//! use std::sync::Arc;
//! use vdev_sim::{Client, DiskConfig, Effect, Fault, Machine, OpKind, Rng};
//!
//! let machine = Machine::new(42);
//! let disk = machine.disk(DiskConfig::hdd(1 << 40));
//! let client = Client::new(Arc::clone(&disk) as Arc<dyn zio_core::Vdev>);
//!
//! client.write(0, &[1; 4096])?;
//! client.flush()?;                                    // durable from here on
//! disk.inject(Fault::new(Effect::Lost).on(OpKind::Write));
//! client.write(0, &[2; 4096])?;                       // "done", it says
//! assert_eq!(client.read(0, 4096)?, [1; 4096]);       // it lied
//!
//! client.write(4096, &[3; 4096])?;                    // cached, not flushed
//! disk.power_cut(&mut Rng::new(7));                   // kept, dropped or torn
//! disk.online();
//! assert_eq!(client.read(0, 4096)?, [1; 4096]);       // what was flushed is there
//! println!("{} µs of virtual time", machine.now_ns() / 1000);
//! # Ok::<(), zio_core::VdevError>(())
//! ```
//!
//! # How a disk treats a write
//!
//! ```text
//!  start ──▶ waiting ──▶ served ──▶ answered: in the cache ──▶ flushed: durable
//!              └──────────┴─ in flight ─┘          │                 │
//!  power cut:  Gone; kept, torn or dropped         │                 │
//!                                kept, torn or dropped              kept
//! ```
//!
//! A flush covers the writes that were *answered before it was started*, and
//! no others: that is all the border promises, so it is all a mean disk does.
//! Torn means: any subset of its sectors, each sector whole.
//!
//! # What is never so
//!
//! * The same seed never gives two histories, as long as one thread at a time
//!   uses the machine and the code under test draws no chance of its own. The
//!   generator ([`Rng`]) is written out in this crate and part of its interface.
//! * The real clock is never read by machine, disk, queue or allocator; only
//!   [`Client`] and the suites read it, to lose patience with a device that
//!   does not answer.
//! * No lock is held while a task runs or an answer is delivered, so either may
//!   start I/O, dispatch tasks, or drive the machine.
//! * An I/O out of range or misaligned is never executed; it is refused and
//!   counted, or panics on a disk that is [strict](DiskConfig::strict).
//! * An I/O is never left without an answer: a disk that is dropped answers
//!   what it had as lost.
//!
//! # Sources
//!
//! The driver's contract: spec 4.9. The power cut: spec 8.9 point 7. The idea of
//! a simulated cluster of liars: FoundationDB's simulation, TigerBeetle's VOPR.
#![forbid(unsafe_code)]

mod allocator;
mod client;
pub mod conformance;
mod disk;
mod explore;
mod machine;
mod queue;
mod rng;
mod scheduler;

pub use allocator::{BrokenPromise, SimAllocator, SimAllocatorConfig};
pub use client::{Client, NoAnswer, Remains, Ticket};
pub use disk::{
    Answer, Counters, DiskConfig, Effect, Fault, FaultId, FaultProfile, Flip, Latency, LogEntry,
    Mechanics, OpKind, SimDisk, Trimmed,
};
pub use explore::{SEEDS_VARIABLE, explore};
pub use machine::Machine;
pub use queue::{Dispatches, SimQueue};
pub use rng::Rng;

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
