//! A small store on top of the log, on a machine that loses power at any moment (C10).
//!
//! The store is a list of records, appended to. Its state of a transaction group is how many
//! of them there are, in a label block of two that take turns; what came after
//! that is in the log. Life after life: recover, go on, lose power.
//!
//! Meanwhile leaves of mirrors fail writes or flushes, at each moment one at most of each mirror. An acknowledged
//! record is then on one leaf, and may be unavailable in one case alone: that leaf is away. That is an error of
//! the claim, which names a leaf that is away; never a shorter log.

use std::cell::Cell;
use std::sync::Arc;

use pool::log::{ClaimError, Claimed, Commit, Config, Log, Record};
use vdev_sim::{Effect, Fault, OpKind, Rng, SEEDS_VARIABLE, explore};
use zio_core::VdevErrorKind;
use zio_pipeline::{BlockPointer, DATA_START_BYTES, Error, ErrorKind, Pipeline, VdevId};

use crate::common::{MIB, World, noise};

/// Where the two superblocks stand, on every leaf of the first vdev.
const SUPERBLOCKS_AT: [u64; 2] = [1 << 20, (1 << 20) + 8192];

/// The state of a transaction group.
#[derive(Clone, Copy, Debug)]
struct Superblock {
    /// Counts superblocks. Those of two numbers in a row are in different slots; transaction groups may be
    /// skipped, and the newest superblock is not to be written over.
    number: u64,
    txg: u64,
    /// Records up to this one are in the state.
    records: u64,
    head: BlockPointer,
}

impl Superblock {
    fn store(self, pipeline: &Pipeline) -> Result<(), Error> {
        let mut block = vec![0; 4096];
        block[..8].copy_from_slice(&self.txg.to_le_bytes());
        block[8..16].copy_from_slice(&self.records.to_le_bytes());
        block[16..144].copy_from_slice(&self.head.to_bytes());
        block[144..152].copy_from_slice(&self.number.to_le_bytes());
        let at = SUPERBLOCKS_AT[self.number as usize % 2];
        for leaf in 0.. {
            let Ok(leaf) = pipeline.physical(VdevId(0), leaf) else { break };
            leaf.write_label_block(at, &block).wait()?;
        }
        pipeline.flush().wait()
    }

    /// The newest that is whole, on any leaf.
    fn load(pipeline: &Pipeline) -> Option<Self> {
        let leaves = (0..).map_while(|leaf| pipeline.physical(VdevId(0), leaf).ok());
        let of_leaf = |leaf: zio_pipeline::Physical<'_>| {
            SUPERBLOCKS_AT.map(|at| leaf.read_label_block(at, 4096).wait())
        };
        let read: Vec<_> = leaves.flat_map(of_leaf).collect();
        // A slot that was never written, or not whole, is one thing; a device that is gone another.
        let is_gone = |error: &Error| error.kind() != ErrorKind::Checksum;
        if read.iter().any(|data| data.as_ref().is_err_and(is_gone)) {
            return None;
        }
        let blocks = read.into_iter().flatten().map(|data| {
            let block = data.to_vec();
            let word = |at: usize| u64::from_le_bytes(block[at..at + 8].try_into().unwrap());
            let head = BlockPointer::from_bytes(block[16..144].try_into().unwrap());
            let head = pipeline.check(&head).unwrap();
            Self { number: word(144), txg: word(0), records: word(8), head }
        });
        blocks.max_by_key(|block| block.number)
    }
}

/// What all lives know: what was ever appended and not lost since, and what was promised.
#[derive(Default)]
struct History {
    /// Transaction group and content, by number from 0.
    records: Vec<(u64, Vec<u8>)>,
    /// So many of them must be there after a crash.
    promised: u64,
}

/// One life: from a recovery to the loss of power.
struct Life<'a> {
    world: &'a World,
    pipeline: Arc<Pipeline>,
    log: Log,
    /// Number of the newest superblock.
    number: u64,
    txg: u64,
    commits: Vec<(Commit, u64)>,
}

