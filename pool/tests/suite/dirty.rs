//! Dirty data: the curve, the line, the values, many threads (D8).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pool::dirty::{Config, ConfigError, Curve, DirtyData, Mode, Push, Refused, Throttle};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;
const MS: u64 = 1_000_000;
const S: u64 = 1000 * MS;

#[test]
fn the_delay_is_that_of_the_table() {
    // Spec 3.10, checked against the original: fill in thousandths, delay.
    let table = [
        (0, 0),
        (600, 0),
        (650, 71_428),
        (700, 166_666),
        (800, 500_000),
        (900, 1_500_000),
        (950, 3_500_000),
        (990, 19_500_000),
        (999, 100 * MS),
        (1000, 100 * MS),
    ];
    for max in [1000, 4_000_000_000] {
        for (permille, delay_ns) in table {
            let dirty = max / 1000 * permille;
            assert_eq!(Curve::default().delay_ns(dirty, max), delay_ns, "{permille} of {max}");
        }
    }
    assert_eq!(Curve::default().delay_ns(u64::MAX, 1000), 100 * MS);
    assert_eq!(Curve::default().delay_ns(u64::MAX, u64::MAX), 100 * MS);
}

/// A throttle with the curve, of which so many permille are dirty.
fn filled(permille: u64) -> Throttle {
    let mut throttle =
        Throttle::new(Config::new(1000 * MIB).curve(Curve::default()), 1, 0).unwrap();
    throttle.enqueue(permille * MIB, 0);
    assert!(throttle.poll(0).is_some());
    throttle
}

#[test]
fn by_the_curve_delays_add_up_over_the_whole_pool() {
    let mut throttle = filled(800);
    // Three who come together, and one who comes later.
    let tickets: Vec<_> = (0..3).map(|_| throttle.enqueue(0, S)).collect();
    for (number, ticket) in tickets.into_iter().enumerate() {
        let due = S + 500_000 * (number as u64 + 1);
        assert_eq!(throttle.next_ns(), Some(due));
        assert_eq!(throttle.poll(due - 1), None);
        assert_eq!(throttle.poll(due).unwrap().ticket, ticket);
    }
    throttle.enqueue(0, S + 1_100_000);
    assert_eq!(throttle.next_ns(), Some(S + 2_000_000), "behind the last one");
    assert!(throttle.poll(S + 2_000_000).is_some());
    throttle.enqueue(0, 2 * S);
    assert_eq!(throttle.next_ns(), Some(2 * S + 500_000), "the last one is long gone");
    // Below, nobody waits.
    let mut throttle = filled(599);
    throttle.enqueue(MIB, S);
    assert!(throttle.poll(S).is_some());
    // At the limit nobody passes, whatever the time; but what is not to be written any more makes room.
    let mut throttle = filled(1000);
    throttle.enqueue(MIB, S);
    assert_eq!((throttle.next_ns(), throttle.poll(100 * S)), (None, None));
    throttle.end(1, MIB - 1, 2 * S);
    assert_eq!(throttle.poll(100 * S), None, "a byte too much");
    throttle.end(1, 1, 2 * S);
    assert!(throttle.poll(2 * S).is_some());
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let error = |config: Config| Throttle::new(config, 1, 0).unwrap_err();
    assert!(matches!(error(Config::new(1000)), ConfigError::TooLittle { dirty_bytes_max: 1000 }));
    let mut config = Config::new(MIB);
    config.push_bytes_min = MIB / 2;
    assert!(matches!(error(config), ConfigError::PushTooLate { .. }));
    let curve = Curve { min_percent: 100, ..Curve::default() };
    assert!(matches!(error(Config::new(MIB).curve(curve)), ConfigError::Percent { .. }));
    assert!(error(Config::new(1000)).to_string().contains("65536"));
}

