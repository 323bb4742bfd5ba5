//! What can go wrong without anybody to return an error to, and who hears of it.

use std::any::Any;
use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use zio_core::Task;

/// Something went wrong on a thread of a set of queues. The set goes on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Trouble<'a> {
    /// A task panicked. It counts as run; its worker lives on.
    Panic {
        /// Name of the queue it was in.
        queue: &'a str,
        /// The panic's message, where it was a string.
        message: &'a str,
    },
    /// A thread could not be started. Tasks of a queue without any thread are run by the keeper,
    /// and each dispatch tries anew; without a keeper, by those who dispatch them.
    Start {
        /// Name of the thread.
        thread: &'a str,
        /// The system's answer.
        error: &'a io::Error,
    },
    /// A thread could not be made weaker; it works on, as strong as the others.
    Strength {
        /// Name of the thread.
        thread: &'a str,
        /// The system's answer.
        error: &'a io::Error,
    },
}

impl fmt::Display for Trouble<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic { queue, message } => {
                write!(f, "a task of queue {queue} panicked: {message}")
            }
            Self::Start { thread, error } => write!(f, "cannot start thread {thread}: {error}"),
            Self::Strength { thread, error } => {
                write!(f, "cannot lower the priority of thread {thread}: {error}")
            }
        }
    }
}

/// The callback of a configuration.
#[derive(Clone)]
pub(crate) struct Report(Arc<dyn Fn(&Trouble<'_>) + Send + Sync>);

impl Report {
    pub(crate) fn new(report: Arc<dyn Fn(&Trouble<'_>) + Send + Sync>) -> Self {
        Self(report)
    }

    /// Tells, and survives a callback that panics.
    pub(crate) fn tell(&self, trouble: &Trouble<'_>) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (self.0)(trouble))) {
            discard(payload);
        }
    }
}

impl Default for Report {
    fn default() -> Self {
        Self(Arc::new(|trouble| {
            // Not `eprintln!`, which panics where stderr is closed: nobody is left to tell.
            let _ = writeln!(io::stderr(), "taskq: {trouble}");
        }))
    }
}

/// Runs a task and keeps its panic from whoever runs it. `true` if it did not panic.
pub(crate) fn run_contained<T: Task>(task: T, queue: &str, report: &Report) -> bool {
    match catch_unwind(AssertUnwindSafe(|| task.run())) {
        Ok(()) => true,
        Err(payload) => {
            let message = payload
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("(no message)");
            report.tell(&Trouble::Panic { queue, message });
            discard(payload);
            false
        }
    }
}

/// Drops a panic's payload, which may panic itself. A payload that does is leaked.
pub(crate) fn discard(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}
