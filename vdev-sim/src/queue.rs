//! [`SimQueue`]: task queues whose workers are turns of the machine.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use zio_core::task::Place;
use zio_core::{QueueKind, Route, Task, TaskQueue, ZioType};

use crate::scheduler::{Scheduler, Source};

const LANES: usize = ZioType::COUNT * QueueKind::COUNT;

/// Workers of each (type, kind) unless told otherwise.
const WORKERS: usize = 8;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// Which queue this thread works for at the moment: id, lane.
    static WORKS_FOR: Cell<(u64, usize)> = const { Cell::new((0, 0)) };
}

/// How many tasks took a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dispatches {
    /// Tasks dispatched to the front.
    pub front: u64,
    /// Tasks dispatched to the back.
    pub back: u64,
}

struct Lane<T> {
    front: VecDeque<T>,
    back: VecDeque<T>,
    count: Dispatches,
}

struct Lanes<T> {
    lanes: [Lane<T>; LANES],
    closed: bool,
    refused: u64,
}

/// A [`TaskQueue`] on a simulated machine, made by
/// [`Machine::queue`](crate::Machine::queue).
///
/// A dispatched task runs in some later turn of the machine, on the thread
/// that turns it. Which (type, kind) runs next is drawn from the seed. Within
/// one (type, kind), front tasks go first and in order; of the back tasks, any
/// of the first *w* may be next, where *w* is the number of free workers: so
/// one worker is a strict FIFO, and several are as disorderly as threads are.
///
/// A task that drives the machine while it runs keeps its worker busy, so a
/// queue whose workers all wait is a deadlock here as it is in life.
pub struct SimQueue<T: Task> {
    scheduler: Arc<Scheduler>,
    id: u64,
    first_lane: usize,
    state: Mutex<Lanes<T>>,
}

fn lane_of(ty: ZioType, kind: QueueKind) -> usize {
    ty.index() * QueueKind::COUNT + kind.index()
}

impl<T: Task> SimQueue<T> {
    pub(crate) fn new(scheduler: &Arc<Scheduler>) -> Arc<Self> {
        Arc::new_cyclic(|weak: &Weak<Self>| Self {
            first_lane: scheduler.add_source(weak.clone(), LANES, WORKERS),
            scheduler: Arc::clone(scheduler),
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            state: Mutex::new(Lanes {
                lanes: std::array::from_fn(|_| Lane {
                    front: VecDeque::new(),
                    back: VecDeque::new(),
                    count: Dispatches::default(),
                }),
                closed: false,
                refused: 0,
            }),
        })
    }

    fn lanes(&self) -> std::ops::Range<usize> {
        self.first_lane..self.first_lane + LANES
    }

    /// Sets how many tasks of a (type, kind) can be under way at a time. Eight
    /// at first; 0 stalls the queue.
    pub fn set_workers(&self, ty: ZioType, kind: QueueKind, workers: usize) {
        self.scheduler.set_workers(self.first_lane + lane_of(ty, kind), workers);
    }

    /// Nothing of any type and kind runs until [`SimQueue::unstall`].
    pub fn stall(&self) {
        self.lanes().for_each(|lane| self.scheduler.set_workers(lane, 0));
    }

    /// Every type and kind has its eight workers again.
    pub fn unstall(&self) {
        self.lanes().for_each(|lane| self.scheduler.set_workers(lane, WORKERS));
    }

    /// How many tasks were dispatched to a (type, kind) so far.
    pub fn dispatches(&self, ty: ZioType, kind: QueueKind) -> Dispatches {
        self.state.lock().lanes[lane_of(ty, kind)].count
    }

    /// How many tasks were dispatched so far.
    pub fn dispatches_total(&self) -> u64 {
        self.state.lock().lanes.iter().map(|l| l.count.front + l.count.back).sum()
    }

    /// Tasks that were dispatched after the shutdown, and so dropped.
    pub fn refused(&self) -> u64 {
        self.state.lock().refused
    }

    /// Tasks waiting to run.
    pub fn queued(&self) -> usize {
        self.state.lock().lanes.iter().map(|l| l.front.len() + l.back.len()).sum()
    }
}

/// Marks the thread as a worker; unmarks it also when the task panics.
struct Worker {
    before: (u64, usize),
}

impl Worker {
    fn enter(id: u64, lane: usize) -> Self {
        Self { before: WORKS_FOR.replace((id, lane)) }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        WORKS_FOR.set(self.before);
    }
}

impl<T: Task> Source for SimQueue<T> {
    fn run_one(&self, lane: usize, window: usize, roll: u64) {
        let task = {
            let tasks = &mut self.state.lock().lanes[lane];
            tasks.front.pop_front().or_else(|| {
                let among = window.min(tasks.back.len()).max(1) as u64;
                tasks.back.remove((roll % among) as usize)
            })
        };
        if let Some(task) = task {
            let _worker = Worker::enter(self.id, lane);
            task.run();
        }
    }
}

impl<T: Task> TaskQueue<T> for SimQueue<T> {
    /// # Panics
    /// When the task still has something in its link: it would be in a queue already.
    fn dispatch(&self, mut task: T, route: Route) {
        assert!(task.link().is_none(), "a task was dispatched that is in a queue already");
        let lane = lane_of(route.ty, route.kind);
        {
            let mut state = self.state.lock();
            if state.closed {
                state.refused += 1;
                drop(state);
                drop(task);
                return;
            }
            let it = &mut state.lanes[lane];
            match route.place {
                Place::Front => {
                    it.count.front += 1;
                    it.front.push_back(task);
                }
                Place::Back => {
                    it.count.back += 1;
                    it.back.push_back(task);
                }
            }
        }
        self.scheduler.queue_task(self.first_lane + lane);
    }

    /// While tasks of several simulated queues are nested on one thread, the
    /// innermost counts.
    fn on_worker(&self) -> Option<(ZioType, QueueKind)> {
        let (id, lane) = WORKS_FOR.get();
        (id == self.id).then(|| {
            (ZioType::ALL[lane / QueueKind::COUNT], QueueKind::ALL[lane % QueueKind::COUNT])
        })
    }

    /// Runs this queue's tasks here and now, stalled ones too, and no other
    /// event of the machine. A task that is dispatched later is dropped and counted.
    fn shutdown(&self) {
        self.unstall();
        while self.scheduler.step_lanes(self.lanes()) {}
        self.state.lock().closed = true;
    }
}

impl<T: Task> Drop for SimQueue<T> {
    fn drop(&mut self) {
        self.scheduler.forget_tasks(self.lanes());
    }
}

impl<T: Task> fmt::Debug for SimQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimQueue")
            .field("queued", &self.queued())
            .field("dispatched", &self.dispatches_total())
            .finish_non_exhaustive()
    }
}
