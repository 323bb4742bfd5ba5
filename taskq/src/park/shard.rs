//! The worker's, the dispatcher's and the keeper's side of the handshake.

use std::sync::Arc;

use zio_core::Task;
use zio_core::task::Place;

use crate::bell::Bell;
use crate::id::{Cancel, Number};
use crate::idle::Idle;
use crate::list::Stack;
use crate::park::Outcome;
use crate::park::halves::{Gate, Intake, IntakeCounts, Mark, Outlet, OutletCounts};
use crate::park::roster::Call;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, spin_loop};

/// A worker that has run more tasks than this without a rest asks for another one (spec 5.3).
const STREAK_MAX: u32 = 4;
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

/// What a worker is to do next.
pub(crate) enum Next<T> {
    Run(T),
    /// Look after the other shards of the queue, then come back.
    Help,
    /// End.
    Leave,
}

/// What the keeper is to do for a shard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Attention {
    Nothing,
    /// Start a thread in this slot.
    Hire(usize),
    /// All its workers are busy and tasks wait; so many have been taken so far.
    Backlog {
        gone: u64,
        waiting: usize,
    },
}

/// Who is left when a hired worker does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// The tasks have no worker.
    Nobody,
    Others,
}

/// How a worker that found nothing waits before it sleeps: rounds of looking.
#[derive(Clone, Copy)]
pub(crate) struct Spin(pub(crate) u32);

/// Those who wait for something to end.
#[derive(Default)]
pub(crate) struct Quiet {
    /// For a moment without work. They hear from workers that find none.
    pub(crate) idle: Idle,
    /// For certain tasks. They hear of each task that ends.
    pub(crate) progress: Idle,
}

/// A worker, as its shard knows it.
pub(crate) struct Worker {
    /// Its place in the shard.
    slot: usize,
    /// Its place among the workers of all shards of the queue.
    pub(crate) seat: usize,
    searching: bool,
    /// Tasks since it last slept.
    streak: u32,
}

impl Worker {
    /// A hired one.
    pub(crate) const fn new(slot: usize, seat: usize) -> Self {
        Self { slot, seat, searching: true, streak: 0 }
    }
}

/// Keeps the parts on cache lines of their own (two lines: the hardware fetches in pairs).
#[repr(align(128))]
struct Padded<V>(V);

/// The dispatchers' cache lines.
struct Door<T: Task> {
    intake: Mutex<Intake<T>>,
    /// Grows with each task that comes in; spinners and helpers watch it.
    came: AtomicU64,
}

/// The workers' cache lines.
struct Exit<T: Task> {
    outlet: Mutex<Outlet<T>>,
    /// Grows with each task that goes.
    gone: AtomicU64,
    /// All workers are stuck and something waits: whoever has time is to help.
    beacon: AtomicBool,
}

/// A queue and its workers' beds.
///
/// Lock order: outlet, then intake. Nothing is run, woken or freed under either.
pub(crate) struct Shard<T: Task> {
    door: Padded<Door<T>>,
    exit: Padded<Exit<T>>,
    /// Is there a task in `Intake::front`? Written under the intake lock; read without it, so that
    /// a worker with a stock at its own end need not lock the dispatchers' end for every task.
    urgent: Padded<AtomicBool>,
    /// One for each worker, so that the one we mean is the one that wakes.
    beds: Box<[Condvar]>,
    /// There are other shards side by side with this one.
    has_siblings: bool,
    bell: Arc<Bell>,
    /// The keeper's share of `Intake::asked`: read without the lock.
    asked: AtomicBool,
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

