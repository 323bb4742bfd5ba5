//! How many steps per second a simulated machine makes on this one.
//!
//! `cargo run -p vdev-sim --example speed`

use std::sync::Arc;
use std::time::Instant;

use vdev_sim::{DiskConfig, Machine, SimDisk, SimQueue};
use zio_core::{
    BufferPool, Buffers, Complete, QueueKind, Route, Task, TaskQueue, Token, Vdev, VdevDone,
    VdevIo, VdevOp, ZioType,
};

const IOS: u64 = 400_000;
const DEPTH: u64 = 32;
const BLOCK_BYTES: usize = 8192;

/// An endless stream of I/O: an answer queues a task, the task starts the next.
struct Load {
    disk: Arc<SimDisk>,
    queue: Arc<SimQueue<Next>>,
    pool: BufferPool,
    writes: bool,
}

struct Inner {
    load: Arc<Load>,
    number: u64,
    link: Option<Next>,
}

struct Next(Box<Inner>);

impl Task for Next {
    fn run(self) {
        self.0.load.start(self.0.number);
    }

    fn link(&mut self) -> &mut Option<Self> {
        &mut self.0.link
    }
}

impl Load {
    fn start(self: &Arc<Self>, number: u64) {
        if number >= IOS {
            return;
        }
        let buffer = self.pool.take(BLOCK_BYTES);
        let op = if self.writes {
            VdevOp::Write(buffer.into())
        } else {
            VdevOp::Read(Buffers::from_iter([buffer]))
        };
        let at = number.wrapping_mul(7919) % 4096 * BLOCK_BYTES as u64;
        let token = Token::new(Arc::clone(self) as Arc<dyn Complete>, number);
        self.disk.start(VdevIo::new(op, at, token));
    }
}

impl Complete for Load {
    fn complete(self: Arc<Self>, number: u64, done: VdevDone) {
        drop(done);
        let load = Arc::clone(&self);
        let next = Inner { load, number: number + DEPTH, link: None };
        self.queue.dispatch(Next(Box::new(next)), Route::back(ZioType::Read, QueueKind::Interrupt));
    }
}

fn main() {
    for (name, writes) in [("8 KiB reads", false), ("8 KiB writes", true)] {
        let machine = Machine::new(1);
        let load = Arc::new(Load {
            disk: machine.disk(DiskConfig::nvme(64 << 20)),
            queue: machine.queue(),
            pool: BufferPool::new(),
            writes,
        });
        load.disk.set_logging(false);
        (0..DEPTH).for_each(|number| load.start(number));
        let begin = Instant::now();
        let steps = machine.run_until_idle();
        let seconds = begin.elapsed().as_secs_f64();
        println!(
            "{name}: {steps} steps, {:.0} per second; {} ms of virtual time in {:.0} ms",
            steps as f64 / seconds,
            machine.now_ns() / 1_000_000,
            seconds * 1000.0
        );
    }
}
