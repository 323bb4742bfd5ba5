//! The two halves of a queue, and the worker's side of the handshake.

use zio_core::Task;
use zio_core::task::Place;

use crate::idle::Idle;
use crate::list::Stack;
use crate::park::roster::Roster;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, spin_loop};

/// Who may still add tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Everybody.
    Open,
    /// Only the workers: what is queued is being finished, with all that follows from it.
    WorkersOnly,
    /// Nobody. The workers leave when the queue is empty.
    Shut,
}

/// What became of a pushed task.
pub(crate) enum Pushed<T> {
    /// Queued; the workers see to it.
    Queued,
    /// Queued, and it is the first: the caller starts the workers.
    First,
    /// The gate is closed to this caller.
    Refused(T),
}

/// How a worker that found nothing waits before it sleeps: rounds of looking.
#[derive(Clone, Copy)]
pub(crate) struct Spin(pub(crate) u32);

/// The half that dispatchers lock.
struct Intake<T: Task> {
    front: Stack<T>,
    back: Stack<T>,
    gate: Gate,
    staffed: bool,
    dispatched: u64,
    roster: Roster,
}

impl<T: Task> Intake<T> {
    fn waiting(&self) -> usize {
        self.front.len() + self.back.len()
    }
}

/// The half that workers lock. Both stacks give the oldest task first.
struct Outlet<T: Task> {
    front: Stack<T>,
    back: Stack<T>,
    counts: OutletCounts,
}

/// What has come. Never decreases.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IntakeCounts {
    pub(crate) dispatched: u64,
    pub(crate) sleeps: u64,
    pub(crate) wakes: u64,
}

/// What has gone. Never decreases.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OutletCounts {
    /// Tasks that have run.
    pub(crate) finished: u64,
    /// Those of them that panicked.
    pub(crate) panics: u64,
    /// Tasks taken away by [`Shard::abandon`].
    pub(crate) moved: u64,
}

/// Keeps the two halves on cache lines of their own (two lines: the hardware fetches in pairs).
#[repr(align(128))]
struct Line<V>(V);

/// The dispatchers' cache lines.
struct Door<T: Task> {
    intake: Mutex<Intake<T>>,
    /// Grows with each task that comes in; spinners watch it.
    arrivals: AtomicU64,
}

/// A queue and its workers' beds.
///
/// Lock order: outlet, then intake. Nothing is run, woken or freed under either.
pub(crate) struct Shard<T: Task> {
    door: Line<Door<T>>,
    outlet: Line<Mutex<Outlet<T>>>,
    /// Is there a task in `Intake::front`? Written under the intake lock; read without it, so that
    /// a worker with a stock at its own end need not lock the dispatchers' end for every task.
    urgent: Line<AtomicBool>,
    /// One for each worker, so that the one we mean is the one that wakes.
    beds: Box<[Condvar]>,
}

