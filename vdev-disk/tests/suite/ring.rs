//! The ring as a reactor: groups, wake-ups, sharing, and what happens at the end.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use crate::common::{Receiver, bytes_of, one, pattern, read_op, run, write_op};
use tempfile::TempDir;
use vdev_disk::{Disk, DiskTask, OpenOptions, Ring, perform};
use zio_core::{
    Complete, QueueKind, Reactor, Route, TaskQueue, Token, Vdev, VdevDone, VdevErrorKind, VdevIo,
    VdevOp, Wait, ZioType,
};

const MIB: u64 = 1 << 20;

fn disk_on(ring: &Arc<Ring>, dir: &TempDir, name: &str) -> Disk {
    let options = OpenOptions::new().create(MIB).ring(Arc::clone(ring));
    Disk::open(dir.path().join(name), &options).unwrap()
}

/// Waits, without driving anything, for what a kernel that was handed an I/O brings about.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("in vain: {what}");
}

#[test]
fn many_disks_share_one_ring() {
    let dir = tempfile::tempdir().unwrap();
    let ring = Ring::new(8).unwrap();
    // More than the table of registered files has places.
    let disks: Vec<_> = (0..70).map(|i| disk_on(&ring, &dir, &format!("{i}"))).collect();
    let receiver = Receiver::new(disks.len());
    for (i, disk) in disks.iter().enumerate() {
        let op = write_op(&pattern(0, 1024, i as u8), &[512, 512]);
        disk.start(VdevIo::new(op, 2048, receiver.token(i)));
    }
    assert_eq!(ring.in_flight(), disks.len());
    for done in receiver.wait(&disks[0]) {
        assert_eq!(done.result, Ok(()));
    }
    assert_eq!(ring.in_flight(), 0);
    for (i, disk) in disks.iter().enumerate() {
        assert_eq!(bytes_of(one(disk, read_op(&[1024]), 2048)), pattern(0, 1024, i as u8));
    }
}

#[test]
fn a_place_in_the_table_is_used_again_for_the_right_file() {
    let dir = tempfile::tempdir().unwrap();
    let ring = Ring::new(8).unwrap();
    for round in 0..100_u8 {
        let disk = disk_on(&ring, &dir, &format!("{round}"));
        // Started, not submitted, and the disk is gone: the I/O still goes to its own file.
        let receiver = Receiver::new(1);
        disk.start(VdevIo::new(write_op(&[round; 512], &[512]), 0, receiver.token(0)));
        drop(disk);
        let other = disk_on(&ring, &dir, "other");
        assert_eq!(receiver.wait(&other).remove(0).result, Ok(()));
        assert_eq!(bytes_of(one(&other, read_op(&[512]), 0)), [0; 512]);
        drop(other);
        let again = disk_on(&ring, &dir, &format!("{round}"));
        assert_eq!(bytes_of(one(&again, read_op(&[512]), 0)), [round; 512]);
    }
}

#[test]
fn one_i_o_waits_for_submit_and_the_fourth_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let ring = Ring::new(16).unwrap();
    let disk = disk_on(&ring, &dir, "disk");
    let written = |byte: u8| {
        let file = std::fs::read(dir.path().join("disk")).unwrap();
        file.chunks(512).filter(|sector| sector[0] == byte).count()
    };
    let start = |receiver: &Arc<Receiver>, ticket: usize, byte: u8| {
        let op = write_op(&[byte; 512], &[512]);
        disk.start(VdevIo::new(op, ticket as u64 * 512, receiver.token(ticket)));
    };
    let receiver = Receiver::new(4);
    (0..4).for_each(|i| start(&receiver, i, 1));
    until("a group of four goes to the device by itself", || written(1) == 4);
    assert_eq!((receiver.answered(), ring.in_flight()), (0, 4), "nobody turned");
    receiver.wait(&disk);

    let receiver = Receiver::new(3);
    (0..3).for_each(|i| start(&receiver, i, 2));
    assert_eq!(written(2), 0, "three wait for company");
    ring.submit();
    until("submit sends them", || written(2) == 3);
    assert_eq!(receiver.answered(), 0);
    receiver.wait(&disk);
}

/// Keeps a fixed number of reads in flight: each answer starts the next read,
/// inside the turn that delivered it.
struct Chain {
    disk: Disk,
    left: AtomicUsize,
    answered: AtomicUsize,
    failed: AtomicBool,
}

impl Complete for Chain {
    fn complete(self: Arc<Self>, ticket: u64, done: VdevDone) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if done.result.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        let more =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if let (Ok(_), Some(op)) = (more, done.op) {
            let token = Token::new(Arc::clone(&self) as Arc<dyn Complete>, ticket);
            self.disk.start(VdevIo::new(op, (ticket * 8192) % MIB, token));
        }
    }
}

