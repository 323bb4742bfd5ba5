//! The line of many threads: who waits, who is woken, who keeps the time, who is told.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::task::Waker;

use zio_core::Txg;
use zio_pipeline::Load;

use super::sync::{AtomicBool, Mutex};
use super::throttle::{Throttle, Ticket};

pub(super) type Clock = Box<dyn Fn() -> u64 + Send + Sync>;
pub(super) type Listener = Box<dyn Fn(Load) + Send + Sync>;

/// What all who use the dirty data of a pool share.
pub(super) struct Inner {
    pub(super) clock: Clock,
    pub(super) state: Mutex<State>,
    /// Who hears of the load, and what it was told last.
    pub(super) listener: Mutex<Option<(Listener, Option<Load>)>>,
    /// Something has changed since.
    untold: AtomicBool,
}

pub(super) struct State {
    pub(super) throttle: Throttle,
    /// Whose admissions have not been taken yet.
    pub(super) places: BTreeMap<Ticket, Place>,
    timekeeper: Option<Timekeeper>,
    pub(super) closed: bool,
    /// To be woken once the lock is free. A waker is not dropped under it either: it may be the last of something
    /// that holds dirty data.
    to_wake: Vec<Waker>,
}

/// What became of a request.
pub(super) enum Place {
    Waiting {
        waker: Option<Waker>,
        /// It blocks a thread, which can keep the time.
        blocks: bool,
    },
    Admitted(Txg),
    Cancelled,
}

/// Of all threads that wait one wakes up in time, for the first of the line.
#[derive(Clone, Copy)]
struct Timekeeper {
    ticket: Ticket,
    /// Until then it sleeps.
    until_ns: u64,
}

impl Inner {
    pub(super) fn new(throttle: Throttle, clock: Clock) -> Self {
        let state = State {
            throttle,
            places: BTreeMap::new(),
            timekeeper: None,
            closed: false,
            to_wake: Vec::new(),
        };
        Self {
            clock,
            state: Mutex::new(state),
            listener: Mutex::new(None),
            untold: AtomicBool::new(false),
        }
    }

    pub(super) fn look<R>(&self, of: impl FnOnce(&Throttle, u64) -> R) -> R {
        let state = self.state.lock();
        of(&state.throttle, (self.clock)())
    }

    /// Does something, lets in whose turn has come then, and wakes those who have to know.
    pub(super) fn change<R>(&self, act: impl FnOnce(&mut State, u64) -> R) -> R {
        let (result, wakers) = {
            let mut state = self.state.lock();
            let now_ns = (self.clock)();
            let result = act(&mut state, now_ns);
            state.let_in(now_ns);
            state.wake_timekeeper();
            (result, std::mem::take(&mut state.to_wake))
        };
        wakers.into_iter().for_each(Waker::wake);
        self.tell();
        result
    }

    /// Tells the load, if it has changed. Whoever comes while another one is telling leaves it to that one, which
    /// may be itself, further up: a device may complete a write right where it is told.
    fn tell(&self) {
        self.untold.store(true, Ordering::SeqCst);
        while self.untold.load(Ordering::SeqCst) {
            let Some(mut listener) = self.listener.try_lock() else { return };
            let Some((listener, told)) = &mut *listener else { return };
            while self.untold.swap(false, Ordering::SeqCst) {
                let load = self.look(Throttle::load);
                if told.is_none_or(|told| differ(told, load)) {
                    *told = Some(load);
                    listener(load);
                }
            }
        }
    }
}

/// By what a queue would notice.
fn differ(one: Load, other: Load) -> bool {
    let percent =
        |load: Load| u128::from(load.dirty_bytes) * 100 / u128::from(load.dirty_bytes_max.max(1));
    one.sync_task_pending != other.sync_task_pending || percent(one) != percent(other)
}

impl State {
    pub(super) fn let_in(&mut self, now_ns: u64) {
        while let Some(admitted) = self.throttle.poll(now_ns) {
            self.settle(admitted.ticket, Place::Admitted(admitted.txg));
        }
    }

    /// `false` if it does not wait any more.
    pub(super) fn refuse(&mut self, ticket: Ticket) -> bool {
        let waits = self.throttle.cancel(ticket);
        if waits {
            self.settle(ticket, Place::Cancelled);
        }
        waits
    }

    fn settle(&mut self, ticket: Ticket, place: Place) {
        if let Some(Place::Waiting { waker: Some(waker), .. }) = self.places.insert(ticket, place) {
            self.to_wake.push(waker);
        }
    }

    /// Somebody has to know when the first one's time has come: whoever keeps the time, if that one
    /// sleeps for longer; or another thread, if nobody does.
    fn wake_timekeeper(&mut self) {
        let Some(next_ns) = self.throttle.next_ns() else { return };
        let waker = match self.timekeeper() {
            Some(keeper) if keeper.until_ns <= next_ns => None,
            Some(keeper) => self.places.get(&keeper.ticket).and_then(Place::blocked),
            None => self.places.values().find_map(Place::blocked),
        };
        self.to_wake.extend(waker.cloned());
    }

    /// Unless it has gone.
    fn timekeeper(&self) -> Option<Timekeeper> {
        self.timekeeper
            .filter(|keeper| matches!(self.places.get(&keeper.ticket), Some(Place::Waiting { .. })))
    }

    /// Until when a thread with this place may sleep: it keeps the time, unless somebody else does.
    pub(super) fn sleeps_until(&mut self, ticket: Ticket) -> Option<u64> {
        if self.timekeeper().is_some_and(|keeper| keeper.ticket != ticket) {
            return None;
        }
        let next_ns = self.throttle.next_ns();
        self.timekeeper = Some(Timekeeper { ticket, until_ns: next_ns.unwrap_or(u64::MAX) });
        next_ns
    }

    /// What has become of it, if it does not wait any more; it is forgotten then. If it does, whom to wake is noted.
    pub(super) fn take_or_wait(
        &mut self,
        ticket: Ticket,
        waker: Option<&Waker>,
        blocks: bool,
    ) -> Option<Place> {
        match self.places.remove(&ticket)? {
            Place::Waiting { waker: before, .. } => {
                self.to_wake.extend(
                    before.filter(|before| waker.is_none_or(|waker| !waker.will_wake(before))),
                );
                self.places.insert(ticket, Place::Waiting { waker: waker.cloned(), blocks });
                None
            }
            over => Some(over),
        }
    }
}

impl Place {
    /// Whom to wake, if a thread sleeps in this place.
    fn blocked(&self) -> Option<&Waker> {
        match self {
            Self::Waiting { waker, blocks: true } => waker.as_ref(),
            _ => None,
        }
    }
}
