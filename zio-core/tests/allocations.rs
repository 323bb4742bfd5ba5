//! The steady state allocates nothing: a read of one leaf, once warm, costs no
//! heap allocation, waited for or sent to a collection.

mod support {
    pub(crate) mod engine;
    pub(crate) mod immediate;
    pub(crate) mod stage;
}

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use support::{engine::engine, immediate::Immediate, stage::stage};
use zio_core::{
    Buffers, ChildSet, Completions, Data, Done, Engine, Flags, Geometry, Reactor, Ready, Request,
    Stage, Stages, Vdev, VdevId, VdevIo, VdevOp, Wait, WaitType, ZioType,
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts the allocations of each thread.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counter is a
// plain thread-local that allocates nothing and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise about `layout` is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise about `memory` and `layout` is handed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A disk that answers inside `start`, or when its reactor is turned.
#[derive(Debug)]
struct Disk {
    answers: Option<Arc<Answers>>,
}

#[derive(Default)]
struct Answers(Mutex<VecDeque<VdevIo>>);

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answers")
    }
}

impl Vdev for Disk {
    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: 1 << 20,
            sector_bytes: 512,
            physical_bytes: 4096,
            memory_align_bytes: 512,
            rotational: false,
            read_only: false,
        }
    }

    fn start(&self, mut io: VdevIo) {
        if let Err(error) = io.check(&self.geometry()) {
            return io.finish(Err(error));
        }
        if let VdevOp::Read(buffers) = io.op_mut() {
            buffers.iter_mut().for_each(|buffer| buffer.fill(7));
        }
        match &self.answers {
            Some(answers) => answers.0.lock().unwrap().push_back(io),
            None => io.finish(Ok(())),
        }
    }
}

impl Reactor for Answers {
    fn turn(&self, _wait: Wait) -> usize {
        let mut count = 0;
        while let Some(io) = { self.0.lock().unwrap().pop_front() } {
            io.finish(Ok(()));
            count += 1;
        }
        count
    }
    fn submit(&self) {}
    fn wake(&self) {}
    fn in_flight(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Logical zio → one vdev child → disk, the data on its way back up.
fn reading(disk: Disk) -> Vec<Arc<dyn Stage>> {
    vec![
        stage(Stages::VDEV_IO_START, move |zio| {
            if zio.vdev.is_none() {
                let road = Stages::VDEV_CHILD;
                let mut child = Engine::make_vdev_child(&zio, ZioType::Read, VdevId(0), 4096, road);
                child.size_bytes = zio.size_bytes;
                child.start();
                return Some(zio);
            }
            let buffers = Buffers::from_iter([zio.engine().buffers().take(zio.size_bytes)]);
            let offset_bytes = zio.offset_bytes;
            let token = zio.park_for_device();
            disk.start(VdevIo::new(VdevOp::Read(buffers), offset_bytes, token));
            None
        }),
        stage(Stages::VDEV_IO_DONE, |zio| {
            let mut zio = zio.wait_children(ChildSet::VDEV, WaitType::Done)?;
            while let Some(mut child) = zio.take_finished_child() {
                zio.data = child.take_data();
            }
            if let Some(done) = zio.answer.take() {
                match (done.op, done.result) {
                    (Some(VdevOp::Read(buffers)), Ok(())) => zio.data = Data::from_buffers(buffers),
                    (_, Err(error)) => zio.fail(error.into()),
                    _ => unreachable!("a read comes back as a read"),
                }
            }
            Some(zio)
        }),
        Arc::new(Ready),
        Arc::new(Done),
    ]
}

fn read_of(engine: &Arc<Engine>) -> Request {
    let mut zio = engine.make(ZioType::Read, Flags::empty(), Stages::READ);
    zio.size_bytes = 8192;
    Request::new(zio)
}

/// Allocations of 1000 rounds of `work`, after 100 to warm up.
fn steady(mut work: impl FnMut()) -> u64 {
    (0..100).for_each(|_| work());
    let before = ALLOCATIONS.get();
    (0..1000).for_each(|_| work());
    ALLOCATIONS.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(steady(|| drop(std::hint::black_box(Box::new(1)))), 1000);
}

fn engines() -> [Arc<Engine>; 2] {
    let inside = engine(reading(Disk { answers: None }), Arc::new(Immediate), Vec::new());
    let answers = Arc::new(Answers::default());
    let disk = Disk { answers: Some(Arc::clone(&answers)) };
    let turned = engine(reading(disk), Arc::new(Immediate), vec![answers]);
    [inside, turned]
}

#[test]
fn a_read_that_is_waited_for_allocates_nothing() {
    for engine in engines() {
        let wait = || {
            let mut finished = read_of(&engine).wait().unwrap();
            assert!(finished.take_data().chunks().all(|chunk| chunk == [7; 8192]));
        };
        assert_eq!(steady(wait), 0, "wait");
        let start_and_wait = || {
            let root = Request::new(engine.make(ZioType::Null, Flags::empty(), Stages::ROOT));
            let reads = [(); 4].map(|()| read_of(&engine).under(&root.as_parent()).start());
            root.wait().unwrap();
            reads.map(|read| read.wait().map(drop)).into_iter().for_each(Result::unwrap);
        };
        assert_eq!(steady(start_and_wait), 0, "start and wait, four under a root");
        let drop_it = || {
            drop(read_of(&engine).start());
            engine.wait_idle();
        };
        assert_eq!(steady(drop_it), 0, "start and forget");
        engine.close();
    }
}

#[test]
fn a_read_that_is_collected_allocates_nothing() {
    for engine in engines() {
        let completions = Completions::new(Arc::clone(&engine));
        let collect = || {
            for tag in 0..8 {
                read_of(&engine).send_to(completions.expect_one(), tag);
            }
            let mut count = 0;
            while let Some((_, mut finished)) = completions.next() {
                assert_eq!(finished.take_data().len(), 8192);
                count += 1;
            }
            assert_eq!(count, 8);
        };
        assert_eq!(steady(collect), 0);
        engine.close();
    }
}
