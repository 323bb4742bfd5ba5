//! Tasks from one producer, from the first dispatch until the last has run.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Result;
use taskq::{Config, Job, Taskq};
use zio_core::{QueueKind, Route, TaskQueue, ZioType};

use super::Bench;
use crate::bench::contest::Contender;
use crate::bench::report::Unit;

pub(super) const NAME: &str = "taskq-dispatch";

const ROUTE: Route = Route::back(ZioType::Null, QueueKind::Issue);

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    if !bench.wants(NAME) {
        return Ok(());
    }
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let tasks = bench.plan.tasks;
    let queue = Taskq::<Job>::new(Config::single("bench", threads));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let ours = side(tasks, |ran| {
        queue.dispatch(Job::new(move || _ = ran.fetch_add(1, Ordering::Release)), ROUTE);
    });
    let baseline = side(tasks, |ran| pool.spawn(move || _ = ran.fetch_add(1, Ordering::Release)));
    bench.row(NAME, Unit::TasksPerSecond, "rayon spawn", ours, Some(baseline))
}

fn side<'a>(tasks: usize, spawn: impl Fn(Arc<AtomicUsize>) + 'a) -> Contender<'a> {
    Box::new(move |round| {
        loop {
            let ran = Arc::new(AtomicUsize::new(0));
            for _ in 0..tasks {
                spawn(Arc::clone(&ran));
            }
            while ran.load(Ordering::Acquire) < tasks {
                thread::yield_now();
            }
            if !round.count(tasks) {
                return Ok(());
            }
        }
    })
}
