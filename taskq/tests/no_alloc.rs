//! Dispatch does not allocate, and neither do the workers; nor does it start threads.

#![deny(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;

use taskq::{Config, Mode, Taskq};
use zio_core::task::Place;
use zio_core::{QueueKind, Route, Task, TaskQueue, ZioType};

/// The system's allocator, with a counter of its calls while [`WATCHED`].
struct Counting;

static WATCHED: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicUsize = AtomicUsize::new(0);
/// The counts are of the whole process, so one test at a time.
static TURN: Mutex<()> = Mutex::new(());

thread_local! {
    /// Calls of this thread alone, while they are counted.
    static HERE: Cell<Option<usize>> = const { Cell::new(None) };
}

fn count() {
    let _ = HERE.try_with(|here| here.set(here.get().map(|calls| calls + 1)));
    if WATCHED.load(Ordering::SeqCst) {
        CALLS.fetch_add(1, Ordering::SeqCst);
    }
}

#[expect(unsafe_code, reason = "an allocator is unsafe to implement")]
// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count();
        // SAFETY: `ptr` came from `alloc` above, so from `System`, with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// An intrusive task that goes back to its pool when it has run.
struct Ball(Box<Entry>);

struct Entry {
    link: Option<Ball>,
    home: Arc<Mutex<Vec<Ball>>>,
}

impl Task for Ball {
    fn run(self) {
        let home = Arc::clone(&self.0.home);
        home.lock().unwrap().push(self);
    }

    fn link(&mut self) -> &mut Option<Self> {
        &mut self.0.link
    }
}

#[test]
fn dispatch_and_run_without_the_allocator() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    const BALLS: usize = 64;
    const THROWS: usize = 5_000;
    let mode = Mode::Fixed { threads: 2, queues: 2 };
    let queue = Taskq::new(Config::empty(2).queue(ZioType::Null, QueueKind::Issue, mode));
    let home = Arc::new(Mutex::new(Vec::with_capacity(BALLS)));
    for _ in 0..BALLS {
        let ball = Ball(Box::new(Entry { link: None, home: Arc::clone(&home) }));
        home.lock().unwrap().push(ball);
    }
    let throw = |number: usize| {
        let ball = home.lock().unwrap().pop();
        let Some(ball) = ball else { return thread::yield_now() };
        let place = if number.is_multiple_of(5) { Place::Front } else { Place::Back };
        let route = Route { place, ..Route::back(ZioType::Read, QueueKind::Issue) };
        queue.dispatch(ball, route);
    };
    // Warm up: all threads are there and have slept.
    queue.start();
    while queue.stats().sleeps < 4 {
        thread::yield_now();
    }
    // Producers are threads that have never dispatched before. They are there before the watch
    // begins and leave after it ends.
    let [ready, begin, end, leave] = [(); 4].map(|()| Barrier::new(3));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                ready.wait();
                begin.wait();
                (0..THROWS).for_each(throw);
                end.wait();
                leave.wait();
            });
        }
        ready.wait();
        WATCHED.store(true, Ordering::SeqCst);
        begin.wait();
        end.wait();
        queue.wait_idle();
        WATCHED.store(false, Ordering::SeqCst);
        leave.wait();
    });
    assert_eq!(CALLS.load(Ordering::SeqCst), 0, "calls of the allocator");
    assert!(queue.stats().run > 0);
}

/// The first task of a queue has its threads started, which allocates; but not where it is dispatched.
#[test]
fn the_first_dispatch_neither_allocates_nor_starts_a_thread() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mode = Mode::Fixed { threads: 4, queues: 2 };
    let queue = Taskq::new(Config::empty(2).queue(ZioType::Null, QueueKind::Issue, mode));
    let home = Arc::new(Mutex::new(Vec::with_capacity(32)));
    let make = |_| Ball(Box::new(Entry { link: None, home: Arc::clone(&home) }));
    let balls: Vec<_> = (0..32).map(make).collect();
    HERE.set(Some(0));
    for ball in balls {
        queue.dispatch(ball, Route::back(ZioType::Read, QueueKind::Issue));
    }
    // The list itself has gone, too.
    let calls = HERE.replace(None);
    queue.wait_idle();
    assert_eq!(calls, Some(1), "calls of the allocator");
    assert_eq!(home.lock().unwrap().len(), 32);
    assert!(queue.threads() > 0);
}
