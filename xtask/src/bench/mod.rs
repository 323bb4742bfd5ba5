//! `cargo xtask bench`: the pipeline and its parts beside plain baselines.
//!
//! Each row is a contest of two sides that do the same work on the same data:
//! ours, and the plainest thing that could be had instead. They run in turns,
//! in short rounds, in one process: absolute figures move with whatever else
//! the machine does, the ratio hardly. A row's figures are medians of the
//! rounds; the quartiles of the ratio say how far to trust it.
//!
//! | rows | ours | baseline |
//! |---|---|---|
//! | `read-8k-qd…` | random reads through the pipeline, checksum verified | a bare io_uring loop of that depth, same file, same blocks |
//! | `mirror-read-qd32` | the same from a mirror of two files | the same loop on one of them |
//! | `write-8k-qd32` | allocating writes, freed when done | the same loop, random offsets |
//! | `write-128k-qd16` | the same with 128 KiB | the same loop, sequential |
//! | `write-128k-lz4` | 128 KiB that halve, with lz4, freed when done | the same LZ4, then the same loop |
//! | `read-8k-mem-qd32` | reads from memory through the pipeline | memcpy and fletcher4: the rest is the pipeline's own |
//! | `write-16m-blake3` | one block of 16 MiB at a time to memory, hashed on all CPUs | the same, hashed by one thread |
//! | `handover…` | a root, a read, a device I/O, each handed over to the next | the same with a dispatch at each resumption |
//! | `checksum-…` | the function as the house runs it | the plain loop, aws-lc-rs, `skein`, `blake3` |
//! | `compress-…`, `decompress-…` | 128 KiB of text; of half zeros for zle and lzjb | the best other crate, or the plain loop |
//! | `zero-detect-128k` | the all-zero test | the plain loop |
//! | `aes-gcm-128k` | sealing by a kept key | the library called directly |
//! | `queue-push-pop…` | the device queue: enqueue, choose, complete | a tree behind a mutex |
//! | `queue-contended` | eight threads, each request through one device queue | through a channel |
//! | `alloc-free`, `-2t` | one thread, two: free a block and allocate another, 1 to 32 units, on an aged device four fifths full | first fit in a `Mutex<BTreeMap>` |
//! | `seq-write-4k-merge` | sequential writes merged by the queue | the same, unmerged |
//! | `scrub-seq` | a scrub of blocks of 128 KiB that come in random order | a bare io_uring loop, sequential, depth 16 |
//! | `scrub-vs-read` | reads at depth 4 beside a scrub, scheduled | both loads sent at once |
//! | `scrub-vs-read-alone` | the same | the reads alone |
//! | `scrub-vs-read-scrub` | the scrub beside these reads | both loads sent at once |
//! | `taskq-dispatch…` | 1, 2, 8 producers, from dispatch until the last task has run | rayon, as many threads |
//! | `taskq-channel…` | the same with 1 and 8 producers | threads around a crossbeam channel |
//! | `taskq-latency` | from dispatch until a sleeping worker runs the task | rayon |
//! | `cpu-fairness` | how late two threads wake each ms during a scrub's sha256 and zstd on the background lane | the same work on as many plain threads |
//! | `background-idle` | that work alone, on the background lane | the same |
//!
//! CPU, context switches and allocations are those of the whole process; a
//! figure in ns/op is its CPU time. A write fills its buffer on both sides.

mod block_set;
mod contest;
mod dispatches;
mod html;
mod in_flight;
mod plan;
mod random;
mod report;
mod rows;
mod scheduled_file;
mod table;
mod target;
mod usage;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

pub use plan::Plan;
pub use report::{Machine, Report, Row};
pub use rows::NAMES;
pub use target::Facts;

/// What to measure and where to put the figures.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Args {
    /// Fewer and shorter rounds, a smaller file.
    #[arg(long)]
    quick: bool,
    /// Only these rows.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    only: Vec<String>,
    /// Measure on this block device or file. ITS CONTENT IS DESTROYED. Without
    /// it the bench makes a file in $ZIO_BENCH_DIR, or the target directory,
    /// which is gone afterwards.
    #[arg(long, value_name = "PATH")]
    device: Option<PathBuf>,
    /// Write the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a report with charts.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Args {
    /// All rows, quickly.
    pub fn quick() -> Self {
        Self { quick: true, ..Self::default() }
    }
}

/// Measures, prints the table, writes the files.
///
/// # Errors
/// For a row that does not exist, a file or device that cannot be used, an I/O
/// that fails, a report that cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let plan = if args.quick { Plan::QUICK } else { Plan::FULL };
    let progress = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {elapsed:>4}  {msg}")?;
    progress.set_style(style);
    if cfg!(debug_assertions) {
        progress.suspend(|| eprintln!("note: a debug build; its figures mean nothing"));
    }
    let begun = Instant::now();
    let report = measure(&plan, &args.only, args.device.as_deref(), &progress)?;
    progress.finish_and_clear();

    if let Some(target) = &report.machine.target {
        let access = if target.direct { "direct I/O" } else { "through the page cache" };
        println!("{} ({}), {access}", target.place, target.kind);
    }
    print!("{}", table::text(&report));
    println!("{} rows in {:.0} s", report.rows.len(), begun.elapsed().as_secs_f64());
    if let Some(path) = &args.json {
        write(path, &(serde_json::to_string_pretty(&report)? + "\n"))?;
    }
    if let Some(path) = &args.html {
        write(path, &html::page(&report))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}

/// Measures the rows named in `only`, or all if it is empty, on `device` or a
/// file of our own.
///
/// # Errors
/// For a row that does not exist, a file or device that cannot be used, an I/O
/// that fails.
pub fn measure(
    plan: &Plan,
    only: &[String],
    device: Option<&Path>,
    progress: &ProgressBar,
) -> Result<Report> {
    if let Some(unknown) = only.iter().find(|name| !NAMES.contains(&name.as_str())) {
        bail!("no row {unknown:?}; rows are {}", NAMES.join(", "));
    }
    let wanted = |name: &str| only.is_empty() || only.iter().any(|other| other == name);
    let names: Vec<&'static str> = NAMES.iter().copied().filter(|name| wanted(name)).collect();
    progress.set_length((names.len() * (plan.rounds + 1)) as u64);
    let (rows, target) = rows::run(plan, &names, device, progress)?;
    Ok(Report { machine: Machine::this(target), rows })
}

impl Report {
    /// The table, as printed.
    pub fn to_text(&self) -> String {
        table::text(self)
    }

    /// The HTML page.
    pub fn to_html(&self) -> String {
        html::page(self)
    }
}