#[test]
fn a_transaction_group_is_pushed_by_size_by_time_and_on_demand() {
    let mut throttle = Throttle::new(Config::new(64 * MIB), 7, 0).unwrap();
    let admit = |throttle: &mut Throttle, bytes, now| {
        throttle.enqueue(bytes, now);
        throttle.poll(now).unwrap()
    };
    // Size: an eighth of all, while nothing is known of the devices.
    assert_eq!(admit(&mut throttle, 8 * MIB - 1, 0).txg, 7);
    assert_eq!(throttle.push(0), None);
    assert_eq!(admit(&mut throttle, 1, 0).txg, 7);
    assert_eq!(throttle.push(0), Some(Push::Size));
    assert_eq!(throttle.close_txg(S), Some(7));
    assert_eq!(admit(&mut throttle, 8 * MIB, S).txg, 8);
    // One quiesces at a time, and one is written at a time.
    assert_eq!((throttle.push(S), throttle.close_txg(S)), (None, None));
    assert_eq!((throttle.begin_sync(S), throttle.begin_sync(S)), (Some(7), None));
    assert_eq!(throttle.push(S), Some(Push::Size));
    assert_eq!((throttle.close_txg(2 * S), throttle.begin_sync(2 * S)), (Some(8), None));
    throttle.end(7, 8 * MIB, 2 * S);
    assert_eq!((throttle.end_sync(2 * S), throttle.begin_sync(2 * S)), (Some(7), Some(8)));
    assert_eq!(throttle.end_sync(3 * S), Some(8));
    assert_eq!(throttle.end_sync(3 * S), None);
    // Time: five seconds after it was opened.
    assert_eq!((throttle.push(7 * S - 1), throttle.push(7 * S)), (None, Some(Push::Time)));
    assert_eq!(throttle.push_ns(), 7 * S);
    // Demand, until it is synced; of the next one nobody has asked.
    assert_eq!(throttle.ask(), 9);
    assert_eq!(throttle.push(3 * S), Some(Push::Asked));
    assert!(throttle.load(3 * S).sync_task_pending);
    assert_eq!(throttle.close_txg(3 * S), Some(9));
    throttle.begin_sync(3 * S);
    assert_eq!(throttle.push(3 * S), None);
    assert!(throttle.load(3 * S).sync_task_pending);
    throttle.end_sync(4 * S);
    assert!(!throttle.load(4 * S).sync_task_pending);
}

#[test]
fn room_is_made_for_who_does_not_fit() {
    let mut throttle = Throttle::new(Config::new(64 * MIB), 1, 0).unwrap();
    throttle.enqueue(4096, 0);
    assert!(throttle.poll(0).is_some());
    // Larger than all there may be: alone.
    throttle.enqueue(100 * MIB, 0);
    throttle.enqueue(4096, 0);
    assert_eq!((throttle.poll(S), throttle.push(0)), (None, Some(Push::Room)));
    throttle.close_txg(0);
    assert_eq!(throttle.push(S), None, "it is on its way");
    throttle.begin_sync(0);
    throttle.end(1, 4096, S);
    assert_eq!(throttle.poll(S).unwrap().bytes, 100 * MIB);
    assert_eq!(throttle.poll(2 * S), None, "nobody beside it");
}

#[test]
fn the_queues_are_told_how_full_it_is() {
    let told = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let list = Arc::clone(&told);
    let dirty_data = DirtyData::with_clock(Config::new(100 * MIB).curve(Curve::default()), 1, || 0);
    let dirty_data = dirty_data.unwrap().on_load(move |load| list.lock().push(load));
    let first = dirty_data.admit(30 * MIB).wait().unwrap();
    let second = dirty_data.admit(MIB / 2).wait().unwrap();
    dirty_data.ask();
    drop(first);
    drop(second);
    let told: Vec<_> = (told.lock().iter())
        .map(|load| (load.dirty_bytes * 100 / load.dirty_bytes_max, load.sync_task_pending))
        .collect();
    // Half a percent is nothing to tell.
    assert_eq!(told, [(30, false), (30, true), (0, true)]);
}

