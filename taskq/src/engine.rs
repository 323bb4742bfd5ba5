//! The machinery behind `Taskq`, which the workers keep alive: routes, tasks, the end. What the
//! workers do is in `crew.rs`, what the keeper does in `keeper.rs`, what waiters and cancellers do
//! in `track.rs`.

use std::sync::Arc;
use std::time::Instant;

use zio_core::task::Place;
use zio_core::{QueueKind, Route, Task, ZioType};

use crate::bell::Bell;
use crate::budget::Budget;
use crate::clock::{Clock, nanos};
use crate::config::{Config, Lane, Plan, ShardPlan, plain_name};
use crate::delayed::Delayed;
use crate::id::Spot;
use crate::info::WorkerInfo;
use crate::keeper;
use crate::member::{self, Membership, Role, SetId};
use crate::overflow::Overflow;
use crate::park::{Outcome, Pushed, Quiet, Shard, Spin};
use crate::spread;
use crate::stats::Stats;
use crate::strength;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, thread};
use crate::trouble::{Report, Trouble, run_contained};

/// Under this name the panics of overflow tasks are reported.
const OVERFLOW_NAME: &str = "overflow";
/// Index of a shard, slot of a worker there.
pub(crate) type Seat = (usize, usize);

pub(crate) struct Engine<T: Task> {
    pub(crate) set: SetId,
    pub(crate) plan: Plan,
    /// As in `plan.shards`.
    pub(crate) shards: Box<[Shard<T>]>,
    pub(crate) overflow: Overflow<T>,
    pub(crate) delayed: Delayed<T>,
    pub(crate) quiet: Quiet,
    pub(crate) clock: Clock,
    pub(crate) bell: Arc<Bell>,
    pub(crate) spin: Spin,
    pub(crate) stack_bytes: Option<usize>,
    pub(crate) background_nice: u8,
    budget: Option<Mutex<Budget>>,
    pub(crate) report: Report,
    /// Who is there, by seat in the whole set.
    pub(crate) workers: Mutex<Vec<(Seat, WorkerInfo)>>,
    /// Held while a thread is started, so that whoever joins them misses none.
    pub(crate) threads: Mutex<Vec<thread::JoinHandle<()>>>,
    keeper: Mutex<Option<thread::JoinHandle<()>>>,
    /// Held by the one that shuts down; another one waits for it.
    closing: Mutex<()>,
    /// Threads have come since the keeper last asked.
    pub(crate) grown: AtomicBool,
    /// No time for pauses.
    hurry: AtomicBool,
}

impl<T: Task> Engine<T> {
    pub(crate) fn new(config: &Config) -> Arc<Self> {
        let plan = Plan::new(config);
        let bell = Arc::new(Bell::default());
        config.time().attach(&bell);
        let shard = |plan: &ShardPlan| {
            Shard::new(plan.workers, plan.seats, plan.siblings.len() > 1, Arc::clone(&bell))
        };
        let lane = config.lane();
        let engine = Arc::new(Self {
            set: SetId::fresh(),
            shards: plan.shards.iter().map(shard).collect(),
            plan,
            overflow: Overflow::new(),
            delayed: Delayed::new(),
            quiet: Quiet::default(),
            clock: config.time().clone(),
            bell,
            spin: Spin(config.spin()),
            stack_bytes: config.stack(),
            background_nice: lane.map_or(0, |lane| lane.nice),
            budget: lane
                .and_then(|lane| Budget::new(lane.cpu_percent, config.cpus()))
                .map(Mutex::new),
            report: config.report().clone(),
            workers: Mutex::new(Vec::new()),
            threads: Mutex::new(Vec::new()),
            keeper: Mutex::new(None),
            closing: Mutex::new(()),
            grown: AtomicBool::new(false),
            hurry: AtomicBool::new(false),
        });
        engine.start_keeper(&format!("{}-keeper", config.name()));
        engine
    }

    /// Without a keeper there are no workers: tasks run where they are dispatched.
    fn start_keeper(self: &Arc<Self>, name: &str) {
        let engine = Arc::clone(self);
        let name = plain_name(name);
        match thread::Builder::new().name(name.clone()).spawn(move || keeper::keep(&engine)) {
            Ok(thread) => *self.keeper.lock() = Some(thread),
            Err(error) => {
                self.report.tell(&Trouble::Start { thread: &name, error: &error });
                self.delayed.close();
                self.shards.iter().for_each(Shard::shut);
            }
        }
    }

    pub(crate) fn dispatch(&self, task: T, route: &Route) -> Spot {
        let inside = || member::worker_in(self.set).is_some();
        self.push(task, route, inside).unwrap_or_else(|task| self.run_here(task))
    }

    /// Puts a task into the queue its route leads to.
    ///
    /// # Errors
    ///
    /// Gives it back where there is no queue, or none any more for the likes of the caller.
    pub(crate) fn push(
        &self,
        task: T,
        route: &Route,
        from_inside: impl FnOnce() -> bool,
    ) -> Result<Spot, T> {
        let Some(target) = self.plan.target(route) else { return Err(task) };
        let place = if target.front { Place::Front } else { route.place };
        let index = target.first + spread::pick(target.shards, route.affinity);
        match self.shards[index].push(task, place, from_inside) {
            Pushed::Queued(number) => Ok(Spot::Shard { index, number }),
            Pushed::Refused(task) => Err(task),
        }
    }

    // -- Tasks. --

