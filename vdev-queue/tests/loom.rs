//! The combiner under every interleaving of two threads with at most three preemptions.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p vdev-queue --test loom --release`.

#![cfg(loom)]

use loom::sync::Arc;
use loom::thread;
use vdev_queue::shared::Issues;
use vdev_queue::{Class, Config, DeviceIo, Issue, Request, SharedQueue};

fn explore(scene: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(scene);
}

fn one_slot() -> Config {
    Config { active_max: 1, ..Config::default() }
}

fn read(offset_bytes: u64) -> Request {
    Request::read(Class::SyncRead, offset_bytes, 512).expect("valid")
}

fn ios(issues: Issues<u32>) -> Vec<DeviceIo<u32>> {
    issues.into_iter().filter_map(Issue::io).collect()
}

/// Carries I/Os out until nothing follows; returns the payloads that came out.
fn carry_out(queue: &SharedQueue<u32>, issues: Issues<u32>) -> Vec<u32> {
    let mut payloads = Vec::new();
    let mut work = ios(issues);
    while let Some(io) = work.pop() {
        payloads.extend(io.members.into_iter().map(|member| member.payload));
        work.extend(ios(queue.complete(io.ticket, 0)));
    }
    payloads
}

/// Two threads submit and complete on a device with one slot: whoever finds the queue taken
/// leaves, and still every request comes out, of one thread or the other.
#[test]
fn no_event_is_left_lying() {
    explore(|| {
        let queue = Arc::new(SharedQueue::new(one_slot()).expect("valid"));
        let other = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let issues = queue.submit(read(0), 0, 0);
                carry_out(&queue, issues)
            })
        };
        let issues = queue.submit(read(512), 1, 0);
        let mut payloads = carry_out(&queue, issues);
        payloads.extend(other.join().expect("no panic"));
        payloads.sort_unstable();
        assert_eq!(payloads, [0, 1]);
    });
}

/// A thread that only reads the counters holds the queue too, and takes along what arrives
/// meanwhile.
#[test]
fn a_reader_takes_along_what_arrives() {
    explore(|| {
        let queue = Arc::new(SharedQueue::new(one_slot()).expect("valid"));
        let reader = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || ios(queue.stats().1).len())
        };
        let own = ios(queue.submit(read(0), 0, 0)).len();
        assert_eq!(own + reader.join().expect("no panic"), 1);
    });
}

/// What was left in the inbox is as good as queued: its own thread can take it back at once,
/// although another is inside.
#[test]
fn what_was_left_can_be_cancelled() {
    explore(|| {
        let queue = Arc::new(SharedQueue::new(one_slot()).expect("valid"));
        let first = ios(queue.submit(read(0), 0, 0));
        assert_eq!(first.len(), 1, "the only slot is taken from here on");
        let reader = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || ios(queue.stats().1).len())
        };
        let id = queue.reserve_id();
        let issued = ios(queue.submit_as(id, read(512), 7, 0)).len();
        let (cancelled, issues) = queue.cancel(id);
        assert_eq!(cancelled, Some(7));
        assert_eq!(issued + ios(issues).len() + reader.join().expect("no panic"), 0);
    });
}

/// An end left in the inbox makes room: whoever is inside issues what follows.
#[test]
fn a_completion_that_was_left_lets_the_next_go() {
    explore(|| {
        let queue = Arc::new(SharedQueue::new(one_slot()).expect("valid"));
        let mut first = ios(queue.submit(read(0), 0, 0));
        assert!(ios(queue.submit(read(512), 1, 0)).is_empty());
        let reader = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || ios(queue.stats().1).len())
        };
        let ticket = first.remove(0).ticket;
        let own = ios(queue.complete(ticket, 0)).len();
        assert_eq!(own + reader.join().expect("no panic"), 1);
    });
}
