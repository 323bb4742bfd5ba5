//! A worker's side of the handshake: find a task, here or at a sibling, or sleep.

use zio_core::Task;
use zio_core::task::Place;

use crate::idle::Idle;
use crate::list::Stack;
use crate::park::Outcome;
use crate::park::halves::{Gate, Intake, Outlet};
use crate::park::roster::Call;
use crate::park::shard::Shard;
use crate::sync::atomic::Ordering;
use crate::sync::{MutexGuard, spin_loop};

/// A worker that has run more tasks than this without a rest asks for another one (spec 5.3).
const STREAK_MAX: u32 = 4;
/// What a worker is to do next.
pub(crate) enum Next<T> {
    Run(T),
    /// Look after the other shards of the queue, then come back.
    Help,
    /// End.
    Leave,
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

impl<T: Task> Shard<T> {
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
}

fn stop_searching<T: Task>(worker: &mut Worker, intake: &mut Intake<T>) {
    if std::mem::take(&mut worker.searching) {
        intake.roster.found();
    }
}