/// Reads the state back and checks it against the history.
fn recover(
    pipeline: &Pipeline,
    history: &mut History,
    superblock: &Superblock,
    rng: &mut Rng,
) -> Result<(Claimed, u64), Box<dyn std::error::Error>> {
    let claimed = Claimed::claim(pipeline, &superblock.head, 1)?;
    // A claimed block has an owner.
    if let Some(bp) = claimed.blocks().first() {
        assert!(Claimed::claim(pipeline, bp, 1).is_err(), "claimed twice");
    }
    let allocated: u64 = claimed.blocks().iter().map(BlockPointer::asize_bytes).sum();
    assert_eq!(pipeline.allocated_bytes(), allocated);
    // Whoever else is given space now must not be given that of the log.
    for _ in 0..rng.below(8) {
        pipeline.write(noise(rng.next_u64(), 65_536)).wait()?;
    }
    let records: Vec<Record> = claimed.replay(pipeline).collect::<Result<_, _>>()?;
    let mut count = superblock.records;
    for record in records.iter().filter(|record| record.txg > superblock.txg) {
        let expected = history.records.get(count as usize);
        let is_next =
            expected.is_some_and(|(txg, payload)| (*txg, payload) == (record.txg, &record.payload));
        assert!(is_next, "record {count} in order, none twice");
        count += 1;
    }
    // What was found while the power went says nothing: a mirror had fewer leaves for a moment.
    pipeline.flush().wait()?;
    assert!(count >= history.promised, "{count} records of {} promised", history.promised);
    // What nobody was promised may be lost; what was seen once stays.
    history.records.truncate(count as usize);
    history.promised = count;
    Ok((claimed, count))
}

/// Of each mirror one leaf may fail; another one may as soon as that is well again.
fn trouble_leaves(world: &World, rng: &mut Rng) {
    for leaves in world.vdevs.iter().filter(|leaves| leaves.len() > 1) {
        leaves.iter().for_each(|leaf| world.disks[*leaf].heal_all());
        if rng.coin() {
            let op = if rng.coin() { OpKind::Write } else { OpKind::Flush };
            let fault = Fault::new(Effect::Fail(VdevErrorKind::Io)).on(op);
            // The labels are the store's own, which has no way to go on without one.
            let fault = fault.range(DATA_START_BYTES, 32 * MIB);
            world.disks[leaves[rng.index(leaves.len())]].inject(fault.always());
        }
    }
}

/// Without one leaf of a mirror a claim finds the same as with it, or says that it is missing. True if it did that.
fn claim_without_a_leaf(world: &World, history: &History, rng: &mut Rng) -> bool {
    let Some(superblock) = Superblock::load(&world.pipeline()) else { panic!("no superblock") };
    let mirrors = (0..).zip(&world.vdevs).filter(|(_, leaves)| leaves.len() > 1);
    let mirrors: Vec<(u32, &Vec<usize>)> = mirrors.collect();
    if mirrors.is_empty() {
        return false;
    }
    let (vdev, leaves) = mirrors[rng.index(mirrors.len())];
    let away = rng.index(leaves.len());
    world.disks[leaves[away]].offline();
    let pipeline = world.pipeline();
    let without = Claimed::claim(&pipeline, &superblock.head, 1);
    let records_of = |claimed: &Claimed, pipeline: &Pipeline| -> Vec<Record> {
        claimed.replay(pipeline).map(Result::unwrap).collect()
    };
    let found = match &without {
        Ok(claimed) => Some(records_of(claimed, &pipeline)),
        Err(ClaimError::Unreadable { missing, .. }) => {
            assert_eq!((missing.vdev, missing.leaf), (VdevId(vdev), Some(away)));
            assert_eq!(pipeline.allocated_bytes(), 0);
            None
        }
        Err(error) => panic!("{error}"),
    };
    world.disks[leaves[away]].online();
    // With all of them there is nothing but the truth.
    let pipeline = world.pipeline();
    let all = records_of(&Claimed::claim(&pipeline, &superblock.head, 1).unwrap(), &pipeline);
    let in_log = all.iter().filter(|record| record.txg > superblock.txg).count() as u64;
    assert!(superblock.records + in_log >= history.promised, "acknowledged, and lost");
    assert!(found.as_ref().is_none_or(|found| *found == all), "a shorter log");
    world.machine.run_until_idle();
    found.is_none()
}

