//! Fan-out inside one task: many CPUs share the work of a single block, by rayon.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::config::plain_name;
use crate::strength;
use crate::trouble::discard;

/// Threads for work that is one task to the pipeline and many to the CPU: BLAKE3 over megabytes,
/// parity of a wide stripe, verifying all copies of a block.
///
/// A worker of a [`Taskq`](crate::Taskq) must not wait for such work: it would stand still while
/// other tasks wait behind it. So the work is not called, it is *handed over*: [`Self::run`]
/// returns at once, the worker takes its next task, and when the work is done the continuation
/// brings the task back to a queue. In the terms of a pipeline: a stage moves its I/O into the
/// closure and answers "parked".
///
/// Inside the work all of rayon is at hand (`join`, `scope`, parallel iterators), and so is what
/// others have built on it; it uses these threads.
///
/// ```
/// use std::sync::{Arc, mpsc};
/// use taskq::{Config, FanOut, Job, Taskq};
/// use zio_core::{QueueKind, Route, TaskQueue, ZioType};
///
/// let queue = Taskq::<Job>::new(Config::single("lane", 1));
/// let fan = Arc::new(FanOut::new("fan", 2, 0)?);
/// let route = Route::back(ZioType::Write, QueueKind::Issue);
/// let (sender, receiver) = mpsc::channel();
///
/// // A "stage", on the queue's only worker: the block leaves it, …
/// let (lane, block) = (Arc::clone(&queue), vec![1_u8; 1 << 20]);
/// let stage = move || {
///     let sum = |half: &[u8]| half.iter().map(|&byte| u64::from(byte)).sum::<u64>();
///     let work = move || {
///         let (left, right) = block.split_at(block.len() / 2);
///         let (left, right) = rayon::join(|| sum(left), || sum(right));
///         (block, left + right)
///     };
///     fan.run(work, move |result| {
///         // … and comes back as another task.
///         let next = Job::new(move || sender.send(result.map(|(_, sum)| sum)).unwrap());
///         lane.dispatch(next, route);
///     });
/// };
/// queue.dispatch(Job::new(stage), route);
/// assert_eq!(receiver.recv(), Ok(Ok(1 << 20)));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # The order
///
/// Works begin in the order they came, and no more of them at a time than there are threads. A
/// thread whose work waits for a part that another one has taken helps with whatever has begun
/// meanwhile, so its own work ends after that. Were everything begun at once, the first could end
/// after hundreds of later ones, all of them on one stack.
///
/// # The end
///
/// Dropping it waits until all work has been done and all continuations have run; from within one
/// of them it does not wait, and they are done all the same.
pub struct FanOut {
    pool: rayon::ThreadPool,
    flight: Arc<Flight>,
}

/// The work panicked. The message went to stderr when it did. What the closure owned is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkPanicked;

impl fmt::Display for WorkPanicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("work that was fanned out panicked")
    }
}

impl std::error::Error for WorkPanicked {}

type Work = Box<dyn FnOnce() + Send>;

/// What is under way.
struct Flight {
    threads: usize,
    state: Mutex<State>,
    landed: Condvar,
}

#[derive(Default)]
struct State {
    begun: usize,
    waiting: VecDeque<Work>,
}

impl FanOut {
    /// `threads` threads (0 counts as 1) called `name-0`, `name-1`, …, cut to 15 bytes, each weaker
    /// than the caller by so many steps of niceness, as in
    /// [`Background::nice`](crate::Background::nice). Where that is refused they are as strong as
    /// the caller.
    ///
    /// # Errors
    ///
    /// The operating system's refusal of a thread.
    pub fn new(name: &str, threads: usize, nice: u8) -> io::Result<Self> {
        let (name, threads) = (name.to_owned(), threads.max(1));
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(move |number| plain_name(&format!("{name}-{number}")))
            .start_handler(move |_| {
                // A refusal costs strength, not work.
                let _ = strength::weaken(nice);
            })
            .build()
            .map_err(io::Error::other)?;
        let (state, landed) = (Mutex::default(), Condvar::new());
        Ok(Self { pool, flight: Arc::new(Flight { threads, state, landed }) })
    }

    /// Has `work` done, then calls `then` with what it made, both on threads of this pool. Returns
    /// at once. `then` is called once, come what may; it should be short and must not wait.
    pub fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
        then: impl FnOnce(Result<R, WorkPanicked>) + Send + 'static,
    ) {
        self.flight.add(Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
                discard(payload);
                WorkPanicked
            });
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| then(result))) {
                discard(payload);
            }
        }));
        self.flight.begin(|begun| self.pool.spawn(begun));
    }
}

thread_local! {
    /// This thread is inside a work, maybe waiting for a part of it.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

impl Flight {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, work: Work) {
        self.lock().waiting.push_back(work);
    }

    /// The next one, if it may begin.
    fn next(&self) -> Option<Work> {
        let mut state = self.lock();
        let work = if state.begun < self.threads { state.waiting.pop_front() } else { None }?;
        state.begun += 1;
        Some(work)
    }

    fn begin(self: &Arc<Self>, spawn: impl Fn(Work)) {
        while let Some(work) = self.next() {
            let flight = Arc::clone(self);
            spawn(Box::new(move || flight.carry_out(work)));
        }
    }

    /// Begun within another one, which waits, it leaves the next to that one's end: on top of this
    /// stack the next would keep that one from going on.
    fn carry_out(self: Arc<Self>, work: Work) {
        let was_inside = INSIDE.replace(true);
        work();
        INSIDE.set(was_inside);
        self.lock().begun -= 1;
        if !was_inside {
            self.begin(rayon::spawn);
        }
        self.landed.notify_all();
    }

    fn wait(&self) {
        let is_busy = |state: &mut State| state.begun > 0 || !state.waiting.is_empty();
        let none = self.landed.wait_while(self.lock(), is_busy);
        drop(none.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for FanOut {
    fn drop(&mut self) {
        if self.pool.current_thread_index().is_none() {
            self.flight.wait();
        }
    }
}

impl fmt::Debug for FanOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanOut")
            .field("threads", &self.pool.current_num_threads())
            .finish_non_exhaustive()
    }
}
