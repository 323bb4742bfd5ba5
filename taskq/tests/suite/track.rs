//! Waiting for tasks, taking them back, delaying them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use crate::common::{FOREVER, Gate, ROUTE, ask, eventually};
use taskq::{Cancel, Config, Job, ManualClock, TaskId, Taskq};
use zio_core::task::Place;
use zio_core::{Route, TaskQueue};

const HOUR: Duration = Duration::from_secs(3600);

/// A task that says that it began, and ends when the gate opens.
fn held(queue: &Taskq<Job>, gate: &Gate) -> TaskId {
    let (held, (sender, began)) = (gate.clone(), mpsc::channel());
    let job = move || {
        sender.send(()).unwrap();
        held.pass();
    };
    let id = queue.dispatch_with_id(Job::new(job), ROUTE);
    began.recv_timeout(FOREVER).expect("a worker takes it");
    id
}

fn idle() -> Job {
    Job::new(|| ())
}

fn is_pending(cancel: &Cancel<Job>) -> bool {
    matches!(cancel, Cancel::Pending(_))
}

#[test]
fn a_task_can_be_taken_back_until_it_begins() {
    let queue = Taskq::<Job>::new(Config::single("work", 1));
    let gate = Gate::default();
    let running = held(&queue, &gate);
    let (seen, log) =
        (Arc::new(Mutex::new(Vec::new())), |name: &'static str, seen: &Arc<Mutex<Vec<_>>>| {
            let seen = Arc::clone(seen);
            Job::new(move || seen.lock().unwrap().push(name))
        });
    let first = queue.dispatch_with_id(log("first", &seen), ROUTE);
    let second = queue.dispatch_with_id(log("second", &seen), ROUTE);
    let front = Route { place: Place::Front, ..ROUTE };
    let urgent = queue.dispatch_with_id(log("urgent", &seen), front);
    let last = queue.dispatch_with_id(log("last", &seen), ROUTE);
    assert!(matches!(queue.cancel(running), Cancel::Running));
    let Cancel::Pending(job) = queue.cancel(first) else { panic!("it had not begun") };
    assert!(matches!(queue.cancel(first), Cancel::Finished), "once");
    assert!(queue.wait_for(first), "there is nothing to wait for");
    gate.open();
    assert!(queue.wait_for(last));
    assert_eq!(*seen.lock().unwrap(), ["urgent", "second", "last"]);
    for id in [running, second, urgent, last] {
        assert!(matches!(queue.cancel(id), Cancel::Finished));
    }
    let stats = queue.stats();
    assert_eq!((stats.dispatched, stats.run, stats.cancelled), (5, 4, 1));
    queue.dispatch(job, ROUTE);
    queue.wait_idle();
    assert_eq!(*seen.lock().unwrap(), ["urgent", "second", "last", "first"]);
}

#[test]
fn waiting_for_one_is_not_waiting_for_those_behind_it() {
    let queue = Taskq::<Job>::new(Config::single("work", 2));
    let [early, late] = [(); 2].map(|()| Gate::default());
    let one = held(&queue, &early);
    let other = held(&queue, &late);
    early.open();
    assert!(queue.wait_for(one));
    assert!(matches!(queue.cancel(other), Cancel::Running));
    late.open();
    assert!(queue.wait_for(other));
}

/// Later tasks overtake an early one on other workers; who waits for what was outstanding must not
/// be taken in by their number.
#[test]
fn outstanding_means_each_of_them_and_none_that_comes_later() {
    let queue = Taskq::<Job>::new(Config::single("work", 3));
    let [early, late] = [(); 2].map(|()| Gate::default());
    held(&queue, &early);
    let done = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            queue.wait_outstanding();
            done.load(Ordering::SeqCst)
        });
        held(&queue, &late);
        for _ in 0..100 {
            ask(&queue, ROUTE, || ());
        }
        done.store(1, Ordering::SeqCst);
        early.open();
        // If the waiter looked only now, it has to wait for the late one as well.
        eventually(|| queue.stats().run == 101);
        late.open();
        assert_eq!(waiter.join().unwrap(), 1);
    });
}

#[test]
fn a_waiter_for_the_outstanding_returns_under_constant_load() {
    fn again(queue: &Arc<Taskq<Job>>, stop: &Arc<AtomicUsize>) {
        let (inner, stop) = (Arc::clone(queue), Arc::clone(stop));
        let job = move || {
            if stop.load(Ordering::SeqCst) == 0 {
                again(&inner, &stop);
            }
        };
        queue.dispatch(Job::new(job), ROUTE);
    }
    let queue = Taskq::<Job>::new(Config::single("work", 2));
    let stop = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        again(&queue, &stop);
    }
    for _ in 0..20 {
        queue.wait_outstanding();
    }
    assert!(queue.stats().run >= 20);
    stop.store(1, Ordering::SeqCst);
}

