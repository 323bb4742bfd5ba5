//! What others notice of a scrub: blocks are expanded and hashed on the background lane, while two
//! threads of an interactive program wake each millisecond and want the CPU for a fifth of it.

use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use checksum::{Algorithm, ByteOrder, Checksum, Context};
use taskq::{Config, Job, Taskq};
use transform::{Compression, Scratch, ZstdLevel};
use zio_core::{Priority, QueueKind, Route, TaskQueue, ZioType};

use super::Bench;
use crate::bench::contest::Contender;
use crate::bench::random::Random;
use crate::bench::report::Unit;

const DELAY: &str = "cpu-fairness";
const IDLE: &str = "background-idle";
pub(super) const NAMES: [&str; 2] = [DELAY, IDLE];

const BLOCK_BYTES: usize = 128 << 10;
/// Blocks that the scrub has under way: those of a few disks.
const IN_FLIGHT: usize = 16;
const PERIOD: Duration = Duration::from_millis(1);
const COMPUTE: Duration = Duration::from_micros(200);

const SCRUB: Route =
    Route { class: Priority::Scrub, ..Route::back(ZioType::Read, QueueKind::Interrupt) };

/// A block as it comes from the disk: zstd, with a sha256 over what is stored.
struct Block {
    context: Context,
    payload: Vec<u8>,
    checksum: Checksum,
}

impl Block {
    fn new() -> Result<Self> {
        // Text-like: words of a small vocabulary, so that zstd has something to do.
        let mut random = Random::new(1);
        let words: Vec<[u8; 7]> =
            (0..500).map(|_| std::array::from_fn(|_| b'a' + random.below(26) as u8)).collect();
        let mut plain = Vec::with_capacity(BLOCK_BYTES + 8);
        while plain.len() < BLOCK_BYTES {
            plain.extend_from_slice(&words[random.below(words.len() as u64) as usize]);
            plain.push(b' ');
        }
        plain.truncate(BLOCK_BYTES);
        let mut payload = vec![0; BLOCK_BYTES];
        let zstd = Compression::Zstd(ZstdLevel::default());
        let bytes = transform::compress(zstd, &plain, &mut payload, &mut Scratch::default())
            .context("words compress")?;
        payload.truncate(bytes);
        let context = Context::new(Algorithm::Sha256, None)?;
        let checksum = context.compute(ByteOrder::NATIVE, [&*payload]);
        Ok(Self { context, payload, checksum })
    }

    /// The CPU's part of reading it: verify and expand.
    fn scrub(&self, buffer: &mut [u8], scratch: &mut Scratch) -> bool {
        let verified = self.context.verify(ByteOrder::NATIVE, [&*self.payload], &self.checksum);
        let zstd = Compression::Zstd(ZstdLevel::default());
        let expanded = transform::decompress(zstd, &self.payload, black_box(buffer), scratch);
        verified.is_ok() && expanded.is_ok()
    }
}

/// A scrub without end, until it is told to stop.
struct Scrub {
    queue: Arc<Taskq<Job>>,
    block: Arc<Block>,
    route: Route,
    stop: AtomicBool,
    done: AtomicUsize,
    failed: AtomicUsize,
}

impl Scrub {
    fn new(config: Config, block: &Arc<Block>, route: Route) -> Arc<Self> {
        Arc::new(Self {
            queue: Taskq::new(config),
            block: Arc::clone(block),
            route,
            stop: AtomicBool::new(false),
            done: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
        })
    }

    /// One block of those under way; when it is done the next one begins.
    fn step(self: &Arc<Self>, mut buffer: Vec<u8>, mut scratch: Box<Scratch>) {
        let scrub = Arc::clone(self);
        let job = move || {
            let good = scrub.block.scrub(&mut buffer, &mut scratch);
            scrub.done.fetch_add(1, Ordering::Relaxed);
            scrub.failed.fetch_add(usize::from(!good), Ordering::Relaxed);
            if !scrub.stop.load(Ordering::Relaxed) {
                scrub.step(buffer, scratch);
            }
        };
        self.queue.dispatch(Job::new(job), self.route);
    }

    /// Scrubs while `meanwhile` runs; returns how many blocks.
    fn during(self: &Arc<Self>, meanwhile: impl FnOnce()) -> Result<usize> {
        let before = self.done.load(Ordering::Relaxed);
        self.stop.store(false, Ordering::Relaxed);
        for _ in 0..IN_FLIGHT {
            self.step(vec![0; BLOCK_BYTES], Box::default());
        }
        meanwhile();
        let blocks = self.done.load(Ordering::Relaxed) - before;
        self.stop.store(true, Ordering::Relaxed);
        self.queue.wait_idle();
        anyhow::ensure!(self.failed.load(Ordering::Relaxed) == 0, "a block did not verify");
        Ok(blocks)
    }
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    if !bench.wants(DELAY) && !bench.wants(IDLE) {
        return Ok(());
    }
    let cpus = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let block = Arc::new(Block::new()?);
    let lane = Scrub::new(Config::zfs(cpus).named("lane"), &block, SCRUB);
    let plain = Scrub::new(Config::single("plain", cpus), &block, SCRUB);
    let against = "plain threads";
    if bench.wants(DELAY) {
        let (ours, baseline) = (delays(&lane), delays(&plain));
        bench.row(DELAY, Unit::PercentileUs(99), against, ours, Some(baseline))?;
    }
    if bench.wants(IDLE) {
        let (ours, baseline) = (alone(&lane), alone(&plain));
        bench.row(IDLE, Unit::GbPerSecond(BLOCK_BYTES), against, ours, Some(baseline))?;
    }
    Ok(())
}

/// How late the interactive pair wakes while the scrub runs.
fn delays(scrub: &Arc<Scrub>) -> Contender<'_> {
    Box::new(move |round| {
        let mut late = Vec::new();
        let is_open = |now| round.is_open(now);
        scrub.during(|| {
            late = thread::scope(|scope| {
                let pair = [scope.spawn(|| wake_up(is_open)), scope.spawn(|| wake_up(is_open))];
                pair.into_iter().filter_map(|one| one.join().ok()).flatten().collect()
            });
        })?;
        late.into_iter().for_each(|time| round.took(time));
        Ok(())
    })
}

/// Wakes each period and computes. Returns how late it was each time, by the time it had asked for.
fn wake_up(is_open: impl Fn(Instant) -> bool) -> Vec<Duration> {
    let mut late = Vec::new();
    let mut due = Instant::now() + PERIOD;
    loop {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = Instant::now();
        late.push(now.saturating_duration_since(due));
        while now.elapsed() < COMPUTE {
            spin_loop();
        }
        if !is_open(Instant::now()) {
            return late;
        }
        // What has been missed is not made up for.
        due = (due + PERIOD).max(Instant::now());
    }
}

fn alone(scrub: &Arc<Scrub>) -> Contender<'_> {
    Box::new(move |round| {
        let blocks = scrub.during(|| {
            while round.is_open(Instant::now()) {
                thread::sleep(PERIOD);
            }
        })?;
        // A round too short for one block still did part of one.
        round.count(blocks.max(1));
        Ok(())
    })
}
