//! What only a kernel in trouble does: refuse, take less than it was offered,
//! be interrupted. Nothing is lost and nothing is done twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;
use zio_core::{BufferPool, Complete, Reactor, Token, Vdev, VdevDone, VdevIo, VdevOp, Wait};

use super::Ring;
use super::kernel::Fault;
use crate::file::File;
use crate::file_options::FileOptions;
use crate::{Disk, OpenOptions};

#[derive(Default)]
struct Count {
    answered: AtomicUsize,
    failed: AtomicUsize,
}

impl Complete for Count {
    fn complete(self: Arc<Self>, _ticket: u64, done: VdevDone) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(usize::from(done.result.is_err()), Ordering::Relaxed);
    }
}

/// Starts `count` reads while the kernel shows these faults, one per call, and drives all of them in.
fn survive(depth: u32, count: usize, faults: &[Fault]) {
    let dir = tempfile::tempdir().expect("a directory");
    let ring = Ring::new(depth).expect("a ring");
    let options = OpenOptions::new().create(1 << 20).ring(Arc::clone(&ring));
    let disk = Disk::open(dir.path().join("disk"), &options).expect("a disk");
    let (counter, pool) = (Arc::new(Count::default()), BufferPool::new());
    ring.kernel.faults.lock().extend(faults);
    for ticket in 0..count {
        let op = VdevOp::Read([pool.take(4096)].into_iter().collect());
        let token = Token::new(Arc::clone(&counter) as Arc<dyn Complete>, ticket as u64);
        disk.start(VdevIo::new(op, ticket as u64 * 4096, token));
    }
    ring.submit();
    ring.wake();
    while ring.in_flight() > 0 {
        ring.turn(Wait::Block);
    }
    assert_eq!(counter.answered.load(Ordering::Relaxed), count);
    assert_eq!(counter.failed.load(Ordering::Relaxed), 0);
    assert!(ring.kernel.faults.lock().is_empty(), "every fault was met");
}

#[test]
fn a_kernel_that_refuses_is_asked_again() {
    for errno in [Errno::AGAIN, Errno::BUSY, Errno::INTR, Errno::NOMEM] {
        survive(8, 50, &[Fault::Fails(errno); 7]);
    }
}

#[test]
fn a_kernel_that_takes_less_gets_the_rest_later() {
    survive(8, 50, &[Fault::TakesAtMost(1); 9]);
    survive(8, 50, &[Fault::TakesAtMost(0); 3]);
    survive(1, 9, &[Fault::TakesAtMost(0), Fault::Fails(Errno::AGAIN), Fault::TakesAtMost(1)]);
}

#[test]
fn an_interrupted_sleep_goes_on() {
    let ring = Ring::new(4).expect("a ring");
    ring.wake();
    assert_eq!(ring.turn(Wait::Block), 0);
    ring.kernel.faults.lock().extend([Fault::Fails(Errno::INTR); 5]);
    let waker = Arc::clone(&ring);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while !waker.kernel.faults.lock().is_empty() {
                std::thread::yield_now();
            }
            waker.wake();
        });
        assert_eq!(ring.turn(Wait::Block), 0);
    });
}

#[test]
fn a_discard_that_is_not_known_becomes_a_hole() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("disk");
    std::fs::write(&path, [7; 3 * 4096]).expect("a file");
    let mut file = File::open(&path, &FileOptions::default()).expect("an open file");
    // What a block device without the discard command answers, a file answers to it as well.
    file.block_device = true;
    let ring = Ring::new(4).expect("a ring");
    let (attached, counter) = (ring.attach(file), Arc::new(Count::default()));
    for ticket in 0..3 {
        let token = Token::new(Arc::clone(&counter) as Arc<dyn Complete>, ticket);
        ring.start(VdevIo::new(VdevOp::Trim { len_bytes: 4096 }, 4096, token), &attached);
    }
    while ring.in_flight() > 0 {
        ring.turn(Wait::Block);
    }
    assert_eq!(counter.answered.load(Ordering::Relaxed), 3);
    assert_eq!(counter.failed.load(Ordering::Relaxed), 0);
    let bytes = std::fs::read(&path).expect("the file");
    assert!(bytes[4096..8192].iter().all(|&b| b == 0), "the hole");
    assert!(bytes[..4096].iter().chain(&bytes[8192..]).all(|&b| b == 7), "around it");
}

#[test]
fn places_in_the_table_come_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("disk");
    std::fs::write(&path, [0; 512]).expect("a file");
    let ring = Ring::new(1).expect("a ring");
    for round in 0..200 {
        let file = File::open(&path, &FileOptions::default()).expect("an open file");
        let (_, registered) = ring.attach(file).target();
        assert!(registered, "round {round}");
    }
}