#[test]
fn from_within_a_task_waiting_does_not_wait() {
    let queue = Taskq::<Job>::new(Config::single("work", 1));
    let gate = Gate::default();
    held(&queue, &gate);
    let (inner, later) = (Arc::clone(&queue), queue.dispatch_with_id(idle(), ROUTE));
    let (sender, receiver) = mpsc::channel();
    let last = Arc::new(Mutex::new(None));
    let of_last = Arc::clone(&last);
    let job = Job::new(move || {
        inner.wait_outstanding();
        let last = of_last.lock().unwrap().expect("the last one's id");
        sender.send((inner.wait_for(later), inner.wait_for(last))).unwrap();
    });
    queue.dispatch(job, ROUTE);
    *last.lock().unwrap() = Some(queue.dispatch_with_id(idle(), ROUTE));
    gate.open();
    assert_eq!(receiver.recv_timeout(FOREVER), Ok((true, false)));
}

#[test]
fn after_the_end_a_task_has_run_when_dispatch_returns() {
    let queue = Taskq::<Job>::new(Config::single("work", 1));
    queue.shutdown();
    let id = queue.dispatch_with_id(idle(), ROUTE);
    assert!(queue.wait_for(id));
    assert!(matches!(queue.cancel(id), Cancel::Finished));
    let id = queue.dispatch_after(idle(), ROUTE, HOUR);
    assert!(queue.wait_for(id));
    assert_eq!(queue.stats().overflow, 2);
}

fn delayed(queue: &Taskq<Job>, log: &Arc<Mutex<Vec<u64>>>, s: u64, number: u64) -> TaskId {
    let log = Arc::clone(log);
    let job = Job::new(move || log.lock().unwrap().push(number));
    queue.dispatch_after(job, ROUTE, Duration::from_secs(s))
}

#[test]
fn delayed_tasks_come_when_due_to_the_front_and_in_order() {
    let clock = ManualClock::new();
    let queue = Taskq::<Job>::new(Config::single("work", 1).clock(&clock));
    let log = Arc::new(Mutex::new(Vec::new()));
    let ids = [(30, 0), (10, 1), (20, 2), (11, 3)].map(|(s, n)| delayed(&queue, &log, s, n));
    clock.advance(Duration::from_secs(10));
    assert!(queue.wait_for(ids[1]));
    assert_eq!(*log.lock().unwrap(), [1]);
    let gate = Gate::default();
    held(&queue, &gate);
    let noted = Arc::clone(&log);
    let back = queue.dispatch_with_id(Job::new(move || noted.lock().unwrap().push(99)), ROUTE);
    // All the others fall due at once: they come by their numbers, and before what waits at the back.
    clock.advance(Duration::from_secs(20));
    eventually(|| queue.stats().dispatched == 1 + 2 + 3);
    gate.open();
    queue.wait_idle();
    assert_eq!(*log.lock().unwrap(), [1, 0, 2, 3, 99]);
    for id in [ids[0], ids[2], ids[3], back] {
        assert!(queue.wait_for(id));
        assert!(matches!(queue.cancel(id), Cancel::Finished));
    }
}

#[test]
fn a_delayed_task_can_be_taken_back_before_and_after_it_was_due() {
    let clock = ManualClock::new();
    let queue = Taskq::<Job>::new(Config::single("work", 1).clock(&clock));
    let log = Arc::new(Mutex::new(Vec::new()));
    let [before, after, kept] = [1, 2, 3].map(|number| delayed(&queue, &log, number, number));
    assert!(is_pending(&queue.cancel(before)));
    assert!(matches!(queue.cancel(before), Cancel::Finished));
    let gate = Gate::default();
    held(&queue, &gate);
    clock.advance(Duration::from_secs(2));
    eventually(|| queue.stats().dispatched == 2);
    assert!(is_pending(&queue.cancel(after)), "it waits behind the held one");
    clock.advance(Duration::from_secs(1));
    gate.open();
    assert!(queue.wait_for(kept));
    assert_eq!(*log.lock().unwrap(), [3]);
    assert_eq!(queue.stats().cancelled, 2);
    queue.wait_idle();
}

