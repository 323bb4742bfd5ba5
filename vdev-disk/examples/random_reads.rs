//! Keeps reads of random blocks in flight for two seconds and counts them.
//!
//! `cargo run --release -p vdev-disk --example random_reads -- PATH [DEPTH] [BLOCK_BYTES]`
//!
//! The file or block device is opened read-only.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use vdev_disk::{Disk, OpenOptions, Ring};
use zio_core::{BufferPool, Complete, Reactor, Token, Vdev, VdevDone, VdevIo, VdevOp, Wait};

/// Each answer starts the next read, with the same buffer.
struct Reader {
    disk: Disk,
    block_bytes: u64,
    random: AtomicU64,
    reads: AtomicU64,
    errors: AtomicU64,
    stop: AtomicBool,
}

impl Reader {
    fn start(self: Arc<Self>, op: VdevOp) {
        let blocks = self.disk.geometry().size_bytes / self.block_bytes;
        // Weyl sequence with a mixer: good enough to scatter.
        let draw = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let draw = (draw ^ (draw >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 11;
        let token = Token::new(Arc::clone(&self) as Arc<dyn Complete>, 0);
        self.disk.start(VdevIo::new(op, draw % blocks * self.block_bytes, token));
    }
}

impl Complete for Reader {
    fn complete(self: Arc<Self>, _ticket: u64, done: VdevDone) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.errors.fetch_add(u64::from(done.result.is_err()), Ordering::Relaxed);
        if let (Some(op), false) = (done.op, self.stop.load(Ordering::Relaxed)) {
            self.start(op);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("which file or block device?")?;
    let depth = args.next().map_or(Ok(32), |n| n.parse())?;
    let block_bytes = args.next().map_or(Ok(8192), |n| n.parse())?;

    let ring = Ring::new(depth)?;
    let disk = Disk::open(&path, &OpenOptions::new().read_only().ring(ring.clone()))?;
    println!("{disk:?}");
    if !(1..=disk.geometry().size_bytes).contains(&block_bytes) {
        return Err("a block is larger than nothing and no larger than the device".into());
    }
    let reader = Arc::new(Reader {
        disk,
        block_bytes,
        random: AtomicU64::new(1),
        reads: AtomicU64::new(0),
        errors: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    });
    let pool = BufferPool::new();
    for _ in 0..depth {
        let buffer = pool.take(block_bytes as usize);
        Arc::clone(&reader).start(VdevOp::Read([buffer].into_iter().collect()));
    }
    let (begin, length) = (Instant::now(), Duration::from_secs(2));
    while begin.elapsed() < length {
        ring.turn(Wait::Block);
    }
    reader.stop.store(true, Ordering::Relaxed);
    while ring.in_flight() > 0 {
        ring.turn(Wait::Block);
    }
    let (reads, errors) =
        (reader.reads.load(Ordering::Relaxed), reader.errors.load(Ordering::Relaxed));
    println!(
        "{:.0} reads per second, {errors} errors",
        reads as f64 / begin.elapsed().as_secs_f64()
    );
    Ok(())
}