    fn intake(&self) -> MutexGuard<'_, Intake<T>> {
        self.door.0.intake.lock()
    }

    fn outlet(&self) -> MutexGuard<'_, Outlet<T>> {
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
    fn needs_keeper(&self, intake: &mut Intake<T>) -> bool {
        let could_help = self.has_siblings || intake.roster.has_room();
        // By the time a run has come, the keeper has work even if it is only waiting to look again.
        let run = self.has_siblings && intake.waiting() as u64 == RUN_TASKS;
        let ask = could_help && (run || !intake.asked) && !intake.roster.is_searched();
        intake.asked |= ask;
        ask
    }

    fn ask(&self, ask: bool) {
        if ask {
            self.asked.store(true, Ordering::Release);
            self.bell.ring();
        }
    }

    fn wake(&self, called: Option<usize>) {
        if let Some(slot) = called {
            self.beds[slot].notify_one();
        }
    }

    // -- Workers. --

    /// What the worker does next. `outcome` is what became of the task before it. Sleeps as long
    /// as there is nothing to do, here or where `help` is wanted.
    pub(crate) fn next(
        &self,
        worker: &mut Worker,
        outcome: Option<Outcome>,
        spin: Spin,
        quiet: &Quiet,
        help: impl Fn() -> bool,
    ) -> Next<T> {
        let mut outlet = self.settle_with(worker.seat, outcome, quiet);
        let mut spun = spin.0 == 0;
        let mut announced = false;
        loop {
            if let Some(task) = self.stocked(&mut outlet, worker.seat) {
                worker.streak += 1;
                let (called, ask) =
                    if worker.searching { self.found(&outlet) } else { (None, false) };
                worker.searching = false;
                drop(outlet);
                self.wake(called);
                self.ask(ask);
                return Next::Run(task);
            }
            let mut intake = self.intake();
            if intake.waiting() > 0 {
                let ask = self.presses(worker, &mut intake);
                self.restock(&mut outlet, intake);
                self.ask(ask);
                continue;
            }
            if intake.gate == Gate::Shut {
                stop_searching(worker, &mut intake);
                intake.roster.leave(worker.slot, false);
                drop(intake);
                drop(outlet);
                quiet.idle.announce();
                return Next::Leave;
            }
            if !announced && quiet.idle.has_waiters() {
                announced = true;
                drop(intake);
                drop(outlet);
                quiet.idle.announce();
            } else if help() {
                stop_searching(worker, &mut intake);
                return Next::Help;
            } else if !spun {
                spun = true;
                if !worker.searching {
                    worker.searching = true;
                    intake.roster.search();
                }
                let seen = intake.came();
                drop(intake);
                drop(outlet);
                self.watch(seen, spin);
            } else {
                drop(outlet);
                if self.sleep(worker, intake) == Call::Leave {
                    self.make_room(worker);
                    return Next::Leave;
                }
                spun = spin.0 == 0;
                announced = false;
            }
            outlet = self.outlet();
        }
    }

    /// A task for a worker of another shard, or for the keeper, that does not sleep here.
    pub(crate) fn take_as_guest(
        &self,
        seat: usize,
        outcome: Option<Outcome>,
        quiet: &Quiet,
    ) -> Option<T> {
        let mut outlet = self.settle_with(seat, outcome, quiet);
        loop {
            if let Some(task) = self.stocked(&mut outlet, seat) {
                outlet.counts.stolen += 1;
                return Some(task);
            }
            let intake = self.intake();
            if intake.waiting() == 0 {
                self.exit.0.beacon.store(false, Ordering::Relaxed);
                return None;
            }
            self.restock(&mut outlet, intake);
        }
    }

    /// Notes how a task ended, without a wish for another.
    pub(crate) fn settle(&self, seat: usize, outcome: Option<Outcome>, quiet: &Quiet) {
        drop(self.settle_with(seat, outcome, quiet));
    }

    fn settle_with(
        &self,
        seat: usize,
        outcome: Option<Outcome>,
        quiet: &Quiet,
    ) -> MutexGuard<'_, Outlet<T>> {
        let mut outlet = self.outlet();
        if let Some(outcome) = outcome {
            outlet.settle(seat, outcome);
            if quiet.progress.has_waiters() {
                drop(outlet);
                quiet.progress.announce();
                outlet = self.outlet();
            }
        }
        outlet
    }

    /// The next task at the workers' end, unless a front task waits that has to go before it.
    fn stocked(&self, outlet: &mut Outlet<T>, seat: usize) -> Option<T> {
        let task = match outlet.take(Place::Front, seat) {
            None if self.urgent.0.load(Ordering::Relaxed) => None,
            None => outlet.take(Place::Back, seat),
            front => front,
        };
        self.exit.0.gone.store(outlet.gone(), Ordering::Relaxed);
        task
    }

    /// Moves what came in to the workers' end, which has run out of it. The reversing happens
    /// under the workers' lock alone: dispatchers go on meanwhile.
    fn restock(&self, outlet: &mut Outlet<T>, mut intake: MutexGuard<'_, Intake<T>>) {
        self.urgent.0.store(false, Ordering::Relaxed);
        let front = intake.front.take();
        let back = if outlet.back.is_empty() { intake.back.take() } else { Stack::new() };
        drop(intake);
        outlet.front.append(front);
        outlet.back.append(back);
    }

    /// A searcher has found a task. If more is left, the search goes on: by the returned sleeper,
    /// or by one that the keeper finds.
    fn found(&self, outlet: &Outlet<T>) -> (Option<usize>, bool) {
        let mut intake = self.intake();
        intake.roster.found();
        if outlet.waiting() + intake.waiting() == 0 {
            return (None, false);
        }
        let called = intake.roster.call();
        let ask = called.is_none() && self.needs_keeper(&mut intake);
        (called, ask)
    }

    /// The worker comes for more and has not slept for a while: is the keeper to hire?
    fn presses(&self, worker: &Worker, intake: &mut Intake<T>) -> bool {
        if worker.streak <= STREAK_MAX || !intake.roster.has_room() || intake.roster.sleepers() > 0
        {
            return false;
        }
        intake.pressing = true;
        self.needs_keeper(intake)
    }

    fn watch(&self, seen: u64, spin: Spin) {
        for _ in 0..spin.0 {
            if self.door.0.came.load(Ordering::Relaxed) != seen {
                return;
            }
            spin_loop();
        }
    }

    /// Sleeps until called. The caller has seen, under this very guard, that nothing waits.
    fn sleep(&self, worker: &mut Worker, mut intake: MutexGuard<'_, Intake<T>>) -> Call {
        stop_searching(worker, &mut intake);
        worker.streak = 0;
        intake.roster.sleep(worker.slot);
        loop {
            intake = self.beds[worker.slot].wait(intake);
            if let Some(call) = intake.roster.was_called(worker.slot) {
                worker.searching = call == Call::Search;
                return call;
            }
        }
    }

    /// A dismissed worker's slot is free again. Those who came meanwhile and found all others busy
    /// did not ask for a new one, as there was no room.
    fn make_room(&self, worker: &Worker) {
        let outlet = self.outlet();
        let mut intake = self.intake();
        intake.roster.leave(worker.slot, true);
        let left = outlet.waiting() + intake.waiting() > 0 && intake.roster.sleepers() == 0;
        let ask = left && self.needs_keeper(&mut intake);
        drop(intake);
        drop(outlet);
        self.ask(ask);
    }

    // -- Helpers: siblings and the keeper. --

    /// Does the shard want help, as far as can be seen from afar?
    pub(crate) fn wants_help(&self) -> bool {
        let backlog = self.backlog();
        backlog >= RUN_TASKS || (backlog > 0 && self.exit.0.beacon.load(Ordering::Relaxed))
    }

    /// How many tasks wait, as far as can be seen from afar.
    pub(crate) fn backlog(&self) -> u64 {
        let gone = self.exit.0.gone.load(Ordering::Relaxed);
        self.door.0.came.load(Ordering::Relaxed).saturating_sub(gone)
    }

    /// Has the keeper been asked to look, since it last looked?
    pub(crate) fn take_ask(&self) -> bool {
        self.asked.load(Ordering::Relaxed) && self.asked.swap(false, Ordering::AcqRel)
    }

    /// The keeper looks. A worker it is told to hire counts as searching from now on.
    pub(crate) fn attend(&self) -> Attention {
        let outlet = self.outlet();
        let mut intake = self.intake();
        let waiting = outlet.waiting() + intake.waiting();
        let pressing = std::mem::take(&mut intake.pressing);
        let quiet = waiting == 0 && !(pressing && intake.gate == Gate::Open);
        if !quiet && !intake.roster.is_searched() && intake.roster.sleepers() == 0 {
            if let Some(slot) = intake.roster.hire() {
                intake.asked = false;
                return Attention::Hire(slot);
            }
            if self.has_siblings && waiting > 0 {
                // Still asked: the keeper comes back by itself.
                return Attention::Backlog { gone: outlet.gone(), waiting };
            }
        }
        intake.asked = false;
        if waiting == 0 {
            self.exit.0.beacon.store(false, Ordering::Relaxed);
        }
        Attention::Nothing
    }

    /// Hires, whether or not there is need, unless the gate is closing or nobody has room.
    pub(crate) fn hire(&self) -> Option<usize> {
        let mut intake = self.intake();
        if intake.gate == Gate::Open { intake.roster.hire() } else { None }
    }

    /// The hired one cannot come. While it counted as searching, nobody else was called; so if
    /// something waits now, somebody is.
    pub(crate) fn unhire(&self, slot: usize) -> Left {
        let outlet = self.outlet();
        let mut intake = self.intake();
        intake.roster.unhire(slot);
        let waiting = outlet.waiting() + intake.waiting();
        let called = if waiting > 0 { intake.roster.call() } else { None };
        let nobody = intake.roster.live() == 0;
        drop(intake);
        drop(outlet);
        self.wake(called);
        if nobody { Left::Nobody } else { Left::Others }
    }

    /// Has the keeper look after this shard.
    pub(crate) fn call_keeper(&self) {
        self.intake().asked = true;
        self.ask(true);
    }

    /// Lights the beacon: whoever has time is to come.
    pub(crate) fn light(&self) {
        self.exit.0.beacon.store(true, Ordering::Relaxed);
    }

    /// Wakes a sleeper to help elsewhere. `true` if there was one, or if somebody searches anyway.
    pub(crate) fn lend(&self) -> bool {
        let mut intake = self.intake();
        let searched = intake.roster.is_searched();
        let called = intake.roster.call();
        drop(intake);
        self.wake(called);
        searched || called.is_some()
    }

    /// Dismisses a worker that nobody has needed since the last call, if there is one. `true` if
    /// there may be more to dismiss later.
    pub(crate) fn thin_out(&self) -> bool {
        let mut intake = self.intake();
        let dismissed = if intake.gate == Gate::Open { intake.roster.dismiss() } else { None };
        let more = intake.roster.live() > 1;
        drop(intake);
        self.wake(dismissed);
        more
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

fn stop_searching<T: Task>(worker: &mut Worker, intake: &mut Intake<T>) {
    if std::mem::take(&mut worker.searching) {
        intake.roster.found();
    }
}
