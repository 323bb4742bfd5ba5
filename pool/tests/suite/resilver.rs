//! A leaf of a mirror gets what it has missed, and nothing else is touched (C7).

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::sync::Arc;

use pool::TxgRanges;
use pool::resilver::{Checkpoint, Progress, Resilver, Trouble};
use pool::scrub::{Config, State};
use vdev_sim::{
    Effect, Fault, FaultId, Machine, OpKind, Rng, SimAllocator, SimAllocatorConfig, SimDisk,
    explore,
};
use zio_core::VdevErrorKind;
use zio_pipeline::{BlockPointer, DATA_START_BYTES, Pipeline, Txg, VdevId};

use crate::common::{MIB, World, noise};
use crate::scrub::listed;

const SECOND_NS: u64 = 1_000_000_000;
const MIRROR: VdevId = VdevId(0);
const AWAY: RangeInclusive<Txg> = 6..=15;

fn fail_always(disk: &SimDisk, op: OpKind) -> FaultId {
    disk.inject(Fault::new(Effect::Fail(VdevErrorKind::Io)).on(op).always())
}

fn pipeline_at(world: &World, txg: Txg) -> Pipeline {
    world.builder().txg(txg).build().unwrap()
}

/// Twenty groups with some blocks each; in ten of them the second leaf takes no write.
fn with_an_absence(world: &World, blocks_per_txg: u64) -> (Pipeline, Vec<BlockPointer>) {
    let pipeline = world.pipeline();
    let mut blocks = Vec::new();
    for txg in 1..=20 {
        let fault = AWAY.contains(&txg).then(|| fail_always(&world.disks[1], OpKind::Write));
        for n in 0..blocks_per_txg {
            blocks.push(pipeline.write(noise(txg * 100 + n, 8192)).wait().unwrap());
        }
        pipeline.flush().wait().unwrap();
        pipeline.end_txg();
        if let Some(fault) = fault {
            world.disks[1].heal(fault);
        }
        if txg == *AWAY.end() {
            world.machine.run_for(2 * SECOND_NS);
        }
    }
    (pipeline, blocks)
}

fn missed(pipeline: &Pipeline) -> Vec<RangeInclusive<Txg>> {
    pipeline.missing(MIRROR, 1).unwrap().iter().collect()
}

fn is_away(bp: &&BlockPointer) -> bool {
    AWAY.contains(&bp.physical_birth())
}

/// All that both leaves have, byte by byte.
fn assert_equal_sides(world: &World) {
    let content = |disk: &SimDisk| disk.peek(DATA_START_BYTES, 8 * MIB as usize);
    assert!(content(&world.disks[0]) == content(&world.disks[1]), "the sides differ");
}

/// Small batches, so that checkpoints come often.
fn config() -> Config {
    let mut config = Config::default();
    config.collect_bytes_max = 4096;
    config.in_flight_blocks_max = 4;
    config
}

#[test]
fn exactly_what_was_missed_is_visited_and_both_sides_are_equal() {
    for is_another_life in [false, true] {
        let machine = Machine::new(1);
        let world = World::new(&machine, &[2]);
        let (mut pipeline, blocks) = with_an_absence(&world, 2);
        assert_eq!(missed(&pipeline), [AWAY]);
        assert!(pipeline.missing(MIRROR, 0).unwrap().is_empty());
        if is_another_life {
            let kept = pipeline.missing(MIRROR, 1).unwrap();
            pipeline = pipeline_at(&world, 21);
            pipeline.set_missing(MIRROR, 1, &kept).unwrap();
        }
        world.disks.iter().for_each(|disk| _ = disk.take_log());
        let mut resilver =
            Resilver::new(&pipeline, MIRROR, 1, listed(&blocks), Config::default()).unwrap();
        assert_eq!(resilver.run(), Progress::Resilvered);
        let stats = resilver.stats();
        assert_eq!((stats.blocks, stats.repaired, stats.not_asked_for), (20, 20, 20));
        assert_eq!(resilver.checkpoint().scrub.position, Some(39));
        drop(resilver);
        assert_eq!(missed(&pipeline), []);
        assert_equal_sides(&world);
        let logs: Vec<_> = world.disks.iter().map(|disk| disk.take_log()).collect();
        let bytes = |log: usize, op: OpKind| -> u64 {
            logs[log].iter().filter(|e| e.op == op).map(|e| e.len_bytes).sum()
        };
        let all = blocks.iter().filter(is_away).map(BlockPointer::psize_bytes).sum::<u64>();
        // Read, and read again after the repair; now and then what lies between two that go as one.
        for leaf in [0, 1] {
            let read = bytes(leaf, OpKind::Read);
            assert!((2 * all..2 * all + all / 4).contains(&read), "{read} of {all} read");
        }
        assert_eq!((bytes(0, OpKind::Write), bytes(1, OpKind::Write)), (0, all));
        // Nobody needs the first leaf any more.
        world.disks[0].offline();
        for bp in &blocks {
            pipeline.read(bp).wait().unwrap();
        }
    }
}

