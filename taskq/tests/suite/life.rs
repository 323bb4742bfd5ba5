//! Threads come with the first task, survive panics, and go without losing anything.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{FOREVER, Gate, ROUTE, ask, eventually, thread_name};
use taskq::{Config, Job, Mode, Taskq, Trouble};
use zio_core::{QueueKind, Route, TaskQueue, ZioType};

fn counting(count: &Arc<AtomicUsize>) -> Job {
    let count = Arc::clone(count);
    Job::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    })
}

#[test]
fn threads_start_with_the_first_task_of_their_queue() {
    let queue = Taskq::<Job>::new(Config::small(8));
    assert_eq!(queue.threads(), 0);
    ask(&queue, Route::back(ZioType::Null, QueueKind::Issue), || ());
    assert_eq!(queue.threads(), 1);
    ask(&queue, Route::back(ZioType::Write, QueueKind::Issue), || ());
    assert_eq!(queue.threads(), 2, "one of the six that may come");
    queue.shutdown();
    assert_eq!(queue.threads(), 0);
}

#[test]
fn threads_can_be_started_beforehand() {
    let queue = Taskq::<Job>::new(Config::small(8));
    queue.start();
    queue.start();
    assert_eq!(queue.threads(), 1 + 4 + 6 + 8);
    ask(&queue, Route::back(ZioType::Null, QueueKind::Interrupt), || ());
    ask(&queue, Route::back(ZioType::Write, QueueKind::Issue), || ());
    assert_eq!(queue.threads(), 1 + 4 + 6 + 8);
    let late = Taskq::<Job>::new(Config::small(8));
    late.shutdown();
    late.start();
    assert_eq!(late.threads(), 0, "not after the end");
}

#[test]
fn membership_is_of_this_set_and_this_queue() {
    let (one, two) = (Taskq::<Job>::new(Config::zfs(4)), Taskq::<Job>::new(Config::zfs(4)));
    assert_eq!(one.on_worker(), None);
    let route = Route::back(ZioType::Trim, QueueKind::Interrupt);
    let (inner, other) = (Arc::clone(&one), Arc::clone(&two));
    let seen = ask(&one, route, move || (inner.on_worker(), other.on_worker()));
    assert_eq!(seen, (Some((ZioType::Trim, QueueKind::Interrupt)), None));
}

/// Collects reports instead of printing them.
fn reporting(config: Config) -> (Config, Arc<Mutex<Vec<String>>>) {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&reports);
    let config = config.on_trouble(move |trouble| log.lock().unwrap().push(trouble.to_string()));
    (config, reports)
}

#[test]
fn a_panic_stays_in_its_task() {
    let (config, reports) = reporting(Config::single("work", 1));
    let queue = Taskq::<Job>::new(config);
    let before = ask(&queue, ROUTE, || thread::current().id());
    queue.dispatch(Job::new(|| panic!("this is expected")), ROUTE);
    queue.dispatch(Job::new(|| panic!("number {}", 2)), ROUTE);
    queue.dispatch(Job::new(|| std::panic::panic_any(Heavy)), ROUTE);
    assert_eq!(ask(&queue, ROUTE, || thread::current().id()), before, "the same thread goes on");
    queue.wait_idle();
    assert_eq!((queue.stats().run, queue.stats().panics), (5, 3));
    assert_eq!(
        *reports.lock().unwrap(),
        [
            "a task of queue work panicked: this is expected",
            "a task of queue work panicked: number 2",
            "a task of queue work panicked: (no message)",
        ]
    );
}

/// A panic payload that panics when it is dropped.
struct Heavy;

impl Drop for Heavy {
    fn drop(&mut self) {
        panic!("the payload panics too");
    }
}

#[test]
fn a_panic_in_the_report_stays_there() {
    let config = Config::single("work", 1).on_trouble(|_| panic!("the report panics"));
    let queue = Taskq::<Job>::new(config);
    queue.dispatch(Job::new(|| panic!("this is expected")), ROUTE);
    ask(&queue, ROUTE, || ());
    queue.shutdown();
    assert_eq!((queue.stats().run, queue.stats().panics), (2, 1));
}

