//! Fan-out inside one task never blocks the lane it came from.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::common::{FOREVER, Gate, ROUTE, ask, thread_name};
use taskq::{Config, FanOut, Job, Taskq, WorkPanicked};
use zio_core::TaskQueue;

#[test]
fn the_lane_goes_on_while_the_work_is_done() {
    let queue = Taskq::<Job>::new(Config::single("lane", 1));
    let fan = Arc::new(FanOut::new("fan", 2, 0).unwrap());
    let gate = Gate::default();
    let (sender, receiver) = mpsc::channel();
    let (held, lane, other) = (gate.clone(), Arc::clone(&queue), Arc::clone(&fan));
    let stage = move || {
        let work = move || {
            held.pass();
            // Both halves on the pool's threads.
            rayon::join(thread_name, thread_name)
        };
        other.run(work, move |names| {
            let then = thread_name();
            let job = Job::new(move || sender.send((names, then, thread_name())).unwrap());
            lane.dispatch(job, ROUTE);
        });
    };
    ask(&queue, ROUTE, stage);
    // The only worker is free, though the work has not even begun.
    for _ in 0..10 {
        assert_eq!(ask(&queue, ROUTE, thread_name), "lane-0");
    }
    gate.open();
    let (names, then, back) = receiver.recv_timeout(FOREVER).unwrap();
    let (left, right) = names.unwrap();
    assert!([left, right, then].iter().all(|name| name.starts_with("fan-")));
    assert_eq!(back, "lane-0");
}

#[test]
fn a_panic_of_the_work_is_the_result_and_a_panic_of_the_continuation_ends_there() {
    let fan = FanOut::new("fan", 1, 0).unwrap();
    let (sender, receiver) = mpsc::channel();
    fan.run(
        || -> u32 { panic!("this is expected") },
        move |result| {
            sender.send(result).unwrap();
            panic!("this is expected, too");
        },
    );
    assert_eq!(receiver.recv_timeout(FOREVER), Ok(Err(WorkPanicked)));
    let (sender, receiver) = mpsc::channel();
    fan.run(|| 42, move |result| sender.send(result).unwrap());
    assert_eq!(receiver.recv_timeout(FOREVER), Ok(Ok(42)));
}

#[test]
fn dropping_it_waits_for_all_work() {
    let count = Arc::new(AtomicUsize::new(0));
    let fan = FanOut::new("fan", 2, 0).unwrap();
    for _ in 0..200 {
        let count = Arc::clone(&count);
        fan.run(std::thread::yield_now, move |_| _ = count.fetch_add(1, Ordering::SeqCst));
    }
    drop(fan);
    assert_eq!(count.load(Ordering::SeqCst), 200);
}

/// A thread that waits for a part of its work helps with another work: not with all that are there,
/// one after the other or one on top of the other.
#[test]
fn the_first_is_not_buried_under_all_the_others() {
    let fan = FanOut::new("fan", 2, 0).unwrap();
    let (taken, gate) = (Gate::default(), Gate::default());
    let (sender, receiver) = mpsc::channel();
    let (is_taken, takes, held) = (taken.clone(), taken, gate.clone());
    let work = move || {
        let part = || {
            takes.open();
            held.pass();
        };
        // The other thread takes the second half, so this one has to wait for it.
        rayon::join(|| is_taken.pass(), part);
    };
    let first = sender.clone();
    fan.run(work, move |_| first.send("first").unwrap());
    for _ in 0..50 {
        let sender = sender.clone();
        fan.run(|| (), move |_| sender.send("other").unwrap());
    }
    drop(sender);
    let before = std::iter::from_fn(|| receiver.recv_timeout(Duration::from_millis(100)).ok());
    let before = before.collect::<Vec<_>>();
    gate.open();
    assert!(before.len() <= 1, "{before:?} while the first one waits");
    assert_eq!(before.len() + receiver.iter().count(), 51);
}

/// What waits for its turn is done as well, whoever drops the pool.
#[test]
fn works_that_have_not_begun_outlive_the_pool() {
    let fan = Arc::new(FanOut::new("fan", 1, 0).unwrap());
    let (sender, receiver) = mpsc::channel();
    let (last, gate) = (Arc::clone(&fan), Gate::default());
    let held = gate.clone();
    fan.run(move || held.pass(), move |_| drop(last));
    for n in 0..20 {
        let sender = sender.clone();
        fan.run(move || n, move |n| sender.send(n.unwrap()).unwrap());
    }
    drop((fan, sender));
    gate.open();
    assert_eq!(receiver.iter().collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
}

#[test]
fn the_last_handle_may_be_dropped_by_a_continuation() {
    let fan = Arc::new(FanOut::new("fan", 1, 0).unwrap());
    let (sender, receiver) = mpsc::channel();
    let last = Arc::clone(&fan);
    let gate = Gate::default();
    let held = gate.clone();
    let then = move |_| {
        drop(last);
        sender.send("still here").unwrap();
    };
    fan.run(move || held.pass(), then);
    drop(fan);
    gate.open();
    assert_eq!(receiver.recv_timeout(FOREVER), Ok("still here"));
}

#[cfg(target_os = "linux")]
#[test]
fn its_threads_can_be_weak() {
    use rustix::process::getpriority_process;
    let here = getpriority_process(None).unwrap();
    let fan = FanOut::new("fan", 1, 5).unwrap();
    let (sender, receiver) = mpsc::channel();
    fan.run(|| getpriority_process(None).unwrap(), move |nice| sender.send(nice).unwrap());
    assert_eq!(receiver.recv_timeout(FOREVER), Ok(Ok((here + 5).min(19))));
}
