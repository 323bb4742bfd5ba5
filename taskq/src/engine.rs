//! The machinery behind `Taskq`, which the workers keep alive: routes, threads, the end.

use std::sync::Arc;

use zio_core::task::Place;
use zio_core::{QueueKind, Route, Task, ZioType};

use crate::config::{Config, Plan, Target};
use crate::idle::Idle;
use crate::member::{self, Membership, Role, SetId};
use crate::overflow::Overflow;
use crate::park::{Outcome, Pushed, Shard, Spin};
use crate::spread;
use crate::stats::Stats;
use crate::sync::{Mutex, thread};
use crate::trouble::{Report, Trouble, run_contained};

/// Under this name the panics of overflow tasks are reported.
const OVERFLOW_NAME: &str = "overflow";

pub(crate) struct Engine<T: Task> {
    set: SetId,
    plan: Plan,
    /// As in `plan.shards`.
    shards: Box<[Shard<T>]>,
    overflow: Overflow<T>,
    idle: Idle,
    spin: Spin,
    stack_bytes: Option<usize>,
    report: Report,
    /// Held while a thread is started, so that whoever joins them misses none.
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    /// Held by the one that shuts down; another one waits for it.
    closing: Mutex<()>,
}

impl<T: Task> Engine<T> {
    pub(crate) fn new(config: &Config) -> Arc<Self> {
        let plan = Plan::new(config);
        let shards = plan.shards.iter().map(|shard| Shard::new(shard.workers)).collect();
        Arc::new(Self {
            set: SetId::fresh(),
            plan,
            shards,
            overflow: Overflow::new(),
            idle: Idle::default(),
            spin: Spin(config.spin()),
            stack_bytes: config.stack(),
            report: config.report().clone(),
            threads: Mutex::new(Vec::new()),
            closing: Mutex::new(()),
        })
    }

    pub(crate) fn dispatch(self: &Arc<Self>, task: T, route: Route) {
        let Some(target) = self.plan.target(route.ty, route.kind) else {
            return self.run_here(task);
        };
        let place = if target.front { Place::Front } else { route.place };
        let index = target.first + spread::pick(target.shards, route.affinity);
        match self.shards[index].push(task, place, || member::worker_in(self.set).is_some()) {
            Pushed::Queued => {}
            Pushed::First => self.start(index),
            Pushed::Refused(task) => self.run_here(task),
        }
    }

    pub(crate) fn on_worker(&self) -> Option<(ZioType, QueueKind)> {
        member::worker_in(self.set)
    }

    /// Starts the threads of all queues that have none.
    pub(crate) fn start_all(self: &Arc<Self>) {
        for (index, shard) in self.shards.iter().enumerate() {
            if shard.claim_start() {
                self.start(index);
            }
        }
    }

    /// Starts a shard's first worker, which starts the others; without it, the shard's tasks are
    /// run here and now.
    #[cold]
    fn start(self: &Arc<Self>, index: usize) {
        if self.spawn(index, 0) {
            return;
        }
        let mut work = false;
        self.shards[index].abandon(|task| work |= self.overflow.push(task));
        if work {
            self.run_overflow();
        }
        self.idle.announce();
    }

    fn spawn(self: &Arc<Self>, index: usize, slot: usize) -> bool {
        let name = self.plan.shards[index].thread_name(slot);
        let engine = Arc::clone(self);
        let mut builder = thread::Builder::new().name(name.clone());
        if let Some(bytes) = self.stack_bytes {
            builder = builder.stack_size(bytes);
        }
        let result = {
            let mut threads = self.threads.lock();
            builder.spawn(move || engine.work(index, slot)).map(|thread| threads.push(thread))
        };
        if let Err(error) = &result {
            self.report.tell(&Trouble::Start { thread: &name, error });
        }
        result.is_ok()
    }

