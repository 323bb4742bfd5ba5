//! The workers of a set: how their threads start, what they do until they leave.

use std::sync::Arc;

use zio_core::Task;

use crate::config::Lane;
use crate::engine::{Engine, Seat};
use crate::info::WorkerInfo;
use crate::member::{Membership, Role};
use crate::park::{Left, Next, RUN_TASKS, Worker};
use crate::strength;
use crate::sync::atomic::Ordering;
use crate::sync::{is_finished, thread};
use crate::trouble::Trouble;

/// [`Lane::Batch`]: so many steps weaker than the others (spec 5.2).
const BATCH_NICE: u8 = 1;

impl<T: Task> Engine<T> {
    /// Starts all threads there may be.
    pub(crate) fn start_all(self: &Arc<Self>) {
        for (index, shard) in self.shards.iter().enumerate() {
            while let Some(slot) = shard.hire() {
                if !self.start_worker(index, slot) {
                    if shard.unhire(slot) == Left::Nobody {
                        shard.call_keeper();
                    }
                    break;
                }
            }
        }
        // What has no need to be there leaves again, in time.
        self.bell.ring();
    }

    /// Starts the thread of a hired worker.
    pub(crate) fn start_worker(self: &Arc<Self>, index: usize, slot: usize) -> bool {
        let name = self.plan.shards[index].thread_name(slot);
        let engine = Arc::clone(self);
        let mut builder = thread::Builder::new().name(name.clone());
        if let Some(bytes) = self.stack_bytes {
            builder = builder.stack_size(bytes);
        }
        let result = {
            let mut threads = self.threads.lock();
            threads.retain(|thread| !is_finished(thread));
            builder.spawn(move || engine.work(index, slot)).map(|thread| threads.push(thread))
        };
        match &result {
            Ok(()) => self.grown.store(true, Ordering::Relaxed),
            Err(error) => self.report.tell(&Trouble::Start { thread: &name, error }),
        }
        result.is_ok()
    }

    /// Have threads come since the last call?
    pub(crate) fn take_grown(&self) -> bool {
        self.grown.swap(false, Ordering::Relaxed)
    }

    /// The life of a worker.
    fn work(self: Arc<Self>, index: usize, slot: usize) {
        let (shard, plan) = (&self.shards[index], &self.plan.shards[index]);
        let (ty, kind) = plan.role;
        let _membership = Membership::enter(self.set, Role::Worker(ty, kind, plan.lane));
        let _registered = self.register((index, slot));
        let mut worker = Worker::new(slot, plan.number + slot);
        let mut outcome = None;
        let wanted = || self.wants_help(index).is_some();
        loop {
            match shard.next(&mut worker, outcome.take(), self.spin, &self.quiet, wanted) {
                Next::Run(task) => outcome = Some(self.run_as(plan, task)),
                Next::Help => self.help(index, worker.seat),
                Next::Leave => return,
            }
        }
    }

    /// Makes the thread as weak as its lane, and lists it.
    fn register(&self, seat: Seat) -> Registered<'_, T> {
        let plan = &self.plan.shards[seat.0];
        let thread = plan.thread_name(seat.1);
        let steps = match plan.lane {
            Lane::Normal => 0,
            Lane::Batch => BATCH_NICE,
            Lane::Background => self.background_nice,
        };
        let nice = strength::weaken(steps).unwrap_or_else(|error| {
            self.report.tell(&Trouble::Strength { thread: &thread, error: &error });
            None
        });
        let (ty, kind) = plan.role;
        let queue = plan.queue.clone();
        let info = WorkerInfo { thread, queue, ty, kind, lane: plan.lane, nice };
        self.workers.lock().push((seat, info));
        Registered { engine: self, seat }
    }

    pub(crate) fn workers(&self) -> Vec<WorkerInfo> {
        let mut workers = self.workers.lock().clone();
        workers.sort_unstable_by_key(|&(seat, _)| seat);
        workers.into_iter().map(|(_, info)| info).collect()
    }

    /// The nearest of a shard's siblings that could do with a hand.
    fn wants_help(&self, index: usize) -> Option<usize> {
        self.siblings(index).find(|&sibling| self.shards[sibling].wants_help())
    }

    /// The other shards of a queue, the next one first.
    pub(crate) fn siblings(&self, index: usize) -> impl Iterator<Item = usize> + use<T> {
        let all = self.plan.shards[index].siblings.clone();
        (index + 1..all.end).chain(all.start..index)
    }

    /// Runs a run of a sibling's tasks, or what is left of it; work at home ends the visit.
    fn help(&self, home: usize, seat: usize) {
        let Some(index) = self.wants_help(home) else { return };
        let (shard, plan) = (&self.shards[index], &self.plan.shards[index]);
        let mut outcome = None;
        for _ in 0..RUN_TASKS {
            let Some(task) = shard.take_as_guest(seat, outcome.take(), &self.quiet) else { return };
            outcome = Some(self.run_as(plan, task));
            if self.shards[home].backlog() > 0 {
                break;
            }
        }
        shard.settle(seat, outcome, &self.quiet);
    }
}

/// A worker on the list, until it ends.
struct Registered<'a, T: Task> {
    engine: &'a Engine<T>,
    seat: Seat,
}

impl<T: Task> Drop for Registered<'_, T> {
    fn drop(&mut self) {
        let mut workers = self.engine.workers.lock();
        workers.retain(|&(seat, _)| seat != self.seat);
    }
}