#[test]
fn a_crash_in_the_middle_costs_nothing_that_was_behind_the_checkpoint() {
    explore(0..60, |machine| {
        let mut rng = Rng::new(machine.seed());
        let world = World::new(machine, &[2]);
        let (pipeline, blocks) = with_an_absence(&world, 4);
        let kept = pipeline.missing(MIRROR, 1).unwrap();
        drop(pipeline);
        let saved: RefCell<Option<Checkpoint<usize>>> = RefCell::new(None);
        let mut lives = 0;
        loop {
            lives += 1;
            assert!(lives < 1000);
            let pipeline = pipeline_at(&world, 21);
            pipeline.set_missing(MIRROR, 1, &kept).unwrap();
            let from = saved.borrow().clone();
            let position = from.as_ref().and_then(|from| from.scrub.position);
            let source = listed(&blocks).skip(position.map_or(0, |last| last + 1));
            let resilver = match from {
                Some(from) => Resilver::resume(&pipeline, MIRROR, 1, source, config(), from),
                None => Resilver::new(&pipeline, MIRROR, 1, source, config()),
            };
            let mut resilver = resilver.unwrap().on_checkpoint(|checkpoint| {
                *saved.borrow_mut() = Some(checkpoint.clone());
                // Behind it all is there, power or not.
                let end = checkpoint.scrub.position.unwrap();
                for bp in blocks[..=end].iter().filter(is_away) {
                    let at = DATA_START_BYTES + bp.dva(0).unwrap().offset_bytes();
                    let durable = |disk: &SimDisk| disk.peek_durable(at, 8192);
                    assert!(durable(&world.disks[0]) == durable(&world.disks[1]), "{bp}");
                }
            });
            let mut progress = Progress::Unfinished(State::Working);
            for _ in 0..rng.below(20 * (1 << lives.min(12))) {
                progress = resilver.step();
                if progress != Progress::Unfinished(State::Working) {
                    break;
                }
                world.turn();
            }
            drop(resilver);
            let still_missing = missed(&pipeline);
            world.power_cycle();
            drop(pipeline);
            if progress == Progress::Resilvered {
                assert_eq!(still_missing, []);
                break;
            }
            assert_eq!(progress, Progress::Unfinished(State::Working));
            assert_eq!(still_missing, [AWAY]);
        }
        assert_equal_sides(&world);
    });
}

#[test]
fn a_leaf_that_dies_in_the_middle_is_not_called_whole() {
    explore(0..60, |machine| {
        let mut rng = Rng::new(machine.seed());
        let world = World::new(machine, &[2]);
        let (pipeline, blocks) = with_an_absence(&world, 4);
        // Half of the time by group alone, as after a restart.
        if rng.coin() {
            pipeline.set_missing(MIRROR, 1, &TxgRanges::from_iter([AWAY])).unwrap();
        }
        let source = listed(&blocks);
        let mut resilver = Resilver::new(&pipeline, MIRROR, 1, source, config()).unwrap();
        let mut progress = Progress::Unfinished(State::Working);
        for _ in 0..rng.below(150) {
            progress = resilver.step();
            if progress != Progress::Unfinished(State::Working) {
                break;
            }
            world.turn();
        }
        world.disks[1].offline();
        if progress != Progress::Resilvered {
            progress = resilver.run();
            // It comes back only when all has been visited: what was skipped is not good.
            world.disks[1].online();
            world.machine.run_for(2 * SECOND_NS);
            if progress != Progress::Resilvered {
                assert!(matches!(progress, Progress::Incomplete(_)), "{progress:?}");
                let from = resilver.checkpoint().clone();
                assert!(from.scrub.position < Some(79));
                let source = listed(&blocks).skip(from.scrub.position.map_or(0, |last| last + 1));
                drop(resilver);
                assert_eq!(missed(&pipeline), [AWAY]);
                let again = Resilver::resume(&pipeline, MIRROR, 1, source, config(), from);
                assert_eq!(again.unwrap().run(), Progress::Resilvered);
            }
        }
        assert_eq!(missed(&pipeline), []);
        assert_equal_sides(&world);
    });
}

#[test]
fn a_leaf_that_comes_and_goes_between_two_reads_is_found_out() {
    let machine = Machine::new(4);
    let world = World::new(&machine, &[2]);
    let (pipeline, blocks) = with_an_absence(&world, 4);
    pipeline.set_missing(MIRROR, 1, &TxgRanges::from_iter([AWAY])).unwrap();
    let gone = Fault::new(Effect::Fail(VdevErrorKind::Gone)).on(OpKind::Read);
    world.disks[1].inject(gone.skip(10).times(1));
    let mut resilver = Resilver::new(&pipeline, MIRROR, 1, listed(&blocks), config()).unwrap();
    assert_eq!(resilver.run(), Progress::Incomplete(Trouble::Unread));
    drop(resilver);
    assert_eq!(missed(&pipeline), [AWAY]);
}