    /// The life of a worker.
    fn work(self: Arc<Self>, index: usize, slot: usize) {
        let (shard, plan) = (&self.shards[index], &self.plan.shards[index]);
        if slot == 0 {
            for sibling in 1..shard.workers() {
                self.spawn(index, sibling);
            }
        }
        let _membership = Membership::enter(self.set, Role::Worker(plan.role.0, plan.role.1));
        let mut outcome = None;
        while let Some(task) = shard.next(slot, outcome, self.spin, &self.idle) {
            outcome = Some(self.run(task, &plan.queue));
        }
    }

    fn run(&self, task: T, queue: &str) -> Outcome {
        if run_contained(task, queue, &self.report) { Outcome::Done } else { Outcome::Panicked }
    }

    #[cold]
    fn run_here(&self, task: T) {
        if self.overflow.push(task) {
            self.run_overflow();
        }
    }

    fn run_overflow(&self) {
        let _membership = Membership::enter(self.set, Role::Helper);
        let mut outcome = None;
        while let Some(task) = self.overflow.next(outcome) {
            self.idle.announce();
            outcome = Some(self.run(task, OVERFLOW_NAME));
        }
        self.idle.announce();
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads.lock().len()
    }

    pub(crate) fn wait_idle(&self) {
        if member::role_in(self.set).is_none() {
            self.idle.wait_until(|| self.is_idle());
        }
    }

    pub(crate) fn shutdown(&self) {
        for shard in &self.shards {
            shard.close_to_outsiders();
        }
        if member::role_in(self.set).is_some() {
            // A task cannot wait for its own end: the workers finish and leave by themselves.
            self.shards.iter().for_each(Shard::shut);
            return;
        }
        let _closing = self.closing.lock();
        self.idle.wait_until(|| self.are_shards_idle());
        // Outsiders may go on dispatching for ever; only what they have dispatched so far counts.
        let so_far = self.overflow.counts().dispatched;
        self.idle.wait_until(|| self.overflow.counts().finished >= so_far);
        self.shards.iter().for_each(Shard::shut);
        // In rounds: a first worker may still be starting others.
        loop {
            let threads = std::mem::take(&mut *self.threads.lock());
            if threads.is_empty() {
                return;
            }
            for thread in threads {
                // Tasks' panics end in the worker; this could only be one of ours, told already.
                let _ = thread.join();
            }
        }
    }

    fn is_idle(&self) -> bool {
        let finished = self.overflow.counts().finished;
        self.are_shards_idle() && self.overflow.counts().dispatched == finished
    }

    /// Was there a moment, since the call, at which nothing was queued or running?
    ///
    /// Everything finished is counted first, everything dispatched afterwards. No counter ever
    /// decreases and no shard finishes more than was dispatched to it, so if the two sums are
    /// equal, they were equal, shard by shard, at the moment in between.
    fn are_shards_idle(&self) -> bool {
        let finished: u64 = self
            .shards
            .iter()
            .map(|shard| {
                let counts = shard.outlet_counts();
                counts.finished + counts.moved
            })
            .sum();
        let dispatched: u64 =
            self.shards.iter().map(|shard| shard.intake_counts().dispatched).sum();
        finished == dispatched
    }

    /// Counters of the queue that a route leads to, shared with all routes that lead there.
    pub(crate) fn stats_of(&self, ty: ZioType, kind: QueueKind) -> Stats {
        let Some(Target { first, shards, .. }) = self.plan.target(ty, kind) else {
            return Stats::default();
        };
        sum(&self.shards[first..first + shards])
    }

    pub(crate) fn stats(&self) -> Stats {
        let overflow = self.overflow.counts();
        let mut stats = sum(&self.shards);
        stats.overflow = overflow.finished;
        stats.panics += overflow.panics;
        stats
    }
}

fn sum<T: Task>(shards: &[Shard<T>]) -> Stats {
    let mut stats = Stats::default();
    for shard in shards {
        let (done, come) = (shard.outlet_counts(), shard.intake_counts());
        stats.dispatched += come.dispatched - done.moved;
        stats.run += done.finished;
        stats.panics += done.panics;
        stats.sleeps += come.sleeps;
        stats.wakes += come.wakes;
    }
    stats
}
