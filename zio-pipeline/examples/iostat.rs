//! Runs a mixed load on a file and shows, interval by interval, what each leaf and class did: I/Os,
//! bytes, and how long they took, in the manner of `zpool iostat -w`.
//!
//! `cargo run --release -p zio-pipeline --example iostat -- [--seconds N] [--interval-ms N] [FILE[,FILE…]]`
//!
//! Several files are sides of a mirror. Without one it makes a temporary file. CONTENT OF FILES IS
//! DESTROYED: they are written to as if they were empty.

use std::error::Error;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use zio_pipeline::{
    BlockPointer, ClassReport, Completions, Histogram, LeafStats, Mirror, Pipeline, PipelineStats,
    Priority, Read, Write,
};

const FILE_BYTES: u64 = 256 << 20;
const BLOCK_BYTES: usize = 8192;
const BLOCKS: usize = 2048;
/// Requests that the load keeps in flight.
const DEPTH: usize = 16;
/// Blocks that are written over in one go.
const RENEWED: usize = 10;

struct Args {
    duration: Duration,
    interval: Duration,
    files: Vec<PathBuf>,
}

impl Args {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let (mut seconds, mut interval_ms, mut files) = (5.0, 1000_u64, Vec::new());
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut number = || words.next().ok_or(format!("{word} wants a number"));
            match word.as_str() {
                "--seconds" => seconds = number()?.parse()?,
                "--interval-ms" => interval_ms = number()?.parse()?,
                option if option.starts_with('-') => {
                    return Err(format!("unknown option {option}").into());
                }
                list => files.extend(list.split(',').map(PathBuf::from)),
            }
        }
        let duration = Duration::try_from_secs_f64(seconds)?;
        Ok(Self { duration, interval: Duration::from_millis(interval_ms.max(1)), files })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse()?;
    let own = std::env::temp_dir().join(format!("zio-iostat-{}.img", std::process::id()));
    let is_own = args.files.is_empty();
    let files = if is_own { vec![own.clone()] } else { args.files.clone() };
    let outcome = run(&args, &files);
    if is_own {
        std::fs::remove_file(&own)?;
    }
    outcome
}

fn run(args: &Args, files: &[PathBuf]) -> Result<(), Box<dyn Error>> {
    let sides = files.iter().fold(Mirror::new(), |mirror, file| mirror.create(file, FILE_BYTES));
    let pipeline = Pipeline::builder().mirror(sides).build()?;
    let end = Instant::now() + args.duration;
    thread::scope(|scope| {
        let load = scope.spawn(|| load(&pipeline, end).map_err(|error| error.to_string()));
        let mut before = pipeline.stats();
        while !load.is_finished() {
            let left = end.saturating_duration_since(Instant::now());
            thread::sleep(args.interval.min(left).max(Duration::from_millis(1)));
            let now = pipeline.stats();
            if now.at_ns - before.at_ns >= args.interval.as_nanos() as u64 {
                show(&now.since(&before));
                before = now;
            }
        }
        load.join().map_err(|_| "the load panicked")??;
        println!("\naltogether:");
        show(&pipeline.stats());
        Ok(())
    })
}

// -- The load. --

