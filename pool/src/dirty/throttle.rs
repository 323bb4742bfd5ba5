//! Who may bring dirty data, and when: without a clock, a thread or a lock.

use std::collections::BTreeMap;

use zio_core::Txg;
use zio_pipeline::Load;

use super::config::{Config, ConfigError, Mode};
use super::drain::Drain;
use super::pace::{Fill, Level};
use super::txgs::{Stage, Txgs};

/// Somebody whose timer rings late gets so much of the time back: timers of an ordinary kernel are late by
/// 50 µs, those of a busy one by a tick of some milliseconds. By eye.
const LATE_NS_MAX: u64 = 2_000_000;

/// A limit holds so many transaction groups. It is to be two thirds full: one that syncs, and one that is open and as
/// large when that has ended.
const TXGS_PER_LIMIT: u64 = 3;

/// A place in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// A request that was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "its bytes count as dirty until they are ended"]
pub struct Admitted {
    /// Whose turn it was.
    pub ticket: Ticket,
    /// The transaction group that the data belongs to: the open one.
    pub txg: Txg,
    /// So many bytes are dirty now.
    pub bytes: u64,
}

/// Why a transaction group is to be closed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Push {
    /// Somebody waits for it.
    Asked,
    /// It is large enough.
    Size,
    /// It was open long enough.
    Time,
    /// The first in the line does not fit, and nothing else makes room.
    Room,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    bytes: u64,
    /// By the curve the time is known when it comes.
    due_ns: u64,
}

/// The write throttle as a state machine.
///
/// Time and completions are pushed in; what comes out is who may go on now ([`poll`](Self::poll)), when to ask
/// again ([`next_ns`](Self::next_ns)), and when to close a transaction group ([`push`](Self::push)).
/// [`DirtyData`](crate::dirty::DirtyData) is the same for many threads.
///
/// ```
/// use pool::dirty::{Config, Throttle};
///
/// let mut throttle = Throttle::new(Config::new(64 << 20), 1, 0)?;
/// let ticket = throttle.enqueue(8192, 100);
/// let admitted = throttle.poll(100).expect("there is room, and nobody waits");
/// assert_eq!((admitted.ticket, admitted.txg), (ticket, 1));
/// throttle.close_txg(200);
/// throttle.begin_sync(200);
/// throttle.end(1, 8192, 300);              // written
/// assert_eq!(throttle.dirty_bytes(), 0);
/// throttle.end_sync(400);
/// # Ok::<(), pool::dirty::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Throttle {
    config: Config,
    txgs: Txgs,
    dirty_bytes: u64,
    line: BTreeMap<Ticket, Waiting>,
    tickets: u64,
    /// Nobody is let in before this.
    next_ns: u64,
    drain: Drain,
    level: Level,
}

