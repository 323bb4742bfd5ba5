//! A receiver that counts, a queue of a few threads, and one of each device.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tempfile::TempDir;
use vdev_disk::{Disk, DiskTask, Memory, OpenOptions, Ring};
use zio_core::{
    BufferPool, Complete, Data, QueueKind, Route, Task, TaskQueue, Token, Vdev, VdevDone, VdevIo,
    VdevOp, Wait, ZioType,
};

/// Size of the devices the suite runs on.
pub(crate) const SIZE_BYTES: u64 = 4 << 20;

/// Longest wait for an answer. Only a hang gets here.
const PATIENCE: Duration = Duration::from_secs(20);

/// Receives the answers to tickets 0 to n - 1, and insists on one each.
pub(crate) struct Receiver {
    answers: Mutex<Vec<Option<VdevDone>>>,
    arrived: Condvar,
}

impl Receiver {
    pub(crate) fn new(tickets: usize) -> Arc<Self> {
        let answers = (0..tickets).map(|_| None).collect();
        Arc::new(Self { answers: Mutex::new(answers), arrived: Condvar::new() })
    }

    pub(crate) fn token(self: &Arc<Self>, ticket: usize) -> Token {
        Token::new(Arc::clone(self) as Arc<dyn Complete>, ticket as u64)
    }

    pub(crate) fn answered(&self) -> usize {
        self.answers.lock().iter().flatten().count()
    }

    /// All answers, driving the device's reactor until they are there.
    pub(crate) fn wait(&self, vdev: &dyn Vdev) -> Vec<VdevDone> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut answers = self.answers.lock();
            if answers.iter().all(Option::is_some) {
                return answers.drain(..).flatten().collect();
            }
            let missing = answers.iter().filter(|a| a.is_none()).count();
            assert!(Instant::now() < deadline, "{missing} answers missing");
            match vdev.reactor() {
                None => _ = self.arrived.wait_until(&mut answers, deadline),
                Some(reactor) => {
                    drop(answers);
                    if reactor.turn(Wait::Poll) == 0 {
                        thread::yield_now();
                    }
                }
            }
        }
    }
}

impl Complete for Receiver {
    fn complete(self: Arc<Self>, ticket: u64, done: VdevDone) {
        let previous = self.answers.lock()[ticket as usize].replace(done);
        assert!(previous.is_none(), "ticket {ticket} answered twice");
        self.arrived.notify_all();
    }
}

/// Starts everything at once and waits for everything.
pub(crate) fn run(vdev: &dyn Vdev, ops: impl IntoIterator<Item = (VdevOp, u64)>) -> Vec<VdevDone> {
    let ops: Vec<_> = ops.into_iter().collect();
    let receiver = Receiver::new(ops.len());
    for (ticket, (op, offset_bytes)) in ops.into_iter().enumerate() {
        vdev.start(VdevIo::new(op, offset_bytes, receiver.token(ticket)));
    }
    receiver.wait(vdev)
}

/// One I/O, start to end.
pub(crate) fn one(vdev: &dyn Vdev, op: VdevOp, offset_bytes: u64) -> VdevDone {
    run(vdev, [(op, offset_bytes)]).remove(0)
}

/// A read into buffers of these lengths, full of something that is to go.
pub(crate) fn read_op(lengths: &[usize]) -> VdevOp {
    let pool = BufferPool::new();
    VdevOp::Read(lengths.iter().map(|&len| pool.copy_of(&vec![0xa5; len])).collect())
}

/// A write of these bytes, cut into segments of these lengths.
pub(crate) fn write_op(bytes: &[u8], lengths: &[usize]) -> VdevOp {
    let whole: Data = BufferPool::new().copy_of(bytes).into();
    let mut data = Data::new();
    let mut at = 0;
    for &len in lengths {
        data.append(whole.slice(at..at + len));
        at += len;
    }
    assert_eq!(at, bytes.len(), "the lengths cover the bytes");
    VdevOp::Write(data)
}

