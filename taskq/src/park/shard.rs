//! A shard, and its dispatchers' and its owner's side of the handshake. The workers' side is in
//! `work.rs`, the keeper's in `tend.rs`.

use std::sync::Arc;

use zio_core::Task;
use zio_core::task::Place;

use crate::bell::Bell;
use crate::id::{Cancel, Number};
use crate::park::halves::{Gate, Intake, IntakeCounts, Mark, Outlet, OutletCounts};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// So many tasks are a run: worth the way to a worker of another shard, and as many as it takes on
/// one visit. By eye: at 10 µs a task it pays for the wake-up many times over.
pub(crate) const RUN_TASKS: u64 = 16;

/// What became of a pushed task.
pub(crate) enum Pushed<T> {
    /// Queued under this number; the workers see to it.
    Queued(Number),
    /// The gate is closed to this caller.
    Refused(T),
}

/// Keeps the parts on cache lines of their own (two lines: the hardware fetches in pairs).
#[repr(align(128))]
pub(super) struct Padded<V>(pub(super) V);

/// The dispatchers' cache lines.
pub(super) struct Door<T: Task> {
    pub(super) intake: Mutex<Intake<T>>,
    /// Grows with each task that comes in; spinners and helpers watch it.
    pub(super) came: AtomicU64,
}

/// The workers' cache lines.
pub(super) struct Exit<T: Task> {
    pub(super) outlet: Mutex<Outlet<T>>,
    /// Grows with each task that goes.
    pub(super) gone: AtomicU64,
    /// All workers are stuck and something waits: whoever has time is to help.
    pub(super) beacon: AtomicBool,
}

/// A queue and its workers' beds.
///
/// Lock order: outlet, then intake. Nothing is run, woken or freed under either.
pub(crate) struct Shard<T: Task> {
    pub(super) door: Padded<Door<T>>,
    pub(super) exit: Padded<Exit<T>>,
    /// Is there a task in `Intake::front`? Written under the intake lock; read without it, so that
    /// a worker with a stock at its own end need not lock the dispatchers' end for every task.
    pub(super) urgent: Padded<AtomicBool>,
    /// One for each worker, so that the one we mean is the one that wakes.
    pub(super) beds: Box<[Condvar]>,
    /// There are other shards side by side with this one.
    pub(super) has_siblings: bool,
    bell: Arc<Bell>,
    /// The keeper's share of `Intake::asked`: read without the lock.
    pub(super) asked: AtomicBool,
}

impl<T: Task> Shard<T> {
    /// For up to `slots` workers of its own; `seats` is how many the whole queue may have, and one
    /// for the keeper.
    pub(crate) fn new(slots: usize, seats: usize, has_siblings: bool, bell: Arc<Bell>) -> Self {
        Self {
            door: Padded(Door { intake: Mutex::new(Intake::new(slots)), came: AtomicU64::new(0) }),
            exit: Padded(Exit {
                outlet: Mutex::new(Outlet::new(seats)),
                gone: AtomicU64::new(0),
                beacon: AtomicBool::new(false),
            }),
            urgent: Padded(AtomicBool::new(false)),
            beds: (0..slots).map(|_| Condvar::default()).collect(),
            has_siblings,
            bell,
            asked: AtomicBool::new(false),
        }
    }

