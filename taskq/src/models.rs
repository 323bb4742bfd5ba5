//! The whole crate under the shuttle model checker: in unit tests `sync` stands for its locks and
//! threads, so these run the real code under many random schedules. A lost wake-up shows as a
//! deadlock, a lost or doubled task in the counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::sync::Barrier;
use shuttle::thread;
use zio_core::{QueueKind, Route, Task, TaskQueue, ZioType};

use crate::{Config, Job, ManualClock, Mode, Taskq};

/// Schedules tried by each of the two strategies. All models together stay well below 10 s.
const SCHEDULES: usize = 1500;
/// Preemptions at chosen points (probabilistic concurrency testing finds bugs of this depth).
const DEPTH: usize = 3;

const ROUTE: Route = Route::back(ZioType::Read, QueueKind::Interrupt);

fn check(model: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(model.clone(), SCHEDULES);
    shuttle::check_pct(model, SCHEDULES, DEPTH);
}

/// One queue, by a clock that stands still.
fn single(threads: usize) -> Config {
    Config::single("m", threads).clock(&ManualClock::new())
}

/// One cell per task: how often it ran.
#[derive(Clone)]
struct Ledger(Arc<Vec<AtomicUsize>>);

impl Ledger {
    fn new(tasks: usize) -> Self {
        Self(Arc::new((0..tasks).map(|_| AtomicUsize::new(0)).collect()))
    }

    fn job(&self, task: usize) -> Job {
        let ledger = self.clone();
        Job::new(move || {
            // A point where others may overtake.
            thread::yield_now();
            ledger.0[task].fetch_add(1, Ordering::Relaxed);
        })
    }

