//! After warm-up the queue does not touch the heap, whichever class, merging aside.

#![cfg(not(loom))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use vdev_queue::{Class, Config, Flags, Issue, Kind, Queue, Request, SharedQueue, Ticket};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every call is handed to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`; `alloc` took it from the system.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_in(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

/// A scattered offset: neighbours are too far for merging. The same thousand again and again,
/// so that the queue's shape has the same peak each time.
fn request(class: Class, number: u64) -> Request {
    let kind = match class {
        Class::Trim => Kind::Trim,
        _ if class.fit(Kind::Read) == class => Kind::Read,
        _ => Kind::Write,
    };
    let offset_bytes = (number % 1000 * 7919) % 100_003 * (1 << 20);
    Request::new(kind, class, offset_bytes, 4096, Flags::empty()).expect("valid")
}

#[test]
fn a_long_queue_recycles_its_memory() {
    for class in Class::ALL {
        let mut queue: Queue<u64> = Queue::new(Config::default()).expect("valid");
        let mut at_device: Vec<Ticket> = Vec::with_capacity(64);
        let mut number = 0;
        let mut turn = |queue: &mut Queue<u64>, at_device: &mut Vec<Ticket>| {
            // The queue's length swings between 0 and 1000.
            for _ in 0..1000 {
                queue.enqueue(request(class, number), number, number);
                number += 1;
            }
            loop {
                while let Some(io) = queue.poll_issue(number).and_then(Issue::io) {
                    at_device.push(io.ticket);
                }
                let Some(ticket) = at_device.pop() else { break };
                queue.complete(ticket, number);
            }
        };
        for _ in 0..5 {
            turn(&mut queue, &mut at_device);
        }
        let count = allocations_in(|| {
            for _ in 0..20 {
                turn(&mut queue, &mut at_device);
            }
        });
        assert_eq!(count, 0, "{class:?}");
    }
}

#[test]
fn the_shared_queue_recycles_its_memory() {
    let queue: SharedQueue<u64> = SharedQueue::new(Config::default()).expect("valid");
    let mut at_device: Vec<Ticket> = Vec::with_capacity(64);
    let mut turn = || {
        for number in 0..100 {
            let issues = queue.submit(request(Class::SyncRead, number), number, number);
            at_device.extend(issues.into_iter().filter_map(Issue::io).map(|io| io.ticket));
        }
        while let Some(ticket) = at_device.pop() {
            let issues = queue.complete(ticket, 0);
            at_device.extend(issues.into_iter().filter_map(Issue::io).map(|io| io.ticket));
        }
    };
    turn();
    assert_eq!(allocations_in(turn), 0);
}
