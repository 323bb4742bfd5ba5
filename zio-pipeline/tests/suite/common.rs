//! What the tests share: contents, simulated machines, a device with a gate.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use vdev_disk::Memory;
use vdev_sim::{DiskConfig, LogEntry, Machine, OpKind, Rng, SimDisk};
use zio_core::{Geometry, Vdev, VdevError, VdevErrorKind, VdevIo, VdevOp};
use zio_pipeline::{BlockPointer, Builder, DATA_START_BYTES, Mirror, Pipeline};

pub(crate) const MIB: u64 = 1 << 20;

/// Bytes without any pattern.
pub(crate) fn noise(seed: u64, len_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![0; len_bytes];
    Rng::new(seed).fill(&mut bytes);
    bytes
}

/// Bytes that compress to about a half.
pub(crate) fn compressible(seed: u64, len_bytes: usize) -> Vec<u8> {
    let mut bytes = noise(seed, len_bytes);
    for piece in bytes.chunks_mut(64) {
        let (_, dull) = piece.split_at_mut(piece.len() / 2);
        dull.fill(seed as u8);
    }
    bytes
}

/// A simulated machine with disks that panic on an I/O they cannot do.
pub(crate) struct Sim {
    pub(crate) machine: Machine,
    pub(crate) disks: Vec<Arc<SimDisk>>,
}

impl Sim {
    /// Disks of 64 MiB.
    pub(crate) fn new(seed: u64, disks: usize) -> Self {
        Self::with(seed, disks, DiskConfig::fixed(64 * MIB, 10_000))
    }

    pub(crate) fn with(seed: u64, disks: usize, config: DiskConfig) -> Self {
        let machine = Machine::new(seed);
        machine.set_steps_max(20_000_000);
        let disk = || machine.disk(DiskConfig { strict: true, ..config.clone() });
        let disks = (0..disks).map(|_| disk()).collect();
        Self { machine, disks }
    }

    pub(crate) fn builder(&self) -> Builder {
        let machine = self.machine.clone();
        let builder =
            Pipeline::builder().task_queue(self.machine.queue()).clock(move || machine.now_ns());
        let vdevs = self.disks.iter().map(|disk| Arc::clone(disk) as Arc<dyn Vdev>);
        vdevs.fold(builder, Builder::vdev)
    }

    pub(crate) fn pipeline(&self) -> Pipeline {
        self.builder().build().unwrap()
    }

    /// One mirror of all disks.
    pub(crate) fn mirror(&self) -> Builder {
        let machine = self.machine.clone();
        let leaves = self.disks.iter().map(|disk| Arc::clone(disk) as Arc<dyn Vdev>);
        Pipeline::builder()
            .task_queue(self.machine.queue())
            .clock(move || machine.now_ns())
            .mirror(leaves.fold(Mirror::new(), Mirror::vdev))
    }

    /// The disk of a copy of a block, and the block's place on it.
    pub(crate) fn place(&self, bp: &BlockPointer, copy: usize) -> (&SimDisk, u64) {
        let dva = bp.dvas().nth(copy).unwrap();
        let disk = &self.disks[dva.vdev().0 as usize];
        (disk, DATA_START_BYTES + dva.offset_bytes())
    }

    /// Flips bits in one copy of a block.
    pub(crate) fn corrupt(&self, bp: &BlockPointer, copy: usize) {
        let (disk, offset_bytes) = self.place(bp, copy);
        disk.corrupt(offset_bytes, bp.psize_bytes());
    }

    /// Flips bits in every copy of a gang block's header.
    pub(crate) fn corrupt_header(&self, bp: &BlockPointer) {
        for copy in 0..bp.copies() {
            let (disk, offset_bytes) = self.place(bp, copy);
            disk.corrupt(offset_bytes, 512);
        }
    }

    /// Operations of a kind that all disks have seen since the last look.
    pub(crate) fn take_log(&self, op: OpKind) -> Vec<LogEntry> {
        let all = self.disks.iter().flat_map(|disk| disk.take_log());
        all.filter(|entry| entry.op == op).collect()
    }
}

