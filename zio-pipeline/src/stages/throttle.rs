//! DVA_THROTTLE: allocation does not run far ahead of the devices (spec 3.7).
//!
//! A write asks whether there is room at all, and reserves its bytes before it allocates. When
//! too many are under way it waits here, parked in a tree in logical order, so that blocks that
//! belong together are let in together. The reservation is a value the zio
//! carries; dropping it, wherever that happens, lets the next one in.
//!
//! A *lane* is what waits for one account of reservations: a shard of the allocator, in it a class of
//! space, and clients apart from background work. Who waits in one lane holds nobody up in another.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use zio_core::task::Place;
use zio_core::{
    Allocator, Bookmark, Engine, Error, ErrorKind, Next, Priority, QueueKind, Released, Share,
    Slots, SpaceClass, Stage, Stages, Want, Zio, ZioBox,
};

use super::space;
use crate::shared::Shared;
use crate::stats::ThrottleStats;

#[derive(Default)]
struct Lane {
    waiting: Mutex<Waiting>,
    /// How many wait, for those who look at all lanes and find most of them empty.
    len: AtomicUsize,
}

#[derive(Default)]
struct Waiting {
    /// In logical order; equal bookmarks by arrival.
    zios: BTreeMap<(Bookmark, u64), ZioBox>,
    arrivals: u64,
}

/// Lanes of one shard.
const LANES: usize = 2 * SpaceClass::ALL.len();

/// Who may allocate, and who has to wait.
pub(crate) struct Throttle {
    allocator: Arc<dyn Allocator>,
    /// For each shard, and in it each class: clients, background.
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
        let lanes = allocator.shards().max(1) * LANES;
        Arc::new_cyclic(|this| Self {
            allocator,
            lanes: (0..lanes).map(|_| Lane::default()).collect(),
            turn: AtomicUsize::new(0),
            this: Weak::clone(this),
        })
    }

    fn lane_of(&self, share: Share, want: &Want) -> &Lane {
        let shard = want.affinity as usize % (self.lanes.len() / LANES);
        let lane = 2 * want.class as usize + usize::from(share == Share::Background);
        &self.lanes[LANES * shard + lane]
    }

    fn reserve(&self, share: Share, want: &Want) -> Option<Slots> {
        let mut slots = self.allocator.reserve_for(share, want)?;
        if let Some(this) = self.this.upgrade() {
            slots.on_release(this);
        }
        Some(slots)
    }

    /// Lets the zio in, or parks it. Who is let in may be another zio that
    /// waits longer or stands before it.
    fn admit(&self, mut zio: ZioBox, want: &Want) -> Next {
        let share = share_of(&zio);
        let lane = self.lane_of(share, want);
        let mut waiting = lane.waiting.lock();
        if waiting.zios.is_empty()
            && let Some(slots) = self.reserve(share, want)
        {
            zio.slots = Some(slots);
            return Some(zio);
        }
        waiting.arrivals += 1;
        let key = (zio.bookmark, waiting.arrivals);
        waiting.zios.insert(key, zio);
        lane.len.store(waiting.zios.len(), Ordering::Relaxed);
        // A reservation may have ended since it was refused. Whoever ended it sees that somebody
        // waits, or is seen here: the other fence is in `released`.
        fence(Ordering::SeqCst);
        self.first_in(lane, &mut waiting)
    }

    /// Who waits now, and how many have had to.
    pub(crate) fn stats(&self) -> ThrottleStats {
        let mut all = ThrottleStats::default();
        for lane in &self.lanes {
            let waiting = lane.waiting.lock();
            all.waiting += waiting.zios.len();
            all.waiting_bytes +=
                waiting.zios.values().map(|zio| space::want(zio).all_bytes()).sum::<u64>();
            all.waited_total += waiting.arrivals;
        }
        all
    }

    fn first_in(&self, lane: &Lane, waiting: &mut Waiting) -> Next {
        let first = waiting.zios.first_entry()?;
        let slots = self.reserve(share_of(first.get()), &space::want(first.get()))?;
        let mut zio = first.remove();
        lane.len.store(waiting.zios.len(), Ordering::Relaxed);
        zio.slots = Some(slots);
        Some(zio)
    }
}

impl Released for Throttle {
    /// As many as now fit are let in, at the front of the ISSUE queue. All lanes are looked at:
    /// an allocator may count several of them together.
    fn released(&self, _bytes: u64) {
        fence(Ordering::SeqCst);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.lanes.len();
        let (before, from) = self.lanes.split_at(turn);
        for lane in from.iter().chain(before) {
            while lane.len.load(Ordering::Relaxed) > 0 {
                let next = self.first_in(lane, &mut lane.waiting.lock());
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
        let want = space::want(&zio);
        if let Err(full) = self.shared.allocator.admit(&want) {
            zio.fail(Error::because(ErrorKind::NoSpace, full));
            zio.become_interlock();
            return Some(zio);
        }
        // Somebody waits for a sync write.
        if zio.class() == Priority::SyncWrite || zio.data.is_empty() {
            return Some(zio);
        }
        self.shared.throttle.admit(zio, &want)
    }
}
