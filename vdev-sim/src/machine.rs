//! [`Machine`]: the handle to a simulated machine.

use std::fmt;
use std::sync::Arc;

use zio_core::{Reactor, Task, Wait};

use crate::disk::{DiskConfig, SimDisk};
use crate::queue::SimQueue;
use crate::scheduler::{Event, Scheduler};

/// A simulated machine: a clock that only moves when somebody waits, a
/// scheduler that draws its choices from a seed, and whatever disks and task
/// queues are made on it. Cheap to clone; clones are the same machine.
///
/// It is a [`Reactor`]: whoever waits for an answer drives it. One
/// [`turn`](Reactor::turn) lets exactly one thing happen: a task runs or an
/// event comes due. Without anything to do, a blocking turn panics: the code
/// under test has deadlocked.
///
/// Everything is reproducible from the seed as long as one thread at a time
/// uses the machine and the code under test draws no chance of its own
/// (addresses, `HashMap` order, the real clock).
#[derive(Clone)]
pub struct Machine {
    scheduler: Arc<Scheduler>,
}

impl Machine {
    /// A machine at time 0, without disks.
    pub fn new(seed: u64) -> Self {
        Self { scheduler: Arc::new(Scheduler::new(seed)) }
    }

    /// The seed it was made with.
    pub fn seed(&self) -> u64 {
        self.scheduler.seed()
    }

    /// The virtual clock, in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        self.scheduler.now_ns()
    }

    /// Things that happened so far.
    pub fn steps(&self) -> u64 {
        self.scheduler.steps()
    }

    /// A new disk, online and full of zeros.
    ///
    /// # Panics
    /// When the configuration contradicts itself (see [`DiskConfig`]).
    pub fn disk(&self, config: DiskConfig) -> Arc<SimDisk> {
        SimDisk::new(&self.scheduler, config)
    }

    /// A new set of task queues.
    pub fn queue<T: Task>(&self) -> Arc<SimQueue<T>> {
        SimQueue::new(&self.scheduler)
    }

    /// The machine as its disks hand it out: always the same `Arc`, so users
    /// can tell that two disks share it.
    pub fn reactor(&self) -> Arc<dyn Reactor> {
        Arc::clone(&self.scheduler) as Arc<dyn Reactor>
    }

    /// Calls `f` after so many nanoseconds, on the thread that turns the
    /// machine then.
    pub fn after(&self, delay_ns: u64, f: impl FnOnce() + Send + 'static) {
        let at_ns = self.now_ns().saturating_add(delay_ns);
        self.scheduler.at(at_ns, Event::Call(Box::new(f)));
    }

    /// Lets things happen until nothing can. Returns how many happened. I/Os
    /// that a disk holds, and tasks of stalled queues, stay.
    pub fn run_until_idle(&self) -> u64 {
        let mut steps = 0;
        while self.scheduler.step(u64::MAX) {
            steps += 1;
        }
        steps
    }

    /// Lets things happen until the condition holds. False when the machine
    /// fell idle before that.
    pub fn run_until(&self, mut done: impl FnMut() -> bool) -> bool {
        while !done() {
            if !self.scheduler.step(u64::MAX) {
                return done();
            }
        }
        true
    }

    /// Lets happen what happens in the next `ns` nanoseconds, then sets the
    /// clock to their end. Returns how many things happened.
    pub fn run_for(&self, ns: u64) -> u64 {
        let until_ns = self.now_ns().saturating_add(ns);
        let mut steps = 0;
        while self.scheduler.step(until_ns) {
            steps += 1;
        }
        self.scheduler.advance_to(until_ns);
        steps
    }

    /// Cuts the power of every disk at this moment: see
    /// [`SimDisk::power_cut`]. Chance comes from the machine's own seed.
    pub fn power_cut(&self) {
        self.scheduler.lose_power();
    }

    /// Tasks that are queued, in all queues.
    pub fn queued(&self) -> usize {
        self.scheduler.queued()
    }

    /// How often, in thousandths, an event that is not due yet overtakes tasks
    /// that are ready, because no worker woke in time. 60 at first; 0 means
    /// tasks take no time at all.
    pub fn set_overtake_permille(&self, permille: u32) {
        self.scheduler.set_overtake_permille(permille);
    }

    /// After so many steps the machine panics, with its seed: a livelock in
    /// the code under test then ends. Unlimited at first.
    pub fn set_steps_max(&self, steps: u64) {
        self.scheduler.set_steps_max(steps);
    }
}

impl Reactor for Machine {
    /// Lets one thing happen, on this thread. Returns 1, or 0 when nothing could.
    ///
    /// # Panics
    /// With [`Wait::Block`], when nothing can happen and [`Reactor::wake`] was
    /// not called since the last blocking turn.
    fn turn(&self, wait: Wait) -> usize {
        self.scheduler.turn(wait)
    }

    /// Nothing to do: an I/O reaches its disk in [`zio_core::Vdev::start`].
    fn submit(&self) {
        self.scheduler.submit();
    }

    fn wake(&self) {
        self.scheduler.wake();
    }

    fn in_flight(&self) -> usize {
        self.scheduler.in_flight()
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scheduler.fmt(f)
    }
}