/// A pipeline on memory, with its own threads.
pub(crate) fn on_memory(size_bytes: u64) -> Pipeline {
    on_memory_with(size_bytes, |builder| builder)
}

/// The same, built with something besides.
pub(crate) fn on_memory_with(size_bytes: u64, with: impl FnOnce(Builder) -> Builder) -> Pipeline {
    with(Pipeline::builder().vdev(Arc::new(Memory::new(size_bytes, 512)))).build().unwrap()
}

/// Memory whose writes wait at a gate until the test lets them through or
/// fails them. Everything else passes.
#[derive(Debug)]
pub(crate) struct Gated {
    memory: Memory,
    gate: Mutex<Gate>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Gate {
    waiting: Vec<VdevIo>,
    writes: usize,
    open: bool,
}

impl Gated {
    pub(crate) fn new(size_bytes: u64) -> Arc<Self> {
        let (memory, gate) = (Memory::new(size_bytes, 512), Mutex::default());
        Arc::new(Self { memory, gate, arrived: Condvar::new() })
    }

    /// Writes that have arrived so far.
    pub(crate) fn writes(&self) -> usize {
        self.gate.lock().writes
    }

    /// Waits for a write at the gate.
    pub(crate) fn wait_for_write(&self) {
        let mut gate = self.gate.lock();
        while gate.waiting.is_empty() {
            self.arrived.wait(&mut gate);
        }
    }

    /// Fails the writes that wait.
    pub(crate) fn fail(&self) {
        let waiting = std::mem::take(&mut self.gate.lock().waiting);
        for io in waiting {
            io.finish(Err(VdevError::msg(VdevErrorKind::Io, "the gate is shut")));
        }
    }

    /// Lets no write through from now on.
    pub(crate) fn shut(&self) {
        self.gate.lock().open = false;
    }

    /// Lets all writes through from now on.
    pub(crate) fn open(&self) {
        let waiting = {
            let mut gate = self.gate.lock();
            gate.open = true;
            std::mem::take(&mut gate.waiting)
        };
        waiting.into_iter().for_each(|io| self.memory.start(io));
    }
}

impl Vdev for Gated {
    fn geometry(&self) -> Geometry {
        self.memory.geometry()
    }

    fn start(&self, io: VdevIo) {
        if matches!(io.op(), VdevOp::Write(_)) {
            let mut gate = self.gate.lock();
            gate.writes += 1;
            if !gate.open {
                gate.waiting.push(io);
                self.arrived.notify_all();
                return;
            }
        }
        self.memory.start(io);
    }
}

/// Something that ought to happen soon.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A pipeline on a temporary file.
pub(crate) struct OnFile {
    pub(crate) pipeline: Pipeline,
    _dir: tempfile::TempDir,
}

impl OnFile {
    pub(crate) fn new(threads: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let builder = Pipeline::builder().create(dir.path().join("disk"), 128 * MIB);
        let builder = if threads { builder.threads() } else { builder };
        Self { pipeline: builder.build().unwrap(), _dir: dir }
    }
}

/// Does the same on every kind of device.
pub(crate) fn everywhere(test: impl Fn(&Pipeline)) {
    for threads in [false, true] {
        let file = OnFile::new(threads);
        test(&file.pipeline);
        file.pipeline.wait_idle();
        assert_eq!(file.pipeline.live(), 0);
    }
    let memory = on_memory(128 * MIB);
    test(&memory);
    assert_eq!(memory.live(), 0);
}

pub(crate) fn write(pipeline: &Pipeline, seed: u64) -> BlockPointer {
    pipeline.write(noise(seed, 4096)).wait().unwrap()
}

struct Unpark(thread::Thread, AtomicBool);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.store(true, Ordering::SeqCst);
        self.0.unpark();
    }
}

/// An executor of one page: polls again when woken.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let woken = Arc::new(Unpark(thread::current(), AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return value;
        }
        while !woken.1.swap(false, Ordering::SeqCst) {
            thread::park();
        }
    }
}
