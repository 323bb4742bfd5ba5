//! Shards keep what is theirs, and help each other when one cannot keep up.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crate::common::{FOREVER, Gate, ROUTE, ask, eventually, thread_name};
use taskq::{Config, Job, ManualClock, Mode, Taskq};
use zio_core::{Route, TaskQueue};

fn sharded(queues: usize, threads: usize) -> Config {
    Config::empty(4).queue(ROUTE.ty, ROUTE.kind, Mode::Fixed { threads, queues })
}

/// The route of shard 1.
const ONE: Route = Route { affinity: 1, ..ROUTE };

/// Holds a shard's only worker.
fn hold(queue: &Taskq<Job>, route: Route) -> Gate {
    let gate = Gate::default();
    let (held, (sender, began)) = (gate.clone(), mpsc::channel());
    let job = move || {
        sender.send(()).unwrap();
        held.pass();
    };
    queue.dispatch(Job::new(job), route);
    began.recv_timeout(FOREVER).expect("a worker takes it");
    gate
}

#[test]
fn a_long_task_does_not_hold_up_those_behind_it() {
    // The real clock: nobody but the keeper sees that the shard is stuck.
    let queue = Taskq::<Job>::new(sharded(4, 1));
    let gate = hold(&queue, ONE);
    for _ in 0..5 {
        let thread = ask(&queue, ONE, thread_name);
        assert_ne!(thread, "zio-read-iss-1");
    }
    assert_eq!(queue.stats().stolen, 5);
    gate.open();
}

#[test]
fn a_shard_that_keeps_up_is_left_alone() {
    // By this clock no shard is ever stuck, and no run piles up.
    let queue = Taskq::<Job>::new(sharded(4, 1).clock(&ManualClock::new()));
    queue.start();
    for affinity in [1, 2, 3, 4, 5, 6, 7] {
        let route = Route { affinity, ..ROUTE };
        let threads: BTreeSet<_> = (0..20).map(|_| ask(&queue, route, thread_name)).collect();
        assert_eq!(threads, [format!("zio-read-iss-{}", affinity % 4)].into());
    }
    assert_eq!(queue.stats().stolen, 0);
}

#[test]
fn help_comes_when_the_time_is_over_and_not_before() {
    let clock = ManualClock::new();
    let queue = Taskq::<Job>::new(sharded(2, 1).clock(&clock));
    // Both are there and the other one sleeps.
    queue.start();
    eventually(|| queue.stats().sleeps == 2);
    let gate = hold(&queue, ONE);
    let (sender, receiver) = mpsc::channel();
    queue.dispatch(Job::new(move || sender.send(thread_name()).unwrap()), ONE);
    // The keeper has looked when this delayed task runs. It runs at the other shard.
    let settle = || {
        let (sender, receiver) = mpsc::channel();
        let job = Job::new(move || sender.send(()).unwrap());
        queue.dispatch_after(job, Route { affinity: 2, ..ROUTE }, Duration::ZERO);
        receiver.recv_timeout(FOREVER).unwrap();
    };
    settle();
    clock.advance(Duration::from_micros(999));
    settle();
    assert_eq!((receiver.try_recv().ok(), queue.stats().stolen), (None, 0));
    clock.advance(Duration::from_micros(1));
    assert_eq!(receiver.recv_timeout(FOREVER).unwrap(), "zio-read-iss-0");
    assert_eq!(queue.stats().stolen, 1);
    gate.open();
}

#[test]
fn a_run_is_taken_from_its_old_end_and_in_order() {
    let queue = Taskq::<Job>::new(sharded(2, 1).clock(&ManualClock::new()));
    let gate = hold(&queue, ONE);
    let seen = Arc::new(Mutex::new(Vec::new()));
    for number in 0..100 {
        let seen = Arc::clone(&seen);
        queue.dispatch(Job::new(move || seen.lock().unwrap().push(number)), ONE);
    }
    // A run has piled up, so the other shard's worker comes, without a look at the clock, and goes
    // on until less than a run is left.
    eventually(|| seen.lock().unwrap().len() > 84);
    gate.open();
    queue.wait_idle();
    let seen = seen.lock().unwrap();
    assert!(seen.iter().copied().eq(0..100), "{seen:?}");
}

#[test]
fn a_helper_goes_home_when_there_is_work() {
    let queue = Taskq::<Job>::new(sharded(2, 1));
    let gate = hold(&queue, ONE);
    let home = Route { affinity: 2, ..ROUTE };
    let (inner, seen) = (Arc::clone(&queue), Arc::new(Mutex::new(Vec::new())));
    let note = |name: &'static str| {
        let seen = Arc::clone(&seen);
        move || seen.lock().unwrap().push(name)
    };
    let (first, at_home) = (note("first"), note("at home"));
    queue.dispatch(
        Job::new(move || {
            first();
            inner.dispatch(Job::new(at_home), home);
        }),
        ONE,
    );
    queue.dispatch(Job::new(note("second")), ONE);
    queue.dispatch(Job::new(note("third")), ONE);
    eventually(|| seen.lock().unwrap().len() == 4);
    assert_eq!(*seen.lock().unwrap(), ["first", "at home", "second", "third"]);
    gate.open();
}

#[test]
fn every_shard_can_be_stuck_but_one() {
    let queue = Taskq::<Job>::new(sharded(8, 1));
    let gates: Vec<_> = (1..8).map(|affinity| hold(&queue, Route { affinity, ..ROUTE })).collect();
    let count = Arc::new(AtomicUsize::new(0));
    for affinity in 0..400 {
        let count = Arc::clone(&count);
        let job = Job::new(move || _ = count.fetch_add(1, Ordering::SeqCst));
        queue.dispatch(job, Route { affinity, ..ROUTE });
    }
    eventually(|| count.load(Ordering::SeqCst) == 400);
    for gate in gates {
        gate.open();
    }
}
