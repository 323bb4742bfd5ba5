//! Threads come by need, one at a time, and leave slowly. Time is moved by hand.

use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use crate::common::{FOREVER, Gate, ROUTE, ask, eventually, thread_name};
use taskq::{Config, Job, ManualClock, Mode, Taskq};
use zio_core::{QueueKind, Route, TaskQueue, ZioType};

/// Returns once the keeper has seen the time as it is now: it lets delayed tasks go after all else.
fn settled(queue: &Taskq<Job>) {
    let (sender, receiver) = mpsc::channel();
    // The task goes to a queue of its own, so that it does not disturb the one that is watched.
    let aside = Route::back(ZioType::Trim, QueueKind::Issue);
    queue.dispatch_after(Job::new(move || sender.send(()).unwrap()), aside, Duration::ZERO);
    receiver.recv_timeout(FOREVER).expect("the keeper lives");
}

fn queue_of(threads: usize) -> (Arc<Taskq<Job>>, ManualClock) {
    let clock = ManualClock::new();
    let one = Mode::Fixed { threads: 1, queues: 1 };
    let config = Config::empty(1)
        .queue(ROUTE.ty, ROUTE.kind, Mode::Fixed { threads, queues: 1 })
        .queue(ZioType::Trim, QueueKind::Issue, one)
        .clock(&clock);
    let queue = Taskq::<Job>::new(config);
    settled(&queue);
    (queue, clock)
}

/// The watched queue's threads.
fn threads(queue: &Taskq<Job>) -> usize {
    queue.threads() - 1
}

/// So many tasks that all have to be running before any ends.
fn burst(queue: &Taskq<Job>, tasks: usize) {
    let barrier = Arc::new(Barrier::new(tasks));
    for _ in 0..tasks {
        let barrier = Arc::clone(&barrier);
        queue.dispatch(Job::new(move || _ = barrier.wait()), ROUTE);
    }
    queue.wait_idle();
}

/// Until all threads of the set sleep.
fn all_asleep(queue: &Taskq<Job>) {
    eventually(|| {
        let stats = queue.stats();
        let workers = queue.workers().len() as u64;
        stats.sleeps >= stats.wakes + workers && workers == queue.threads() as u64
    });
}

#[test]
fn a_burst_grows_to_the_maximum_and_idleness_shrinks_to_one() {
    let (queue, clock) = queue_of(8);
    ask(&queue, ROUTE, || ());
    assert_eq!(threads(&queue), 1, "it starts small");
    burst(&queue, 8);
    assert_eq!(threads(&queue), 8);
    all_asleep(&queue);
    settled(&queue);
    let mut history = vec![];
    for _ in 0..12 {
        // Just short of the time nothing happens, …
        let before = threads(&queue);
        clock.advance(Duration::from_millis(4_999));
        settled(&queue);
        assert_eq!(threads(&queue), before);
        // … and then one leaves at most.
        clock.advance(Duration::from_millis(1));
        settled(&queue);
        history.push(threads(&queue));
    }
    assert_eq!(history, [8, 7, 6, 5, 4, 3, 2, 1, 1, 1, 1, 1]);
    assert_eq!(ask(&queue, ROUTE, thread_name), "zio-read-iss-0", "the first never leaves");
    burst(&queue, 8);
    assert_eq!(threads(&queue), 8, "and they come again");
}

#[test]
fn who_was_needed_in_the_period_stays() {
    let (queue, clock) = queue_of(3);
    burst(&queue, 3);
    all_asleep(&queue);
    settled(&queue);
    for _ in 0..4 {
        clock.advance(Duration::from_secs(5));
        settled(&queue);
        all_asleep(&queue);
        burst(&queue, 3);
        all_asleep(&queue);
    }
    assert_eq!(threads(&queue), 3);
}

#[test]
fn a_lonely_task_now_and_then_needs_no_second_thread() {
    let (queue, _clock) = queue_of(8);
    for number in 1..=100 {
        ask(&queue, ROUTE, || ());
        eventually(|| queue.stats_of(ROUTE).sleeps == number);
    }
    assert_eq!(threads(&queue), 1);
}

#[test]
fn all_busy_and_one_waiting_makes_one_more_and_no_storm() {
    let (queue, _clock) = queue_of(100);
    let gate = Gate::default();
    let (sender, entered) = mpsc::channel();
    for number in 1..=5 {
        let (held, sender) = (gate.clone(), sender.clone());
        let job = move || {
            sender.send(()).unwrap();
            held.pass();
        };
        queue.dispatch(Job::new(job), ROUTE);
        entered.recv_timeout(FOREVER).expect("each has a worker");
        settled(&queue);
        assert_eq!(threads(&queue), number);
    }
    gate.open();
}

#[test]
fn a_batch_starts_all_its_threads_and_keeps_them() {
    let clock = ManualClock::new();
    let config = Config::empty(8).queue(ROUTE.ty, ROUTE.kind, Mode::Batch).clock(&clock);
    let queue = Taskq::<Job>::new(config);
    ask(&queue, ROUTE, || ());
    eventually(|| queue.threads() == 6);
    for _ in 0..10 {
        clock.advance(Duration::from_secs(5));
    }
    let (sender, receiver) = mpsc::channel();
    let job = Job::new(move || sender.send(()).unwrap());
    queue.dispatch_after(job, ROUTE, Duration::ZERO);
    receiver.recv_timeout(FOREVER).unwrap();
    assert_eq!(queue.threads(), 6);
}
