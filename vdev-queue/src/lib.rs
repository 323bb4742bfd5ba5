//! I/O scheduler of one device, as a pure state machine.
//!
//! A device does best with neither too few I/Os nor too many, and its users are not equals:
//! somebody waits for this read, nobody for that scrub. The queue stands in front of one device,
//! takes requests with a *class*, and says which I/O to give to the device next. It never does
//! one itself: it reads no clock, starts no thread, takes no lock, and calls nobody. Requests
//! carry a payload `T` of yours, which the queue owns while they wait and hands back when they
//! leave.
//!
//! # Ten lines
//!
//! ```
//! use vdev_queue::{Class, Config, Issue, Queue, Request};
//!
//! let mut queue = Queue::new(Config::default())?;
//! queue.enqueue(Request::read(Class::Scrub, 0, 8192)?, "scrub", 100);
//! queue.enqueue(Request::read(Class::SyncRead, 8192, 8192)?, "user", 100);
//! let mut order = Vec::new();
//! while let Some(issue) = queue.poll_issue(110) {
//!     let Issue::Io(io) = issue else { continue };
//!     order.push(io.members[0].payload); // here the device would do its work
//!     queue.complete(io.ticket, 190); // … and report, sooner or later
//! }
//! assert_eq!(order, ["user", "scrub"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The model
//!
//! **Classes.** Each [`Class`] has a minimum and a maximum of I/Os at the device. A free slot goes
//! to a class that waits and is below its minimum, or else to the best class that waits and is
//! below its maximum. Minimums share the device; maximums keep the background from filling it.
//!
//! **Asynchronous writes** follow the dirty data behind them, told by [`Queue::set_load`]. With
//! little of it they may take their time, and readers gain; before writers would have to wait,
//! they get all they can use:
//!
//! ```text
//!  writes at
//!  the device
//!        max ┤                     ╭──────────────── or as soon as somebody waits for the commit
//!            │                   ╱
//!            │                 ╱     each step is one more I/O
//!            │               ╱
//!        min ┤──────────────╯
//!            └──────────────┬──────┬───────────────► dirty data, % of its maximum
//!                          30     60            100
//! ```
//!
//! **Background** classes (scrub, removal, initializing, rebuild) live on credit while others use
//! the device: a handful of I/Os for each completion of an interactive one. On a quiet device
//! they come to their maximum after a few I/Os ([`BackgroundRules`]). How many they have beside
//! others follows what that costs those who wait, measured all the time ([`LatencyBudget`]).
//!
//! **Order within a class.** Synchronous requests and trims leave in order of arrival, all others
//! by an elevator: upwards from the last I/O, then around, within batches of half a second.
//!
//! **Merging.** Neighbours in one class leave as one [`DeviceIo`] whose members' buffers are the
//! pieces of one vectored call; nothing is copied. Reads bridge small gaps, which land in a
//! scratch page. Optional writes ([`Flags::OPTIONAL`], padding) are written where they join two
//! others, from a page of zeros, and dropped where not. See [`DeviceIo::pieces`].
//! After an error, enqueue each member again with [`Request::alone`], so that one bad sector
//! fails one request.
//!
//! **Deadlines.** A request older than its class's deadline makes its class take turns with the
//! ordinary choice. So nothing starves, and nothing that is late crowds out the rest.
//!
//! **Depth.** How many I/Os the device gets is measured: more as long as it then does more, fewer
//! as long as it does not do less ([`DepthRules`]). The limits of the classes go with it. What
//! the device does not need waits here, where the best can still be chosen, moved and cancelled.
//!
//! # Which settings
//!
//! * [`Config::default`]: all of the above.
//! * [`Config::seed`]: the classic queue, decision for decision, to compare with.
//! * [`Config::bypass`]: a fast device. Classes matter only when its depth is used up.
//!
//! # Many threads
//!
//! [`SharedQueue`] is the same for many submitters. A thread that finds it taken leaves its
//! event there and goes on; whoever is inside takes it along. See [`shared`].
//!
//! # What is never so
//!
//! * The queue never calls out: no callback, no waker, no device. It hands back what to do.
//! * After `poll_issue` has returned `None`, nothing that could be issued waits. Time alone
//!   never makes something issuable; there is no timer.
//! * No limit, of a class or of the device, is ever passed. One that is lowered later waits for
//!   the I/Os above it to end.
//! * A payload comes out once: issued, unneeded or cancelled. A [`Ticket`] is spent once.
//! * Members of one I/O never overlap, and a merged write has no gap.
//! * Nothing allocates once the queue has been as long as it gets, merging aside (one
//!   allocation for a merged I/O's list of members).
//! * The queue does not know what a pool, a block or a zio is.
//!
//! Not here: flushes and other I/Os without a range, which have no class and go straight to the
//! device; retries; the device.
//!
//! # Sources
//!
//! The design is that of the ZFS device queue since 2013 (A. Leventhal's and M. Ahrens' write
//! throttle). Behaviour and constants: specification, sections 4.1 to 4.6 and 4.8, worked
//! examples included. Deadlines, cancelling and the combiner are this crate's own.

#![forbid(unsafe_code)]

mod aggregate;
mod arrivals;
mod budget;
mod class;
mod config;
mod depth;
mod histogram;
mod issue;
mod load;
mod queue;
mod queued;
mod request;
pub mod shared;
mod slots;
mod stats;
mod sweep;
mod sync;

pub use budget::LatencyBudget;
pub use class::{Class, Kind, Order, PerClass};
pub use config::{
    Aggregation, AggregationLimits, BackgroundRules, ClassLimits, Config, ConfigError, Depth,
    DepthRules, Elevator, HeadPosition, MinPass,
};
pub use histogram::Histogram;
pub use issue::{DeviceIo, Issue, Member, Members, Piece, Segment, Ticket};
pub use load::{DirtyCurve, Load};
pub use queue::{Queue, Reprioritised};
pub use request::{Flags, Id, Request, RequestError};
pub use shared::{Issues, SharedQueue};
pub use stats::{ClassStats, Counters, Latencies, Traffic};
