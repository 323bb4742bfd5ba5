//! A task queue of real threads: two for the ISSUE side, one for completions.

use std::cell::Cell;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use zio_core::{QueueKind, Route, Task, TaskQueue, ZioType};

thread_local! {
    static WORKER: Cell<Option<(ZioType, QueueKind)>> = const { Cell::new(None) };
}

type Lane<T> = Mutex<Option<Sender<T>>>;

/// Threads that take tasks from two channels.
pub(crate) struct Workers<T> {
    issue: Lane<T>,
    interrupt: Lane<T>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<T: Task> Workers<T> {
    /// Started.
    pub(crate) fn new() -> Arc<Self> {
        let (issue, issue_tasks) = channel();
        let (interrupt, interrupt_tasks) = channel();
        let issue_tasks = Arc::new(Mutex::new(issue_tasks));
        let threads = vec![
            spawn(Arc::clone(&issue_tasks), QueueKind::Issue),
            spawn(issue_tasks, QueueKind::Issue),
            spawn(Arc::new(Mutex::new(interrupt_tasks)), QueueKind::Interrupt),
        ];
        Arc::new(Self {
            issue: Mutex::new(Some(issue)),
            interrupt: Mutex::new(Some(interrupt)),
            threads: Mutex::new(threads),
        })
    }
}

fn spawn<T: Task>(tasks: Arc<Mutex<Receiver<T>>>, kind: QueueKind) -> JoinHandle<()> {
    std::thread::spawn(move || {
        WORKER.set(Some((ZioType::Null, kind)));
        loop {
            let task = tasks.lock().unwrap().recv();
            let Ok(task) = task else { return };
            // A worker outlives the panic of a task.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| task.run()));
        }
    })
}

impl<T: Task> TaskQueue<T> for Workers<T> {
    fn dispatch(&self, task: T, route: Route) {
        let lane = if route.kind.is_interrupt() { &self.interrupt } else { &self.issue };
        let sender = lane.lock().unwrap().clone().expect("a dispatch after shutdown");
        sender.send(task).unwrap_or_else(|_| panic!("workers are gone"));
    }

    fn on_worker(&self) -> Option<(ZioType, QueueKind)> {
        WORKER.get()
    }

    fn shutdown(&self) {
        self.issue.lock().unwrap().take();
        self.interrupt.lock().unwrap().take();
        for thread in self.threads.lock().unwrap().drain(..) {
            thread.join().unwrap();
        }
    }
}