impl<T: Task> Shard<T> {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            door: Line(Door {
                intake: Mutex::new(Intake {
                    front: Stack::new(),
                    back: Stack::new(),
                    gate: Gate::Open,
                    staffed: false,
                    dispatched: 0,
                    roster: Roster::new(workers),
                }),
                arrivals: AtomicU64::new(0),
            }),
            outlet: Line(Mutex::new(Outlet {
                front: Stack::new(),
                back: Stack::new(),
                counts: OutletCounts::default(),
            })),
            urgent: Line(AtomicBool::new(false)),
            beds: (0..workers).map(|_| Condvar::default()).collect(),
        }
    }

    /// How many workers it is made for.
    pub(crate) fn workers(&self) -> usize {
        self.beds.len()
    }

    /// Adds a task and wakes a worker if none is up and looking.
    pub(crate) fn push(
        &self,
        task: T,
        place: Place,
        from_worker: impl FnOnce() -> bool,
    ) -> Pushed<T> {
        let mut intake = self.door.0.intake.lock();
        match intake.gate {
            Gate::Open => {}
            Gate::WorkersOnly if from_worker() => {}
            Gate::WorkersOnly | Gate::Shut => return Pushed::Refused(task),
        }
        match place {
            Place::Front => {
                intake.front.push(task);
                self.urgent.0.store(true, Ordering::Relaxed);
            }
            Place::Back => intake.back.push(task),
        }
        intake.dispatched += 1;
        self.door.0.arrivals.store(intake.dispatched, Ordering::Relaxed);
        let first = !std::mem::replace(&mut intake.staffed, true);
        let called = intake.roster.call();
        drop(intake);
        self.wake(called);
        if first { Pushed::First } else { Pushed::Queued }
    }

    /// Claims the right to start the workers, if nobody has.
    pub(crate) fn claim_start(&self) -> bool {
        let mut intake = self.door.0.intake.lock();
        intake.gate == Gate::Open && !std::mem::replace(&mut intake.staffed, true)
    }

    /// The first worker could not be started: nobody has ever taken a task from here. Gives what
    /// came in meanwhile to `keep`, oldest first; the next push is a first one again.
    pub(crate) fn abandon(&self, mut keep: impl FnMut(T)) {
        let mut outlet = self.outlet.0.lock();
        let (front, back) = {
            let mut intake = self.door.0.intake.lock();
            intake.staffed = false;
            self.urgent.0.store(false, Ordering::Relaxed);
            (intake.front.take(), intake.back.take())
        };
        outlet.front.pour(front);
        outlet.back.pour(back);
        // Not by `stocked`: a push meanwhile may have raised the flag for the next to start.
        while let Some(task) = outlet.front.pop().or_else(|| outlet.back.pop()) {
            keep(task);
            outlet.counts.moved += 1;
        }
    }

    /// The next task for the worker in `slot`, or `None` when it is to leave. `outcome` is what
    /// became of the task before it. Sleeps as long as there is neither.
    pub(crate) fn next(
        &self,
        slot: usize,
        outcome: Option<Outcome>,
        spin: Spin,
        idle: &Idle,
    ) -> Option<T> {
        let mut outlet = self.outlet.0.lock();
        if let Some(outcome) = outcome {
            outlet.counts.finished += 1;
            outlet.counts.panics += u64::from(outcome == Outcome::Panicked);
        }
        let mut searching = false;
        let mut spun = spin.0 == 0;
        let mut announced = false;
        loop {
            if let Some(task) = self.stocked(&mut outlet) {
                let called = if searching { self.found(&outlet) } else { None };
                drop(outlet);
                self.wake(called);
                return Some(task);
            }
            let mut intake = self.door.0.intake.lock();
            if intake.waiting() > 0 {
                self.restock(&mut outlet, intake);
                continue;
            }
            if intake.gate == Gate::Shut {
                if searching {
                    intake.roster.found();
                }
                drop(intake);
                drop(outlet);
                idle.announce();
                return None;
            }
            if !announced && idle.has_waiters() {
                announced = true;
                drop(intake);
                drop(outlet);
                idle.announce();
            } else if !spun {
                spun = true;
                if !searching {
                    searching = true;
                    intake.roster.search();
                }
                let seen = intake.dispatched;
                drop(intake);
                drop(outlet);
                self.watch(seen, spin);
            } else {
                drop(outlet);
                self.sleep(slot, intake, searching);
                searching = true;
                spun = spin.0 == 0;
                announced = false;
            }
            outlet = self.outlet.0.lock();
        }
    }

    /// The next task at the workers' end, unless a front task waits that has to go before it.
    fn stocked(&self, outlet: &mut Outlet<T>) -> Option<T> {
        match outlet.front.pop() {
            None if self.urgent.0.load(Ordering::Relaxed) => None,
            None => outlet.back.pop(),
            front => front,
        }
    }

    /// Moves what came in to the workers' end, which has run out of it. The reversing happens
    /// under the workers' lock alone: dispatchers go on meanwhile.
    fn restock(&self, outlet: &mut Outlet<T>, mut intake: MutexGuard<'_, Intake<T>>) {
        self.urgent.0.store(false, Ordering::Relaxed);
        let front = intake.front.take();
        let back = if outlet.back.is_empty() { intake.back.take() } else { Stack::new() };
        drop(intake);
        outlet.front.pour(front);
        outlet.back.pour(back);
    }

    /// A searcher has found a task. If more is left, the search goes on: by the returned sleeper.
    fn found(&self, outlet: &Outlet<T>) -> Option<usize> {
        let mut intake = self.door.0.intake.lock();
        intake.roster.found();
        let left = outlet.front.len() + outlet.back.len() + intake.waiting();
        if left > 0 { intake.roster.call() } else { None }
    }

    fn watch(&self, seen: u64, spin: Spin) {
        for _ in 0..spin.0 {
            if self.door.0.arrivals.load(Ordering::Relaxed) != seen {
                return;
            }
            spin_loop();
        }
    }

    /// Sleeps until called. The caller has seen, under this very guard, that nothing waits.
    fn sleep(&self, slot: usize, mut intake: MutexGuard<'_, Intake<T>>, searching: bool) {
        if searching {
            intake.roster.found();
        }
        intake.roster.sleep(slot);
        while !intake.roster.was_called(slot) {
            intake = self.beds[slot].wait(intake);
        }
    }

    fn wake(&self, called: Option<usize>) {
        if let Some(slot) = called {
            self.beds[slot].notify_one();
        }
    }

    /// From now on outsiders are refused.
    pub(crate) fn close_to_outsiders(&self) {
        let mut intake = self.door.0.intake.lock();
        if intake.gate == Gate::Open {
            intake.gate = Gate::WorkersOnly;
        }
    }

    /// From now on everybody is refused, and workers leave once the queue is empty.
    pub(crate) fn shut(&self) {
        let mut intake = self.door.0.intake.lock();
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

    /// Counters of the workers' half.
    pub(crate) fn outlet_counts(&self) -> OutletCounts {
        self.outlet.0.lock().counts
    }

    /// Counters of the dispatchers' half. Read after those of the workers' half, they are never
    /// behind them.
    pub(crate) fn intake_counts(&self) -> IntakeCounts {
        let intake = self.door.0.intake.lock();
        IntakeCounts {
            dispatched: intake.dispatched,
            sleeps: intake.roster.sleeps(),
            wakes: intake.roster.wakes(),
        }
    }
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Panicked,
}