#[test]
fn bytes_end_in_parts_and_once() {
    let dirty_data = DirtyData::with_clock(Config::new(MIB), 5, || 0).unwrap();
    let mut dirty = dirty_data.admit(100_000).wait().unwrap();
    assert_eq!((dirty.bytes(), dirty.txg(), dirty_data.dirty_bytes()), (100_000, 5, 100_000));
    let part = dirty.split(30_000);
    let all = dirty.split(u64::MAX);
    assert_eq!((part.bytes(), all.bytes(), dirty.bytes()), (30_000, 70_000, 0));
    drop(dirty);
    assert_eq!(dirty_data.dirty_bytes(), 100_000);
    drop(part);
    assert_eq!(dirty_data.dirty_bytes(), 70_000);
    drop(all);
    assert_eq!(dirty_data.dirty_bytes(), 0);
    // A place that is given up after its turn came is given back.
    let admission = dirty_data.admit(1000);
    assert_eq!(dirty_data.dirty_bytes(), 1000);
    drop(admission);
    assert_eq!((dirty_data.dirty_bytes(), dirty_data.waiting()), (0, 0));
}

#[test]
fn who_is_cancelled_or_too_late_is_told_so() {
    let dirty_data = DirtyData::with_clock(Config::new(MIB), 1, || 0).unwrap();
    let all = dirty_data.admit(MIB).wait().unwrap();
    let mut waiting: Vec<_> = (0..3).map(|_| dirty_data.admit(1000)).collect();
    assert!(waiting[1].try_take().is_none());
    assert!(dirty_data.cancel(waiting[1].ticket()));
    assert!(!dirty_data.cancel(waiting[1].ticket()));
    assert_eq!(waiting[1].try_take().unwrap().unwrap_err(), Refused::Cancelled);
    // Blocked threads and futures hear of it.
    let blocked = {
        let admission = dirty_data.admit(1000);
        std::thread::spawn(move || admission.wait().unwrap_err())
    };
    drop(waiting.pop());
    dirty_data.close();
    assert_eq!(blocked.join().unwrap(), Refused::Closed);
    assert_eq!(waiting[0].try_take().unwrap().unwrap_err(), Refused::Closed);
    assert_eq!(dirty_data.admit(1).wait().unwrap_err(), Refused::Closed);
    assert_eq!((dirty_data.waiting(), dirty_data.dirty_bytes()), (0, MIB));
    drop(all);
    assert_eq!(dirty_data.dirty_bytes(), 0);
}

#[test]
fn a_future_is_woken_by_who_makes_room() {
    struct Count(AtomicU64);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    // A second passes whenever somebody looks.
    let clock = AtomicU64::new(0);
    let tick = move || clock.fetch_add(S, Ordering::Relaxed);
    let dirty_data = DirtyData::with_clock(Config::new(MIB), 1, tick).unwrap();
    let all = dirty_data.admit(MIB).wait().unwrap();
    let woken = Arc::new(Count(AtomicU64::new(0)));
    let waker = Arc::clone(&woken).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut admission = std::pin::pin!(dirty_data.admit(1000));
    assert!(admission.as_mut().poll(&mut context).is_pending());
    assert!(admission.as_mut().poll(&mut context).is_pending());
    assert_eq!(woken.0.load(Ordering::SeqCst), 0);
    drop(all);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(admission.as_mut().poll(&mut context).is_ready());
}

