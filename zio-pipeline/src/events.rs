//! What goes wrong, told as it happens (spec 1.13, 7.4).
//!
//! Each kind of event is told at most [`EVENTS_PER_SECOND_MAX`] times a second: a dying disk has more to say
//! than anybody wants to hear. Counters count all of them.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use zio_core::error::Place;
use zio_core::{Bookmark, Data, Error};

use crate::clock::Clock;

/// Events of one kind that are told within a second; the rest of that second is silence.
pub const EVENTS_PER_SECOND_MAX: u64 = 20;

const SECOND_NS: u64 = 1_000_000_000;

/// An I/O that took longer than this at the device is an event.
pub(crate) const SLOW_IO_NS: u64 = 30 * SECOND_NS;

/// Something that an operator may want to know.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A device failed an I/O, and not for the first time.
    Device {
        /// What went wrong, and where.
        error: Error,
    },
    /// A copy of a block is not what was written.
    Checksum(ChecksumReport),
    /// A block cannot be given to its reader, or could not be written.
    Data {
        /// Whose block it is.
        bookmark: Bookmark,
        /// Why.
        error: Error,
    },
    /// A device took very long over an I/O.
    SlowIo {
        /// Which.
        place: Place,
        /// How long it was with the device.
        took: Duration,
    },
    /// A leaf failed its probe, or its deadline, and is left alone.
    LeafDead {
        /// Which.
        place: Place,
    },
    /// A leaf that was left alone has proved that it works.
    LeafAlive {
        /// Which.
        place: Place,
    },
    /// Something is suspended, where nothing was before.
    Suspended {
        /// Why.
        reason: Error,
    },
}

/// What can happen, without the particulars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// [`Event::Device`].
    Device,
    /// [`Event::Checksum`].
    Checksum,
    /// [`Event::Data`].
    Data,
    /// [`Event::SlowIo`].
    SlowIo,
    /// [`Event::LeafDead`].
    LeafDead,
    /// [`Event::LeafAlive`].
    LeafAlive,
    /// [`Event::Suspended`].
    Suspended,
}

impl EventKind {
    /// Number of kinds.
    const COUNT: usize = 7;
}

impl Event {
    /// Its kind.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Device { .. } => EventKind::Device,
            Self::Checksum(_) => EventKind::Checksum,
            Self::Data { .. } => EventKind::Data,
            Self::SlowIo { .. } => EventKind::SlowIo,
            Self::LeafDead { .. } => EventKind::LeafDead,
            Self::LeafAlive { .. } => EventKind::LeafAlive,
            Self::Suspended { .. } => EventKind::Suspended,
        }
    }
}

/// A bad copy of a block.
#[derive(Clone, Debug)]
pub struct ChecksumReport {
    /// Whose block it is.
    pub bookmark: Bookmark,
    /// Where the bad copy stands, what was expected and what was found.
    pub error: Error,
    /// What has become of it, if a good copy was there to compare it with.
    pub damage: Option<Damage>,
}

/// A bad copy compared with a good one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Where they differ, in bytes of the block as it is stored: the first [`Damage::RANGES_MAX`].
    pub ranges: Vec<Range<usize>>,
    /// Bits that should be 0 and are 1.
    pub set_bits: u64,
    /// Bits that should be 1 and are 0.
    pub cleared_bits: u64,
}

impl Damage {
    /// Most ranges that are named one by one.
    pub const RANGES_MAX: usize = 16;

    /// Compares a bad copy with a good one.
    pub fn between(good: &Data, bad: &Data) -> Self {
        let mut damage = Self::default();
        let bytes = |data: &Data| data.chunks().flatten().copied().collect::<Vec<u8>>();
        for (at, (good, bad)) in bytes(good).into_iter().zip(bytes(bad)).enumerate() {
            if good == bad {
                continue;
            }
            damage.set_bits += u64::from((!good & bad).count_ones());
            damage.cleared_bits += u64::from((good & !bad).count_ones());
            let named = damage.ranges.len();
            match damage.ranges.last_mut() {
                Some(last) if last.end == at => last.end = at + 1,
                _ if named < Self::RANGES_MAX => damage.ranges.push(at..at + 1),
                _ => {}
            }
        }
        damage
    }
}

/// How many events there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCount {
    /// All of them.
    pub happened: u64,
    /// Those that were told.
    pub told: u64,
}

/// Who is told of events.
pub(crate) type Listener = Box<dyn Fn(&Event) + Send + Sync>;

/// Tells events, and counts them.
pub(crate) struct Events {
    clock: Clock,
    listener: Option<Listener>,
    kinds: [Limit; EventKind::COUNT],
}

#[derive(Default)]
struct Limit {
    // Plain counters: trouble is rare, and need not be counted without contention.
    happened: AtomicU64,
    told: AtomicU64,
    /// The second that is under way, and how many were told in it: 44 and 20 bits.
    window: AtomicU64,
}

impl Limit {
    const COUNT_BITS: u32 = 20;

    fn admits(&self, now_ns: u64) -> bool {
        let second = now_ns / SECOND_NS;
        let admit = |window: u64| {
            let (current, told) =
                (window >> Self::COUNT_BITS, window & ((1 << Self::COUNT_BITS) - 1));
            match (current == second, told) {
                (false, _) => Some((second << Self::COUNT_BITS) | 1),
                (true, told) if told < EVENTS_PER_SECOND_MAX => Some(window + 1),
                _ => None,
            }
        };
        self.window.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit).is_ok()
    }
}

impl Events {
    pub(crate) fn new(clock: Clock, listener: Option<Listener>) -> Self {
        Self { clock, listener, kinds: std::array::from_fn(|_| Limit::default()) }
    }

    /// Does anybody listen? Who would have to keep something for a report need not, otherwise.
    pub(crate) fn are_heard(&self) -> bool {
        self.listener.is_some() || cfg!(feature = "tracing")
    }

    /// The pipeline's time.
    pub(crate) fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn count(&self, kind: EventKind) -> EventCount {
        let limit = &self.kinds[kind as usize];
        EventCount {
            happened: limit.happened.load(Ordering::Relaxed),
            told: limit.told.load(Ordering::Relaxed),
        }
    }

    /// Counts an event, and tells it unless too many of its kind were told in this second. It
    /// is made only if it is told.
    pub(crate) fn post(&self, kind: EventKind, make: impl FnOnce() -> Event) {
        let limit = &self.kinds[kind as usize];
        limit.happened.fetch_add(1, Ordering::Relaxed);
        if !self.are_heard() || !limit.admits(self.clock.now_ns()) {
            return;
        }
        let event = make();
        debug_assert_eq!(event.kind(), kind);
        limit.told.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "tracing")]
        trace(&event);
        if let Some(listener) = &self.listener {
            listener(&event);
        }
    }
}

#[cfg(feature = "tracing")]
fn trace(event: &Event) {
    use tracing::{error, info, warn};
    match event {
        Event::Device { error } => warn!(%error, "a device failed an I/O"),
        Event::Checksum(ChecksumReport { bookmark, error, damage }) => {
            warn!(%error, ?bookmark, ?damage, "a copy of a block is bad");
        }
        Event::Data { bookmark, error } => error!(%error, ?bookmark, "a block is lost"),
        Event::SlowIo { place, took } => warn!(?place, ?took, "a device is slow"),
        Event::LeafDead { place } => error!(?place, "a leaf is dead"),
        Event::LeafAlive { place } => info!(?place, "a leaf is alive again"),
        Event::Suspended { reason } => error!(%reason, "I/O is suspended"),
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("heard", &self.are_heard()).finish_non_exhaustive()
    }
}