impl Throttle {
    /// Nothing is dirty, and `txg` is open.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(config: Config, txg: Txg, now_ns: u64) -> Result<Self, ConfigError> {
        let config = config.check()?;
        Ok(Self {
            config,
            txgs: Txgs::new(txg, now_ns),
            dirty_bytes: 0,
            line: BTreeMap::new(),
            tickets: 0,
            next_ns: 0,
            drain: Drain::new(config.dirty_bytes_max / 2, config.push_bytes_min / 4),
            level: Level::default(),
        })
    }

    // -- Requests. --

    /// Puts a request for so many bytes at the end of the line.
    pub fn enqueue(&mut self, bytes: u64, now_ns: u64) -> Ticket {
        let due_ns = match self.config.mode {
            Mode::Measured { .. } => 0,
            Mode::Curve(curve) => {
                let delay = curve.delay_ns(self.dirty_bytes, self.config.dirty_bytes_max);
                let due = now_ns.max(self.next_ns).saturating_add(delay);
                if delay > 0 {
                    self.next_ns = due;
                }
                if delay > 0 { due } else { now_ns }
            }
        };
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.line.insert(ticket, Waiting { bytes, due_ns });
        ticket
    }

    /// Takes a request out of the line; `false` if it is not there any more.
    pub fn cancel(&mut self, ticket: Ticket) -> bool {
        self.line.remove(&ticket).is_some()
    }

    /// Lets the first of the line in, if it is its time. To be called until it says `None`.
    pub fn poll(&mut self, now_ns: u64) -> Option<Admitted> {
        if self.next_ns()? > now_ns {
            return None;
        }
        let (ticket, Waiting { bytes, .. }) = self.line.pop_first()?;
        let txg = self.txgs.admit(bytes);
        self.dirty_bytes += bytes;
        if let Mode::Measured { .. } = self.config.mode {
            let step = self.fill(now_ns).step_ns(bytes);
            let from = self.next_ns.max(now_ns.saturating_sub(LATE_NS_MAX));
            self.next_ns = if step > 0 { from.saturating_add(step) } else { now_ns };
        }
        Some(Admitted { ticket, txg, bytes })
    }

    /// When to poll, if nothing happens before; `None`: time alone lets nobody in.
    pub fn next_ns(&self) -> Option<u64> {
        let (_, first) = self.line.first_key_value()?;
        let due_ns = match self.config.mode {
            Mode::Measured { .. } => self.next_ns,
            Mode::Curve(_) => first.due_ns,
        };
        self.fits(first.bytes).then_some(due_ns)
    }

    fn fits(&self, bytes: u64) -> bool {
        self.dirty_bytes == 0
            || self.dirty_bytes.saturating_add(bytes) <= self.config.dirty_bytes_max
    }

    /// Bytes of a transaction group were written, or are not to be: they are dirty no more. Not more of them than
    /// were admitted.
    pub fn end(&mut self, txg: Txg, bytes: u64, now_ns: u64) {
        self.dirty_bytes = self.dirty_bytes.saturating_sub(bytes);
        let stage = self.txgs.end(txg, bytes);
        if stage == Stage::Syncing {
            self.drain.drained(bytes);
        }
        // What was given up did not go out, but it did not stay either: that is a lump as well.
        let rate = self.drain.bytes_per_s(now_ns);
        self.level.drained(bytes, now_ns, rate, self.limit_bytes(now_ns));
    }

    // -- Transaction groups. --

    /// Is the open transaction group to be closed now, and why? Never while another one is quiescing.
    pub fn push(&self, now_ns: u64) -> Option<Push> {
        let open_ns = now_ns.saturating_sub(self.txgs.open_since_ns());
        let full = |(_, first): (&Ticket, &Waiting)| !self.fits(first.bytes);
        if !self.txgs.can_close() {
            None
        } else if self.txgs.open_is_asked_for() {
            Some(Push::Asked)
        } else if self.txgs.open_bytes() >= self.push_bytes(now_ns) {
            Some(Push::Size)
        } else if self.txgs.open_bytes() > 0 && self.line.first_key_value().is_some_and(full) {
            Some(Push::Room)
        } else if open_ns >= self.config.open_ns_max {
            Some(Push::Time)
        } else {
            None
        }
    }

    /// When the open transaction group will have been open long enough.
    pub fn push_ns(&self) -> u64 {
        self.txgs.open_since_ns().saturating_add(self.config.open_ns_max)
    }

    /// Somebody waits for what is in the open transaction group: it is to be pushed, and the devices are to
    /// hurry until it is synced. Returns its number.
    pub fn ask(&mut self) -> Txg {
        self.txgs.ask()
    }

    /// Closes the open transaction group, which is quiescing then; returns its number. `None` while another one is.
    pub fn close_txg(&mut self, now_ns: u64) -> Option<Txg> {
        self.txgs.close(now_ns)
    }

    /// The quiescing transaction group is being written from now on. `None` if there is none, or one is being
    /// written already.
    pub fn begin_sync(&mut self, now_ns: u64) -> Option<Txg> {
        let (txg, bytes) = self.txgs.begin_sync()?;
        self.drain.begin(bytes, now_ns);
        Some(txg)
    }

    /// The syncing transaction group is durable. What of it has not been ended by now was written all the same.
    pub fn end_sync(&mut self, now_ns: u64) -> Option<Txg> {
        self.drain.end(now_ns);
        self.txgs.end_sync()
    }

    // -- Looking at it. --

    /// The open transaction group.
    pub fn open_txg(&self) -> Txg {
        self.txgs.open_txg()
    }

    /// Bytes accepted and not ended.
    pub fn dirty_bytes(&self) -> u64 {
        self.dirty_bytes
    }

    /// Of these, the ones that are being written.
    pub fn syncing_bytes(&self) -> u64 {
        self.txgs.syncing_bytes()
    }

    /// Requests in the line.
    pub fn waiting(&self) -> usize {
        self.line.len()
    }

    /// What the devices take, as measured; `None` before they have taken anything.
    pub fn drain_bytes_per_s(&self, now_ns: u64) -> Option<u64> {
        self.drain.bytes_per_s(now_ns)
    }

    /// Bytes at which the open transaction group is pushed: by measure what is written in the time that a sync
    /// should take, up to a third of all.
    pub fn push_bytes(&self, now_ns: u64) -> u64 {
        let Config { mode, push_bytes_min, dirty_bytes_max, .. } = self.config;
        let Mode::Measured { sync_ns_target } = mode else { return push_bytes_min };
        let drain = u128::from(self.drain.bytes_per_s(now_ns).unwrap_or(0));
        let in_time = drain * u128::from(sync_ns_target) / 1_000_000_000;
        let most = dirty_bytes_max / TXGS_PER_LIMIT;
        u64::try_from(in_time).unwrap_or(u64::MAX).clamp(push_bytes_min, most)
    }

    /// Dirty bytes that the pool should not go beyond: all that may be, or what the devices write in three times
    /// the time of a sync.
    pub fn limit_bytes(&self, now_ns: u64) -> u64 {
        match self.config.mode {
            Mode::Measured { .. } => self.push_bytes(now_ns) * TXGS_PER_LIMIT,
            Mode::Curve(_) => self.config.dirty_bytes_max,
        }
    }

    /// What the device queues are to know (spec 4.3). By measure, lumps are levelled there as well: the first writes of
    /// a sync are not to find a queue that has just been told that there is little to do.
    pub fn load(&self, now_ns: u64) -> Load {
        let dirty_bytes = match self.config.mode {
            Mode::Measured { .. } => self.level_bytes(now_ns),
            Mode::Curve(_) => self.dirty_bytes,
        };
        Load {
            dirty_bytes,
            dirty_bytes_max: self.limit_bytes(now_ns),
            sync_task_pending: self.txgs.is_asked_for(),
        }
    }

    /// Dirty bytes with lumps levelled.
    fn level_bytes(&self, now_ns: u64) -> u64 {
        let lump_bytes = self.level.lump_bytes(now_ns, self.drain.bytes_per_s(now_ns));
        self.dirty_bytes.saturating_add(lump_bytes)
    }

    fn fill(&self, now_ns: u64) -> Fill {
        let drain_bytes_per_s = self.drain.bytes_per_s(now_ns);
        Fill {
            dirty_bytes: self.dirty_bytes,
            level_bytes: self.level_bytes(now_ns),
            limit_bytes: self.limit_bytes(now_ns),
            hard_limit_bytes: self.config.dirty_bytes_max,
            drain_bytes_per_s,
        }
    }
}
