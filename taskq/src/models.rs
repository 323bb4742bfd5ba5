//! The whole crate under the shuttle model checker: in unit tests `sync` stands for its locks and
//! threads, so these run the real code under many random schedules. A lost wake-up shows as a
//! deadlock, a lost or doubled task in the counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shuttle::sync::Barrier;
use shuttle::thread;
use zio_core::{QueueKind, Route, Task, TaskQueue, ZioType};

use crate::{Cancel, Config, Job, ManualClock, Mode, Taskq};

/// Schedules tried by each of the two strategies. All models together stay well below 10 s.
const SCHEDULES: usize = 500;
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

/// The first task of a queue, and nobody there yet to run it, when all comes to its end.
#[test]
fn a_queue_without_workers_is_not_forgotten_at_the_end() {
    check(|| {
        let one = Mode::Fixed { threads: 1, queues: 1 };
        let write = Route::back(ZioType::Write, QueueKind::Issue);
        let queue = Taskq::new(single(1).queue(write.ty, write.kind, one));
        let ledger = Ledger::new(1);
        let (inner, last) = (Arc::clone(&queue), ledger.clone());
        queue.dispatch(
            Job::new(move || {
                inner.dispatch(last.job(0), write);
                drop(inner);
            }),
            ROUTE,
        );
        drop(queue);
        // Without a worker for it, this would go on for ever.
        while ledger.counts() != [1] {
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

/// Two shards of one worker each; affinities are their numbers.
fn two_shards(clock: &ManualClock) -> Arc<Taskq<Job>> {
    let mode = Mode::Fixed { threads: 1, queues: 2 };
    Taskq::new(Config::empty(1).queue(ROUTE.ty, ROUTE.kind, mode).clock(clock))
}

/// Three tasks of one shard: the first waits for the others, which therefore only a worker of the
/// other shard can run. Whoever moves the clock must find a keeper that comes back by itself.
#[test]
fn a_stuck_shard_gets_help() {
    check(|| {
        let clock = ManualClock::new();
        let queue = two_shards(&clock);
        let barrier = Arc::new(Barrier::new(2));
        let ledger = Ledger::new(1);
        let shard_1 = Route { affinity: 1, ..ROUTE };
        for _ in 0..2 {
            let barrier = Arc::clone(&barrier);
            queue.dispatch(Job::new(move || _ = barrier.wait()), shard_1);
        }
        queue.dispatch(ledger.job(0), Route { affinity: 2, ..ROUTE });
        while queue.stats().run < 3 {
            clock.advance(Duration::from_millis(1));
            thread::yield_now();
        }
        queue.shutdown();
        ledger.assert_each_once();
        assert!(queue.stats().stolen >= 1);
    });
}

/// Helpers, owners and shutdown at the same time.
#[test]
fn stealing_loses_nothing_at_the_end() {
    check(|| {
        let clock = ManualClock::new();
        let queue = two_shards(&clock);
        let ledger = Ledger::new(4);
        let mover = {
            let clock = clock.clone();
            thread::spawn(move || {
                for _ in 0..4 {
                    clock.advance(Duration::from_millis(1));
                    thread::yield_now();
                }
            })
        };
        for task in 0..4 {
            queue.dispatch(ledger.job(task), Route { affinity: 1, ..ROUTE });
        }
        queue.shutdown();
        ledger.assert_each_once();
        mover.join().unwrap();
    });
}

/// A task that somebody takes back runs if and only if it does not come back, and the waits for it
/// end.
#[test]
fn a_task_is_run_or_cancelled() {
    check(|| {
        let queue = Taskq::new(single(2));
        let ledger = Ledger::new(4);
        let ids: Vec<_> = (0..4)
            .map(|task| {
                let route = if task == 2 { Route::front(ROUTE.ty, ROUTE.kind) } else { ROUTE };
                queue.dispatch_with_id(ledger.job(task), route)
            })
            .collect();
        let waiter = {
            let (queue, id) = (Arc::clone(&queue), ids[1]);
            thread::spawn(move || assert!(queue.wait_for(id)))
        };
        let mut expected = [1, 1, 1, 1];
        for task in [1, 2] {
            match queue.cancel(ids[task]) {
                Cancel::Pending(job) => {
                    drop(job);
                    expected[task] = 0;
                }
                Cancel::Running => {
                    assert!(queue.wait_for(ids[task]));
                    assert_eq!(ledger.counts()[task], 1);
                }
                Cancel::Finished => assert_eq!(ledger.counts()[task], 1),
            }
        }
        queue.wait_outstanding();
        assert_eq!(ledger.counts(), expected);
        waiter.join().unwrap();
        queue.shutdown();
    });
}

/// Workers that leave meet tasks that come: somebody runs them all at once.
#[test]
fn those_who_leave_make_room_for_those_who_are_needed() {
    check(|| {
        let clock = ManualClock::new();
        let queue = Taskq::new(Config::single("m", 2).clock(&clock));
        for _ in 0..2 {
            let barrier = Arc::new(Barrier::new(2));
            for _ in 0..2 {
                let barrier = Arc::clone(&barrier);
                queue.dispatch(Job::new(move || _ = barrier.wait()), ROUTE);
            }
            queue.wait_idle();
            for _ in 0..3 {
                clock.advance(Duration::from_secs(5));
                thread::yield_now();
            }
        }
        queue.shutdown();
        assert_eq!(queue.threads(), 0);
    });
}

/// A delayed task leaves while somebody waits for it, takes it back, or ends it all.
#[test]
fn a_delayed_task_is_not_lost_on_its_way() {
    check(|| {
        let clock = ManualClock::new();
        let queue = Taskq::new(single(1).clock(&clock));
        let ledger = Ledger::new(3);
        let delay = |task, s| queue.dispatch_after(ledger.job(task), ROUTE, Duration::from_secs(s));
        let ids = [delay(0, 1), delay(1, 1), delay(2, 2)];
        let waiter = {
            let (queue, ledger) = (Arc::clone(&queue), ledger.clone());
            thread::spawn(move || {
                assert!(queue.wait_for(ids[0]));
                assert_eq!(ledger.counts()[0], 1);
            })
        };
        clock.advance(Duration::from_secs(1));
        let cancelled = matches!(queue.cancel(ids[1]), Cancel::Pending(_));
        waiter.join().unwrap();
        queue.shutdown();
        assert_eq!(ledger.counts(), [1, usize::from(!cancelled), 1]);
    });
}
