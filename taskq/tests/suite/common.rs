//! What several tests need.

use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use taskq::{Job, Taskq};
use zio_core::{QueueKind, Route, TaskQueue, ZioType};

pub(crate) const ROUTE: Route = Route::back(ZioType::Read, QueueKind::Issue);

/// Long enough for anything that happens at all; reached only by a test that fails.
pub(crate) const FOREVER: Duration = Duration::from_secs(20);

/// Shut until it is opened.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub(crate) fn pass(&self) {
        let open = self.0.0.lock().unwrap();
        let (_open, wait) = self.0.1.wait_timeout_while(open, FOREVER, |open| !*open).unwrap();
        assert!(!wait.timed_out(), "the gate was never opened");
    }
}

/// Runs something as a task and gives back what it made.
pub(crate) fn ask<R: Send + 'static>(
    queue: &Taskq<Job>,
    route: Route,
    question: impl FnOnce() -> R + Send + 'static,
) -> R {
    let (sender, receiver) = mpsc::channel();
    queue.dispatch(Job::new(move || sender.send(question()).unwrap()), route);
    receiver.recv_timeout(FOREVER).expect("the task never ran")
}

pub(crate) fn thread_name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

/// Waits for something other threads bring about.
pub(crate) fn eventually(mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < FOREVER, "it never came true");
        thread::yield_now();
    }
}