/// Reads, writes over, and scrubs a set of blocks at random.
fn load(pipeline: &Pipeline, end: Instant) -> Result<(), zio_pipeline::Error> {
    let done = pipeline.completions();
    let mut blocks = Vec::with_capacity(BLOCKS);
    for number in 0..BLOCKS {
        blocks.push(write(pipeline, number as u64).wait()?);
    }
    let mut random = 1_u64;
    let mut step = 0;
    while Instant::now() < end {
        if done.outstanding() >= DEPTH {
            if let Some((_, finished)) = done.next() {
                finished.result()?;
            }
            continue;
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let at = (random >> 33) as usize % BLOCKS;
        step += 1;
        if step % 100 == 0 {
            renew(pipeline, &done, &mut blocks, at)?;
        } else {
            read(pipeline, &blocks[at], step).send_to(&done, step)?;
        }
    }
    while let Some((_, finished)) = done.next() {
        finished.result()?;
    }
    Ok(())
}

/// Of ten reads, eight that somebody waits for, a prefetch, and one of a scrub.
fn read(pipeline: &Pipeline, bp: &BlockPointer, step: u64) -> Read {
    match step % 10 {
        7 => pipeline.read(bp).priority(Priority::AsyncRead),
        8 => pipeline.read(bp).priority(Priority::Scrub),
        _ => pipeline.read(bp),
    }
}

/// Writes some blocks anew, makes them durable, and frees the old ones.
fn renew(
    pipeline: &Pipeline,
    done: &Completions,
    blocks: &mut [BlockPointer],
    at: usize,
) -> Result<(), zio_pipeline::Error> {
    // Reads may still be under way of what is going to be freed.
    while let Some((_, finished)) = done.next() {
        finished.result()?;
    }
    let places: Vec<usize> = (at..at + RENEWED).map(|at| at % BLOCKS).collect();
    let start = |place: &usize| write(pipeline, *place as u64).start();
    let writes = places.iter().map(start).collect::<Result<Vec<_>, _>>()?;
    let new = writes.into_iter().map(|write| write.wait()).collect::<Result<Vec<_>, _>>()?;
    pipeline.flush().wait()?;
    for (place, bp) in places.into_iter().zip(new) {
        pipeline.free(&std::mem::replace(&mut blocks[place], bp)).wait()?;
    }
    Ok(())
}

fn write(pipeline: &Pipeline, number: u64) -> Write {
    let mut buffer = pipeline.buffer(BLOCK_BYTES);
    let mut word = number;
    for piece in buffer.chunks_exact_mut(8) {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        piece.copy_from_slice(&word.to_le_bytes());
    }
    pipeline.write(buffer)
}

// -- The display. --

fn show(stats: &PipelineStats) {
    let seconds = stats.over_ns as f64 / 1e9;
    println!(
        "\n{seconds:.2} s: {} zios, {} dispatched; {} of {} MiB allocated",
        stats.engine.zios,
        stats.engine.dispatches,
        stats.space.allocated_bytes >> 20,
        (stats.space.allocated_bytes + stats.space.free_bytes) >> 20,
    );
    for leaf in &stats.leaves {
        show_leaf(leaf, seconds);
    }
}

fn show_leaf(leaf: &LeafStats, seconds: f64) {
    println!(
        "{}, leaf {}: {} reads, {} writes, {} flushes, {} in flight; \
         errors: {} read, {} write, {} checksum",
        leaf.vdev,
        leaf.leaf,
        leaf.reads.ios,
        leaf.writes.ios,
        leaf.flushes,
        leaf.in_flight,
        leaf.errors.read,
        leaf.errors.write,
        leaf.errors.checksum,
    );
    println!(
        "  {:<12}{:>9}{:>9}{:>8}{:>7}   {:>9}{:>9}{:>9}   (total µs)",
        "class", "I/O/s", "MiB/s", "queued", "active", "p50", "p99", "p99.9"
    );
    for (class, report) in leaf.classes.iter().filter(|(_, report)| is_busy(report)) {
        let counts = &report.counts;
        let bytes = counts.reads.bytes + counts.writes.bytes + counts.trims.bytes;
        println!(
            "  {:<12}{:>9.0}{:>9.1}{:>8}{:>7}   {:>9}{:>9}{:>9}",
            format!("{class:?}"),
            counts.completed_total as f64 / seconds,
            bytes as f64 / seconds / f64::from(1 << 20),
            counts.queued,
            counts.active,
            percentile_us(&report.took.total, 50.0),
            percentile_us(&report.took.total, 99.0),
            percentile_us(&report.took.total, 99.9),
        );
    }
    show_histograms(leaf);
}

fn is_busy(report: &ClassReport) -> bool {
    report.counts.completed_total > 0 || report.counts.active > 0
}

fn percentile_us(histogram: &Histogram, percent: f64) -> String {
    let ns = histogram.percentile_ns(percent);
    ns.map_or_else(|| "-".to_owned(), |ns| format!("{:.1}", ns as f64 / 1000.0))
}

/// A row for each doubling of the time, three columns for each class: total, device, queue.
fn show_histograms(leaf: &LeafStats) {
    let busy: Vec<_> = leaf.classes.iter().filter(|(_, report)| is_busy(report)).collect();
    print!("  {:>9}", "up to");
    for (class, _) in &busy {
        print!("  | {:^26}", format!("{class:?}"));
    }
    print!("\n  {:>9}", "");
    busy.iter().for_each(|_| print!("  | {:>8} {:>8} {:>8}", "total", "device", "queue"));
    println!();
    let columns: Vec<[u64; 64]> = busy
        .iter()
        .flat_map(|(_, report)| [&report.took.total, &report.took.device, &report.took.queue])
        .map(octaves)
        .collect();
    let is_used = |octave: &usize| columns.iter().any(|column| column[*octave] > 0);
    for octave in (0..64).filter(is_used) {
        print!("  {:>9}", format!("{:?}", Duration::from_nanos(2 << octave)));
        for class in columns.chunks(3) {
            print!("  | {:>8} {:>8} {:>8}", class[0][octave], class[1][octave], class[2][octave]);
        }
        println!();
    }
}

/// How many durations have their highest bit where.
fn octaves(histogram: &Histogram) -> [u64; 64] {
    let mut octaves = [0; 64];
    for (ns, count) in histogram.buckets() {
        octaves[ns.end().max(&1).ilog2() as usize] += count;
    }
    octaves
}