/// The bytes a successful read brought.
pub(crate) fn bytes_of(done: VdevDone) -> Vec<u8> {
    done.result.expect("a read that works");
    match done.op {
        Some(VdevOp::Read(buffers)) => buffers.iter().flat_map(|b| b.iter().copied()).collect(),
        other => panic!("a read gives its buffers back, not {other:?}"),
    }
}

/// Bytes that tell where they belong and who wrote them.
pub(crate) fn pattern(offset_bytes: u64, len_bytes: usize, generation: u8) -> Vec<u8> {
    let byte = |at: u64| (at / 512) as u8 ^ (at as u8).rotate_left(3) ^ generation;
    (offset_bytes..offset_bytes + len_bytes as u64).map(byte).collect()
}

/// A few threads with one list.
pub(crate) struct Threads {
    shared: Arc<Shared>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    list: Mutex<(VecDeque<DiskTask>, bool)>,
    more: Condvar,
}

impl Threads {
    pub(crate) fn start(count: usize) -> Arc<Self> {
        let shared = Arc::new(Shared::default());
        let workers = (0..count).map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                loop {
                    let mut list = shared.list.lock();
                    match list.0.pop_front() {
                        Some(task) => {
                            drop(list);
                            task.run();
                        }
                        None if list.1 => return,
                        None => shared.more.wait(&mut list),
                    }
                }
            })
        });
        let workers = Mutex::new(workers.collect());
        Arc::new(Self { shared, workers })
    }
}

impl TaskQueue<DiskTask> for Threads {
    fn dispatch(&self, task: DiskTask, _route: Route) {
        self.shared.list.lock().0.push_back(task);
        self.shared.more.notify_one();
    }

    fn on_worker(&self) -> Option<(ZioType, QueueKind)> {
        None
    }

    fn shutdown(&self) {
        self.shared.list.lock().1 = true;
        self.shared.more.notify_all();
        for worker in self.workers.lock().drain(..) {
            worker.join().expect("a worker that does not panic");
        }
    }
}

/// A device under test, and what keeps it alive.
pub(crate) struct Rig {
    pub(crate) name: &'static str,
    pub(crate) vdev: Arc<dyn Vdev>,
    /// The file beneath, if there is one.
    pub(crate) path: Option<PathBuf>,
    threads: Option<Arc<Threads>>,
    _dir: Option<TempDir>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(threads) = &self.threads {
            threads.shutdown();
        }
    }
}

/// Where files support direct I/O, and where they do not.
fn directories() -> Vec<(TempDir, &'static str, &'static str)> {
    let mut list = vec![(tempfile::tempdir().unwrap(), "ring", "threads")];
    if Path::new("/dev/shm").is_dir() {
        list.push((tempfile::tempdir_in("/dev/shm").unwrap(), "ring on tmpfs", "threads on tmpfs"));
    }
    list
}

/// One device of each kind, all zeroes, [`SIZE_BYTES`] long.
pub(crate) fn rigs() -> Vec<Rig> {
    let memory = Arc::new(Memory::new(SIZE_BYTES, 512)) as Arc<dyn Vdev>;
    let mut rigs =
        vec![Rig { name: "memory", vdev: memory, path: None, threads: None, _dir: None }];
    for (dir, on_ring, _) in directories() {
        let path = dir.path().join("disk");
        let options = OpenOptions::new().create(SIZE_BYTES).ring(Ring::new(8).unwrap());
        let vdev = Arc::new(Disk::open(&path, &options).unwrap()) as Arc<dyn Vdev>;
        rigs.push(Rig { name: on_ring, vdev, path: Some(path), threads: None, _dir: Some(dir) });
    }
    for (dir, _, on_threads) in directories() {
        let path = dir.path().join("disk");
        let threads = Threads::start(3);
        let options = OpenOptions::new().create(SIZE_BYTES).pool(threads.clone());
        let vdev = Arc::new(Disk::open(&path, &options).unwrap()) as Arc<dyn Vdev>;
        let (path, threads) = (Some(path), Some(threads));
        rigs.push(Rig { name: on_threads, vdev, path, threads, _dir: Some(dir) });
    }
    rigs
}
