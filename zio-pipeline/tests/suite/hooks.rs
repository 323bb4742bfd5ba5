//! Devices in whose `start` things happen: the client closes or cancels, the device panics, or forgets.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use vdev_disk::Memory;
use vdev_queue::Class;
use vdev_sim::Machine;
use zio_core::{Geometry, Vdev, VdevIo, VdevOp};
use zio_pipeline::{BlockPointer, Control, ErrorKind, Pipeline, Priority, Started, VdevId};

use crate::common::{MIB, noise, write};

type Hook = Box<dyn FnOnce(VdevIo) -> Option<VdevIo> + Send>;

/// Memory that asks a hook once what to do with an I/O.
#[derive(Default)]
struct Hooked {
    memory: Option<Memory>,
    hook: Mutex<Option<Hook>>,
    /// Reads that wait here, until there are so many more.
    held: Mutex<(usize, Vec<VdevIo>)>,
}

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooked")
    }
}

impl Hooked {
    fn new() -> Arc<Self> {
        let memory = Some(Memory::new(64 * MIB, 512));
        Arc::new(Self { memory, ..Self::default() })
    }

    /// Asked at the next I/O.
    fn set(&self, hook: impl FnOnce(VdevIo) -> Option<VdevIo> + Send + 'static) {
        *self.hook.lock() = Some(Box::new(hook));
    }

    /// The next reads are not answered before [`Self::answer`].
    fn hold(&self, reads: usize) {
        self.held.lock().0 = reads;
    }

    fn answer(&self) {
        let held = std::mem::take(&mut self.held.lock().1);
        held.into_iter().for_each(|io| self.start(io));
    }
}

impl Vdev for Hooked {
    fn geometry(&self) -> Geometry {
        self.memory.as_ref().unwrap().geometry()
    }

    fn start(&self, io: VdevIo) {
        {
            let mut held = self.held.lock();
            if held.0 > 0 && matches!(io.op(), VdevOp::Read(_)) {
                held.0 -= 1;
                held.1.push(io);
                return;
            }
        }
        let hook = self.hook.lock().take();
        let io = match hook {
            Some(hook) => hook(io),
            None => Some(io),
        };
        if let Some(io) = io {
            self.memory.as_ref().unwrap().start(io);
        }
    }
}

fn reads_at_a_time(count: u32) -> vdev_queue::Config {
    let mut queue = vdev_queue::Config::seed();
    let reads = &mut queue.classes[Class::AsyncRead];
    (reads.active_min, reads.active_max) = (1, count);
    queue
}

/// A queue that gives the device one read at a time, on a machine without threads.
fn pool() -> (Machine, Arc<Hooked>, Arc<Pipeline>) {
    let (machine, device) = (Machine::new(1), Hooked::new());
    let clock = machine.clone();
    let pipeline = Pipeline::builder()
        .task_queue(machine.queue())
        .clock(move || clock.now_ns())
        .queue(reads_at_a_time(1))
        .vdev(Arc::clone(&device) as Arc<dyn Vdev>)
        .build()
        .unwrap();
    (machine, device, Arc::new(pipeline))
}

fn blocks(pipeline: &Pipeline) -> Vec<BlockPointer> {
    (0..8).map(|seed| write(pipeline, seed)).collect()
}

fn start(pipeline: &Pipeline, bp: &BlockPointer) -> Started<zio_pipeline::Data> {
    pipeline.read(bp).priority(Priority::AsyncRead).start().unwrap()
}

/// Ends all of them and returns what became of them.
fn ends(machine: &Machine, reads: Vec<Started<zio_pipeline::Data>>) -> Vec<Option<ErrorKind>> {
    machine.run_until_idle();
    reads.into_iter().map(|read| read.wait().err().map(|error| error.kind())).collect()
}

/// Closed while the device is given an I/O: nobody is forgotten, whether his I/O is at the device, on its way
/// there, or in the queue.
#[test]
fn closed_while_an_io_is_handed_over() {
    for behind in 0..4 {
        let (machine, device, pipeline) = pool();
        let blocks = blocks(&pipeline);
        device.hold(usize::from(behind > 0));
        let mut reads: Vec<_> = Vec::new();
        if behind > 0 {
            reads.push(start(&pipeline, &blocks[0]));
        }
        let closing = Arc::clone(&pipeline);
        device.set(move |io| {
            closing.close_now();
            Some(io)
        });
        // Every second one, so that they are not merged.
        reads.extend(
            blocks.iter().skip(2).step_by(2).take(behind.max(1)).map(|bp| start(&pipeline, bp)),
        );
        device.answer();
        let ends = ends(&machine, reads);
        assert!(ends.contains(&Some(ErrorKind::Closed)), "{ends:?}");
        assert!(ends.iter().flatten().all(|kind| *kind == ErrorKind::Closed), "{ends:?}");
        assert_eq!((pipeline.live(), pipeline.memory().lent()), (0, 0));
    }
}

