//! DVA_THROTTLE: allocation does not run far ahead of the devices (spec 3.7).
//!
//! A write reserves its bytes before it allocates. When too many are under
//! way it waits here, parked in a tree in logical order, so that blocks that
//! belong together are let in together. The reservation is a value the zio
//! carries; dropping it, wherever that happens, lets the next one in.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use zio_core::task::Place;
use zio_core::{
    Allocator, Bookmark, ChildType, Engine, Next, Priority, QueueKind, Released, Slots, Stage,
    Stages, Zio, ZioBox,
};

use crate::shared::Shared;
use crate::stats::ThrottleStats;

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
    waiting: Mutex<Waiting>,
    /// To hand out with every reservation.
    this: Weak<Self>,
}

impl Throttle {
    pub(crate) fn new(allocator: Arc<dyn Allocator>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            allocator,
            waiting: Mutex::default(),
            this: Weak::clone(this),
        })
    }

    fn reserve(&self, zio: &Zio) -> Option<Slots> {
        let mut slots = self.allocator.reserve(wanted_bytes(zio))?;
        if let Some(this) = self.this.upgrade() {
            slots.on_release(this);
        }
        Some(slots)
    }

    /// Lets the zio in, or parks it. Who is let in may be another zio that
    /// waits longer or stands before it.
    fn admit(&self, mut zio: ZioBox) -> Next {
        let mut waiting = self.waiting.lock();
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
        let waiting = self.waiting.lock();
        ThrottleStats {
            waiting: waiting.zios.len(),
            waiting_bytes: waiting.zios.values().map(|zio| wanted_bytes(zio)).sum(),
            waited_total: waiting.arrivals,
        }
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
    /// As many as now fit are let in, at the front of the ISSUE queue.
    fn released(&self) {
        loop {
            let next = self.first_in(&mut self.waiting.lock());
            match next {
                Some(zio) => Engine::dispatch(zio, QueueKind::Issue, Place::Front),
                None => break,
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

    fn run(&self, zio: ZioBox) -> Next {
        // Somebody waits for a sync write; gang members came in with their leader.
        let exempt = zio.priority == Priority::SyncWrite || zio.child_type() == ChildType::Gang;
        if exempt || zio.data.is_empty() {
            return Some(zio);
        }
        self.shared.throttle.admit(zio)
    }
}
