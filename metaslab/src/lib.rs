//! Space of a storage pool: hands out extents of devices, takes them back, and
//! never hands out one that a crash could still need.
//!
//! A copy-on-write store asks three things of its allocator, and each one goes
//! wrong in its own way: *where* (a full device must not make the search slow, copies
//! must not share a fate), *when again* (a freed extent is still reachable from the last
//! superblocks, so handing it out at once passes every test without a crash in it and
//! loses data at the first power cut), and *how much at a time* (allocation must not run
//! far ahead of the devices).
//!
//! # Model
//!
//! Each device ("vdev") is a row of units of `2^ashift` bytes, and every unit is in one
//! state. This is the life of an extent:
//!
//! ```text
//!                      allocate in t / claim
//!              ┌────────────────────────────────────┐
//!              │                                    ▼
//!          ┌───┴────┐   unallocate in t       ┌───────────┐
//!   ──────▶│  free  │◀────────────────────────│ allocated │
//!  add_vdev└────────┘   nobody knows of it    └─────┬─────┘
//!              ▲                                    │ free in f
//!              │        end_of_txg(f + 2)     ┌─────▼─────┐
//!              └──────────────────────────────│ deferred  │
//!                 (f, when nearly full)       └───────────┘
//!
//!   txg             f            f+1           f+2
//!   ───────────┬───────────┬───────────┬───────────┬──────▶
//!           freed here  end: held   end: held   end: free again
//! ```
//!
//! * [`Extents`] is the pure core for one device: a state machine without clock, lock or
//!   I/O. It works in units. Free extents are found by address (first fit from a cursor, so
//!   that blocks written together stand together) and by size (lists per power of two with a
//!   bit mask of those in use, for best fit under pressure). A search looks at a fixed number
//!   of extents at most, then asks the lists: O(log n) however full the device is.
//! * [`spacemap`] is how the state gets to disk and back: as a log of changes, in ZFS's format.
//! * [`Metaslabs`] divides each device into regions, each with a core and a lock of its own, and
//!   implements [`zio_core::Allocator`]: shards that each allocate from regions of their own; a
//!   rotor that gives each vdev 512 KiB in turn, more to emptier ones, and passes over those that
//!   have enough to do; copies on distinct vdevs or an eighth of one apart; all copies or none;
//!   and the throttle, which reserves bytes and gives them back when the reservation is dropped.
//!
//! # Shards and regions
//!
//! ```text
//!             region 0    region 1    region 2    region 3
//!   vdev 0  [ shard 0 ▶ | shard 1 ▶ | used up   | free      ]
//!   vdev 1  [ used up   | shard 1 ▶ | shard 0 ▶ | free      ]
//! ```
//!
//! A wish's [affinity](zio_core::Want::affinity) names the shard. It allocates from its active
//! region of a vdev; what does not fit there comes from the region with the longest extents
//! that no other shard is at, and that one becomes active when the old one has no room for a usual
//! block any more. Which region has room is looked up without a lock, in what each
//! of them said last. A block that no region has room for is looked for over the borders, with all
//! regions of the vdev locked. Before the answer is no, all is looked at once more with
//! everybody else kept out: nothing that somebody held for a moment is missed.
//!
//! # Classes
//!
//! A vdev is for ordinary blocks or set apart for a [class](zio_core::SpaceClass): logs, metadata
//! with small blocks, the dedup table. What finds no room on the vdevs of its class goes to others, never the
//! other way round, so that a full class is no error and space set apart is no promise to anybody else:
//!
//! ```text
//!   log ──────┐
//!             ├─▶ special ──▶ normal        ▶ if there is no room, or no such vdev
//!   dedup ────┘
//! ```
//!
//! Turns, fair shares, reservations, fragmentation and the end of deferral when nearly full go by class;
//! [slop](Config::slop_divisor) is held back of ordinary space alone. Contents that ask for a class
//! [leave](zio_core::Want::leaves_reserve) a quarter of it to metadata.
//!
//! Without a vdev for them logs have the last region of each vdev that has
//! [enough of them](Config::log_regions_min):
//!
//! ```text
//!           open to all                          for logs
//!   vdev 0  [ ## #|#  ##|### ##|# # ##|## # #  | . . . . ]
//! ```
//!
//! A log block is never divided, and somebody waits for it: it finds room there however full of pieces the
//! rest is. Other blocks are refused while pieces would do, for they can be divided; what cannot be, and
//! what all the pieces together would not make, gets the region after all.
//!
//! # Fair shares
//!
//! The pipeline says what it [sends](zio_core::Allocator::sent) to a vdev, with a value that it drops
//! when that is written. Bytes under way and bytes done are enough to know how
//! long a vdev takes for a write (Little's law). One that takes more than twice as long as the fastest
//! has no more of the bytes under way than its time allows for, so that it holds nobody up;
//! others are passed over between two turns while 1 to 2.5 aliquots are under way.
//!
//! # Example
//!
//! ```
//! use metaslab::{Config, Metaslabs};
//! use zio_core::{Allocator, VdevId, Want};
//!
//! let space = Metaslabs::new(Config::default());
//! space.add_vdev(VdevId(0), 1 << 30, 12)?;          // 1 GiB in units of 4 KiB
//! space.add_vdev(VdevId(1), 1 << 30, 9)?;           // and one in units of 512 bytes
//!
//! let dvas = space.allocate(&Want { size_bytes: 5000, copies: 2, txg: 7, ..Want::default() })?;
//! assert_ne!(dvas[0].vdev(), dvas[1].vdev());
//! assert_eq!(dvas[0].asize_bytes() + dvas[1].asize_bytes(), 8192 + 5120);
//!
//! space.free(dvas[0], 8)?;
//! space.end_of_txg(8);
//! space.end_of_txg(9);
//! assert!(space.check_claim(dvas[0]).is_err());     // still needed after a crash
//! space.end_of_txg(10);
//! assert!(space.check_claim(dvas[0]).is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is never so
//!
//! * Two owners of a unit. A free of what is not allocated, an overlap, a double free, an
//!   address that cannot be: a typed error, and nothing changes. Doubt leaks, it never reuses.
//! * A freed unit handed out before its time, whatever order calls come in: a free in a
//!   transaction group that ended already counts from the next one. The exceptions are two, and
//!   named: the nearly full pool ([`Config::skip_deferral_divisor`], still safe against a crash)
//!   and [`Config::defer_txgs`] 0 (not safe).
//! * Some copies of a block without the others.
//! * "No space" while the copies would fit where they may stand: the last round takes any extents that do
//!   not overlap, in any region or over a border, on vdevs of any class they fall back to.
//! * A panic from an address or a size, however absurd.
//! * A lock held across a call to the outside, or for longer than a few tree steps.
//! * A reservation that leaks or ends twice: it is a value, and ends when dropped.
//!
//! # What it does not know
//!
//! What is in a block, what a gang is (it splits nothing; it knows only that a gang DVA
//! occupies one unit itself), whether a device is healthy, where a space map is stored, who may take
//! the [space held back](Config::slop_divisor).
//!
//! # Sources
//!
//! Spec 2.4 (units), 3.6 (gang headers), 3.7 (throttle, shards), 3.8 (where), 8.1 (claim), 8.2 (free),
//! 8.5 (life of an extent), 9 (constants), 10 (traps 18 and 20). ZFS divides a vdev into about
//! 200 metaslabs, because a space map is loaded and condensed in pieces; here regions are for
//! locks, and an extent may lie over the border between two.
#![forbid(unsafe_code)]

mod borders;
mod changes;
mod config;
mod drain;
mod epochs;
mod extent;
mod extents;
mod free_space;
mod metaslabs;
mod placing;
mod region;
mod rotor;
mod runs;
mod shard;
mod sizes;
mod slop;
pub mod spacemap;
mod turns;
mod vdev_space;
mod vdevs;
mod windows;

pub use changes::Changes;
pub use config::{Config, ExtentsConfig};
pub use extent::{Extent, ExtentError};
pub use extents::{Deferral, Extents};
pub use metaslabs::{AddVdevError, ClassSpace, LoadVdevError, Metaslabs};
