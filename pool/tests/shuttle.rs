//! Dirty data under a model checker, which tries many schedules of the same few threads:
//! `RUSTFLAGS="--cfg shuttle" cargo test -p pool --test shuttle`.
//!
//! A writer whom nobody wakes shows as a deadlock, one that is woken without end as a schedule without end. Time goes
//! on while somebody sleeps, and by as much as that.
#![cfg(shuttle)]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use pool::dirty::{Admission, Config, Curve, Dirty, DirtyData, Refused};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use shuttle::{MaxSteps, Runner, thread};

const SCHEDULES: usize = 3000;
/// Steps of a schedule; those of the models here take some hundreds.
const STEPS_MAX: usize = 20_000;
const LIMIT_BYTES: u64 = 1 << 20;
const PERCENT: u64 = LIMIT_BYTES / 100;

/// Random schedules, then some with few preemptions at chosen places, which find other bugs.
fn explore(model: impl Fn() + Send + Sync + Copy + 'static) {
    run(RandomScheduler::new(SCHEDULES), model);
    run(PctScheduler::new(3, SCHEDULES), model);
}

fn run(scheduler: impl Scheduler + 'static, model: impl Fn() + Send + Sync + 'static) {
    let mut config = shuttle::Config::new();
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.stack_size = 256 << 10;
    Runner::new(scheduler, config).run(model);
}

/// Above 60 percent there is time between any two.
fn dirty_data() -> DirtyData {
    DirtyData::new(Config::new(LIMIT_BYTES).curve(Curve::default()), 1).expect("valid")
}

/// So much is dirty, and nobody waits.
fn filled(dirty_data: &DirtyData, percent: u64) -> Dirty {
    dirty_data.admit(percent * PERCENT).wait().expect("room")
}

fn wait(admission: Admission) -> thread::JoinHandle<Result<Dirty, Refused>> {
    thread::spawn(move || admission.wait())
}

fn finish(dirty_data: &DirtyData) {
    assert_eq!((dirty_data.dirty_bytes(), dirty_data.waiting()), (0, 0));
    assert_eq!(dirty_data.next_ns(), None);
}

fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

// -- Models. --

/// Writers that do not all fit, and that wait for time as well.
#[test]
fn all_get_in_and_never_more_than_the_limit() {
    explore(|| {
        let (dirty_data, held) = (dirty_data(), Arc::new(AtomicU64::new(0)));
        let writers = [40, 35, 30].map(|percent| {
            let (dirty_data, held) = (dirty_data.clone(), Arc::clone(&held));
            thread::spawn(move || {
                for _ in 0..2 {
                    let mut dirty = dirty_data.admit(percent * PERCENT).wait().expect("not closed");
                    let bytes = dirty.bytes();
                    let now = held.fetch_add(bytes, Ordering::SeqCst) + bytes;
                    assert!(now <= LIMIT_BYTES && dirty_data.dirty_bytes() <= LIMIT_BYTES);
                    let half = dirty.split(bytes / 2);
                    held.fetch_sub(bytes, Ordering::SeqCst);
                    drop(dirty);
                    drop(half);
                }
            })
        });
        writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
        finish(&dirty_data);
    });
}

/// By measure, with syncs between: the pace changes while they sleep.
#[test]
fn all_get_in_by_measure() {
    explore(|| {
        let dirty_data = DirtyData::new(Config::new(LIMIT_BYTES), 1).expect("valid");
        let writers = [50, 45].map(|percent| {
            let dirty_data = dirty_data.clone();
            thread::spawn(move || {
                for _ in 0..3 {
                    drop(filled(&dirty_data, percent));
                }
            })
        });
        let syncing = dirty_data.clone();
        let sync = thread::spawn(move || {
            for _ in 0..2 {
                syncing.close_txg();
                syncing.begin_sync();
                syncing.ask();
                syncing.end_sync();
            }
        });
        writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
        sync.join().expect("no panic");
        finish(&dirty_data);
    });
}

/// Only time is missing, and nothing happens but that whoever keeps it is cancelled, or gets in
/// before the rest.
#[test]
fn another_one_keeps_the_time_when_the_timekeeper_goes() {
    explore(|| {
        let dirty_data = dirty_data();
        let base = filled(&dirty_data, 65);
        let admissions = [(); 3].map(|()| dirty_data.admit(PERCENT));
        let tickets = [0, 1, 2].map(|at: usize| admissions[at].ticket());
        let writers = admissions.map(wait);
        let cancelling = dirty_data.clone();
        let cancel = thread::spawn(move || [0, 1].map(|at: usize| cancelling.cancel(tickets[at])));
        let cancelled = cancel.join().expect("no panic");
        for (at, writer) in writers.into_iter().enumerate() {
            let result = writer.join().expect("no panic");
            let wanted = match cancelled.get(at) {
                Some(true) => Some(Refused::Cancelled),
                _ => None,
            };
            assert_eq!(result.err(), wanted, "writer {at}");
        }
        drop(base);
        finish(&dirty_data);
    });
}

