//! A ready-made task for those who have no intrusive one: a closure.

use zio_core::Task;

/// A closure as a [`Task`]. Making one allocates once; dispatching it does not.
///
/// ```
/// use taskq::{Config, Job, Taskq};
/// use zio_core::{QueueKind, Route, TaskQueue, ZioType};
///
/// let (sender, receiver) = std::sync::mpsc::channel();
/// let queue = Taskq::<Job>::new(Config::single("work", 2));
/// let route = Route::back(ZioType::Null, QueueKind::Issue);
/// queue.dispatch(Job::new(move || sender.send(6 * 7).unwrap()), route);
/// assert_eq!(receiver.recv(), Ok(42));
/// ```
pub struct Job(Box<Entry<dyn Call>>);

struct Entry<C: ?Sized> {
    link: Option<Job>,
    call: C,
}

/// `FnOnce` in a box that also holds something else: it is called through a reference, once.
trait Call: Send {
    fn call(&mut self);
}

struct Once<F>(Option<F>);

impl<F: FnOnce() + Send> Call for Once<F> {
    fn call(&mut self) {
        if let Some(work) = self.0.take() {
            work();
        }
    }
}

impl Job {
    /// Wraps a closure.
    pub fn new(work: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(Entry { link: None, call: Once(Some(work)) }))
    }
}

impl Task for Job {
    fn run(mut self) {
        self.0.call.call();
    }

    fn link(&mut self) -> &mut Option<Self> {
        &mut self.0.link
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}
