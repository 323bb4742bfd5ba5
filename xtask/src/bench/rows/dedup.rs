//! The dedup table by itself, and writes of which half are known already.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail, ensure};
use ddt::{Copies, Decision, FreeOutcome, Key, Phys, SharedTable};
use zio_pipeline::{BlockPointer, Checksum, Pipeline};

use super::Bench;
use crate::bench::contest::Contender;
use crate::bench::in_flight::InFlight;
use crate::bench::random::{Content, Random};
use crate::bench::report::Unit;
use crate::bench::target::Target;

const SMALL_TABLE: &str = "ddt-lookup-1e4";
const LARGE_TABLE: &str = "ddt-lookup-1e6";
pub(super) const NAMES: [&str; 2] = [SMALL_TABLE, LARGE_TABLE];
pub(super) const WRITES: &str = "write-8k-dedup";

/// As the pipeline has them.
const SHARDS: usize = 64;
/// Lookups between two looks at the clock.
const BATCH: usize = 256;

const BLOCK_BYTES: usize = 8192;
const DEPTH: usize = 32;
/// Blocks that are there already.
const KNOWN_BLOCKS: u64 = 1000;

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    for (name, entries) in [(SMALL_TABLE, 10_000), (LARGE_TABLE, 1_000_000)] {
        if bench.wants(name) {
            let (ours, baseline) = (table(entries)?, map(entries)?);
            bench.row(name, Unit::NsPerOp, "Mutex<HashMap>", ours, Some(baseline))?;
        }
    }
    Ok(())
}

fn key(number: u64) -> Result<Key> {
    let mut random = Random::new(number);
    let checksum = [random.next(), random.next(), random.next(), random.next()];
    Ok(Key::new(checksum, BLOCK_BYTES as u32, BLOCK_BYTES as u32, 2, false)?)
}

fn phys(number: u64) -> Result<Phys> {
    Ok(Phys::new([[16, number * 16], [0; 2], [0; 2]], 1 + number / 1000)?)
}

/// One writer more shares a block, and gives its reference back.
fn table(entries: u64) -> Result<Contender<'static>> {
    let table = SharedTable::<()>::new(SHARDS);
    for number in 0..entries {
        table.add_references(&key(number)?, Copies::One, phys(number)?, 1)?;
    }
    let mut random = Random::new(5);
    Ok(Box::new(move |round| {
        loop {
            for _ in 0..BATCH {
                let key = key(random.below(entries))?;
                let Decision::Share { phys, .. } = table.lookup_write(&key, Copies::One, ()) else {
                    bail!("a block has been forgotten");
                };
                let identity = phys.identity();
                let outcome = table.free(&key, identity.dva0, identity.birth_txg);
                ensure!(outcome == FreeOutcome::StillReferenced { references: 1 });
            }
            if !round.count(BATCH) {
                return Ok(());
            }
        }
    }))
}

/// The same with one address word and a count behind one lock.
fn map(entries: u64) -> Result<Contender<'static>> {
    let mut map: HashMap<[u8; Key::BYTES], (u64, u64)> = HashMap::new();
    for number in 0..entries {
        map.insert(key(number)?.to_bytes(), (number * 16, 1));
    }
    let map = Mutex::new(map);
    let mut random = Random::new(5);
    Ok(Box::new(move |round| {
        let map = || map.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            for _ in 0..BATCH {
                let key = key(random.below(entries))?.to_bytes();
                for change in [1, -1] {
                    let mut map = map();
                    let Some((address, references)) = map.get_mut(&key) else {
                        bail!("a block has been forgotten");
                    };
                    *references = references.wrapping_add_signed(change);
                    black_box(address);
                }
            }
            if !round.count(BATCH) {
                return Ok(());
            }
        }
    }))
}

/// Every other block is one of those that are there already; with dedup it is not written. Both
/// sides make the same checksums.
pub(super) fn run_writes(bench: &mut Bench<'_>, target: &Target) -> Result<()> {
    if !bench.wants(WRITES) {
        return Ok(());
    }
    let content = Content::new(BLOCK_BYTES);
    let pipeline = Pipeline::builder().file(target.path()).build()?;
    let ours = writes(&pipeline, &content, true)?;
    let baseline = writes(&pipeline, &content, false)?;
    bench.row(WRITES, Unit::Iops, "without dedup", ours, Some(baseline))
}

/// Each block is freed when it is written, so that there is always space.
fn writes<'a>(pipeline: &'a Pipeline, content: &'a Content, dedup: bool) -> Result<Contender<'a>> {
    let write = move |number: u64| {
        let mut buffer = pipeline.buffer(content.block_bytes());
        content.fill(&mut buffer, number);
        pipeline.write(buffer).checksum(Checksum::Sha256).dedup(dedup)
    };
    let known: Vec<BlockPointer> =
        (0..KNOWN_BLOCKS).map(|number| write(number).wait()).collect::<Result<_, _>>()?;
    ensure!(known.iter().all(|bp| bp.is_dedup() == dedup));
    let mut in_flight = InFlight::new(pipeline, DEPTH);
    let (mut random, mut number) = (Random::new(6), KNOWN_BLOCKS);
    Ok(Box::new(move |round| {
        in_flight.round(
            round,
            |done, slot| {
                number += 1;
                let is_known = number.is_multiple_of(2);
                let content = if is_known { random.below(KNOWN_BLOCKS) } else { number };
                Ok(write(content).send_to(done, slot)?)
            },
            |finished| Ok(pipeline.free(&finished.get().bp).wait()?),
        )
    }))
}