/// Each of them gets in at its time, although nothing else happens.
#[test]
fn threads_that_wait_need_nobody_else() {
    let slow = Curve { scale_ns: 2 * MS, ..Curve::default() };
    for config in [Config::new(MIB).curve(slow), Config::new(MIB)] {
        let dirty_data = DirtyData::new(config, 1).unwrap();
        let most = dirty_data.admit(800 << 10).wait().unwrap();
        let (send, receive) = std::sync::mpsc::channel();
        for _ in 0..5 {
            let (admission, send) = (dirty_data.admit(1000), send.clone());
            std::thread::spawn(move || send.send(admission.wait()));
        }
        let patience = std::time::Duration::from_secs(60);
        let admitted: Vec<_> = (0..5)
            .map(|_| receive.recv_timeout(patience).expect("nobody keeps the time"))
            .collect();
        assert_eq!(dirty_data.dirty_bytes(), (800 << 10) + 5000);
        drop((most, admitted));
        assert_eq!(dirty_data.dirty_bytes(), 0);
    }
}

/// Threads that admit, keep, hand over and drop, while another one syncs. The clock is the system's.
#[test]
fn threads_never_have_more_than_the_limit_and_leave_nothing() {
    for curve in [false, true] {
        let mut config = Config::new(2 * MIB);
        if curve {
            let quick = Curve { scale_ns: 1000, delay_ns_max: 20_000, ..Curve::default() };
            config = config.curve(quick);
        }
        let dirty_data = DirtyData::new(config, 1).unwrap();
        let (held, most) = (AtomicU64::new(0), AtomicU64::new(0));
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            for seed in 0..6 {
                let (dirty_data, send, held, most) = (&dirty_data, send.clone(), &held, &most);
                scope.spawn(move || {
                    let mut rng = vdev_sim::Rng::new(seed);
                    for round in 0..150 {
                        let bytes = 1 + rng.below(64 << 10);
                        if rng.below(10) == 0 {
                            drop(dirty_data.admit(bytes));
                        }
                        let mut dirty = dirty_data.admit(bytes).wait().unwrap();
                        let now = held.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        most.fetch_max(now, Ordering::SeqCst);
                        let part = dirty.split(rng.below(bytes));
                        send.send((part, round)).unwrap();
                        send.send((dirty, round)).unwrap();
                    }
                });
            }
            drop(send);
            let (dirty_data, held) = (&dirty_data, &held);
            scope.spawn(move || {
                let mut kept = Vec::new();
                loop {
                    let next = receive.recv_timeout(std::time::Duration::from_micros(200));
                    let ended =
                        matches!(next, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
                    kept.extend(next);
                    if dirty_data.push().is_some() || ended {
                        dirty_data.close_txg();
                    }
                    if let Some(txg) = dirty_data.begin_sync() {
                        for (dirty, _) in kept.extract_if(.., |(dirty, _)| dirty.txg() <= txg) {
                            // Before it is dropped: whoever gets in by it counts after that.
                            held.fetch_sub(dirty.bytes(), Ordering::SeqCst);
                            drop(dirty);
                        }
                        dirty_data.end_sync();
                    }
                    if ended && kept.is_empty() {
                        break;
                    }
                }
            });
        });
        assert!(most.load(Ordering::SeqCst) <= 2 * MIB);
        assert_eq!((dirty_data.dirty_bytes(), dirty_data.waiting()), (0, 0));
    }
}

/// What may happen.
#[derive(Clone, Debug)]
enum Step {
    Ask(u64),
    Cancel(usize),
    End(usize, u64),
    Pass(u64),
    Close,
    BeginSync,
    EndSync,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..40 * MIB).prop_map(Step::Ask),
        1 => any::<usize>().prop_map(Step::Cancel),
        4 => (any::<usize>(), 0..50 * MIB).prop_map(|(which, bytes)| Step::End(which, bytes)),
        4 => (0..200 * MS).prop_map(Step::Pass),
        1 => Just(Step::Close),
        1 => Just(Step::BeginSync),
        1 => Just(Step::EndSync),
    ]
}

