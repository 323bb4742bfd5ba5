//! A device queue in front of a file: what it makes of sequential writes, and of a scrub beside
//! readers.

use anyhow::{Result, ensure};
use vdev_queue::{Aggregation, Class, Config};

use super::Bench;
use crate::bench::contest::Contender;
use crate::bench::report::Unit;
use crate::bench::scheduled_file::{self, Load, Order, ScheduledFile};
use crate::bench::target::Target;

const SEQUENTIAL: &str = "seq-write-4k-merge";
pub(super) const NAMES: [&str; 4] = [READS, READS_ALONE, SCRUB, SEQUENTIAL];
const READS: &str = "scrub-vs-read";
const READS_ALONE: &str = "scrub-vs-read-alone";
const SCRUB: &str = "scrub-vs-read-scrub";

/// Logical writes for each device write, at least: 32 fit into one of 128 KiB.
const MERGED_MIN: u64 = 30;
/// Writes from which on the first ones, which find an idle device, do not weigh.
const WRITES_MIN: u64 = 20_000;

const READERS: Load =
    Load { class: Class::SyncRead, order: Order::Random, block_bytes: 8 << 10, outstanding: 4 };
const FLOOD: Load =
    Load { class: Class::Scrub, order: Order::Sequential, block_bytes: 128 << 10, outstanding: 64 };
const WRITERS: Load = Load {
    class: Class::AsyncWrite,
    order: Order::Sequential,
    block_bytes: 4 << 10,
    outstanding: 1024,
};

pub(super) fn run(bench: &mut Bench<'_>, target: &Target) -> Result<()> {
    let file_bytes = target.facts().size_bytes.min(bench.plan.file_bytes);
    if ![READS, READS_ALONE, SCRUB, SEQUENTIAL].into_iter().any(|name| bench.wants(name)) {
        return Ok(());
    }
    let disk = scheduled_file::open(target.path())?;
    let file = |config| ScheduledFile::new(&disk, file_bytes, config);
    let scheduled = || file(Some(Config::default()));
    let raw = || file(None);
    // Reads first: what is written afterwards need not be what a row before it wrote.
    if bench.wants(READS) {
        let (ours, baseline) = (scheduled()?, raw()?);
        let (ours, baseline) =
            (side(ours, &[READERS, FLOOD], 0), side(baseline, &[READERS, FLOOD], 0));
        bench.row(READS, Unit::Iops, "both loads, no scheduler", ours, Some(baseline))?;
    }
    if bench.wants(READS_ALONE) {
        let (ours, baseline) = (scheduled()?, raw()?);
        let (ours, baseline) = (side(ours, &[READERS, FLOOD], 0), side(baseline, &[READERS], 0));
        bench.row(READS_ALONE, Unit::Iops, "reads alone", ours, Some(baseline))?;
    }
    if bench.wants(SCRUB) {
        let (ours, baseline) = (scheduled()?, raw()?);
        let (ours, baseline) =
            (side(ours, &[READERS, FLOOD], 1), side(baseline, &[READERS, FLOOD], 1));
        bench.row(SCRUB, Unit::Iops, "both loads, no scheduler", ours, Some(baseline))?;
    }
    if bench.wants(SEQUENTIAL) {
        let unmerged = Config { aggregation: Aggregation::Off, ..Config::default() };
        let mut merged = scheduled()?;
        let ours: Contender<'_> = Box::new(move |round| {
            merged.round(round, &[WRITERS], 0)?;
            let (logical, at_device) = (merged.requests(), merged.device_ios());
            ensure!(
                logical < WRITES_MIN || at_device * MERGED_MIN <= logical,
                "{logical} writes became {at_device} I/Os, more than one for {MERGED_MIN}"
            );
            Ok(())
        });
        let baseline = side(file(Some(unmerged))?, &[WRITERS], 0);
        bench.row(SEQUENTIAL, Unit::Iops, "the same, unmerged", ours, Some(baseline))?;
    }
    Ok(())
}

/// These loads together; the I/Os of one of them are counted.
fn side(mut file: ScheduledFile, loads: &'static [Load], counted: usize) -> Contender<'static> {
    Box::new(move |round| file.round(round, loads, counted))
}