/// First there is no room, so nobody knows when; then a write is done, and there is room at a time.
#[test]
fn room_that_comes_late_is_noticed() {
    explore(|| {
        let dirty_data = dirty_data();
        let (base, rest) = (filled(&dirty_data, 50), filled(&dirty_data, 48));
        let writers = [(); 2].map(|()| wait(dirty_data.admit(10 * PERCENT)));
        let done = [thread::spawn(move || drop(rest))];
        writers
            .into_iter()
            .for_each(|writer| drop(writer.join().expect("no panic").expect("room")));
        done.into_iter().for_each(|done| done.join().expect("no panic"));
        drop(base);
        finish(&dirty_data);
    });
}

/// The first of the line gives up, which does not fit, or whose time may have come just then:
/// whoever is behind gets on, and nothing stays dirty.
#[test]
fn who_gives_up_lets_the_next_one_in() {
    fn model(percent: u64) {
        let dirty_data = dirty_data();
        let base = filled(&dirty_data, 70);
        let first = dirty_data.admit(percent * PERCENT);
        let second = wait(dirty_data.admit(PERCENT));
        let gives_up = thread::spawn(move || drop(first));
        drop(second.join().expect("no panic").expect("room"));
        gives_up.join().expect("no panic");
        drop(base);
        finish(&dirty_data);
    }
    explore(|| model(50));
    explore(|| model(1));
}

/// Nobody keeps the time, and nobody has to: it is room that is missing.
#[test]
fn a_future_gets_in_when_there_is_room() {
    explore(|| {
        let dirty_data = dirty_data();
        let base = filled(&dirty_data, 50);
        let future = dirty_data.admit(60 * PERCENT);
        let future = thread::spawn(move || block_on(future));
        let done = thread::spawn(move || drop(base));
        drop(future.join().expect("no panic").expect("room"));
        done.join().expect("no panic");
        finish(&dirty_data);
    });
}

/// A future has no timer: the thread behind it keeps the time for both.
#[test]
fn a_future_gets_in_by_the_thread_behind_it() {
    explore(|| {
        let dirty_data = dirty_data();
        let base = filled(&dirty_data, 65);
        let future = dirty_data.admit(PERCENT);
        let behind = wait(dirty_data.admit(PERCENT));
        let future = thread::spawn(move || block_on(future));
        drop(future.join().expect("no panic").expect("room"));
        drop(behind.join().expect("no panic").expect("room"));
        drop(base);
        finish(&dirty_data);
    });
}

/// Somebody closes: all come back, and what was let in before is dirty until it is dropped.
#[test]
fn closing_leaves_nobody_behind() {
    explore(|| {
        let dirty_data = dirty_data();
        let base = filled(&dirty_data, 65);
        let writers = [1, 2, 60].map(|percent| wait(dirty_data.admit(percent * PERCENT)));
        let (closing, late) = (dirty_data.clone(), dirty_data.clone());
        let late = thread::spawn(move || late.admit(PERCENT).wait().map(drop));
        let close = thread::spawn(move || closing.close());
        for writer in writers {
            assert!(matches!(writer.join().expect("no panic"), Ok(_) | Err(Refused::Closed)));
        }
        assert!(matches!(late.join().expect("no panic"), Ok(()) | Err(Refused::Closed)));
        close.join().expect("no panic");
        assert_eq!(dirty_data.admit(PERCENT).wait().err(), Some(Refused::Closed));
        drop(base);
        finish(&dirty_data);
    });
}

/// The load is told to one listener at a time, and what was told last is how it is.
#[test]
fn the_last_load_told_is_the_load() {
    explore(|| {
        let (telling, told) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(u64::MAX)));
        let dirty_data = dirty_data().on_load({
            let (telling, told) = (Arc::clone(&telling), Arc::clone(&told));
            move |load| {
                assert!(!telling.swap(true, Ordering::SeqCst), "two at a time");
                told.store(load.dirty_bytes, Ordering::SeqCst);
                telling.store(false, Ordering::SeqCst);
            }
        });
        let base = filled(&dirty_data, 20);
        let writers = [10, 20].map(|percent| {
            let dirty_data = dirty_data.clone();
            thread::spawn(move || drop(filled(&dirty_data, percent)))
        });
        writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
        assert_eq!(told.load(Ordering::SeqCst), dirty_data.dirty_bytes());
        drop(base);
        assert_eq!(told.load(Ordering::SeqCst), 0);
        finish(&dirty_data);
    });
}