#[test]
fn answers_start_more_and_blocking_turns_bring_all_of_them() {
    let dir = tempfile::tempdir().unwrap();
    for depth in [1, 3, 32] {
        let ring = Ring::new(depth).unwrap();
        let disk = disk_on(&ring, &dir, "disk");
        let chain = Arc::new(Chain {
            disk,
            left: AtomicUsize::new(2000),
            answered: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
        });
        for ticket in 0..40 {
            let token = Token::new(Arc::clone(&chain) as Arc<dyn Complete>, ticket);
            chain.disk.start(VdevIo::new(read_op(&[8192]), 0, token));
        }
        let mut turned = 0;
        while ring.in_flight() > 0 {
            turned += ring.turn(Wait::Block);
        }
        assert_eq!(turned, 2040);
        assert_eq!(chain.answered.load(Ordering::Relaxed), 2040);
        assert!(!chain.failed.load(Ordering::Relaxed));
        drop(chain);
    }
}

#[test]
fn a_wake_up_before_the_sleep_is_not_lost() {
    let ring = Ring::new(4).unwrap();
    for _ in 0..100 {
        ring.wake();
        ring.wake();
        assert_eq!(ring.turn(Wait::Block), 0);
    }
    assert_eq!(ring.turn(Wait::Poll), 0);
}

#[test]
fn a_wake_up_reaches_a_sleeper() {
    let ring = Ring::new(4).unwrap();
    let (to_main, from_sleeper) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..100 {
                assert_eq!(ring.turn(Wait::Block), 0);
                to_main.send(round).unwrap();
            }
        });
        for round in 0..100 {
            if round % 10 == 0 {
                thread::sleep(Duration::from_millis(2));
            }
            ring.wake();
            assert_eq!(from_sleeper.recv_timeout(Duration::from_secs(20)), Ok(round));
        }
    });
}

/// What one thread starts while another sleeps in a turn arrives there,
/// whether the starter submits it or not.
#[test]
fn another_thread_starts_while_one_sleeps() {
    let dir = tempfile::tempdir().unwrap();
    let ring = Ring::new(4).unwrap();
    let disk = disk_on(&ring, &dir, "disk");
    let receiver = Receiver::new(200);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                ring.turn(Wait::Block);
            }
        });
        for ticket in 0..200 {
            disk.start(VdevIo::new(read_op(&[512]), 0, receiver.token(ticket)));
            if ticket % 2 == 0 {
                ring.submit();
            }
            // While somebody else turns, this one does not.
            until("the sleeper delivers", || receiver.answered() > ticket);
        }
        stop.store(true, Ordering::Release);
        ring.wake();
    });
}

#[test]
fn starters_on_many_threads_and_one_reaper() {
    let dir = tempfile::tempdir().unwrap();
    let ring = Ring::new(16).unwrap();
    let disk = disk_on(&ring, &dir, "disk");
    let receivers: Vec<_> = (0..4).map(|_| Receiver::new(500)).collect();
    thread::scope(|scope| {
        for receiver in &receivers {
            scope.spawn(|| {
                for ticket in 0..500 {
                    let at = (ticket as u64 * 512) % MIB;
                    disk.start(VdevIo::new(read_op(&[512]), at, receiver.token(ticket)));
                }
                ring.submit();
            });
        }
    });
    for receiver in &receivers {
        assert!(receiver.wait(&disk).iter().all(|done| done.result == Ok(())));
    }
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn dropping_the_ring_answers_what_is_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::new(50);
    let ring = Ring::new(4).unwrap();
    let disk = disk_on(&ring, &dir, "disk");
    for ticket in 0..50 {
        let op = write_op(&pattern(0, 512, 7), &[512]);
        disk.start(VdevIo::new(op, ticket as u64 * 512, receiver.token(ticket)));
    }
    drop(disk);
    drop(ring);
    assert_eq!(receiver.answered(), 50);
}

struct Thrower;

impl Complete for Thrower {
    fn complete(self: Arc<Self>, _ticket: u64, _done: VdevDone) {
        panic!("a receiver that fails");
    }
}