impl Life<'_> {
    /// Commits the open transaction group.
    fn end_txg(&mut self, history: &mut History) -> Result<(), Error> {
        let ending = self.txg;
        self.txg += 1;
        let records = history.records.len() as u64;
        let head = self.log.head_at(ending);
        self.number += 1;
        Superblock { number: self.number, txg: ending, records, head }.store(&self.pipeline)?;
        history.promised = history.promised.max(records);
        self.log.synced(ending)
    }

    /// Looks which commits have succeeded.
    fn hear(&mut self, history: &mut History) {
        let (ended, rest) =
            std::mem::take(&mut self.commits).into_iter().partition(|(c, _)| c.is_finished());
        self.commits = rest;
        let ended: Vec<(Commit, u64)> = ended;
        for (commit, count) in ended {
            if commit.wait().is_ok() {
                history.promised = history.promised.max(count);
            }
        }
    }

    fn live(&mut self, history: &mut History, rng: &mut Rng) -> Result<(), Error> {
        while self.world.disks.iter().all(|disk| disk.is_online()) {
            match rng.below(12) {
                0..3 => {
                    let len = if rng.chance(50) { 60_000 } else { rng.index(6000) };
                    let payload = noise(rng.next_u64(), len);
                    self.log.append(self.txg, &payload).unwrap();
                    history.records.push((self.txg, payload));
                }
                3 | 4 => {
                    let count = history.records.len() as u64;
                    self.commits.push((self.log.start_commit(), count));
                }
                5 if rng.chance(300) => self.end_txg(history)?,
                6 if rng.chance(60) => trouble_leaves(self.world, rng),
                // With nothing under way time would fly, up to the end of the power.
                _ if self.pipeline.live() > 0 => self.world.turn(),
                _ => {}
            }
            self.hear(history);
        }
        Ok(())
    }
}

/// The power fails within so many nanoseconds.
fn doom(world: &World, rng: &mut Rng, within_ns: u64) {
    let disks = world.disks.clone();
    let seed = rng.next_u64();
    world.machine.after(rng.below(within_ns), move || {
        let mut rng = Rng::new(seed);
        disks.iter().for_each(|disk| disk.power_cut(&mut rng));
    });
}

#[test]
fn after_a_crash_anywhere_every_acknowledged_record_is_there_in_order_once() {
    let (from_log, unreadable) = (Cell::new(0), Cell::new(0));
    explore(0..150, |machine| {
        let mut rng = Rng::new(machine.seed());
        let world = World::draw(machine, &mut rng);
        let mut history = History::default();
        // Birth of the store: nothing is lost here.
        {
            let pipeline = world.pipeline();
            let head = BlockPointer::EMPTY;
            Superblock { number: 1, txg: 1, records: 0, head }.store(&pipeline).unwrap();
        }
        for chain in 0..12 {
            // Half of the time the power fails during recovery.
            let within_ns = if rng.coin() { 400_000 } else { 6_000_000 };
            doom(&world, &mut rng, within_ns);
            let pipeline = Arc::new(world.pipeline());
            let begin = |history: &mut History, rng: &mut Rng| {
                let unread = || Error::msg(ErrorKind::DeviceGone, "no superblock");
                let superblock = Superblock::load(&pipeline).ok_or_else(unread)?;
                let (old, count) = recover(&pipeline, history, &superblock, rng)?;
                from_log.set(from_log.get() + count - superblock.records);
                let log = Log::new(Arc::clone(&pipeline), Config::new([machine.seed(), chain], 1));
                // What was replayed becomes durable, with the head of the new log.
                let txg = superblock.txg.max(history.records.last().map_or(0, |last| last.0)) + 1;
                let head = log.head_at(txg);
                let number = superblock.number + 1;
                Superblock { number, txg, records: count, head }.store(&pipeline)?;
                log.synced(txg)?;
                old.free(&pipeline)?;
                Ok::<_, Box<dyn std::error::Error>>((log, number, txg + 1))
            };
            if let Ok((log, number, txg)) = begin(&mut history, &mut rng) {
                let pipeline = Arc::clone(&pipeline);
                let mut life =
                    Life { world: &world, pipeline, log, number, txg, commits: Vec::new() };
                // It ends with an error or without, always with the power.
                _ = life.live(&mut history, &mut rng);
                machine.run_until_idle();
                life.hear(&mut history);
                assert!(life.commits.is_empty(), "a commit that nobody hears of");
            }
            machine.run_until_idle();
            assert!(world.disks.iter().all(|disk| !disk.is_online()));
            drop(pipeline);
            for disk in &world.disks {
                disk.heal_all();
                disk.online();
            }
            if rng.chance(300) && claim_without_a_leaf(&world, &history, &mut rng) {
                unreadable.set(unreadable.get() + 1);
            }
        }
        let pipeline = world.pipeline();
        let superblock = Superblock::load(&pipeline).unwrap();
        _ = recover(&pipeline, &mut history, &superblock, &mut rng).unwrap();
    });
    // Not an idle test.
    let is_busy = from_log.get() > 1000 && unreadable.get() > 50;
    assert!(std::env::var_os(SEEDS_VARIABLE).is_some() || is_busy, "{from_log:?} {unreadable:?}");
}
