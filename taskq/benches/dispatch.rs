//! What a dispatch costs, beside rayon and beside a plain pool around a crossbeam channel.
//!
//! `cargo bench -p taskq`. All run the same closures on the same number of threads, round by
//! round in turns; of the rounds the fastest counts, the one that other programs disturbed least. Throughput: from the first dispatch until the last task has run, divided
//! by the number of tasks. Dispatch: the same, until the last dispatch has returned. Latency: one
//! task at a time, from dispatch until its first instruction, with the workers asleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use taskq::{Config, Job, Taskq};
use zio_core::{QueueKind, Route, TaskQueue, ZioType};

const TASKS: usize = 200_000;
const ROUNDS: usize = 9;
const LATENCIES: usize = 1_000;
const ROUTE: Route = Route::back(ZioType::Null, QueueKind::Issue);

type Work = Box<dyn FnOnce() + Send>;

trait Pool: Send + Sync {
    fn name(&self) -> &'static str;
    fn spawn(&self, work: impl FnOnce() + Send + 'static);
}

struct Ours(Arc<Taskq<Job>>, &'static str);

impl Pool for Ours {
    fn name(&self) -> &'static str {
        self.1
    }
    fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        self.0.dispatch(Job::new(work), ROUTE);
    }
}

struct Rayon(rayon::ThreadPool);

impl Pool for Rayon {
    fn name(&self) -> &'static str {
        "rayon"
    }
    fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        self.0.spawn(work);
    }
}

struct Channel(crossbeam_channel::Sender<Work>);

impl Channel {
    fn new(threads: usize) -> Self {
        let (sender, receiver) = crossbeam_channel::unbounded::<Work>();
        for _ in 0..threads {
            let receiver = receiver.clone();
            thread::spawn(move || receiver.iter().for_each(|work| work()));
        }
        Self(sender)
    }
}

impl Pool for Channel {
    fn name(&self) -> &'static str {
        "crossbeam channel"
    }
    fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        assert!(self.0.send(Box::new(work)).is_ok());
    }
}

/// One round: (dispatch, throughput) in ns per task.
fn throughput(pool: &impl Pool, producers: usize) -> (f64, f64) {
    let done = Arc::new(AtomicUsize::new(0));
    let each = TASKS / producers;
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..producers {
            scope.spawn(|| {
                for _ in 0..each {
                    let done = Arc::clone(&done);
                    pool.spawn(move || {
                        done.fetch_add(1, Ordering::Release);
                    });
                }
            });
        }
    });
    let dispatched = start.elapsed();
    while done.load(Ordering::Acquire) < each * producers {
        thread::yield_now();
    }
    let run = start.elapsed();
    let per_task = |time: Duration| time.as_nanos() as f64 / (each * producers) as f64;
    (per_task(dispatched), per_task(run))
}

/// One sample, in ns.
fn latency(pool: &impl Pool, epoch: Instant) -> u64 {
    thread::sleep(Duration::from_micros(100));
    let begun = Arc::new(AtomicU64::new(0));
    let mark = Arc::clone(&begun);
    let start = epoch.elapsed();
    pool.spawn(move || mark.store(epoch.elapsed().as_nanos() as u64, Ordering::Release));
    loop {
        match begun.load(Ordering::Acquire) {
            0 => thread::sleep(Duration::from_micros(20)),
            at => break at - start.as_nanos() as u64,
        }
    }
}

/// A pool's measurements, with its type forgotten outside the measured loops.
struct Row {
    name: &'static str,
    throughput: Box<dyn Fn(usize) -> (f64, f64)>,
    latency: Box<dyn Fn(Instant) -> u64>,
}

fn row(pool: impl Pool + 'static) -> Row {
    let pool = Arc::new(pool);
    let other = Arc::clone(&pool);
    Row {
        name: pool.name(),
        throughput: Box::new(move |producers| throughput(&*pool, producers)),
        latency: Box::new(move |epoch| latency(&*other, epoch)),
    }
}

fn percentile<V: PartialOrd + Copy>(mut values: Vec<V>, percent: usize) -> V {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values[values.len() * percent / 100]
}

fn main() {
    for threads in [1, 2] {
        let spinning = Config::single("spin", threads).spin_rounds_max(1000);
        let rayon = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let rows = [
            row(Ours(Taskq::new(Config::single("bench", threads)), "taskq")),
            row(Ours(Taskq::new(spinning), "taskq, 1000 spins")),
            row(Rayon(rayon.expect("threads for rayon"))),
            row(Channel::new(threads)),
        ];
        println!(
            "\n{:<20} {:>9} {:>12} {:>14}",
            format!("{threads} threads"),
            "producers",
            "dispatch ns",
            "throughput ns"
        );
        for producers in [1, 2, 8] {
            let mut results = vec![Vec::new(); rows.len()];
            for _ in 0..ROUNDS {
                for (row, results) in rows.iter().zip(&mut results) {
                    results.push((row.throughput)(producers));
                }
            }
            for (row, results) in rows.iter().zip(results) {
                let (dispatch, run): (Vec<f64>, Vec<f64>) = results.into_iter().unzip();
                let (dispatch, run) = (percentile(dispatch, 0), percentile(run, 0));
                println!("{:<20} {producers:>9} {dispatch:>12.0} {run:>14.0}", row.name);
            }
        }
        println!("{:<20} {:>9} {:>12}", "latency", "p50 µs", "p99 µs");
        let epoch = Instant::now();
        let mut samples = vec![Vec::new(); rows.len()];
        for _ in 0..LATENCIES {
            for (row, samples) in rows.iter().zip(&mut samples) {
                samples.push((row.latency)(epoch));
            }
        }
        for (row, samples) in rows.iter().zip(samples) {
            let at = |percent| percentile(samples.clone(), percent) as f64 / 1000.0;
            println!("{:<20} {:>9.1} {:>12.1}", row.name, at(50), at(99));
        }
    }
}
