//! The suite for [`TaskQueue`].

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use zio_core::{Priority, QueueKind, Route, Task, TaskQueue, ZioType};

use super::{Check, Violation, ensure, run_checks};
use crate::rng::Rng;

/// The task that the suite sends through a queue.
pub struct Job(Box<Inner>);

struct Inner {
    link: Option<Job>,
    work: Option<Box<dyn FnOnce() + Send>>,
    seen: Arc<Seen>,
    number: u64,
}

/// What became of the jobs.
#[derive(Default)]
struct Seen {
    runs: Mutex<HashMap<u64, u32>>,
    dropped: Mutex<Vec<u64>>,
    complaints: Mutex<Vec<String>>,
    /// Numbers in the order of running.
    order: Mutex<Vec<u64>>,
}

impl Job {
    fn new(seen: &Arc<Seen>, number: u64, work: impl FnOnce() + Send + 'static) -> Self {
        let work: Box<dyn FnOnce() + Send> = Box::new(work);
        Self(Box::new(Inner { link: None, work: Some(work), seen: Arc::clone(seen), number }))
    }

    fn idle(seen: &Arc<Seen>, number: u64) -> Self {
        Self::new(seen, number, || {})
    }
}

impl Task for Job {
    fn run(mut self) {
        let Inner { link, work, seen, number } = &mut *self.0;
        if link.is_some() {
            let words = format!("job {number} runs while another one hangs on its link");
            seen.complaints.lock().push(words);
        }
        *seen.runs.lock().entry(*number).or_default() += 1;
        seen.order.lock().push(*number);
        if let Some(work) = work.take() {
            work();
        }
    }

    fn link(&mut self) -> &mut Option<Self> {
        &mut self.0.link
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.work.is_some() {
            self.seen.dropped.lock().push(self.number);
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({})", self.0.number)
    }
}

/// A set of task queues to be tested.
pub struct QueueFixture {
    queue: Arc<dyn TaskQueue<Job>>,
    serial: Option<(ZioType, QueueKind)>,
    drive: Option<Box<dyn Fn()>>,
    patience: Duration,
}

impl QueueFixture {
    /// Queues that run tasks on their own threads.
    pub fn new(queue: Arc<dyn TaskQueue<Job>>) -> Self {
        Self { queue, serial: None, drive: None, patience: Duration::from_secs(10) }
    }

    /// A (type, kind) that one worker serves, so that order can be seen.
    /// Without it the checks of order are left out.
    #[must_use]
    pub fn serial(mut self, ty: ZioType, kind: QueueKind) -> Self {
        self.serial = Some((ty, kind));
        self
    }

    /// Queues whose tasks run when somebody calls this.
    #[must_use]
    pub fn driven_by(mut self, drive: impl Fn() + 'static) -> Self {
        self.drive = Some(Box::new(drive));
        self
    }

    /// How long all tasks may take on the real clock; ten seconds at first.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Waits until so many jobs have run.
    fn wait(&self, seen: &Seen, jobs: usize) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            let ran = seen.order.lock().len();
            if ran >= jobs {
                break;
            }
            ensure!(
                begin.elapsed() < self.patience,
                "{ran} of {jobs} tasks ran in {:?}",
                self.patience
            );
            match &self.drive {
                Some(drive) => drive(),
                None => thread::sleep(Duration::from_micros(200)),
            }
        }
        seen.complaints()
    }
}

impl Seen {
    fn complaints(&self) -> Result<(), String> {
        self.complaints.lock().first().map_or(Ok(()), |first| Err(first.clone()))
    }

    /// Every number below `jobs` ran once.
    fn once(&self, jobs: u64) -> Result<(), String> {
        let runs = self.runs.lock();
        for number in 0..jobs {
            let times = runs.get(&number).copied().unwrap_or(0);
            ensure!(times == 1, "task {number} of {jobs} ran {times} times");
        }
        let dropped = self.dropped.lock();
        ensure!(dropped.is_empty(), "tasks {:?} were dropped without a run", *dropped);
        self.complaints()
    }
}

const CHECKS: [Check<QueueFixture>; 6] = [
    ("every task of every route runs once", runs_once),
    ("many threads dispatch", many_dispatchers),
    ("a task dispatches tasks", nested),
    ("front goes before back, each in order", front_first),
    ("a worker knows that it is one", on_worker),
    ("a shutdown runs what is queued", shutdown),
];

/// Runs the suite against queues made by `make`.
///
/// # Errors
/// The first violation.
pub fn check_task_queue(make: impl Fn() -> QueueFixture) -> Result<(), Violation> {
    run_checks("TaskQueue", &CHECKS, make)
}

/// Runs the suite against queues made by `make`.
///
/// # Panics
/// On the first violation, with its description.
pub fn task_queue(make: impl Fn() -> QueueFixture) {
    if let Err(violation) = check_task_queue(make) {
        panic!("{violation}");
    }
}

/// Some that wait for somebody, and some of the background.
const CLASSES: [Priority; 4] =
    [Priority::Now, Priority::SyncWrite, Priority::Scrub, Priority::Trim];

fn all_routes() -> Vec<Route> {
    let mut routes = Vec::new();
    for ty in ZioType::ALL {
        for kind in QueueKind::ALL {
            routes.extend([Route::back(ty, kind), Route::front(ty, kind)]);
        }
    }
    routes
}