#[test]
fn without_threads_the_keeper_runs_the_tasks() {
    let failures = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&failures);
    let config = Config::single("work", 2).stack_bytes(usize::MAX / 4).on_trouble(move |trouble| {
        assert!(matches!(trouble, Trouble::Start { thread: "work-0", .. }), "{trouble}");
        count.fetch_add(1, Ordering::SeqCst);
    });
    let queue = Taskq::<Job>::new(config);
    queue.start();
    assert_eq!(ask(&queue, ROUTE, thread_name), "work-keeper");
    queue.wait_idle();
    let tried = failures.load(Ordering::SeqCst);
    let inner = Arc::clone(&queue);
    assert_eq!(ask(&queue, ROUTE, move || inner.on_worker()), None);
    queue.wait_idle();
    assert!(failures.load(Ordering::SeqCst) > tried, "each dispatch tries anew");
    let stats = queue.stats();
    assert_eq!((stats.dispatched, stats.run, stats.stolen, stats.overflow), (2, 2, 2, 0));
    assert_eq!(queue.threads(), 0);
    queue.shutdown();
}

#[test]
fn shutdown_waits_for_all_that_tasks_dispatch() {
    fn chain(queue: &Arc<Taskq<Job>>, count: &Arc<AtomicUsize>, left: usize) {
        let (inner, count) = (Arc::clone(queue), Arc::clone(count));
        let kind = if left.is_multiple_of(2) { QueueKind::Issue } else { QueueKind::Interrupt };
        let job = Job::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            if left > 0 {
                chain(&inner, &count, left - 1);
            }
        });
        queue.dispatch(job, Route::back(ZioType::Write, kind));
    }
    for _ in 0..100 {
        let queue = Taskq::<Job>::new(Config::small(4));
        let count = Arc::new(AtomicUsize::new(0));
        chain(&queue, &count, 50);
        queue.shutdown();
        assert_eq!(count.load(Ordering::SeqCst), 51);
        assert_eq!(queue.stats().overflow, 0, "by workers, to the last");
    }
}

#[test]
fn shutdown_under_load_loses_nothing() {
    for round in 0..200 {
        let queue = Taskq::<Job>::new(Config::single("work", 1 + round % 3));
        let (count, sent) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        let stop = Gate::default();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for number in 0..200 {
                        queue.dispatch(counting(&count), ROUTE);
                        sent.fetch_add(1, Ordering::SeqCst);
                        if number == 50 {
                            stop.open();
                        }
                    }
                });
            }
            stop.pass();
            let before = sent.load(Ordering::SeqCst);
            queue.shutdown();
            assert!(count.load(Ordering::SeqCst) >= before, "what was queued has run");
        });
        queue.shutdown();
        assert_eq!(count.load(Ordering::SeqCst), 600);
        let stats = queue.stats();
        assert_eq!(stats.run + stats.overflow, 600);
        assert_eq!(stats.run, stats.dispatched);
    }
}

/// Each task from outside stays on its worker until the next one has been dispatched, so there is
/// never a quiet moment; shutdown must not wait for one.
#[test]
fn shutdown_does_not_wait_for_those_who_go_on_dispatching() {
    let queue = Taskq::<Job>::new(Config::single("work", 2));
    let (sent, closed) = (Arc::new(AtomicUsize::new(0)), AtomicBool::new(false));
    let begun = Gate::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            for number in 1.. {
                let (inner, later) = (Arc::clone(&queue), Arc::clone(&sent));
                let job = Job::new(move || {
                    while inner.on_worker().is_some() && later.load(Ordering::SeqCst) <= number {
                        thread::yield_now();
                    }
                });
                queue.dispatch(job, ROUTE);
                sent.store(number, Ordering::SeqCst);
                begun.open();
                if closed.load(Ordering::SeqCst) {
                    break;
                }
                assert!(start.elapsed() < FOREVER, "shutdown waits for ever");
            }
            sent.store(usize::MAX, Ordering::SeqCst);
        });
        begun.pass();
        queue.shutdown();
        closed.store(true, Ordering::SeqCst);
    });
}

#[test]
fn shutdown_waits_for_the_threads_themselves() {
    /// Leaves a thread slowly.
    struct Leaving(Arc<AtomicBool>);
    impl Drop for Leaving {
        fn drop(&mut self) {
            thread::sleep(Duration::from_millis(20));
            self.0.store(true, Ordering::SeqCst);
        }
    }
    thread_local! {
        static LEAVING: RefCell<Option<Leaving>> = const { RefCell::new(None) };
    }
    let gone = Arc::new(AtomicBool::new(false));
    let queue = Taskq::<Job>::new(Config::single("work", 1));
    let leaving = Leaving(Arc::clone(&gone));
    ask(&queue, ROUTE, move || LEAVING.set(Some(leaving)));
    queue.shutdown();
    assert!(gone.load(Ordering::SeqCst));
}