    fn counts(&self) -> Vec<usize> {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    fn assert_each_once(&self) {
        assert!(self.counts().iter().all(|&count| count == 1), "runs: {:?}", self.counts());
    }
}

fn produce(queue: &Arc<Taskq<Job>>, ledger: &Ledger, tasks: std::ops::Range<usize>) {
    for task in tasks {
        let route = if task % 3 == 2 { Route::front(ROUTE.ty, ROUTE.kind) } else { ROUTE };
        queue.dispatch(ledger.job(task), route);
    }
}

fn no_wake_up_is_lost(threads: usize, spin: u32) {
    check(move || {
        let queue = Taskq::new(single(threads).spin_rounds_max(spin));
        let ledger = Ledger::new(5);
        let producer = {
            let (queue, ledger) = (Arc::clone(&queue), ledger.clone());
            thread::spawn(move || produce(&queue, &ledger, 0..2))
        };
        produce(&queue, &ledger, 2..4);
        producer.join().unwrap();
        queue.wait_idle();
        assert_eq!(ledger.counts(), [1, 1, 1, 1, 0]);
        produce(&queue, &ledger, 4..5);
        queue.wait_idle();
        ledger.assert_each_once();
        queue.shutdown();
    });
}

#[test]
fn no_wake_up_is_lost_by_one_worker() {
    no_wake_up_is_lost(1, 0);
}

#[test]
fn no_wake_up_is_lost_by_two_workers() {
    no_wake_up_is_lost(2, 0);
}

#[test]
fn no_wake_up_is_lost_by_spinning_workers() {
    no_wake_up_is_lost(2, 2);
}

/// Three tasks that wait for each other need three workers at once: whoever finds work while more
/// is waiting must wake the next one.
fn no_task_waits_while_a_worker_sleeps(spin: u32) {
    check(move || {
        let queue = Taskq::new(single(3).spin_rounds_max(spin));
        for _ in 0..2 {
            let barrier = Arc::new(Barrier::new(3));
            for _ in 0..3 {
                let barrier = Arc::clone(&barrier);
                let meet = move || {
                    barrier.wait();
                };
                queue.dispatch(Job::new(meet), ROUTE);
            }
            queue.wait_idle();
        }
        queue.shutdown();
    });
}

#[test]
fn no_task_waits_while_a_worker_sleeps_without_spinning() {
    no_task_waits_while_a_worker_sleeps(0);
}

#[test]
fn no_task_waits_while_a_worker_sleeps_with_spinning() {
    no_task_waits_while_a_worker_sleeps(2);
}

#[test]
fn shutdown_under_load_loses_nothing() {
    check(|| {
        let queue = Taskq::new(single(2));
        let ledger = Ledger::new(6);
        let producers: Vec<_> = [0..2, 2..4]
            .into_iter()
            .map(|tasks| {
                let (queue, ledger) = (Arc::clone(&queue), ledger.clone());
                thread::spawn(move || produce(&queue, &ledger, tasks))
            })
            .collect();
        produce(&queue, &ledger, 4..5);
        queue.shutdown();
        assert_eq!(ledger.counts()[4], 1, "dispatched before shutdown, so run when it returns");
        produce(&queue, &ledger, 5..6);
        for producer in producers {
            producer.join().unwrap();
        }
        queue.shutdown();
        ledger.assert_each_once();
    });
}

#[test]
fn shutdown_waits_for_what_tasks_dispatch() {
    check(|| {
        let config = single(1).queue(
            ZioType::Write,
            QueueKind::Issue,
            Mode::Fixed { threads: 1, queues: 1 },
        );
        let queue = Taskq::new(config);
        let ledger = Ledger::new(3);
        let (inner, follow) = (Arc::clone(&queue), ledger.clone());
        let write = Route::back(ZioType::Write, QueueKind::Issue);
        queue.dispatch(
            Job::new(move || {
                let (last, more) = (Arc::clone(&inner), follow.clone());
                let task = Job::new(move || {
                    more.job(1).run();
                    last.dispatch(more.job(2), ROUTE);
                });
                inner.dispatch(task, write);
                follow.job(0).run();
            }),
            ROUTE,
        );
        queue.shutdown();
        ledger.assert_each_once();
        assert_eq!(queue.stats().overflow, 0, "workers do it while they are there");
    });
}

#[test]
fn two_may_shut_down_at_once_and_both_wait() {
    check(|| {
        let queue = Taskq::new(single(1));
        let ledger = Ledger::new(2);
        produce(&queue, &ledger, 0..2);
        let other = {
            let (queue, ledger) = (Arc::clone(&queue), ledger.clone());
            thread::spawn(move || {
                queue.shutdown();
                ledger.assert_each_once();
            })
        };
        queue.shutdown();
        ledger.assert_each_once();
        other.join().unwrap();
    });
}

#[test]
fn the_last_handle_may_be_dropped_by_a_task() {
    check(|| {
        let queue = Taskq::new(single(2));
        let ledger = Ledger::new(3);
        produce(&queue, &ledger, 0..2);
        let (inner, last) = (Arc::clone(&queue), ledger.clone());
        queue.dispatch(
            Job::new(move || {
                inner.dispatch(last.job(2), ROUTE);
                drop(inner);
            }),
            ROUTE,
        );
        drop(queue);
        // Shuttle lets the model end only when all its threads have: none waits for ever.
        while ledger.counts() != [1, 1, 1] {
            thread::yield_now();
        }
    });
}

#[test]
fn shutdown_waits_for_tasks_that_dispatchers_run() {
    check(|| {
        let queue = Taskq::new(single(1));
        queue.shutdown();
        let ledger = Ledger::new(2);
        let other = {
            let (queue, ledger) = (Arc::clone(&queue), ledger.clone());
            thread::spawn(move || produce(&queue, &ledger, 0..1))
        };
        // If the other thread is at it, it runs this one too.
        produce(&queue, &ledger, 1..2);
        queue.shutdown();
        assert_eq!(ledger.counts()[1], 1);
        other.join().unwrap();
        ledger.assert_each_once();
    });
}
