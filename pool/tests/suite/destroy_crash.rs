//! Destroys on a machine that loses power at any moment (C9).
//!
//! A small store: some live blocks, which change with every transaction group, and a list of blocks that is being
//! destroyed. Which state rules after a crash is decided by the disk: a number in a label block of two that take turns.
//! Freed space is handed out again as soon as the group that freed it is durable, by an allocator that likes nothing more.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pool::destroy::{Checkpoint, Config, Destroy, State, Stats};
use vdev_sim::{DiskConfig, Rng, SEEDS_VARIABLE, SimAllocator, SimAllocatorConfig, explore};
use zio_core::{Allocator, Txg};
use zio_pipeline::{BlockPointer, Checksum, Error, Pipeline, VdevId};

use crate::common::{MIB, World, noise};
use crate::scrub::listed;

const SUPERBLOCKS_AT: [u64; 2] = [1 << 20, (1 << 20) + 8192];

/// What a transaction group leaves behind.
#[derive(Clone, Debug)]
struct Saved {
    txg: Txg,
    checkpoint: Checkpoint<usize>,
    /// Live blocks, with the seed of their data.
    live: Vec<(BlockPointer, u64)>,
}

fn store(pipeline: &Pipeline, number: u64) -> Result<(), Error> {
    let mut block = vec![0; 4096];
    block[..8].copy_from_slice(&number.to_le_bytes());
    let leaf = pipeline.physical(VdevId(0), 0)?;
    leaf.write_label_block(SUPERBLOCKS_AT[number as usize % 2], &block).wait()?;
    pipeline.flush().wait()
}

/// The newest number that is whole.
fn load(pipeline: &Pipeline) -> Option<u64> {
    let leaf = pipeline.physical(VdevId(0), 0).unwrap();
    let read = SUPERBLOCKS_AT.map(|at| leaf.read_label_block(at, 4096).wait());
    let numbers = read
        .into_iter()
        .flatten()
        .map(|data| u64::from_le_bytes(data.to_vec()[..8].try_into().unwrap()));
    numbers.max()
}

const LEN: usize = 24_576;

fn write(pipeline: &Pipeline, seed: u64) -> Result<BlockPointer, Error> {
    // A third is shared with others of its kind, two thirds are gangs.
    let len = if seed.is_multiple_of(3) { 4096 } else { LEN };
    let write = pipeline.write(noise(seed, len)).checksum(Checksum::Sha256);
    write.dedup(seed.is_multiple_of(5)).copies(1 + u8::from(seed.is_multiple_of(2))).wait()
}

/// A pipeline on what is on the disks: what the saved state reaches is claimed.
fn open(
    world: &World,
    saved: &Saved,
    doomed: &[BlockPointer],
    seed: u64,
) -> Result<(Pipeline, Arc<SimAllocator>), Error> {
    let space = SimAllocator::new(SimAllocatorConfig {
        contiguous_bytes_max: 8192,
        ..SimAllocatorConfig::new(seed, &[11 * MIB])
    });
    let allocator = Arc::clone(&space) as Arc<dyn Allocator>;
    let builder = world.builder().ashift(12).allocator(allocator).txg(saved.txg + 1);
    let pipeline = builder.build().unwrap();
    let reachable = behind(saved, doomed).chain(saved.live.iter().map(|(bp, _)| bp));
    for bp in reachable {
        pipeline.claim(bp).wait()?;
    }
    Ok((pipeline, space))
}

/// What is still to be destroyed.
fn behind<'a>(saved: &Saved, doomed: &'a [BlockPointer]) -> impl Iterator<Item = &'a BlockPointer> {
    doomed.iter().skip(saved.checkpoint.position.map_or(0, |last| last + 1))
}

/// Bytes that these pointers lead to, each block once.
fn bytes_of<'a>(pointers: impl Iterator<Item = &'a BlockPointer>) -> u64 {
    let blocks: BTreeMap<u64, u64> =
        pointers.map(|bp| (bp.dva(0).unwrap().offset_bytes(), bp.asize_bytes())).collect();
    blocks.values().sum()
}

fn check_books(space: &SimAllocator, saved: &Saved, doomed: &[BlockPointer]) {
    let taken: u64 = space.taken().into_iter().map(|(_, range)| range.end - range.start).sum();
    let live = saved.live.iter().map(|(bp, _)| bp);
    assert_eq!(taken, bytes_of(behind(saved, doomed).chain(live)), "{:?}", saved.checkpoint);
}

