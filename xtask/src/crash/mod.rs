//! `cargo xtask crash`: kills a writer in the middle, again and again, and looks
//! at what is left.
//!
//! The parent starts itself as a child that writes blocks through a pipeline on
//! real files, flushes, and only then records their pointers in a log that it makes
//! durable; now and then it frees blocks, having recorded that first. Blocks have 512 bytes to
//! 1 MiB, one to three copies, and are compressed, encrypted, shared, written over others, and, where space
//! comes in pieces, gangs. After 20 to 200 ms the parent kills it with SIGKILL, opens the
//! files, claims every pointer that the log says is live, and reads it back. Then the
//! same files go into the next round; after some rounds a pool of another layout does.
//!
//! What is never so: a recorded block that cannot be claimed, or gives other data
//! than was written; one that a leaf of a mirror does not have, or that has a bad copy anywhere;
//! space held by anything but the live pointers; a file that cannot be opened again.

mod child;
mod content;
mod log;
mod pool;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use vdev_sim::Rng;
use zio_pipeline::{EventKind, Pipeline};

pub use child::{ChildArgs, run_child};
use log::Log;
use pool::{Layout, Pool};

/// Kills before a pool makes way for a new one.
const ROUNDS_PER_POOL: u64 = 25;

/// SIGKILL, by its number.
const KILLED: i32 = 9;

/// Options of `cargo xtask crash`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How often the writer is killed.
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// Kill it for so many minutes instead.
    #[arg(long, conflicts_with = "rounds")]
    minutes: Option<u64>,
    /// The vdevs of the pool; one layout after the other unless told.
    #[arg(long)]
    layout: Option<Layout>,
    /// Chance comes from this number, except for the moments of death.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the files are made; a temporary directory unless told.
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Args {
    fn is_over(&self, rounds: u64, start: Instant) -> bool {
        match self.minutes {
            Some(minutes) => start.elapsed() >= Duration::from_secs(60 * minutes),
            None => rounds >= self.rounds,
        }
    }
}

/// Runs the rounds.
///
/// # Errors
/// The first thing that was lost, wrong, or left over, and in which round.
pub fn run(args: &Args) -> Result<()> {
    let start = Instant::now();
    let mut rng = Rng::new(args.seed);
    let mut seen = Seen::default();
    let layouts = Layout::ALL.iter().cycle().skip(args.seed as usize % Layout::ALL.len());
    for layout in layouts.map(|drawn| args.layout.unwrap_or(*drawn)) {
        if args.is_over(seen.rounds, start) {
            break;
        }
        one_pool(args, layout, &mut rng, &mut seen, start)?;
    }
    ensure!(
        seen.rounds < 10 || seen.busy_rounds * 2 > seen.rounds,
        "the writer did something in {} of {} rounds only: this machine is too slow to tell",
        seen.busy_rounds,
        seen.rounds
    );
    println!(
        "{} kills of {} pools in {:.1} s: {} records, {} blocks claimed and read back ({} of them on each \
         leaf of a mirror, {} gangs), all right",
        seen.rounds,
        seen.pools,
        start.elapsed().as_secs_f64(),
        seen.records,
        seen.blocks,
        seen.mirrored,
        seen.gangs
    );
    Ok(())
}

#[derive(Default)]
struct Seen {
    pools: u64,
    rounds: u64,
    records: u64,
    blocks: u64,
    mirrored: u64,
    gangs: u64,
    busy_rounds: u64,
}

/// A new pool, and its rounds.
fn one_pool(
    args: &Args,
    layout: Layout,
    rng: &mut Rng,
    seen: &mut Seen,
    start: Instant,
) -> Result<()> {
    let place = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
    .context("a directory for the files")?;
    let pool = Pool::new(place.path(), layout);
    pool.create()?;
    seen.pools += 1;
    let mut records = 0;
    for _ in 0..ROUNDS_PER_POOL {
        if args.is_over(seen.rounds, start) {
            break;
        }
        let one = kill_one(&pool, rng).and_then(|()| {
            let log = Log::read(&pool.log())?;
            check(&pool, &log).map(|()| log)
        });
        let log = match one {
            Ok(log) => log,
            Err(error) => {
                let kept = place.keep().display().to_string();
                let round = seen.rounds;
                return Err(error)
                    .with_context(|| format!("round {round}, {layout:?}, files kept in {kept}"));
            }
        };
        let blocks = log.live.len() as u64;
        seen.rounds += 1;
        seen.busy_rounds += u64::from(log.records > records);
        seen.records += log.records - records;
        seen.blocks += blocks;
        seen.mirrored += log.live.iter().filter(|block| pool.mirrors(&block.bp)).count() as u64;
        seen.gangs += log.live.iter().filter(|block| block.bp.is_gang()).count() as u64;
        records = log.records;
    }
    Ok(())
}

/// Starts a writer and kills it.
fn kill_one(pool: &Pool, rng: &mut Rng) -> Result<()> {
    let own = std::env::current_exe().context("the path of this program")?;
    let mut child = Command::new(own)
        .arg("crash-child")
        .args(pool.as_args())
        .arg(rng.next_u64().to_string())
        .stdin(Stdio::null())
        .spawn()
        .context("starting the writer")?;
    thread::sleep(Duration::from_millis(20 + rng.below(181)));
    child.kill().context("killing the writer")?;
    let status = child.wait().context("waiting for the writer")?;
    if status.signal() != Some(KILLED) {
        bail!("the writer ended by itself, {status}");
    }
    Ok(())
}

/// Reads back everything that is recorded as live: from each leaf of a mirror alone, and from the
/// whole pool.
fn check(pool: &Pool, log: &Log) -> Result<()> {
    for leaves in pool.views() {
        let pipeline = pool.open(leaves, &log.live)?;
        check_view(&pipeline, log).with_context(|| format!("from {leaves:?}"))?;
    }
    Ok(())
}

/// Every copy is good, and nothing else is allocated.
fn check_view(pipeline: &Pipeline, log: &Log) -> Result<()> {
    let extents: BTreeMap<_, _> = log
        .live
        .iter()
        .flat_map(|block| block.bp.dvas())
        .map(|dva| ((dva.vdev(), dva.offset_bytes()), dva.asize_bytes()))
        .collect();
    let (held, expected) = (pipeline.allocated_bytes(), extents.values().sum::<u64>());
    ensure!(held == expected, "{held} bytes are held, the live pointers hold {expected}");
    no_bad_copies(pipeline).context("claiming")?;
    for block in &log.live {
        let read = pipeline.read(&block.bp).every_copy().repair(false).wait();
        let data = read.with_context(|| format!("reading {block:?}"))?;
        ensure!(data == block.content.bytes(), "wrong data in {block:?}");
        no_bad_copies(pipeline).with_context(|| format!("reading {block:?}"))?;
    }
    Ok(())
}

fn no_bad_copies(pipeline: &Pipeline) -> Result<()> {
    let bad = pipeline.event_count(EventKind::Checksum).happened;
    ensure!(bad == 0, "{bad} copies were bad");
    Ok(())
}
