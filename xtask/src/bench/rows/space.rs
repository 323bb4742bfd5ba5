//! Space of one device, four fifths full and aged: a block is freed, another one allocated.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Result, anyhow};
use metaslab::{Config, Metaslabs};
use zio_core::{Allocator, Dva, VdevId, Want};

use super::Bench;
use crate::bench::contest::{Contender, Round};
use crate::bench::random::Random;
use crate::bench::report::Unit;

const ONE: &str = "alloc-free";
const TWO: &str = "alloc-free-2t";
pub(super) const NAMES: [&str; 2] = [ONE, TWO];

const DEVICE_BYTES: u64 = 8 << 30;
const UNIT_BYTES: u64 = 4096;
const ASHIFT: u32 = 12;
/// Blocks are 1 to this many units.
const UNITS_MAX: u64 = 32;
/// How often the blocks are replaced before anything is measured.
const AGES: usize = 3;
/// Pairs of each thread between two looks at the clock.
const BATCH: usize = 1000;

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    for (name, threads) in [(ONE, 1), (TWO, 2)] {
        if bench.wants(name) {
            let ours = contender(Sharded::new(threads)?, threads);
            let baseline = contender(FirstFit::new(), threads);
            bench.row(name, Unit::NsPerOp, "Mutex<BTreeMap>", ours, Some(baseline))?;
        }
    }
    Ok(())
}

/// What hands out space and takes it back.
trait Space: Sync {
    type Block: Send;

    /// `None` when nothing is long enough.
    fn allocate(&self, len_bytes: u64, thread: usize) -> Option<Self::Block>;

    /// False when that was not allocated.
    fn free(&self, block: Self::Block) -> bool;

    fn free_bytes(&self) -> u64;
}

struct Sharded(Metaslabs);

impl Sharded {
    fn new(threads: usize) -> Result<Self> {
        // Nothing waits for the end of a group: what is freed can be handed out again.
        let config = Config { defer_txgs: 0, shards: Some(threads), ..Config::default() };
        let space = Metaslabs::new(config);
        space.add_vdev(VdevId(0), DEVICE_BYTES, ASHIFT)?;
        Ok(Self(space))
    }
}

impl Space for Sharded {
    type Block = Dva;

    fn allocate(&self, size_bytes: u64, thread: usize) -> Option<Dva> {
        let affinity = thread as u32;
        let want = Want { size_bytes, copies: 1, txg: 1, affinity, ..Want::default() };
        self.0.allocate(&want).ok()?.first().copied()
    }

    fn free(&self, dva: Dva) -> bool {
        self.0.free(dva, 1).is_ok()
    }

    fn free_bytes(&self) -> u64 {
        self.0.free_bytes()
    }
}

/// The first thing one would write: free extents by offset, the first that is long enough.
struct FirstFit(Mutex<Extents>);

struct Extents {
    len_by_offset: BTreeMap<u64, u64>,
    free_bytes: u64,
}

impl FirstFit {
    fn new() -> Self {
        let len_by_offset = BTreeMap::from([(0, DEVICE_BYTES)]);
        Self(Mutex::new(Extents { len_by_offset, free_bytes: DEVICE_BYTES }))
    }
}

impl Space for FirstFit {
    type Block = (u64, u64);

    fn allocate(&self, len_bytes: u64, _: usize) -> Option<(u64, u64)> {
        let mut extents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (&offset, &len) = extents.len_by_offset.iter().find(|(_, len)| **len >= len_bytes)?;
        extents.len_by_offset.remove(&offset);
        if len > len_bytes {
            extents.len_by_offset.insert(offset + len_bytes, len - len_bytes);
        }
        extents.free_bytes -= len_bytes;
        Some((offset, len_bytes))
    }

    fn free(&self, (mut offset, mut len_bytes): (u64, u64)) -> bool {
        let mut extents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        extents.free_bytes += len_bytes;
        let end = offset + len_bytes;
        let before = extents.len_by_offset.range(..end).next_back().map(|(&o, &l)| (o, l));
        if let Some((o, l)) = before
            && o + l >= offset
        {
            if o + l > offset {
                return false;
            }
            extents.len_by_offset.remove(&o);
            (offset, len_bytes) = (o, l + len_bytes);
        }
        if let Some(l) = extents.len_by_offset.remove(&end) {
            len_bytes += l;
        }
        extents.len_by_offset.insert(offset, len_bytes);
        true
    }

    fn free_bytes(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).free_bytes
    }
}

/// A thread's own blocks.
struct Owner<B> {
    number: usize,
    random: Random,
    blocks: Vec<B>,
}

impl<B> Owner<B> {
    fn allocate(&mut self, space: &impl Space<Block = B>) -> bool {
        let units = 1 + self.random.below(UNITS_MAX);
        let block = space.allocate(units * UNIT_BYTES, self.number);
        let found = block.is_some();
        self.blocks.extend(block);
        found
    }

    fn free(&mut self, space: &impl Space<Block = B>) -> bool {
        let index = self.random.below(self.blocks.len() as u64) as usize;
        space.free(self.blocks.swap_remove(index))
    }

    /// One pair: false when something is wrong with the space.
    fn replace(&mut self, space: &impl Space<Block = B>) -> bool {
        self.free(space) && self.allocate(space)
    }
}

fn contender<'a, S: Space + 'a>(space: S, threads: usize) -> Contender<'a> {
    let owner = |number| Owner { number, random: Random::new(number as u64), blocks: Vec::new() };
    let mut owners: Vec<Owner<S::Block>> = (0..threads).map(owner).collect();
    let mut aged = false;
    Box::new(move |round| {
        if !std::mem::replace(&mut aged, true) {
            age(&space, &mut owners)?;
        }
        all_at_once(round, &space, &mut owners)
    })
}

/// Fills four fifths and replaces block by block.
fn age<S: Space>(space: &S, owners: &mut [Owner<S::Block>]) -> Result<()> {
    let refused = || anyhow!("four fifths full, and no room");
    while space.free_bytes() > DEVICE_BYTES / 5 {
        for owner in &mut *owners {
            owner.allocate(space).then_some(()).ok_or_else(refused)?;
        }
    }
    let blocks: usize = owners.iter().map(|owner| owner.blocks.len()).sum();
    for turn in 0..AGES * blocks {
        let owner = turn % owners.len();
        owners[owner].replace(space).then_some(()).ok_or_else(refused)?;
    }
    Ok(())
}

fn all_at_once<S: Space>(
    round: &mut Round,
    space: &S,
    owners: &mut [Owner<S::Block>],
) -> Result<()> {
    loop {
        let all_well = thread::scope(|scope| {
            let threads: Vec<_> = owners
                .iter_mut()
                .map(|owner| scope.spawn(|| (0..BATCH).all(|_| owner.replace(space))))
                .collect();
            threads.into_iter().all(|thread| thread.join().unwrap_or(false))
        });
        if !all_well {
            return Err(anyhow!("four fifths full, and no room"));
        }
        if !round.count(BATCH * owners.len()) {
            return Ok(());
        }
    }
}