/// It is too late for that I/O, and it ends once.
#[test]
fn cancelled_while_an_io_is_handed_over() {
    let (machine, device, pipeline) = pool();
    let blocks = blocks(&pipeline);
    let control = Control::new();
    let cancelling = control.clone();
    device.set(move |io| {
        cancelling.cancel();
        Some(io)
    });
    let read = pipeline.read(&blocks[0]).control(&control).start().unwrap();
    machine.run_until_idle();
    match read.wait() {
        Ok(data) => assert!(data == noise(0, 4096)),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled),
    }
    assert!(control.is_cancelled());
    assert_eq!((pipeline.live(), pipeline.memory().lent()), (0, 0));
    let next = pipeline.read(&blocks[1]).wait().unwrap();
    assert!(next == noise(1, 4096), "the queue has room");
}

/// An I/O that a device drops ends as lost, for each of those whose it was; nobody waits for ever.
#[test]
fn a_merged_io_that_is_dropped_is_lost_to_all() {
    for count in [1, 4] {
        let (machine, device, pipeline) = pool();
        let blocks = blocks(&pipeline);
        device.hold(1);
        let first = start(&pipeline, &blocks[7]);
        let others: Vec<_> = blocks[..count].iter().map(|bp| start(&pipeline, bp)).collect();
        let dropped_bytes = Arc::new(Mutex::new(0));
        let seen = Arc::clone(&dropped_bytes);
        let held = std::mem::take(&mut device.held.lock().1);
        device.set(move |io| {
            *seen.lock() = io.len_bytes();
            None
        });
        // Answered past the hook, it makes room for those behind it.
        held.into_iter().for_each(|io| device.memory.as_ref().unwrap().start(io));
        let ends = ends(&machine, others);
        assert_eq!(*dropped_bytes.lock(), 4096 * count as u64);
        assert!(first.wait().unwrap() == noise(7, 4096));
        // What was lost is tried once more, and told if that is no use.
        assert!(ends.iter().all(|end| end.is_none() || *end == Some(ErrorKind::Lost)), "{ends:?}");
        assert_eq!((pipeline.live(), pipeline.memory().lent()), (0, 0));
        assert!(pipeline.read(&blocks[0]).wait().unwrap() == noise(0, 4096));
    }
}

/// A device that panics takes nobody with it but those whose I/O it had, or was to have next.
#[test]
fn a_device_that_panics_leaves_a_pipeline_that_works() {
    let (machine, device, pipeline) = pool();
    let blocks = blocks(&pipeline);
    device.set(|_| panic!("the device is broken"));
    let read = catch_unwind(AssertUnwindSafe(|| start(&pipeline, &blocks[0]).wait()));
    machine.run_until_idle();
    if let Ok(result) = read {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Lost);
    }
    assert_eq!(pipeline.live(), 0);
    assert!(pipeline.read(&blocks[0]).wait().unwrap() == noise(0, 4096));
    assert_eq!(pipeline.memory().lent(), 0);
}

/// Several I/Os are issued at once, and the device panics at the first.
#[test]
fn a_panic_is_not_waited_for_by_those_behind_it() {
    let (machine, device, pipeline) = pool();
    let blocks: Vec<_> = blocks(&pipeline).into_iter().step_by(2).collect();
    // Far apart, so that each is an I/O of its own.
    let far: Vec<_> =
        (0..3).map(|seed| pipeline.write(noise(seed, MIB as usize)).wait().unwrap()).collect();
    device.hold(1);
    let first = start(&pipeline, &blocks[0]);
    let behind: Vec<_> = far.iter().map(|bp| start(&pipeline, bp)).collect();
    device.set(|_| panic!("the device is broken"));
    let wider = || pipeline.set_queue(VdevId(0), 0, reads_at_a_time(8));
    assert!(catch_unwind(AssertUnwindSafe(wider)).is_err());
    machine.run_until_idle();
    let live = pipeline.live();
    device.answer();
    machine.run_until_idle();
    // The read and its I/O that the device still had.
    assert_eq!((live, pipeline.live()), (2, 0));
    for read in behind {
        let error = read.wait().map(|data| data.len()).err();
        assert!(error.is_none_or(|error| error.kind() == ErrorKind::Lost));
    }
    assert!(first.wait().unwrap() == noise(0, 4096));
}
