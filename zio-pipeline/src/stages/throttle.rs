//! DVA_THROTTLE: allocation does not run far ahead of the devices (spec 3.7).
//!
//! A write asks whether there is room at all, and reserves its bytes before it allocates. When
//! too many are under way it waits here, parked in a tree in logical order, so that blocks that
//! belong together are let in together. The reservation is a value the zio
//! carries; dropping it, wherever that happens, lets the next one in.
//!
//! A *lane* is what waits for one account of reservations: a shard of the allocator, and in it
//! clients apart from background work. Who waits in one lane holds nobody up in another.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use zio_core::task::Place;
use zio_core::{
    Allocator, Bookmark, Engine, Error, ErrorKind, Next, Priority, QueueKind, Released, Share,
    Slots, Stage, Stages, Zio, ZioBox,
};

use super::space;
use crate::shared::Shared;
use crate::stats::ThrottleStats;

#[derive(Default)]
struct Lane(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// In logical order; equal bookmarks by arrival.
    zios: BTreeMap<(Bookmark, u64), ZioBox>,
    arrivals: u64,
}

/// Bytes that a write wants to have under way.
fn wanted_bytes(zio: &Zio) -> u64 {
    zio.size_bytes as u64 * u64::from(zio.props.copies)
}

/// Who may allocate, and who has to wait.
pub(crate) struct Throttle {
    allocator: Arc<dyn Allocator>,
    /// Two for each shard: clients, background.
    lanes: Box<[Lane]>,
    /// The lane that is looked at first, so that none is for ever the last.
    turn: AtomicUsize,
    /// To hand out with every reservation.
    this: Weak<Self>,
}

fn share_of(zio: &Zio) -> Share {
    match zio.priority {
        Priority::Scrub
        | Priority::Removal
        | Priority::Initializing
        | Priority::Trim
        | Priority::Rebuild => Share::Background,
        _ => Share::Client,
    }
}

impl Throttle {
    pub(crate) fn new(allocator: Arc<dyn Allocator>) -> Arc<Self> {
        let lanes = allocator.shards().max(1) * 2;
        Arc::new_cyclic(|this| Self {
            allocator,
            lanes: (0..lanes).map(|_| Lane::default()).collect(),
            turn: AtomicUsize::new(0),
            this: Weak::clone(this),
        })
    }

    fn lane_of(&self, zio: &Zio) -> &Lane {
        let shard = space::affinity(&zio.bookmark) as usize % (self.lanes.len() / 2);
        &self.lanes[2 * shard + usize::from(share_of(zio) == Share::Background)]
    }

    fn reserve(&self, zio: &Zio) -> Option<Slots> {
        let affinity = space::affinity(&zio.bookmark);
        let mut slots = self.allocator.reserve_from(share_of(zio), affinity, wanted_bytes(zio))?;
        if let Some(this) = self.this.upgrade() {
            slots.on_release(this);
        }
        Some(slots)
    }

    /// Lets the zio in, or parks it. Who is let in may be another zio that
    /// waits longer or stands before it.
    fn admit(&self, mut zio: ZioBox) -> Next {
        let mut waiting = self.lane_of(&zio).0.lock();
        if waiting.zios.is_empty()
            && let Some(slots) = self.reserve(&zio)
        {
            zio.slots = Some(slots);
            return Some(zio);
        }
        waiting.arrivals += 1;
        let key = (zio.bookmark, waiting.arrivals);
        waiting.zios.insert(key, zio);
        // A reservation may have ended since it was refused.
        self.first_in(&mut waiting)
    }

    /// Who waits now, and how many have had to.
    pub(crate) fn stats(&self) -> ThrottleStats {
        let mut all = ThrottleStats::default();
        for lane in &self.lanes {
            let waiting = lane.0.lock();
            all.waiting += waiting.zios.len();
            all.waiting_bytes += waiting.zios.values().map(|zio| wanted_bytes(zio)).sum::<u64>();
            all.waited_total += waiting.arrivals;
        }
        all
    }

    fn first_in(&self, waiting: &mut Waiting) -> Next {
        let first = waiting.zios.first_entry()?;
        let slots = self.reserve(first.get())?;
        let mut zio = first.remove();
        zio.slots = Some(slots);
        Some(zio)
    }
}

impl Released for Throttle {
    /// As many as now fit are let in, at the front of the ISSUE queue. All lanes are looked at:
    /// an allocator may count several of them together.
    fn released(&self, _bytes: u64) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.lanes.len();
        let (before, from) = self.lanes.split_at(turn);
        for lane in from.iter().chain(before) {
            loop {
                let next = self.first_in(&mut lane.0.lock());
                match next {
                    Some(zio) => Engine::dispatch(zio, QueueKind::Issue, Place::Front),
                    None => break,
                }
            }
        }
    }
}

/// DVA_THROTTLE.
pub(crate) struct DvaThrottle {
    shared: Arc<Shared>,
}

impl DvaThrottle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Stage for DvaThrottle {
    fn stage(&self) -> Stages {
        Stages::DVA_THROTTLE
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        if let Err(full) = self.shared.allocator.admit(&space::want(&zio)) {
            zio.fail(Error::because(ErrorKind::NoSpace, full));
            zio.become_interlock();
            return Some(zio);
        }
        // Somebody waits for a sync write.
        if zio.class() == Priority::SyncWrite || zio.data.is_empty() {
            return Some(zio);
        }
        self.shared.throttle.admit(zio)
    }
}
