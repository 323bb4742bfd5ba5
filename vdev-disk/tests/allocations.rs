//! Steady state allocates nothing: counted by the allocator itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use vdev_disk::{Disk, Memory, OpenOptions, Ring};
use zio_core::{BufferPool, Complete, Data, Reactor, Token, Vdev, VdevDone, VdevIo, VdevOp, Wait};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const SIZE_BYTES: u64 = 1 << 20;

/// Sends each operation round and round until it has gone often enough.
struct Again<V> {
    vdev: V,
    rounds: AtomicUsize,
}

impl<V: Vdev + 'static> Complete for Again<V> {
    fn complete(self: Arc<Self>, ticket: u64, done: VdevDone) {
        assert_eq!(done.result, Ok(()));
        let next = |n: usize| n.checked_sub(1);
        if self.rounds.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok() {
            let offset_bytes = (ticket * 16384) % SIZE_BYTES;
            let token = Token::new(Arc::clone(&self) as Arc<dyn Complete>, ticket);
            let op = done.op.expect("the payload comes back");
            self.vdev.start(VdevIo::new(op, offset_bytes, token));
        }
    }
}

/// Reads and writes, of one segment, of two, and of many.
fn operations(pool: &BufferPool) -> impl Iterator<Item = VdevOp> {
    [1_usize, 2, 8].into_iter().flat_map(|pieces| {
        let mut data = Data::new();
        (0..pieces).for_each(|_| data.append(pool.copy_of(&[3; 1024]).into()));
        let buffers = (0..pieces).map(|_| pool.take(1024)).collect();
        [VdevOp::Read(buffers), VdevOp::Write(data)]
    })
}

#[test]
fn a_warm_ring_does_not_allocate() {
    let dir = tempfile::tempdir().unwrap();
    // Shallower than what is in flight: the queue in memory takes part.
    let ring = Ring::new(8).unwrap();
    let options = OpenOptions::new().create(SIZE_BYTES).ring(ring.clone());
    let vdev = Disk::open(dir.path().join("disk"), &options).unwrap();
    let again = Arc::new(Again { vdev, rounds: AtomicUsize::new(4000) });
    let pool = BufferPool::new();
    let operations: Vec<_> = (0..4).flat_map(|_| operations(&pool)).collect();
    for (ticket, op) in operations.into_iter().enumerate() {
        let token = Token::new(again.clone(), ticket as u64);
        again.vdev.start(VdevIo::new(op, 0, token));
    }
    while again.rounds.load(Ordering::Relaxed) > 2000 {
        ring.turn(Wait::Block);
    }
    let before = ALLOCATIONS.get();
    // Not to the very end, where payloads go home to the pool.
    while again.rounds.load(Ordering::Relaxed) > 100 {
        ring.turn(Wait::Block);
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}

#[test]
fn warm_memory_does_not_allocate() {
    let (vdev, pool) = (Memory::new(SIZE_BYTES, 512), BufferPool::new());
    let again = Arc::new(Again { vdev, rounds: AtomicUsize::new(0) });
    let mut counted = 0;
    for round in 0..20 {
        for (ticket, op) in operations(&pool).enumerate() {
            let token = Token::new(again.clone(), ticket as u64);
            let before = ALLOCATIONS.get();
            again.vdev.start(VdevIo::new(op, ticket as u64 * 65536, token));
            counted += if round > 0 { ALLOCATIONS.get() - before } else { 0 };
        }
    }
    assert_eq!(counted, 0);
}