    /// Runs a task as its queue's lane does.
    pub(crate) fn run_as(&self, plan: &ShardPlan, task: T) -> Outcome {
        if plan.lane != Lane::Background {
            return self.run(task, &plan.queue);
        }
        // Before work for the CPU, let others have it.
        thread::yield_now();
        let (Some(budget), Some(cpu_ns)) = (&self.budget, strength::cpu_ns()) else {
            return self.run(task, &plan.queue);
        };
        let begun = Instant::now();
        let outcome = self.run(task, &plan.queue);
        let wall_ns = nanos(begun.elapsed());
        let cpu_ns = strength::cpu_ns().map_or(wall_ns, |now| now.saturating_sub(cpu_ns));
        let pause_ns = budget.lock().charge(self.clock.now_ns(), cpu_ns, wall_ns);
        if !self.hurry.load(Ordering::Relaxed) {
            self.clock.pause(pause_ns);
        }
        outcome
    }

    fn run(&self, task: T, queue: &str) -> Outcome {
        if run_contained(task, queue, &self.report) { Outcome::Done } else { Outcome::Panicked }
    }

    #[cold]
    fn run_here(&self, task: T) -> Spot {
        let (number, work) = self.overflow.push(task);
        if work {
            self.run_overflow();
        }
        Spot::Overflow(number)
    }

    pub(crate) fn run_overflow(&self) {
        let _membership = Membership::enter(self.set, Role::Helper);
        let mut outcome = None;
        while let Some(task) = self.overflow.next(outcome) {
            self.announce();
            outcome = Some(self.run(task, OVERFLOW_NAME));
        }
        self.announce();
    }

    /// Something ended: let those who wait look.
    pub(crate) fn announce(&self) {
        self.quiet.idle.announce();
        self.quiet.progress.announce();
    }

    // -- The end. --

    pub(crate) fn shutdown(self: &Arc<Self>) {
        self.hurry.store(true, Ordering::Relaxed);
        for shard in &self.shards {
            shard.close_to_outsiders();
        }
        self.delayed.close();
        self.bring_forward();
        if member::role_in(self.set).is_some() {
            // A task cannot wait for its own end: the workers finish and leave by themselves.
            self.shards.iter().for_each(Shard::shut);
            self.bell.stop();
            return;
        }
        let _closing = self.closing.lock();
        self.quiet.idle.wait_until(|| self.are_shards_idle());
        // Outsiders may go on dispatching for ever; only what they have dispatched so far counts.
        let so_far = self.overflow.counts().dispatched;
        self.quiet.idle.wait_until(|| self.overflow.counts().finished >= so_far);
        self.shards.iter().for_each(Shard::shut);
        self.bell.stop();
        let keeper = self.keeper.lock().take();
        if let Some(keeper) = keeper {
            // Tasks' panics are contained; this could only be one of ours, told already.
            let _ = keeper.join();
        }
        // In rounds: somebody may be starting others.
        loop {
            let threads = std::mem::take(&mut *self.threads.lock());
            if threads.is_empty() {
                return;
            }
            for thread in threads {
                // As above.
                let _ = thread.join();
            }
        }
    }

    /// Was there a moment, since the call, at which nothing was queued or running?
    ///
    /// Everything finished is counted first, everything dispatched afterwards. No counter ever
    /// decreases and no shard finishes more than was dispatched to it, so if the two sums are
    /// equal, they were equal, shard by shard, at the moment in between. A task that is no longer
    /// delayed is dispatched before it counts as gone.
    pub(crate) fn are_shards_idle(&self) -> bool {
        let delayed_gone = self.delayed.counts().gone;
        let finished: u64 = self
            .shards
            .iter()
            .map(|shard| {
                let counts = shard.outlet_counts();
                counts.finished + counts.cancelled
            })
            .sum();
        let dispatched: u64 =
            self.shards.iter().map(|shard| shard.intake_counts().dispatched).sum();
        let delayed = self.delayed.counts().came;
        finished + delayed_gone == dispatched + delayed
    }

    pub(crate) fn is_idle(&self) -> bool {
        let finished = self.overflow.counts().finished;
        self.are_shards_idle() && self.overflow.counts().dispatched == finished
    }

    // -- Figures. --

    pub(crate) fn threads(&self) -> usize {
        self.shards.iter().map(|shard| shard.intake_counts().live).sum()
    }

    /// Counters of the queue that a route leads to, shared with all routes that lead there.
    pub(crate) fn stats_of(&self, route: &Route) -> Stats {
        let target = self.plan.target(route);
        target.map_or_else(Stats::default, |target| sum(&self.shards[target.range()]))
    }

    pub(crate) fn stats(&self) -> Stats {
        let overflow = self.overflow.counts();
        let mut stats = sum(&self.shards);
        stats.overflow = overflow.finished;
        stats.panics += overflow.panics;
        stats.cancelled += self.delayed.counts().cancelled;
        stats
    }

    pub(crate) fn on_worker(&self) -> Option<(ZioType, QueueKind)> {
        member::worker_in(self.set)
    }

    pub(crate) fn lane(&self) -> Option<Lane> {
        member::lane_in(self.set)
    }
}

fn sum<T: Task>(shards: &[Shard<T>]) -> Stats {
    let mut stats = Stats::default();
    for shard in shards {
        let (done, come) = (shard.outlet_counts(), shard.intake_counts());
        stats.dispatched += come.dispatched;
        stats.run += done.finished;
        stats.panics += done.panics;
        stats.cancelled += done.cancelled;
        stats.stolen += done.stolen;
        stats.sleeps += come.sleeps;
        stats.wakes += come.wakes;
    }
    stats
}