proptest! {
    /// Against a list of who waits and a list of what is dirty. By the curve every time is known; by measure
    /// the longest one.
    #[test]
    fn behaves_as_two_lists(steps in prop::collection::vec(step(), 0..200), curve: bool) {
        let max = 100 * MIB;
        let mut config = Config::new(max);
        config.mode = if curve { Mode::Curve(Curve::default()) } else { Mode::default() };
        let mut throttle = Throttle::new(config, 1, 0).unwrap();
        let (mut now, mut last_due, mut open) = (0, 0, 1);
        let mut line = VecDeque::new();
        let mut dirty: Vec<(u64, u64)> = Vec::new();
        let (mut quiescing, mut syncing) = (None, None);
        let sum = |dirty: &[(u64, u64)]| dirty.iter().map(|(_, bytes)| bytes).sum::<u64>();
        for step in steps {
            match step {
                Step::Ask(bytes) => {
                    let (have, want) = (sum(&dirty) as f64, max as f64);
                    let delay = if have <= 0.6 * want {
                        0
                    } else if have >= want {
                        100 * MS
                    } else {
                        (500_000.0 * (have - 0.6 * want) / (want - have)).min(1e8) as u64
                    };
                    let due = if delay > 0 { now.max(last_due) + delay } else { now };
                    if delay > 0 { last_due = due; }
                    line.push_back((throttle.enqueue(bytes, now), bytes, due));
                }
                Step::Cancel(which) if !line.is_empty() => {
                    let (ticket, ..) = line.remove(which % line.len()).unwrap();
                    prop_assert!(throttle.cancel(ticket));
                    prop_assert!(!throttle.cancel(ticket));
                }
                Step::End(which, bytes) if !dirty.is_empty() => {
                    let which = which % dirty.len();
                    let (txg, left) = &mut dirty[which];
                    let bytes = bytes.min(*left);
                    throttle.end(*txg, bytes, now);
                    *left -= bytes;
                }
                Step::Pass(ns) => now += ns,
                Step::Close => {
                    let closed = quiescing.is_none().then_some(open);
                    prop_assert_eq!(throttle.close_txg(now), closed);
                    if closed.is_some() { quiescing = closed; open += 1; }
                }
                Step::BeginSync => {
                    let begun = if syncing.is_none() { quiescing.take() } else { None };
                    prop_assert_eq!(throttle.begin_sync(now), begun);
                    syncing = syncing.or(begun);
                }
                Step::EndSync => prop_assert_eq!(throttle.end_sync(now), syncing.take()),
                _ => {}
            }
            // Whoever can be let in is, in order.
            loop {
                let fits = |bytes: u64| sum(&dirty) == 0 || sum(&dirty) + bytes <= max;
                let first = line.front().copied();
                let expected = match (first, throttle.next_ns()) {
                    (None, next) => { prop_assert_eq!(next, None); None }
                    (Some((_, bytes, _)), None) => { prop_assert!(!fits(bytes)); None }
                    (Some((ticket, bytes, due)), Some(next)) => {
                        prop_assert!(fits(bytes));
                        match curve {
                            true => prop_assert!(next.abs_diff(due) <= 1 + due / 1_000_000_000),
                            false => prop_assert!(next <= now + 100 * MS),
                        }
                        (next <= now).then_some((ticket, bytes))
                    }
                };
                let admitted = throttle.poll(now);
                prop_assert_eq!(admitted.map(|a| (a.ticket, a.bytes)), expected);
                let Some(admitted) = admitted else { break };
                prop_assert_eq!(admitted.txg, open);
                dirty.push((open, admitted.bytes));
                line.pop_front();
            }
            prop_assert_eq!(throttle.dirty_bytes(), sum(&dirty));
            prop_assert_eq!((throttle.waiting(), throttle.open_txg()), (line.len(), open));
            let in_txg = |txg: Option<u64>| {
                dirty.iter().filter(|(of, _)| Some(*of) == txg).map(|(_, bytes)| bytes).sum::<u64>()
            };
            prop_assert_eq!(throttle.syncing_bytes(), in_txg(syncing));
        }
    }
}
