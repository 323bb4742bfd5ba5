//! The set of queues without threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::common::ROUTE;
use taskq::{Inline, Job};
use zio_core::task::Place;
use zio_core::{QueueKind, Route, TaskQueue, ZioType};

#[test]
fn front_first_and_fifo_among_their_like() {
    let queue = Inline::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    for (number, place) in
        [Place::Back, Place::Front, Place::Back, Place::Front].into_iter().enumerate()
    {
        let seen = Arc::clone(&seen);
        let job = Job::new(move || seen.lock().unwrap().push(number));
        queue.dispatch(job, Route { place, ..ROUTE });
    }
    assert_eq!(queue.len(), 4);
    assert!(queue.step());
    assert_eq!(*seen.lock().unwrap(), [1]);
    assert_eq!(queue.run_until_idle(), 3);
    assert_eq!(*seen.lock().unwrap(), [1, 3, 0, 2]);
    assert!(queue.is_empty() && !queue.step());
}

#[test]
fn the_running_task_is_on_the_worker_it_was_sent_to() {
    let queue = Arc::new(Inline::new());
    let other = Arc::new(Inline::<Job>::new());
    let route = Route::back(ZioType::Trim, QueueKind::InterruptHigh);
    let (inner, stranger) = (Arc::clone(&queue), Arc::clone(&other));
    let seen = Arc::new(Mutex::new(None));
    let answer = Arc::clone(&seen);
    let job = Job::new(move || {
        *answer.lock().unwrap() = Some((inner.on_worker(), stranger.on_worker()));
    });
    queue.dispatch(job, route);
    assert_eq!(queue.on_worker(), None);
    queue.run_until_idle();
    assert_eq!(queue.on_worker(), None);
    let expected = (Some((ZioType::Trim, QueueKind::InterruptHigh)), None);
    assert_eq!(*seen.lock().unwrap(), Some(expected));
}

#[test]
fn shutdown_runs_the_rest_and_later_tasks_at_once() {
    fn descend(queue: &Arc<Inline<Job>>, count: &Arc<AtomicUsize>, left: usize) {
        let (inner, count) = (Arc::clone(queue), Arc::clone(count));
        let job = Job::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            if left > 0 {
                descend(&inner, &count, left - 1);
            }
        });
        queue.dispatch(job, ROUTE);
    }
    let queue = Arc::new(Inline::new());
    let count = Arc::new(AtomicUsize::new(0));
    descend(&queue, &count, 10);
    assert_eq!(count.load(Ordering::SeqCst), 0);
    queue.shutdown();
    assert_eq!(count.load(Ordering::SeqCst), 11);
    descend(&queue, &count, 100_000);
    assert_eq!(count.load(Ordering::SeqCst), 11 + 100_001);
}

#[test]
fn a_panic_reaches_the_caller_and_the_queue_lives_on() {
    let queue = Inline::new();
    queue.dispatch(Job::new(|| panic!("this is expected")), ROUTE);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| queue.step()));
    assert!(result.is_err());
    assert_eq!(queue.on_worker(), None);
    queue.dispatch(Job::new(|| ()), ROUTE);
    assert_eq!(queue.run_until_idle(), 1);
}
