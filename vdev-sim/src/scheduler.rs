//! What may happen next, and the choice among it.
//!
//! Two kinds of things can happen: a queued task runs, or an event comes due (a
//! device answers, a timer fires). Each step picks one at random. When nothing
//! is ready now, the clock jumps to the next event. When tasks are ready, an
//! event may still overtake them: that is a worker that was slow to wake.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering as Memory};

use parking_lot::Mutex;
use zio_core::{Reactor, Wait};

use crate::rng::Rng;

/// How often a later event overtakes ready tasks, in thousandths.
const OVERTAKE_PERMILLE: u32 = 60;

/// A set of task queues whose tasks can be run from here.
pub(crate) trait Source: Send + Sync {
    /// Takes one task from the lane and runs it on this thread. `window` is
    /// the number of free workers, `roll` a random number.
    fn run_one(&self, lane: usize, window: usize, roll: u64);
}

/// Something that owes answers.
pub(crate) trait Device: Send + Sync {
    /// The moment of this I/O has come. False when there was nothing to answer:
    /// it was answered otherwise, or is being held.
    fn come_due(&self, key: usize, serial: u64) -> bool;

    /// The whole machine loses its power.
    fn lose_power(&self, rng: &mut Rng);
}

/// What happens at a moment.
pub(crate) enum Event {
    /// An I/O of a device, named by slot and serial number.
    Io(Weak<dyn Device>, usize, u64),
    /// A timer.
    Call(Box<dyn FnOnce() + Send>),
}

struct Timed {
    at_ns: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Timed {}

impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timed {
    /// Reversed: the heap gives the earliest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_ns, other.order).cmp(&(self.at_ns, self.order))
    }
}

/// One (type, kind) queue as the scheduler sees it.
struct Lane {
    source: usize,
    local: usize,
    queued: usize,
    busy: usize,
    workers: usize,
    /// Position in the list of lanes that can run something.
    ready_at: Option<usize>,
}

enum Choice {
    Task(Pick),
    Event(Event),
}

/// A lane whose next task may run; its worker is counted as busy already.
struct Pick {
    lane: usize,
    source: Weak<dyn Source>,
    local: usize,
    window: usize,
    roll: u64,
}

struct State {
    rng: Rng,
    now_ns: u64,
    order: u64,
    later: BinaryHeap<Timed>,
    due: Vec<Event>,
    lanes: Vec<Lane>,
    ready: Vec<usize>,
    sources: Vec<Weak<dyn Source>>,
    devices: Vec<Weak<dyn Device>>,
    in_flight: usize,
    woken: bool,
    steps: u64,
    steps_max: u64,
    overtake_permille: u32,
}

impl State {
    /// Files a lane under "can run" or takes it out, as its counts say.
    fn refile(&mut self, lane: usize) {
        let it = &mut self.lanes[lane];
        let runnable = it.queued > 0 && it.busy < it.workers;
        match (runnable, it.ready_at) {
            (true, None) => {
                it.ready_at = Some(self.ready.len());
                self.ready.push(lane);
            }
            (false, Some(at)) => {
                it.ready_at = None;
                self.ready.swap_remove(at);
                if let Some(&moved) = self.ready.get(at) {
                    self.lanes[moved].ready_at = Some(at);
                }
            }
            _ => {}
        }
    }

    fn collect_due(&mut self) {
        while self.later.peek().is_some_and(|t| t.at_ns <= self.now_ns) {
            if let Some(timed) = self.later.pop() {
                self.due.push(timed.event);
            }
        }
    }

    /// Picks the next thing that happens not later than `until_ns`, and moves
    /// the clock to it.
    fn choose(&mut self, until_ns: u64) -> Option<Choice> {
        self.collect_due();
        if self.due.is_empty() {
            let next_ns = self.later.peek().map(|t| t.at_ns).filter(|&at| at <= until_ns);
            match next_ns {
                None if self.ready.is_empty() => return None,
                Some(at_ns) if self.ready.is_empty() || self.rng.chance(self.overtake_permille) => {
                    self.now_ns = at_ns;
                    self.collect_due();
                    let at = self.rng.index(self.due.len());
                    return Some(Choice::Event(self.due.swap_remove(at)));
                }
                _ => {}
            }
        }
        let at = self.rng.index(self.due.len() + self.ready.len());
        if at < self.due.len() {
            return Some(Choice::Event(self.due.swap_remove(at)));
        }
        let lane = self.ready[at - self.due.len()];
        Some(self.take(lane))
    }

