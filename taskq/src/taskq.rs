//! [`Taskq`]: what the owner of a set of queues holds.

use std::sync::Arc;

use zio_core::{QueueKind, Route, Task, TaskQueue, ZioType};

use crate::config::Config;
use crate::engine::Engine;
use crate::stats::Stats;

/// A table of queues with worker threads, made from a [`Config`].
///
/// [`TaskQueue::dispatch`] puts a task into the queue its route leads to. The first task of a
/// queue starts its threads (that one call makes a thread, and so allocates; [`Self::start`] does
/// it beforehand); from then on dispatch neither allocates nor fails nor waits for anything but a
/// short lock.
///
/// Order, within one queue that is not sharded: front tasks first, and each of the two kinds in
/// the order of dispatch. Several workers take tasks in that order and run them side by side.
///
/// A task that panics has run; the panic is counted and told to [`Config::on_trouble`], and its
/// worker goes on.
///
/// # The end
///
/// [`TaskQueue::shutdown`], or dropping the last handle, finishes everything queued and all that
/// those tasks dispatch, then ends the threads. No task is lost: what others dispatch from the
/// moment it begins is run by threads that dispatch, in order of arrival and one at a time. Such
/// a thread may find itself running the tasks of others that came meanwhile, so do not dispatch
/// to a queue that may be closing while you hold a lock that tasks take.
///
/// From within one of its own tasks, shutdown (and drop) does not wait: the workers finish what
/// is queued and leave; tasks dispatched to a queue whose workers have been told to go run on the
/// thread that dispatches them.
pub struct Taskq<T: Task> {
    engine: Arc<Engine<T>>,
}

impl<T: Task> Taskq<T> {
    /// Makes the queues. No thread yet.
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Self { engine: Engine::new(&config) })
    }

    /// Starts the threads of all queues now instead of with their first task. Threads that cannot
    /// be started are told to [`Config::on_trouble`].
    pub fn start(&self) {
        self.engine.start_all();
    }

    /// Waits for a moment at which nothing is queued and nothing runs. Under constant load that
    /// may never come. From within one of its own tasks it returns at once.
    pub fn wait_idle(&self) {
        self.engine.wait_idle();
    }

    /// How many threads have been started and not been waited for; 0 after shutdown.
    pub fn threads(&self) -> usize {
        self.engine.threads()
    }

    /// Counters of the whole set.
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// Counters of the queue that tasks of this type and kind go to. Cells that share a queue
    /// share its counters.
    pub fn stats_of(&self, ty: ZioType, kind: QueueKind) -> Stats {
        self.engine.stats_of(ty, kind)
    }
}

impl<T: Task> TaskQueue<T> for Taskq<T> {
    fn dispatch(&self, task: T, route: Route) {
        self.engine.dispatch(task, route);
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
