//! Dirty data: what a store has accepted and not yet written, and how those who bring it are slowed down
//! before it is too much (spec 3.10).
//!
//! ```text
//!  writers ─▶ line ─▶ admitted ─▶ open ─▶ quiescing ─▶ syncing ─▶ written: dirty no more
//!              ▲ not before t      │ pushed: size, 5 s, asked  │      │
//!              │                   └───────────────────────────┘      │ bytes per second, smoothed
//!              └────────────────────── pace ◀──────────────────────────┘
//! ```
//!
//! * [`Throttle`] is the state machine: time and completions go in, who may go on and when comes out.
//! * [`DirtyData`] is the same for many threads. A place in the line is an [`Admission`]: blocked on, awaited, or
//!   looked at. What was admitted is a value, [`Dirty`]; dropped, whole or in parts, it is dirty no more.
//!
//! # The pace
//!
//! ZFS's curve ([`Mode::Curve`]) knows the fill alone. It does not know the devices, and where dirty data goes down
//! in lumps it lets everybody through after each of them and nobody before the next.
//!
//! By measure ([`Mode::Measured`], the default) as much is let in as goes out:
//!
//! * The drain rate is bytes written over the time of the syncs that wrote them, of the last few; a sync that takes too long
//!   is noticed before it ends.
//! * The pace is that rate times a factor that is 1 at two thirds of the limit, more below, 1/2 above, and nothing at the
//!   hard limit. So the fill settles where as much comes as goes, even if the rate was misjudged.
//! * Lumps are levelled: what goes out at once counts as going out at the drain rate.
//! * The limit follows from the time that a sync should take, up to `dirty_bytes_max`: a slow
//!   device does not get a commit of minutes.
//!
//! Until something was measured the curve has it, and the limit is that of a slow device: a stranger begins small.
//!
//! # What is never so
//!
//! * More than `dirty_bytes_max` is never dirty, but for a single request that is larger, when it is alone.
//! * Nobody overtakes: requests get in in the order they came.
//! * Between two admissions there are never more than 100 ms, as long as the next one fits below the hard limit.
//! * A free is not dirty data. It takes no space in memory until it is written, and makes room: it is never asked
//!   to wait here. [Destroying](crate::destroy) has limits of its own.
//! * [`Throttle`] reads no clock. No thread is started; who waits is a client's thread, or a future.

mod admission;
mod config;
mod curve;
mod data;
mod drain;
mod line;
mod pace;
mod sync;
mod throttle;
mod txgs;
mod value;

pub use admission::{Admission, Refused};
pub use config::{Config, ConfigError, Mode};
pub use curve::Curve;
pub use data::DirtyData;
pub use throttle::{Admitted, Push, Throttle, Ticket};
pub use value::Dirty;