    fn take(&mut self, lane: usize) -> Choice {
        let roll = self.rng.next_u64();
        let it = &mut self.lanes[lane];
        let (local, window) = (it.local, it.workers - it.busy);
        let source = Weak::clone(&self.sources[it.source]);
        it.queued -= 1;
        it.busy += 1;
        self.refile(lane);
        Choice::Task(Pick { lane, source, local, window, roll })
    }
}

/// The scheduler of one simulated machine, shared by its disks and queues.
pub(crate) struct Scheduler {
    seed: u64,
    /// Copy of the clock that is read without the lock.
    now_ns: AtomicU64,
    state: Mutex<State>,
}

impl Scheduler {
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            rng: Rng::stream(seed, 0),
            now_ns: 0,
            order: 0,
            later: BinaryHeap::new(),
            due: Vec::new(),
            lanes: Vec::new(),
            ready: Vec::new(),
            sources: Vec::new(),
            devices: Vec::new(),
            in_flight: 0,
            woken: false,
            steps: 0,
            steps_max: u64::MAX,
            overtake_permille: OVERTAKE_PERMILLE,
        };
        Self { seed, now_ns: AtomicU64::new(0), state: Mutex::new(state) }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.now_ns.load(Memory::Relaxed)
    }

    pub(crate) fn steps(&self) -> u64 {
        self.state.lock().steps
    }

    pub(crate) fn set_steps_max(&self, steps: u64) {
        self.state.lock().steps_max = steps;
    }

    pub(crate) fn set_overtake_permille(&self, permille: u32) {
        self.state.lock().overtake_permille = permille;
    }

    /// Tasks queued in all lanes.
    pub(crate) fn queued(&self) -> usize {
        self.state.lock().lanes.iter().map(|l| l.queued).sum()
    }

    /// An event at a moment; one in the past happens now.
    pub(crate) fn at(&self, at_ns: u64, event: Event) {
        let mut state = self.state.lock();
        state.order += 1;
        let order = state.order;
        state.later.push(Timed { at_ns, order, event });
    }

    /// Counts I/Os that were started.
    pub(crate) fn started(&self) {
        self.state.lock().in_flight += 1;
    }

    /// Counts I/Os that were answered.
    pub(crate) fn answered(&self, count: usize) {
        self.state.lock().in_flight -= count;
    }

    /// Registers a device. Returns its number.
    pub(crate) fn add_device(&self, device: Weak<dyn Device>) -> u64 {
        let mut state = self.state.lock();
        state.devices.push(device);
        state.devices.len() as u64
    }

    /// Registers a source with this many lanes. Returns the number of its first.
    pub(crate) fn add_source(
        &self,
        source: Weak<dyn Source>,
        lanes: usize,
        workers: usize,
    ) -> usize {
        let mut state = self.state.lock();
        let (first, number) = (state.lanes.len(), state.sources.len());
        state.sources.push(source);
        state.lanes.extend((0..lanes).map(|local| Lane {
            source: number,
            local,
            queued: 0,
            busy: 0,
            workers,
            ready_at: None,
        }));
        first
    }

    pub(crate) fn queue_task(&self, lane: usize) {
        let mut state = self.state.lock();
        state.lanes[lane].queued += 1;
        state.refile(lane);
    }

    pub(crate) fn set_workers(&self, lane: usize, workers: usize) {
        let mut state = self.state.lock();
        state.lanes[lane].workers = workers;
        state.refile(lane);
    }

    /// The lanes' tasks are gone.
    pub(crate) fn forget_tasks(&self, lanes: std::ops::Range<usize>) {
        let mut state = self.state.lock();
        for lane in lanes {
            state.lanes[lane].queued = 0;
            state.refile(lane);
        }
    }

    pub(crate) fn lose_power(&self) {
        let (devices, mut rng) = {
            let mut state = self.state.lock();
            let seed = state.rng.next_u64();
            (state.devices.clone(), Rng::new(seed))
        };
        for device in devices.iter().filter_map(Weak::upgrade) {
            device.lose_power(&mut rng);
        }
    }

    fn count_step(&self, state: &mut State) {
        state.steps += 1;
        self.now_ns.store(state.now_ns, Memory::Relaxed);
        assert!(
            state.steps <= state.steps_max,
            "simulated machine made {} steps and is not idle, seed {}",
            state.steps_max,
            self.seed
        );
    }

    /// Lets one thing happen, not later than `until_ns`. False when there is none.
    pub(crate) fn step(&self, until_ns: u64) -> bool {
        loop {
            let choice = {
                let mut state = self.state.lock();
                let Some(choice) = state.choose(until_ns) else { return false };
                self.count_step(&mut state);
                choice
            };
            if self.happen(choice) {
                return true;
            }
        }
    }

    /// Moves the clock to a moment at which nothing happens.
    pub(crate) fn advance_to(&self, ns: u64) {
        let mut state = self.state.lock();
        state.now_ns = state.now_ns.max(ns);
        self.now_ns.store(state.now_ns, Memory::Relaxed);
    }

    /// Runs one task of the given lanes. False when none of them can run.
    pub(crate) fn step_lanes(&self, lanes: std::ops::Range<usize>) -> bool {
        let choice = {
            let mut state = self.state.lock();
            let ready = state.ready.iter().copied().filter(|lane| lanes.contains(lane));
            let ready: Vec<usize> = ready.collect();
            if ready.is_empty() {
                return false;
            }
            let lane = ready[state.rng.index(ready.len())];
            let choice = state.take(lane);
            self.count_step(&mut state);
            choice
        };
        self.happen(choice)
    }

    fn happen(&self, choice: Choice) -> bool {
        match choice {
            Choice::Event(Event::Call(call)) => {
                call();
                true
            }
            Choice::Event(Event::Io(device, key, serial)) => {
                device.upgrade().is_some_and(|device| device.come_due(key, serial))
            }
            Choice::Task(pick) => {
                let _free = FreeWorker { scheduler: self, lane: pick.lane };
                let Some(source) = pick.source.upgrade() else { return false };
                source.run_one(pick.local, pick.window, pick.roll);
                true
            }
        }
    }
}