#[test]
fn a_receiver_that_panics_leaves_the_ring_usable() {
    let dir = tempfile::tempdir().unwrap();
    let ring = Ring::new(8).unwrap();
    let disk = disk_on(&ring, &dir, "disk");
    let receiver = Receiver::new(3);
    disk.start(VdevIo::new(read_op(&[512]), 0, Token::new(Arc::new(Thrower), 0)));
    for ticket in 0..3 {
        disk.start(VdevIo::new(read_op(&[512]), 0, receiver.token(ticket)));
    }
    let turning = std::panic::AssertUnwindSafe(|| {
        while ring.in_flight() > 0 {
            ring.turn(Wait::Block);
        }
    });
    assert!(std::panic::catch_unwind(turning).is_err());
    // The others are answered: lost if they were taken out in the same turn, else in the next.
    for done in receiver.wait(&disk) {
        assert!(done.result.is_ok() || done.op.is_none());
    }
    assert_eq!(ring.in_flight(), 0);
    assert!(run(&disk, (0..20).map(|_| (read_op(&[512]), 0))).iter().all(|d| d.result.is_ok()));
}

#[test]
fn a_receiver_that_panics_while_the_ring_is_dropped_keeps_nobody_from_his_answer() {
    let dir = tempfile::tempdir().unwrap();
    let ring = Ring::new(2).unwrap();
    let disk = disk_on(&ring, &dir, "disk");
    let receiver = Receiver::new(9);
    disk.start(VdevIo::new(read_op(&[512]), 0, Token::new(Arc::new(Thrower), 0)));
    for ticket in 0..9 {
        disk.start(VdevIo::new(read_op(&[512]), 0, receiver.token(ticket)));
    }
    drop(disk);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(ring))).is_err());
    assert_eq!(receiver.answered(), 9);
}

/// A queue that loses what it is given.
struct Careless;

impl TaskQueue<DiskTask> for Careless {
    fn dispatch(&self, _task: DiskTask, _route: Route) {}

    fn on_worker(&self) -> Option<(ZioType, QueueKind)> {
        None
    }

    fn shutdown(&self) {}
}

#[test]
fn what_a_queue_loses_is_answered_as_lost() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions::new().create(MIB).pool(Arc::new(Careless));
    let disk = Disk::open(dir.path().join("disk"), &options).unwrap();
    let done = perform(&disk, VdevOp::Flush, 0);
    assert_eq!(done.result.unwrap_err().kind(), VdevErrorKind::Lost);
}

#[test]
fn performing_from_several_threads_brings_everybody_his_own() {
    let dir = tempfile::tempdir().unwrap();
    let ring = Ring::new(4).unwrap();
    let disk = disk_on(&ring, &dir, "disk");
    thread::scope(|scope| {
        for who in 0..3_u64 {
            let disk = &disk;
            scope.spawn(move || {
                for round in 0..100 {
                    let (at, bytes) = (who * 4096, pattern(who * 4096, 512, round));
                    assert_eq!(perform(disk, write_op(&bytes, &[512]), at).result, Ok(()));
                    assert!(bytes_of(perform(disk, read_op(&[512]), at)) == bytes);
                }
            });
        }
    });
}

#[test]
fn performing_while_another_thread_reaps() {
    let dir = tempfile::tempdir().unwrap();
    let ring = Ring::new(4).unwrap();
    let disk = disk_on(&ring, &dir, "disk");
    // Blocks that are there: a hole is read without a device.
    assert_eq!(perform(&disk, write_op(&[1; 4096], &[4096]), 0).result, Ok(()));
    for wait in [Wait::Block, Wait::Poll] {
        let (stop, both) = (AtomicBool::new(false), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                both.wait();
                while !stop.load(Ordering::Acquire) {
                    ring.turn(wait);
                }
            });
            both.wait();
            for _ in 0..1000 {
                assert_eq!(perform(&disk, read_op(&[512]), 0).result, Ok(()));
            }
            stop.store(true, Ordering::Release);
            ring.wake();
        });
    }
}

/// Notes how many I/Os are in flight whenever an answer arrives.
struct Observer {
    ring: Arc<Ring>,
    in_flight_min: AtomicUsize,
}

impl Complete for Observer {
    fn complete(self: Arc<Self>, _ticket: u64, _done: VdevDone) {
        self.in_flight_min.fetch_min(self.ring.in_flight(), Ordering::Relaxed);
    }
}

#[test]
fn an_i_o_is_in_flight_until_its_answer_was_taken() {
    let dir = tempfile::tempdir().unwrap();
    let ring = Ring::new(4).unwrap();
    let disk = disk_on(&ring, &dir, "disk");
    let in_flight_min = AtomicUsize::new(usize::MAX);
    let observer = Arc::new(Observer { ring: Arc::clone(&ring), in_flight_min });
    for ticket in 0..10 {
        disk.start(VdevIo::new(read_op(&[512]), 0, Token::new(observer.clone(), ticket)));
    }
    while ring.in_flight() > 0 {
        ring.turn(Wait::Block);
    }
    assert_eq!(observer.in_flight_min.load(Ordering::Relaxed), 1, "the last one counts itself");
}
