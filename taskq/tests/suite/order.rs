//! Front and back, first in first out, each exactly once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use crate::common::{Gate, ROUTE};
use taskq::{Config, Job, Mode, Taskq};
use zio_core::task::Place;
use zio_core::{QueueKind, Route, TaskQueue, ZioType};

/// Tasks note their number; the first one holds the only worker until all are queued.
fn order_of(routes: &[Route], config: Config) -> Vec<usize> {
    let queue = Taskq::<Job>::new(config);
    let gate = Gate::default();
    let held = gate.clone();
    let (entered, is_held) = mpsc::channel();
    queue.dispatch(
        Job::new(move || {
            entered.send(()).unwrap();
            held.pass();
        }),
        ROUTE,
    );
    is_held.recv().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    for (number, &route) in routes.iter().enumerate() {
        let seen = Arc::clone(&seen);
        queue.dispatch(Job::new(move || seen.lock().unwrap().push(number)), route);
    }
    gate.open();
    queue.wait_idle();
    Arc::into_inner(seen).expect("all tasks are gone").into_inner().unwrap()
}

#[test]
fn front_tasks_first_and_fifo_among_their_like() {
    let route = |place| Route { place, ..ROUTE };
    let routes = [Place::Back, Place::Front, Place::Back, Place::Front, Place::Front, Place::Back];
    let order = order_of(&routes.map(route), Config::single("work", 1));
    assert_eq!(order, [1, 3, 4, 0, 2, 5]);
}

#[test]
fn urgent_kinds_go_to_the_front_of_a_plain_queue() {
    use QueueKind::{Interrupt, InterruptHigh, Issue, IssueHigh};
    let routes = [Interrupt, InterruptHigh, Issue, IssueHigh];
    let routes = routes.map(|kind| Route::back(ZioType::Write, kind));
    assert_eq!(order_of(&routes, Config::single("work", 1)), [1, 3, 0, 2]);
}

#[test]
fn a_late_front_task_overtakes_tasks_a_worker_has_already_drawn() {
    let queue = Taskq::<Job>::new(Config::single("work", 1));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let seen = Arc::clone(&seen);
        Job::new(move || seen.lock().unwrap().push(name))
    };
    let gate = Gate::default();
    let held = gate.clone();
    queue.dispatch(Job::new(move || held.pass()), ROUTE);
    // This one runs when the worker has the two behind it at its own end.
    let (inner, urgent) = (Arc::clone(&queue), [note("front 1"), note("front 2")]);
    let last = note("back 3");
    queue.dispatch(
        Job::new(move || {
            inner.dispatch(last, ROUTE);
            for job in urgent {
                inner.dispatch(job, Route { place: Place::Front, ..ROUTE });
            }
        }),
        ROUTE,
    );
    queue.dispatch(note("back 1"), ROUTE);
    queue.dispatch(note("back 2"), ROUTE);
    gate.open();
    queue.wait_idle();
    let expected = ["front 1", "front 2", "back 1", "back 2", "back 3"];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn a_long_queue_is_dropped_and_run_without_recursion() {
    let routes = vec![ROUTE; 200_000];
    let order = order_of(&routes, Config::single("work", 1).stack_bytes(64 * 1024));
    assert!(order.iter().copied().eq(0..routes.len()));
}

#[test]
fn eight_producers_each_task_exactly_once() {
    const PRODUCERS: usize = 8;
    const EACH: usize = 20_000;
    for config in [
        Config::single("work", 1),
        Config::single("work", 4),
        Config::single("work", 4).spin_rounds_max(200),
        Config::empty(4).queue(
            ZioType::Null,
            QueueKind::Issue,
            Mode::Fixed { threads: 2, queues: 3 },
        ),
    ] {
        let queue = Taskq::<Job>::new(config);
        let runs: Arc<Vec<AtomicUsize>> =
            Arc::new((0..PRODUCERS * EACH).map(|_| AtomicUsize::new(0)).collect());
        thread::scope(|scope| {
            for producer in 0..PRODUCERS {
                let (queue, runs) = (&queue, &runs);
                scope.spawn(move || {
                    for number in producer * EACH..(producer + 1) * EACH {
                        let runs = Arc::clone(runs);
                        let place = if number % 7 == 0 { Place::Front } else { Place::Back };
                        let job = Job::new(move || {
                            runs[number].fetch_add(1, Ordering::Relaxed);
                        });
                        queue.dispatch(job, Route { place, ..ROUTE });
                    }
                });
            }
        });
        queue.wait_idle();
        assert!(runs.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        let stats = queue.stats();
        let all = (PRODUCERS * EACH) as u64;
        assert_eq!((stats.dispatched, stats.run, stats.panics), (all, all, 0));
        assert_eq!(queue.stats_of(ROUTE), stats, "all in one queue");
    }
}