    pub(super) fn intake(&self) -> MutexGuard<'_, Intake<T>> {
        self.door.0.intake.lock()
    }

    pub(super) fn outlet(&self) -> MutexGuard<'_, Outlet<T>> {
        self.exit.0.outlet.lock()
    }

    // -- Dispatchers. --

    /// Adds a task. Wakes a worker if none is up and looking, or asks the keeper if none is left.
    pub(crate) fn push(
        &self,
        task: T,
        place: Place,
        from_inside: impl FnOnce() -> bool,
    ) -> Pushed<T> {
        let mut intake = self.intake();
        match intake.gate {
            Gate::Open => {}
            Gate::WorkersOnly if from_inside() => {}
            Gate::WorkersOnly | Gate::Shut => return Pushed::Refused(task),
        }
        let number = intake.push(task, place);
        if place == Place::Front {
            self.urgent.0.store(true, Ordering::Relaxed);
        }
        self.door.0.came.store(intake.came(), Ordering::Relaxed);
        let called = intake.roster.call();
        let ask = called.is_none() && self.needs_keeper(&mut intake);
        drop(intake);
        self.wake(called);
        self.ask(ask);
        Pushed::Queued(number)
    }

    /// A task waits and no sleeper was called: is the keeper to be asked? Once, until it
    /// has looked, and once more for a run.
    pub(super) fn needs_keeper(&self, intake: &mut Intake<T>) -> bool {
        let could_help = self.has_siblings || intake.roster.has_room();
        // By the time a run has come, the keeper has work even if it is only waiting to look again.
        let run = self.has_siblings && intake.waiting() as u64 == RUN_TASKS;
        let ask = could_help && (run || !intake.asked) && !intake.roster.is_searched();
        intake.asked |= ask;
        ask
    }

    pub(super) fn ask(&self, ask: bool) {
        if ask {
            self.asked.store(true, Ordering::Release);
            self.bell.ring();
        }
    }

    pub(super) fn wake(&self, called: Option<usize>) {
        if let Some(slot) = called {
            self.beds[slot].notify_one();
        }
    }

    // -- The owner. --

    /// From now on outsiders are refused.
    pub(crate) fn close_to_outsiders(&self) {
        let mut intake = self.intake();
        if intake.gate == Gate::Open {
            intake.gate = Gate::WorkersOnly;
        }
    }

    /// From now on everybody is refused, and workers leave once the queue is empty.
    pub(crate) fn shut(&self) {
        let mut intake = self.intake();
        intake.gate = Gate::Shut;
        let mut called = Vec::with_capacity(self.beds.len());
        while let Some(slot) = intake.roster.call_any() {
            called.push(slot);
        }
        drop(intake);
        for slot in called {
            self.wake(Some(slot));
        }
    }

    /// Takes a task back, if it has not begun.
    pub(crate) fn cancel(&self, number: Number) -> Cancel<T> {
        let mut outlet = self.outlet();
        {
            let mut intake = self.intake();
            self.urgent.0.store(false, Ordering::Relaxed);
            let (front, back) = (intake.front.take(), intake.back.take());
            drop(intake);
            outlet.front.append(front);
            outlet.back.append(back);
        }
        match outlet.line(number.place).cancel(number.number) {
            Some(task) => {
                outlet.counts.cancelled += 1;
                self.exit.0.gone.store(outlet.gone(), Ordering::Relaxed);
                Cancel::Pending(task)
            }
            None if outlet.is_running(number) => Cancel::Running,
            None => Cancel::Finished,
        }
    }

    /// All that has come so far.
    pub(crate) fn mark(&self) -> Mark {
        let intake = self.intake();
        Mark { front: intake.front_came, back: intake.back_came }
    }

    /// Has everything up to the mark run, or been taken back?
    pub(crate) fn is_past(&self, mark: Mark) -> bool {
        self.outlet().is_past(mark)
    }

    /// Has this one run, or been taken back?
    pub(crate) fn is_finished(&self, number: Number) -> bool {
        let mut outlet = self.outlet();
        let gone = outlet.line(number.place).is_gone(number.number);
        gone && !outlet.is_running(number)
    }

    /// Counters of the workers' half.
    pub(crate) fn outlet_counts(&self) -> OutletCounts {
        self.outlet().counts
    }

    /// Counters of the dispatchers' half. Read after those of the workers' half, they are never
    /// behind them.
    pub(crate) fn intake_counts(&self) -> IntakeCounts {
        let intake = self.intake();
        IntakeCounts {
            dispatched: intake.came(),
            sleeps: intake.roster.sleeps(),
            wakes: intake.roster.wakes(),
            live: intake.roster.live(),
        }
    }
}