/// One life, up to an error or the end of the destroy; the power may go at any moment. States that were written
/// or may have been are in `states`.
fn live(
    world: &World,
    (number, states): (&mut u64, &mut HashMap<u64, Saved>),
    doomed: &[BlockPointer],
    config: Config,
    rng: &mut Rng,
) -> Result<State, Error> {
    let mut saved = states[number].clone();
    let (pipeline, space) = open(world, &saved, doomed, rng.next_u64())?;
    check_books(&space, &saved, doomed);
    for (bp, seed) in &saved.live {
        let data = pipeline.read(bp).wait()?;
        assert!(data == noise(*seed, data.len()), "{bp} of the state is something else");
    }
    let rest: Vec<_> =
        listed(doomed).skip(saved.checkpoint.position.map_or(0, |last| last + 1)).collect();
    let checkpoint = saved.checkpoint.clone();
    let mut destroy = Destroy::resume(&pipeline, rest.into_iter(), config, checkpoint).unwrap();
    loop {
        // The rest of the transaction group, before and after the destroy's part.
        let mut live = saved.live.clone();
        let change = |live: &mut Vec<_>, rng: &mut Rng| {
            for _ in 0..rng.below(4) {
                let seed = rng.below(1 << 20);
                live.push((write(&pipeline, seed)?, seed));
            }
            while live.len() > 12 {
                let (bp, _) = live.swap_remove(rng.index(live.len()));
                pipeline.free(&bp).wait()?;
            }
            Ok::<(), Error>(())
        };
        change(&mut live, rng)?;
        destroy.begin_txg(0);
        let state = destroy.run(|| 0);
        change(&mut live, rng)?;
        if !world.disks[0].is_online() {
            // What could not be read was not freed; nothing of this transaction group is ever seen.
            return Ok(State::Working);
        }
        let checkpoint = destroy.end_txg()?;
        pipeline.flush().wait()?;
        saved = Saved { txg: pipeline.txg(), checkpoint, live };
        *number += 1;
        states.insert(*number, saved.clone());
        store(&pipeline, *number)?;
        // It is durable: what it has freed is for others.
        space.settle(pipeline.end_txg());
        check_books(&space, &saved, doomed);
        if state == State::Done {
            return Ok(state);
        }
    }
}

#[test]
fn killed_anywhere_it_frees_each_block_once_and_nothing_else() {
    let lives = Cell::new(0);
    explore(0..60, |machine| {
        let mut rng = Rng::new(machine.seed());
        let world = World::with(machine, &[1], &DiskConfig::fixed(16 * MIB, 10_000));
        // Birth: nothing is lost here.
        let empty = Checkpoint { position: None, done: false, stats: Stats::default() };
        let mut saved = Saved { txg: 1, checkpoint: empty, live: Vec::new() };
        let doomed: Vec<_> = {
            let (pipeline, _) = open(&world, &saved, &[], rng.next_u64()).unwrap();
            let doomed = (0..60).map(|_| write(&pipeline, rng.below(40)).unwrap()).collect();
            // Alive, and some of them shared with what will go.
            let seeds = [5, 10, 15, 77];
            saved.live = seeds.map(|seed| (write(&pipeline, seed).unwrap(), seed)).to_vec();
            saved.txg = pipeline.txg();
            pipeline.flush().wait().unwrap();
            store(&pipeline, 1).unwrap();
            doomed
        };
        let mut config = Config::default();
        config.txg_pointers_max = 1 + rng.below(9);
        config.in_flight_max = 1 + rng.index(4);
        let (mut number, mut states) = (1, HashMap::from([(1, saved)]));
        for life in 0.. {
            assert!(life < 100);
            lives.set(lives.get() + 1);
            let (disk, seed) = (Arc::clone(&world.disks[0]), rng.next_u64());
            // Later lives are longer, so that the last one comes.
            let within_ns = 1_000_000 << (life / 3);
            machine.after(rng.below(within_ns), move || disk.power_cut(&mut Rng::new(seed)));
            let ended = live(&world, (&mut number, &mut states), &doomed, config, &mut rng);
            machine.run_until_idle();
            world.disks[0].online();
            // Which state is it that rules now? The last one, or the one that was being stored.
            let rules = load(&world.pipeline()).unwrap();
            assert!(rules == number || rules + 1 == number, "{rules} of {number}");
            number = rules;
            if matches!(ended, Ok(State::Done)) && states[&number].checkpoint.done {
                break;
            }
        }
        let saved = &states[&number];
        let (pipeline, space) = open(&world, saved, &doomed, rng.next_u64()).unwrap();
        check_books(&space, saved, &doomed);
        assert_eq!(bytes_of(behind(saved, &doomed)), 0);
        // Over all lives, every block was freed, and once.
        let Stats { blocks, not_freed, pointers, .. } = saved.checkpoint.stats;
        assert_eq!((pointers, blocks, not_freed), (60, 60, 0));
        for (bp, seed) in &saved.live {
            let data = pipeline.read(bp).wait().unwrap();
            assert!(data == noise(*seed, data.len()));
        }
    });
    let is_busy = lives.get() > 200;
    assert!(std::env::var_os(SEEDS_VARIABLE).is_some() || is_busy, "{} lives", lives.get());
}
