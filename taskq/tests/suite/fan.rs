//! Fan-out inside one task never blocks the lane it came from.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

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

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// In pieces so small that threads take them from each other all the time.
fn sum(numbers: &[u64]) -> u64 {
    if numbers.len() <= 1024 {
        return numbers.iter().fold(0, |sum, number| sum ^ number.rotate_left(sum as u32));
    }
    let (left, right) = numbers.split_at(numbers.len() / 2);
    let (left, right) = rayon::join(|| sum(left), || sum(right));
    left ^ right
}

/// A thread that waits for a part of its work helps with another one: not with all that are there.
#[test]
fn the_first_is_not_buried_under_all_the_others() {
    const THREADS: usize = 3;
    let fan = FanOut::new("fan", THREADS, 0).unwrap();
    let numbers: Arc<Vec<u64>> = Arc::new((0..1 << 17).collect());
    let deepest = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = mpsc::channel();
    for n in 0..600 {
        let (numbers, deepest, sender) = (numbers.clone(), deepest.clone(), sender.clone());
        let work = move || {
            DEPTH.set(DEPTH.get() + 1);
            deepest.fetch_max(DEPTH.get(), Ordering::SeqCst);
            let _ = std::hint::black_box(sum(&numbers));
            DEPTH.set(DEPTH.get() - 1);
        };
        fan.run(work, move |_| sender.send(n).unwrap());
    }
    drop(sender);
    assert_eq!(receiver.iter().count(), 600);
    let deepest = deepest.load(Ordering::SeqCst);
    assert!(deepest <= THREADS, "{deepest} works on one stack");
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
