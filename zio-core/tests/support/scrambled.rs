//! A task queue without threads that runs tasks in an order drawn from a seed.

use std::cell::Cell;
use std::sync::Mutex;

use zio_core::{QueueKind, Route, Task, TaskQueue, ZioType};

use super::rng::Rng;

thread_local! {
    static WORKER: Cell<Option<(ZioType, QueueKind)>> = const { Cell::new(None) };
}

/// Tasks wait until somebody steps.
pub(crate) struct Scrambled<T>(Mutex<Vec<(T, Route)>>);

impl<T: Task> Scrambled<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Runs one task, any of them. `false` when there is none.
    pub(crate) fn step(&self, rng: &mut Rng) -> bool {
        let (task, route) = {
            let mut tasks = self.0.lock().unwrap();
            if tasks.is_empty() {
                return false;
            }
            let any = rng.below(tasks.len());
            tasks.swap_remove(any)
        };
        let before = WORKER.replace(Some((route.ty, route.kind)));
        task.run();
        WORKER.set(before);
        true
    }
}

impl<T: Task> TaskQueue<T> for Scrambled<T> {
    fn dispatch(&self, task: T, route: Route) {
        self.0.lock().unwrap().push((task, route));
    }

    fn on_worker(&self) -> Option<(ZioType, QueueKind)> {
        WORKER.get()
    }

    fn shutdown(&self) {
        assert!(self.0.lock().unwrap().is_empty(), "a closed engine leaves no task behind");
    }
}