#[test]
fn what_a_flush_did_not_make_durable_stays_missing() {
    for (leaves, trouble) in [(&[1][..], Trouble::MissedMore), (&[0, 1], Trouble::FlushFailed)] {
        let machine = Machine::new(5);
        let world = World::new(&machine, &[2]);
        let (pipeline, blocks) = with_an_absence(&world, 2);
        pipeline.set_missing(MIRROR, 1, &TxgRanges::from_iter([AWAY])).unwrap();
        for leaf in leaves {
            let fault = Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Flush);
            world.disks[*leaf].inject(fault);
        }
        let mut resilver = Resilver::new(&pipeline, MIRROR, 1, listed(&blocks), config()).unwrap();
        assert_eq!(resilver.run(), Progress::Incomplete(trouble));
        drop(resilver);
        assert_eq!(missed(&pipeline), [AWAY]);
        let mut again = Resilver::new(&pipeline, MIRROR, 1, listed(&blocks), config()).unwrap();
        assert_eq!(again.run(), Progress::Resilvered);
        drop(again);
        assert_eq!(missed(&pipeline), []);
    }
}

#[test]
fn what_somebody_else_has_repaired_is_flushed_before_it_counts() {
    let machine = Machine::new(9);
    let world = World::new(&machine, &[2]);
    let (pipeline, blocks) = with_an_absence(&world, 2);
    pipeline.set_missing(MIRROR, 1, &TxgRanges::from_iter([AWAY])).unwrap();
    for bp in &blocks {
        pipeline.read(bp).every_copy().wait().unwrap();
    }
    assert!(world.disks[1].unflushed() > 0);
    let mut resilver = Resilver::new(&pipeline, MIRROR, 1, listed(&blocks), config()).unwrap();
    assert_eq!(resilver.run(), Progress::Resilvered);
    assert_eq!((resilver.stats().bad_copies, world.disks[1].unflushed()), (0, 0));
}

#[test]
fn a_block_that_is_lost_or_stays_bad_keeps_the_groups_missing() {
    for is_lost in [true, false] {
        let machine = Machine::new(6);
        let world = World::new(&machine, &[2]);
        let (pipeline, blocks) = with_an_absence(&world, 2);
        pipeline.set_missing(MIRROR, 1, &TxgRanges::from_iter([AWAY])).unwrap();
        let bp = blocks.iter().find(is_away).unwrap();
        let at = DATA_START_BYTES + bp.dva(0).unwrap().offset_bytes();
        if is_lost {
            world.disks[0].corrupt(at, 8192);
        } else {
            let lost = Fault::new(Effect::Lost).on(OpKind::Write);
            world.disks[1].inject(lost.range(at, 8192).always());
        }
        let mut resilver = Resilver::new(&pipeline, MIRROR, 1, listed(&blocks), config()).unwrap();
        assert_eq!(resilver.run(), Progress::Incomplete(Trouble::StillBad));
        // All the others have been visited.
        assert_eq!(resilver.stats().blocks + resilver.stats().unrecoverable, 20);
        drop(resilver);
        assert_eq!(missed(&pipeline), [AWAY]);
    }
}

#[test]
fn the_open_group_is_left_for_the_next_time() {
    let machine = Machine::new(7);
    let world = World::new(&machine, &[2]);
    let (pipeline, mut blocks) = with_an_absence(&world, 1);
    let open = pipeline.txg();
    let fault = fail_always(&world.disks[1], OpKind::Write);
    blocks.push(pipeline.write(noise(1, 8192)).wait().unwrap());
    world.disks[1].heal(fault);
    let run = || {
        let source = listed(&blocks);
        Resilver::new(&pipeline, MIRROR, 1, source, config()).unwrap().run()
    };
    assert_eq!(run(), Progress::Resilvered);
    assert_eq!(missed(&pipeline), [open..=open]);
    pipeline.end_txg();
    assert_eq!(run(), Progress::Resilvered);
    assert_eq!(missed(&pipeline), []);
    assert_equal_sides(&world);
}

/// A gang header verifies by its place and birth: one from before is told by what the leaf has missed, and
/// that has to end where it was written again.
#[test]
fn gangs_are_resilvered_in_another_life() {
    let machine = Machine::new(8);
    let world = World::new(&machine, &[2]);
    let space = SimAllocator::new(SimAllocatorConfig::new(8, &[59 * MIB]));
    let builder = || world.builder().allocator(Arc::clone(&space) as Arc<_>);
    let pipeline = builder().build().unwrap();
    space.set_contiguous_bytes_max(8192);
    let fault = fail_always(&world.disks[1], OpKind::Write);
    let blocks: Vec<_> = (0..4).map(|n| pipeline.write(noise(n, 65_536)).wait().unwrap()).collect();
    assert!(blocks.iter().all(BlockPointer::is_gang));
    pipeline.flush().wait().unwrap();
    world.disks[1].heal(fault);
    let kept = pipeline.missing(MIRROR, 1).unwrap();
    drop(pipeline);
    let pipeline = builder().txg(2).build().unwrap();
    pipeline.set_missing(MIRROR, 1, &kept).unwrap();
    let mut resilver = Resilver::new(&pipeline, MIRROR, 1, listed(&blocks), config()).unwrap();
    assert_eq!(resilver.run(), Progress::Resilvered);
    drop(resilver);
    assert_eq!(missed(&pipeline), []);
    assert_equal_sides(&world);
}