/// Gives the worker back, also when its task panicked.
struct FreeWorker<'a> {
    scheduler: &'a Scheduler,
    lane: usize,
}

impl Drop for FreeWorker<'_> {
    fn drop(&mut self) {
        let mut state = self.scheduler.state.lock();
        state.lanes[self.lane].busy -= 1;
        state.refile(self.lane);
    }
}

impl Reactor for Scheduler {
    fn turn(&self, wait: Wait) -> usize {
        let woken = wait == Wait::Block && std::mem::take(&mut self.state.lock().woken);
        if self.step(u64::MAX) {
            return 1;
        }
        if wait == Wait::Poll || woken {
            return 0;
        }
        let (now_ns, in_flight, queued) = {
            let state = self.state.lock();
            let queued: usize = state.lanes.iter().map(|l| l.queued).sum();
            (state.now_ns, state.in_flight, queued)
        };
        panic!(
            "simulated machine is stuck: at {now_ns} ns nothing can happen and nobody was woken; \
             {in_flight} I/Os are held by their disks, {queued} tasks find no free worker; seed {}",
            self.seed
        );
    }

    fn submit(&self) {}

    fn wake(&self) {
        self.state.lock().woken = true;
    }

    fn in_flight(&self) -> usize {
        self.state.lock().in_flight
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Machine")
            .field("seed", &self.seed)
            .field("now_ns", &state.now_ns)
            .field("steps", &state.steps)
            .field("in_flight", &state.in_flight)
            .finish_non_exhaustive()
    }
}