#[test]
fn after_shutdown_tasks_run_where_they_are_dispatched_without_recursion() {
    fn descend(queue: &Arc<Taskq<Job>>, count: &Arc<AtomicUsize>, left: usize) {
        let (inner, count) = (Arc::clone(queue), Arc::clone(count));
        let job = Job::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            if left > 0 {
                descend(&inner, &count, left - 1);
            }
        });
        queue.dispatch(job, ROUTE);
    }
    let queue = Taskq::<Job>::new(Config::single("work", 2));
    queue.shutdown();
    queue.shutdown();
    let here = thread::current().id();
    assert_eq!(ask(&queue, ROUTE, || thread::current().id()), here);
    let count = Arc::new(AtomicUsize::new(0));
    descend(&queue, &count, 200_000);
    assert_eq!(count.load(Ordering::SeqCst), 200_001);
    queue.dispatch(Job::new(|| panic!("this is expected")), ROUTE);
    assert_eq!(queue.stats().panics, 1);
}

#[test]
fn dropping_the_last_handle_finishes_everything() {
    let count = Arc::new(AtomicUsize::new(0));
    let queue = Taskq::<Job>::new(Config::single("work", 2));
    for _ in 0..1000 {
        queue.dispatch(counting(&count), ROUTE);
    }
    drop(queue);
    assert_eq!(count.load(Ordering::SeqCst), 1000);
}

#[test]
fn a_task_may_shut_down_and_drop_its_own_queue() {
    let (sender, receiver) = mpsc::channel();
    let queue = Taskq::<Job>::new(Config::single("work", 2));
    let inner = Arc::clone(&queue);
    let gate = Gate::default();
    let held = gate.clone();
    queue.dispatch(
        Job::new(move || {
            held.pass();
            inner.wait_idle();
            inner.shutdown();
            let last = sender.clone();
            inner.dispatch(Job::new(move || last.send("dispatched last").unwrap()), ROUTE);
            drop(inner);
            sender.send("dropped").unwrap();
        }),
        ROUTE,
    );
    drop(queue);
    gate.open();
    assert_eq!(receiver.recv_timeout(FOREVER), Ok("dispatched last"));
    assert_eq!(receiver.recv_timeout(FOREVER), Ok("dropped"));
    assert!(receiver.recv_timeout(FOREVER).is_err(), "all tasks are gone");
}

#[test]
fn a_long_task_does_not_hold_up_the_others() {
    let mode = Mode::Fixed { threads: 3, queues: 1 };
    let queue = Taskq::<Job>::new(Config::empty(1).queue(ROUTE.ty, ROUTE.kind, mode));
    let gate = Gate::default();
    for _ in 0..2 {
        let held = gate.clone();
        queue.dispatch(Job::new(move || held.pass()), ROUTE);
    }
    for _ in 0..100 {
        ask(&queue, ROUTE, || ());
    }
    gate.open();
}

#[test]
fn a_busy_worker_costs_no_wake_up() {
    let queue = Taskq::<Job>::new(Config::single("work", 1));
    let gate = Gate::default();
    ask(&queue, ROUTE, || ());
    let held = gate.clone();
    queue.dispatch(Job::new(move || held.pass()), ROUTE);
    let count = Arc::new(AtomicUsize::new(0));
    for _ in 0..1000 {
        queue.dispatch(counting(&count), ROUTE);
    }
    gate.open();
    queue.wait_idle();
    assert!(queue.stats().wakes <= 1, "{:?}", queue.stats());
    assert_eq!(count.load(Ordering::SeqCst), 1000);
}

#[test]
fn one_task_wakes_one_worker() {
    let queue = Taskq::<Job>::new(Config::single("work", 3));
    let all_asleep = || {
        let stats = queue.stats();
        stats.sleeps == stats.wakes + 3
    };
    queue.start();
    eventually(all_asleep);
    for number in 1..=20 {
        ask(&queue, ROUTE, || ());
        eventually(all_asleep);
        assert_eq!(queue.stats().wakes, number);
    }
}