#[test]
fn waiting_for_quiet_includes_what_is_delayed() {
    let clock = ManualClock::new();
    let queue = Taskq::<Job>::new(Config::single("work", 1).clock(&clock));
    let log = Arc::new(Mutex::new(Vec::new()));
    let other = delayed(&queue, &log, 5, 5);
    delayed(&queue, &log, 10, 10);
    thread::scope(|scope| {
        let waiters = [scope.spawn(|| queue.wait_idle()), scope.spawn(|| queue.wait_outstanding())];
        assert!(is_pending(&queue.cancel(other)));
        clock.advance(Duration::from_secs(9));
        ask(&queue, ROUTE, || ());
        assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
        clock.advance(Duration::from_secs(1));
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
    assert_eq!(*log.lock().unwrap(), [10]);
}

#[test]
fn the_last_one_taken_back_ends_the_wait() {
    let queue = Taskq::<Job>::new(Config::single("work", 1).clock(&ManualClock::new()));
    let id = queue.dispatch_after(idle(), ROUTE, HOUR);
    thread::scope(|scope| {
        let waiters = [
            scope.spawn(|| queue.wait_idle()),
            scope.spawn(|| queue.wait_outstanding()),
            scope.spawn(|| assert!(queue.wait_for(id))),
        ];
        assert!(is_pending(&queue.cancel(id)));
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

#[test]
fn the_end_brings_delayed_tasks_forward() {
    let queue = Taskq::<Job>::new(Config::single("work", 1).clock(&ManualClock::new()));
    let log = Arc::new(Mutex::new(Vec::new()));
    for number in 0..3 {
        delayed(&queue, &log, 3600 - number, number);
    }
    // One that delays another: the end is near, so it does not wait either.
    let (inner, noted) = (Arc::clone(&queue), Arc::clone(&log));
    let job = Job::new(move || _ = delayed(&inner, &noted, 3600, 4));
    queue.dispatch_after(job, ROUTE, HOUR);
    queue.shutdown();
    assert_eq!(*log.lock().unwrap(), [0, 1, 2, 4]);
}

#[derive(Clone, Debug)]
enum Step {
    Dispatch(bool),
    Delay(u8),
    Cancel(usize),
    Advance(u8),
    Wait(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(Step::Dispatch),
        2 => (0..10_u8).prop_map(Step::Delay),
        2 => any::<usize>().prop_map(Step::Cancel),
        1 => (0..5_u8).prop_map(Step::Advance),
        1 => any::<usize>().prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is dispatched, delayed and cancelled in whatever order: each task runs once, or was
    /// given back once, and never both; and who waited for one finds it so.
    #[test]
    fn every_task_runs_once_or_comes_back(steps in proptest::collection::vec(step(), 0..80)) {
        let clock = ManualClock::new();
        let queue = Taskq::<Job>::new(Config::single("work", 2).clock(&clock));
        let mut ids = Vec::new();
        let mut fates: Vec<(Arc<AtomicUsize>, bool)> = Vec::new();
        for step in steps {
            let runs = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&runs);
            let job = Job::new(move || _ = counted.fetch_add(1, Ordering::SeqCst));
            match step {
                Step::Dispatch(front) => {
                    let place = if front { Place::Front } else { Place::Back };
                    ids.push((queue.dispatch_with_id(job, Route { place, ..ROUTE }), 0));
                    fates.push((runs, false));
                }
                Step::Delay(s) => {
                    let delay = Duration::from_secs(s.into());
                    ids.push((queue.dispatch_after(job, ROUTE, delay), s));
                    fates.push((runs, false));
                }
                Step::Advance(s) => clock.advance(Duration::from_secs(s.into())),
                Step::Cancel(number) if !ids.is_empty() => {
                    let number = number % ids.len();
                    match queue.cancel(ids[number].0) {
                        Cancel::Pending(job) => {
                            prop_assert!(!fates[number].1, "it comes back once");
                            prop_assert_eq!(fates[number].0.load(Ordering::SeqCst), 0);
                            fates[number].1 = true;
                            drop(job);
                        }
                        Cancel::Finished if !fates[number].1 => {
                            prop_assert_eq!(fates[number].0.load(Ordering::SeqCst), 1);
                        }
                        Cancel::Finished | Cancel::Running => {}
                    }
                }
                Step::Wait(number) if !ids.is_empty() => {
                    let number = number % ids.len();
                    clock.advance(Duration::from_secs(ids[number].1.into()));
                    prop_assert!(queue.wait_for(ids[number].0));
                    let runs = fates[number].0.load(Ordering::SeqCst);
                    prop_assert_eq!(runs, usize::from(!fates[number].1));
                }
                Step::Cancel(_) | Step::Wait(_) => {}
            }
        }
        queue.shutdown();
        for (number, (runs, cancelled)) in fates.iter().enumerate() {
            let runs = runs.load(Ordering::SeqCst);
            prop_assert_eq!(runs, usize::from(!cancelled), "task {}", number);
        }
    }
}
