//! [`Taskq`]: what the owner of a set of queues holds.

use std::sync::Arc;
use std::time::Duration;

use zio_core::{QueueKind, Route, Task, TaskQueue, ZioType};

use crate::config::{Config, Lane};
use crate::engine::Engine;
use crate::id::{Cancel, TaskId};
use crate::info::WorkerInfo;
use crate::stats::Stats;

/// A table of queues with worker threads, made from a [`Config`].
///
/// [`TaskQueue::dispatch`] puts a task into the queue its route leads to. It neither allocates nor
/// fails nor starts a thread nor waits for anything but a short lock.
///
/// Order, within one queue that is not sharded: front tasks first, and each of the two kinds in
/// the order of dispatch. Several workers take tasks in that order and run them side by side.
///
/// A task that panics has run; the panic is counted and told to [`Config::on_trouble`], and its
/// worker goes on.
///
/// # Threads
///
/// One thread, the keeper, is there from the start. It starts a queue's first worker with the first
/// task, and another one when all are busy and a task waits, or when one has run more than four
/// tasks without a rest; one at a time, up to the figure of the [`Config`]. A worker that its queue
/// could have done without leaves after a while: at most one in five seconds, and never the first.
/// ([`Mode::Batch`](crate::Mode::Batch): all come with the first task, and stay.)
///
/// # Shards
///
/// Equal affinities meet on one shard, and its own workers run them, as long as they keep up. When
/// a run of tasks has piled up there, or when no task has left it for a millisecond, workers of
/// other shards of the same queue that have nothing to do come and run some of it, the oldest
/// first.
///
/// # The end
///
/// [`TaskQueue::shutdown`], or dropping the last handle, finishes everything queued and all that
/// those tasks dispatch, then ends the threads. Delayed tasks are due at once. No task is lost:
/// what others dispatch from the moment it begins is run by threads that dispatch, in order of
/// arrival and one at a time. Such a thread may find itself running the tasks of others that came
/// meanwhile, so do not dispatch to a queue that may be closing while you hold a lock that tasks
/// take.
///
/// From within one of its own tasks, shutdown (and drop) does not wait: the workers finish what
/// is queued and leave; tasks dispatched to a queue whose workers have been told to go run on the
/// thread that dispatches them.
pub struct Taskq<T: Task> {
    engine: Arc<Engine<T>>,
}

impl<T: Task> Taskq<T> {
    /// Makes the queues, and the keeper's thread. Where that cannot be had, [`Config::on_trouble`]
    /// is told, and all tasks run on the threads that dispatch them.
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Self { engine: Engine::new(&config) })
    }

    /// Starts all the threads there may be, now and from here, instead of by need. Those that turn
    /// out not to be needed leave in time. Threads that cannot be started are told to
    /// [`Config::on_trouble`].
    pub fn start(&self) {
        self.engine.start_all();
    }

    /// As [`TaskQueue::dispatch`], and tells by what name the task can be waited for and cancelled.
    pub fn dispatch_with_id(&self, task: T, route: Route) -> TaskId {
        TaskId(self.engine.dispatch(task, &route))
    }

    /// Dispatches a task when `delay` is over, to the front of its queue; those that fall due
    /// together in the order of these calls. Unlike dispatch this may allocate. At the end of the
    /// set, tasks do not wait for their time.
    pub fn dispatch_after(&self, task: T, route: Route, delay: Duration) -> TaskId {
        TaskId(self.engine.dispatch_after(task, route, delay))
    }

    /// Takes a task back, if it has not begun. Costs a walk along its queue.
    pub fn cancel(&self, id: TaskId) -> Cancel<T> {
        self.engine.cancel(id.0)
    }

    /// Waits until this task has run, or has been taken back. From within one of the set's own
    /// tasks it does not wait; `true` if it is so.
    pub fn wait_for(&self, id: TaskId) -> bool {
        self.engine.wait_for(id.0)
    }

    /// Waits until every task that has been dispatched by now, delayed ones too, has run or been
    /// taken back, whatever comes meanwhile. From within one of its own tasks it returns at once.
    pub fn wait_outstanding(&self) {
        self.engine.wait_outstanding();
    }

    /// Waits for a moment at which nothing is queued, delayed or running. Under constant load that
    /// may never come. From within one of its own tasks it returns at once.
    pub fn wait_idle(&self) {
        self.engine.wait_idle();
    }

    /// How many workers there are, the keeper not among them; 0 after shutdown.
    pub fn threads(&self) -> usize {
        self.engine.threads()
    }

    /// Who works here just now, queue by queue.
    pub fn workers(&self) -> Vec<WorkerInfo> {
        self.engine.workers()
    }

    /// The lane of the current thread, if it is a worker of this set. O(1).
    pub fn lane(&self) -> Option<Lane> {
        self.engine.lane()
    }

    /// Counters of the whole set.
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// Counters of the queue that a route leads to. Routes that share a queue share its counters.
    pub fn stats_of(&self, route: Route) -> Stats {
        self.engine.stats_of(&route)
    }
}

impl<T: Task> TaskQueue<T> for Taskq<T> {
    fn dispatch(&self, task: T, route: Route) {
        self.engine.dispatch(task, &route);
    }

    fn on_worker(&self) -> Option<(ZioType, QueueKind)> {
        self.engine.on_worker()
    }

    fn shutdown(&self) {
        self.engine.shutdown();
    }
}

impl<T: Task> Drop for Taskq<T> {
    fn drop(&mut self) {
        self.engine.shutdown();
    }
}

impl<T: Task> std::fmt::Debug for Taskq<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Taskq").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