fn runs_once(fixture: QueueFixture) -> Result<(), String> {
    let seen = Arc::<Seen>::default();
    let mut rng = Rng::new(1);
    let routes = all_routes();
    let jobs = routes.len() * 40;
    for (number, route) in routes.iter().cycle().take(jobs).enumerate() {
        let class = CLASSES[rng.next_u64() as usize % CLASSES.len()];
        let route = Route { affinity: rng.next_u64() as u32, class, ..*route };
        fixture.queue.dispatch(Job::idle(&seen, number as u64), route);
    }
    fixture.wait(&seen, jobs)?;
    fixture.queue.shutdown();
    seen.once(jobs as u64)
}

fn many_dispatchers(fixture: QueueFixture) -> Result<(), String> {
    const THREADS: u64 = 4;
    const EACH: u64 = 2000;
    let seen = Arc::<Seen>::default();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (queue, seen) = (&fixture.queue, &seen);
            scope.spawn(move || {
                let mut rng = Rng::new(thread);
                let routes = all_routes();
                for i in 0..EACH {
                    let route = routes[rng.index(routes.len())];
                    let route = Route { affinity: thread as u32, ..route };
                    queue.dispatch(Job::idle(seen, thread * EACH + i), route);
                }
            });
        }
    });
    fixture.wait(&seen, (THREADS * EACH) as usize)?;
    fixture.queue.shutdown();
    seen.once(THREADS * EACH)
}

/// Each task dispatches two more, down to a depth, each to another queue.
fn nested(fixture: QueueFixture) -> Result<(), String> {
    const JOBS: u64 = (1 << 11) - 1;
    fn job(queue: &Arc<dyn TaskQueue<Job>>, seen: &Arc<Seen>, number: u64) -> Job {
        let (to, by) = (Arc::clone(queue), Arc::clone(seen));
        Job::new(seen, number, move || {
            for child in [2 * number + 1, 2 * number + 2] {
                if child < JOBS {
                    let routes = all_routes();
                    let route = routes[child as usize % routes.len()];
                    to.dispatch(job(&to, &by, child), route);
                }
            }
        })
    }
    let seen = Arc::<Seen>::default();
    let route = Route::back(ZioType::Null, QueueKind::Issue);
    fixture.queue.dispatch(job(&fixture.queue, &seen, 0), route);
    fixture.wait(&seen, JOBS as usize)?;
    fixture.queue.shutdown();
    seen.once(JOBS)
}

/// A task keeps the only worker busy while it queues others behind itself.
fn front_first(fixture: QueueFixture) -> Result<(), String> {
    let Some((ty, kind)) = fixture.serial else { return Ok(()) };
    let seen = Arc::<Seen>::default();
    let (queue, by) = (Arc::clone(&fixture.queue), Arc::clone(&seen));
    let first = Job::new(&seen, 0, move || {
        for number in [4, 5, 6] {
            queue.dispatch(Job::idle(&by, number), Route::back(ty, kind));
        }
        for number in [1, 2, 3] {
            queue.dispatch(Job::idle(&by, number), Route::front(ty, kind));
        }
        queue.dispatch(Job::idle(&by, 7), Route::back(ty, kind));
    });
    fixture.queue.dispatch(first, Route::back(ty, kind));
    fixture.wait(&seen, 8)?;
    let order = seen.order.lock().clone();
    fixture.queue.shutdown();
    ensure!(
        order == [0, 1, 2, 3, 4, 5, 6, 7],
        "tasks 1 to 3 were sent to the front, 4 to 7 to the back; they ran as {order:?}"
    );
    Ok(())
}

/// Inside a task: of its type and its side. A kind without a queue of its own
/// may be served by another one of the same side.
fn on_worker(fixture: QueueFixture) -> Result<(), String> {
    let seen = Arc::<Seen>::default();
    let outside = fixture.queue.on_worker();
    ensure!(outside.is_none(), "a thread that is no worker is taken for one of {outside:?}");
    let routes = all_routes();
    for (number, &route) in routes.iter().enumerate() {
        let (queue, by) = (Arc::clone(&fixture.queue), Arc::clone(&seen));
        let job = Job::new(&seen, number as u64, move || {
            let found = queue.on_worker();
            let fits = found.is_some_and(|(ty, kind)| {
                ty == route.ty && kind.is_interrupt() == route.kind.is_interrupt()
            });
            if !fits {
                let sent = (route.ty, route.kind);
                let words = format!("a worker for {sent:?} is taken for {found:?}");
                by.complaints.lock().push(words);
            }
        });
        fixture.queue.dispatch(job, route);
    }
    fixture.wait(&seen, routes.len())?;
    let outside = fixture.queue.on_worker();
    fixture.queue.shutdown();
    ensure!(outside.is_none(), "after its tasks a thread is taken for a worker of {outside:?}");
    Ok(())
}

/// No waiting and no driving in between: the shutdown itself sees to it.
fn shutdown(fixture: QueueFixture) -> Result<(), String> {
    const JOBS: u64 = 1000;
    let seen = Arc::<Seen>::default();
    let routes = all_routes();
    for number in 0..JOBS {
        let route = routes[number as usize % routes.len()];
        fixture.queue.dispatch(Job::idle(&seen, number), route);
    }
    fixture.queue.shutdown();
    let ran = seen.order.lock().len();
    ensure!(ran as u64 == JOBS, "{ran} of {JOBS} tasks had run when the shutdown returned");
    seen.once(JOBS)
}
