//! A task queue that runs each task where it is dispatched.

use zio_core::{QueueKind, Route, Task, TaskQueue, ZioType};

/// No threads, no queue.
pub(crate) struct Immediate;

impl<T: Task> TaskQueue<T> for Immediate {
    fn dispatch(&self, task: T, _route: Route) {
        task.run();
    }

    fn on_worker(&self) -> Option<(ZioType, QueueKind)> {
        None
    }

    fn shutdown(&self) {}
}
