//! What the counters say, and that they are there to be read at any time.

#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use vdev_queue::{Class, Config, Histogram, Issue, Queue, Request, SharedQueue, Traffic};

fn read(class: Class, offset_bytes: u64) -> Request {
    Request::read(class, offset_bytes, 512).expect("valid")
}

/// A histogram of these durations, by way of a queue.
fn histogram_of(durations_ns: &[u64]) -> Histogram {
    let mut queue = Queue::new(Config::seed()).expect("valid");
    let mut now_ns = 0;
    for &duration_ns in durations_ns {
        queue.enqueue(read(Class::SyncRead, 0), (), now_ns);
        let io = queue.poll_issue(now_ns).and_then(Issue::io).expect("an idle device");
        now_ns += duration_ns;
        queue.complete(io.ticket, now_ns);
    }
    queue.counters().latencies(Class::SyncRead).device
}

proptest! {
    /// Percentiles are those of the sorted list, to within a quarter.
    #[test]
    fn percentiles_are_those_of_a_sorted_list(
        durations_ns in prop::collection::vec((0u32..40, any::<u64>()), 1..200),
        percent in 0u32..=100,
    ) {
        let durations_ns: Vec<u64> =
            durations_ns.into_iter().map(|(octave, low)| (1 << octave) | (low % (1 << octave))).collect();
        let histogram = histogram_of(&durations_ns);
        let mut sorted = durations_ns;
        sorted.sort_unstable();
        let nth = (sorted.len() * percent as usize).div_ceil(100).max(1) - 1;
        let (exact, told) = (sorted[nth], histogram.percentile_ns(f64::from(percent)).expect("some"));
        prop_assert!(told >= exact && told <= exact + exact / 4, "{told} for {exact}");
        prop_assert_eq!(histogram.count(), sorted.len() as u64);
        let buckets: Vec<_> = histogram.buckets().collect();
        for &duration_ns in &sorted {
            prop_assert_eq!(buckets.iter().filter(|(range, _)| range.contains(&duration_ns)).count(), 1);
        }
    }
}

proptest! {
    /// Histograms of several devices add up, and what came later is what is left of the difference.
    #[test]
    fn histograms_add_up(
        first_ns in prop::collection::vec(0u64..1 << 41, 0..50),
        second_ns in prop::collection::vec(0u64..1 << 41, 0..50),
    ) {
        let (first, second) = (histogram_of(&first_ns), histogram_of(&second_ns));
        let both = histogram_of(&[first_ns, second_ns].concat());
        let mut sum = Histogram::default();
        sum.merge(&first);
        prop_assert_eq!(&sum, &first);
        sum.merge(&second);
        prop_assert_eq!(&sum, &both);
        prop_assert_eq!(both.since(&first), second);
        prop_assert_eq!(both.since(&both), Histogram::default());
    }
}

/// Reads, writes and trims of one class are told apart; the bytes are those of the I/O.
#[test]
fn traffic_is_told_apart_by_kind() {
    let mut queue = Queue::new(Config::seed()).expect("valid");
    let mut carry_out = |requests: &[Request]| {
        for &request in requests {
            queue.enqueue(request, (), 0);
        }
        while let Some(io) = queue.poll_issue(0).and_then(Issue::io) {
            queue.complete(io.ticket, 1);
        }
        queue.stats(Class::Removal)
    };
    let removal_write = |at| Request::write(Class::Removal, at, 4096).expect("valid");
    let before = carry_out(&[read(Class::Removal, 0)]);
    assert_eq!((before.reads, before.writes), (Traffic { ios: 1, bytes: 512 }, Traffic::default()));
    // Two writes side by side are one I/O of both their bytes.
    let after = carry_out(&[removal_write(8192), removal_write(12_288)]);
    assert_eq!(after.reads, before.reads);
    assert_eq!(after.writes, Traffic { ios: 1, bytes: 8192 });
    assert_eq!((after.completed_total, after.merged_total), (2, 1));
    let since = after.since(&before);
    assert_eq!((since.reads, since.writes), (Traffic::default(), after.writes));
    assert_eq!((since.issued_total, since.enqueued_total, since.completed_total), (1, 2, 1));
    let mut sum = before;
    sum.merge(&since);
    assert_eq!(sum, after);
}

#[test]
fn no_duration_is_too_long() {
    let histogram = histogram_of(&[u64::MAX / 2]);
    assert_eq!(histogram.count(), 1);
    assert!(histogram.percentile_ns(50.0).expect("one") >= 1 << 40);
    assert_eq!(histogram_of(&[]).percentile_ns(99.0), None);
}

/// Queue, device and both together; a merged I/O counts once at the device, each of its requests
/// in the queue.
#[test]
fn latencies_are_told_apart() {
    let mut queue = Queue::new(Config::seed()).expect("valid");
    for (number, now_ns) in [(0, 0), (1, 16)] {
        queue.enqueue(read(Class::AsyncRead, number * 512), (), now_ns);
    }
    let io = queue.poll_issue(48).and_then(Issue::io).expect("both");
    assert_eq!(io.members.len(), 2);
    queue.complete(io.ticket, 80);
    let took = queue.counters().latencies(Class::AsyncRead);
    let counts = |histogram: &Histogram| -> Vec<u64> {
        histogram
            .buckets()
            .flat_map(|(range, count)| vec![*range.start(); count as usize])
            .collect()
    };
    assert_eq!(counts(&took.queue), [32, 48]);
    assert_eq!(counts(&took.device), [32]);
    assert_eq!(counts(&took.total), [80]);
    assert_eq!(queue.counters().latencies(Class::SyncRead).total.count(), 0);
}

/// Somebody reads all the time; nothing is ever more than there is, and totals only grow.
#[test]
fn counters_are_read_while_others_work() {
    let queue = SharedQueue::new(Config::default()).expect("valid");
    let counters = Arc::clone(queue.counters());
    let is_over = AtomicBool::new(false);
    const EACH: u64 = 20_000;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut issued_before, mut looks) = (0, 0u64);
            while !is_over.load(Ordering::Acquire) {
                let stats = counters.stats(Class::SyncRead);
                assert!(stats.issued_total >= issued_before && stats.issued_total <= 2 * EACH);
                assert!(stats.completed_total <= stats.issued_total);
                assert!(stats.active <= 10 && stats.queued as u64 <= 2 * EACH);
                issued_before = stats.issued_total;
                looks += 1;
            }
            looks
        });
        let workers = [0, 1].map(|_| {
            scope.spawn(|| {
                for number in 0..EACH {
                    let mut work =
                        vec![queue.submit(read(Class::SyncRead, number * 512), (), number)];
                    while let Some(issues) = work.pop() {
                        for io in issues.into_iter().filter_map(Issue::io) {
                            work.push(queue.complete(io.ticket, number));
                        }
                    }
                }
            })
        });
        for worker in workers {
            worker.join().expect("no panic");
        }
        is_over.store(true, Ordering::Release);
        assert!(reader.join().expect("no panic") > 0);
    });
    let stats = counters.stats(Class::SyncRead);
    assert_eq!((stats.enqueued_total, stats.completed_total), (2 * EACH, 2 * EACH));
    assert_eq!((stats.queued, stats.active), (0, 0));
    assert_eq!(counters.latencies(Class::SyncRead).total.count(), 2 * EACH);
}
