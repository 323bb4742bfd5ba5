//! `cargo xtask crash`: kills a writer in the middle, again and again, and looks
//! at what is left.
//!
//! The parent starts itself as a child that writes blocks through a pipeline on
//! a real file, flushes, and only then records their pointers in a log that it makes
//! durable; now and then it frees blocks, having recorded that first. After 20 to
//! 200 ms the parent kills it with SIGKILL, opens the file, claims every pointer
//! that the log says is live, and reads it back. Then the same file goes into
//! the next round.
//!
//! What is never so: a recorded block that cannot be claimed, or gives other data
//! than was written; space held by anything but the live pointers; a file that
//! cannot be opened again.

mod child;
mod content;
mod log;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use vdev_disk::OpenError;
use vdev_sim::Rng;
use zio_pipeline::{BlockPointer, BuildError, Pipeline};

pub use child::{ChildArgs, run_child};
use log::{Live, Log};

/// Size of the file.
const FILE_BYTES: u64 = 128 << 20;

/// How long the kernel may take to give a killed process's file free.
const PATIENCE: Duration = Duration::from_secs(30);

/// SIGKILL, by its number.
const KILLED: i32 = 9;

/// Options of `cargo xtask crash`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How often the writer is killed.
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// Chance comes from this number, except for the moments of death.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the file is made; a temporary directory unless told.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Runs the rounds.
///
/// # Errors
/// The first thing that was lost, wrong, or left over, and in which round.
pub fn run(args: &Args) -> Result<()> {
    let start = Instant::now();
    let place = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
    .context("a directory for the file")?;
    let (path, log_path) = (place.path().join("disk"), place.path().join("log"));
    drop(Pipeline::builder().create(&path, FILE_BYTES).build()?);
    let mut rng = Rng::new(args.seed);
    let mut seen = Seen::default();
    for round in 0..args.rounds {
        let one = kill_one(&path, &log_path, &mut rng).and_then(|()| {
            let log = Log::read(&log_path)?;
            check(&path, &log).map(|blocks| (log.records, blocks))
        });
        match one {
            Ok((records, blocks)) => seen.add(records, blocks),
            Err(error) => {
                let kept = place.keep();
                return Err(error)
                    .with_context(|| format!("round {round}, files kept in {}", kept.display()));
            }
        }
    }
    ensure!(
        args.rounds < 10 || seen.busy_rounds * 2 > args.rounds,
        "the writer did something in {} of {} rounds only: this machine is too slow to tell",
        seen.busy_rounds,
        args.rounds
    );
    println!(
        "{} kills in {:.1} s: {} records, {} blocks claimed and read back, all right",
        args.rounds,
        start.elapsed().as_secs_f64(),
        seen.records,
        seen.blocks
    );
    Ok(())
}

#[derive(Default)]
struct Seen {
    records: u64,
    blocks: u64,
    busy_rounds: u64,
}

impl Seen {
    fn add(&mut self, records: u64, blocks: u64) {
        self.busy_rounds += u64::from(records > self.records);
        self.records = records;
        self.blocks += blocks;
    }
}

/// Starts a writer and kills it.
fn kill_one(path: &Path, log: &Path, rng: &mut Rng) -> Result<()> {
    let own = std::env::current_exe().context("the path of this program")?;
    let mut child = Command::new(own)
        .arg("crash-child")
        .args([path, log])
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

/// Opens the file, which the kernel may keep for a moment after its last
/// owner was killed: a ring is taken down behind its process's back.
fn open(path: &Path) -> Result<Pipeline> {
    let begin = Instant::now();
    loop {
        match Pipeline::builder().file(path).build() {
            Err(BuildError::Open(OpenError::InUse { .. })) if begin.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(1));
            }
            opened => return opened.context("opening the file"),
        }
    }
}

/// Tells a pipeline what is live.
fn claim_all(pipeline: &Pipeline, live: &[Live]) -> Result<()> {
    for block in live {
        let raw = BlockPointer::from_bytes(&block.bp.to_bytes());
        let bp = pipeline.check(&raw).with_context(|| format!("checking {block:?}"))?;
        pipeline.claim(&bp).wait().with_context(|| format!("claiming {block:?}"))?;
    }
    Ok(())
}

/// Reads everything back that is recorded as live. Returns how many blocks.
fn check(path: &Path, log: &Log) -> Result<u64> {
    let pipeline = open(path)?;
    claim_all(&pipeline, &log.live)?;
    let extents: BTreeMap<_, _> = log
        .live
        .iter()
        .flat_map(|block| block.bp.dvas())
        .map(|dva| ((dva.vdev(), dva.offset_bytes()), dva.asize_bytes()))
        .collect();
    let (held, expected) = (pipeline.allocated_bytes(), extents.values().sum::<u64>());
    ensure!(held == expected, "{held} bytes are held, the live pointers hold {expected}");
    for block in &log.live {
        let read = pipeline.read(&block.bp).wait();
        let data = read.with_context(|| format!("reading {block:?}"))?;
        ensure!(data == block.content.bytes(), "wrong data in {block:?}");
    }
    Ok(log.live.len() as u64)
}
