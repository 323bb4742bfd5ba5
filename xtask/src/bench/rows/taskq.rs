//! What it costs to hand a task to another thread: throughput with several producers, and the way
//! to a worker that sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use taskq::{Config, Job, Taskq};
use zio_core::{QueueKind, Route, TaskQueue, ZioType};

use super::Bench;
use crate::bench::contest::Contender;
use crate::bench::report::Unit;

const ONE: &str = "taskq-dispatch";
const TWO: &str = "taskq-dispatch-2p";
const EIGHT: &str = "taskq-dispatch-8p";
const CHANNEL_ONE: &str = "taskq-channel";
const CHANNEL_EIGHT: &str = "taskq-channel-8p";
const LATENCY: &str = "taskq-latency";
pub(super) const NAMES: [&str; 6] = [ONE, TWO, EIGHT, CHANNEL_ONE, CHANNEL_EIGHT, LATENCY];

const ROUTE: Route = Route::back(ZioType::Null, QueueKind::Issue);
/// Long enough for a worker without work to fall asleep.
const NAP: Duration = Duration::from_micros(200);

/// Something that runs closures on other threads.
trait Pool: Sync {
    fn spawn(&self, work: impl FnOnce() + Send + 'static);
}

impl Pool for Taskq<Job> {
    fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        self.dispatch(Job::new(work), ROUTE);
    }
}

impl Pool for rayon::ThreadPool {
    fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        Self::spawn(self, work);
    }
}

/// The plainest pool: threads that take boxed closures from a channel. They end with it.
struct Channel(crossbeam_channel::Sender<Box<dyn FnOnce() + Send>>);

impl Channel {
    fn new(threads: usize) -> Self {
        let (sender, receiver) = crossbeam_channel::unbounded::<Box<dyn FnOnce() + Send>>();
        for _ in 0..threads {
            let receiver = receiver.clone();
            thread::spawn(move || receiver.iter().for_each(|work| work()));
        }
        Self(sender)
    }
}

impl Pool for Channel {
    fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        // The receivers live as long as this does.
        let _ = self.0.send(Box::new(work));
    }
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let names = [ONE, TWO, EIGHT, CHANNEL_ONE, CHANNEL_EIGHT, LATENCY];
    if !names.iter().any(|name| bench.wants(name)) {
        return Ok(());
    }
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let tasks = bench.plan.tasks;
    let queue = Taskq::<Job>::new(Config::single("bench", threads));
    let rayon = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let channel = Channel::new(threads);
    let unit = Unit::TasksPerSecond;
    for (name, producers) in [(ONE, 1), (TWO, 2), (EIGHT, 8)] {
        if bench.wants(name) {
            let (ours, baseline) =
                (side(&*queue, producers, tasks), side(&rayon, producers, tasks));
            bench.row(name, unit, "rayon spawn", ours, Some(baseline))?;
        }
    }
    for (name, producers) in [(CHANNEL_ONE, 1), (CHANNEL_EIGHT, 8)] {
        if bench.wants(name) {
            let (ours, its) = (side(&*queue, producers, tasks), side(&channel, producers, tasks));
            bench.row(name, unit, "crossbeam channel", ours, Some(its))?;
        }
    }
    if bench.wants(LATENCY) {
        let (ours, baseline) = (latency(&*queue), latency(&rayon));
        bench.row(LATENCY, Unit::PercentileUs(50), "rayon spawn", ours, Some(baseline))?;
    }
    Ok(())
}

/// Each producer dispatches its share of `tasks` and waits until they have run, again and again.
fn side<P: Pool>(pool: &P, producers: usize, tasks: usize) -> Contender<'_> {
    let each = (tasks / producers).max(1);
    Box::new(move |round| {
        let produce = || {
            let mut ops = 0;
            loop {
                let ran = Arc::new(AtomicUsize::new(0));
                for _ in 0..each {
                    let ran = Arc::clone(&ran);
                    pool.spawn(move || _ = ran.fetch_add(1, Ordering::Release));
                }
                while ran.load(Ordering::Acquire) < each {
                    thread::yield_now();
                }
                ops += each;
                if !round.is_open(Instant::now()) {
                    return ops;
                }
            }
        };
        let ops = match producers {
            1 => produce(),
            _ => thread::scope(|scope| {
                let all: Vec<_> = (0..producers).map(|_| scope.spawn(produce)).collect();
                all.into_iter().map(|producer| producer.join().unwrap_or(0)).sum()
            }),
        };
        round.count(ops);
        Ok(())
    })
}

/// One task at a time, from its dispatch until its first instruction, with the workers asleep.
fn latency<P: Pool>(pool: &P) -> Contender<'_> {
    let epoch = Instant::now();
    let now_ns = move || epoch.elapsed().as_nanos() as u64;
    Box::new(move |round| {
        loop {
            thread::sleep(NAP);
            let begun = Arc::new(AtomicU64::new(0));
            let mark = Arc::clone(&begun);
            let start_ns = now_ns();
            pool.spawn(move || mark.store(now_ns(), Ordering::Release));
            let begun_ns = loop {
                match begun.load(Ordering::Acquire) {
                    // Out of the way of the one that is to wake.
                    0 => thread::sleep(NAP / 8),
                    at => break at,
                }
            };
            round.took(Duration::from_nanos(begun_ns.saturating_sub(start_ns)));
            if !round.is_open(Instant::now()) {
                return Ok(());
            }
        }
    })
}
