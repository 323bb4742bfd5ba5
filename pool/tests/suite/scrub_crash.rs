//! Scrubs that are killed, pools that lose power (C17, C6).

use std::cell::RefCell;

use pool::scrub::{Checkpoint, Config, Event, Scrub, State, Stats};
use vdev_sim::{Effect, Fault, Machine, OpKind, Rng, explore};
use zio_core::VdevErrorKind;
use zio_pipeline::{BlockPointer, Pipeline, VdevId};

use crate::common::{World, noise};
use crate::scrub::{draw_config, listed, plant, write_blocks};

/// Was every place of every block read whole?
fn all_were_read(world: &World, blocks: &[BlockPointer]) -> bool {
    let reads: Vec<_> = (world.disks.iter())
        .map(|disk| {
            disk.take_log().into_iter().filter(|e| e.op == OpKind::Read).collect::<Vec<_>>()
        })
        .collect();
    blocks.iter().all(|bp| {
        world.places(bp).into_iter().all(|(disk, at)| {
            let number = world.disks.iter().position(|d| std::ptr::eq(&**d, disk)).unwrap();
            reads[number].iter().any(|read| {
                read.offset_bytes <= at
                    && at + bp.psize_bytes() <= read.offset_bytes + read.len_bytes
                    && read.answer.is_some_and(|answer| answer.result.is_ok())
            })
        })
    })
}

/// Killed with the power at random points, again and again, each time from the last checkpoint.
#[test]
fn killed_anywhere_it_verifies_each_block_and_loses_no_repair() {
    explore(0..80, |machine| {
        let mut rng = Rng::new(machine.seed());
        let world = World::draw(machine, &mut rng);
        let pipeline = world.pipeline();
        let blocks = write_blocks(&pipeline, &mut rng, 60);
        drop(pipeline);
        let good: Vec<_> = blocks.iter().map(|bp| world.contents(bp)).collect();
        plant(&world, &mut rng, &blocks);
        world.disks.iter().for_each(|disk| _ = disk.take_log());
        let config = draw_config(&mut rng);
        let saved: RefCell<Option<Checkpoint<usize>>> = RefCell::new(None);
        let mut lives = 0;
        loop {
            lives += 1;
            assert!(lives < 1000);
            let pipeline = world.pipeline();
            let from = saved.borrow().clone();
            let behind = from.as_ref().and_then(|c| c.position).map_or(0, |last| last + 1);
            let source = listed(&blocks).skip(behind);
            let scrub = match from {
                Some(checkpoint) => Scrub::resume(&pipeline, source, config.clone(), checkpoint),
                None => Scrub::new(&pipeline, source, config.clone()),
            };
            let mut scrub = scrub.on_event(|event| {
                if let Event::Checkpoint(checkpoint) = event {
                    *saved.borrow_mut() = Some(checkpoint.clone());
                }
            });
            let mut state = State::Working;
            // Later lives are longer, so that the last one comes.
            let steps = rng.below(50 * (1 << lives.min(12)));
            for _ in 0..steps {
                state = scrub.step();
                if state != State::Working {
                    break;
                }
                world.turn();
            }
            drop(scrub);
            world.power_cycle();
            drop(pipeline);
            if state == State::Done {
                break;
            }
        }
        assert!(all_were_read(&world, &blocks));
        for (bp, good) in blocks.iter().zip(&good) {
            assert!(world.contents(bp) == *good, "{bp} after {lives} lives");
        }
    });
}

#[test]
fn a_power_cut_during_a_repair_leaves_the_good_copy() {
    explore(0..120, |machine| {
        let mut rng = Rng::new(machine.seed());
        let world = World::new(machine, &[2, 1]);
        let pipeline = world.pipeline();
        let data = noise(machine.seed(), 32_768);
        let bp = pipeline.write(&data).copies(1 + rng.below(2) as u8).wait().unwrap();
        pipeline.flush().wait().unwrap();
        let places = world.places(&bp);
        if places.len() == 1 {
            return;
        }
        let good = rng.index(places.len());
        for (number, (disk, at)) in places.iter().enumerate() {
            if number != good {
                disk.corrupt(*at, 32_768);
            }
        }
        let mut scrub = Scrub::new(&pipeline, listed(&[bp]), Config::default());
        for _ in 0..rng.below(60) {
            if scrub.step() == State::Done {
                break;
            }
            world.turn();
        }
        drop(scrub);
        world.power_cycle();
        drop(pipeline);
        assert!(world.contents(&bp)[good] == data);
        let pipeline = world.pipeline();
        assert!(pipeline.read(&bp).every_copy().wait().unwrap() == data);
        assert!(world.contents(&bp).iter().all(|copy| *copy == data));
    });
}

/// Twenty blocks on a mirror, two of them with a bad copy on the first leaf; the next flush fails on these leaves.
fn scrubbed_with_failing_flush(leaves: &[usize], check: impl FnOnce(Fails<'_>)) {
    let machine = Machine::new(1);
    let world = World::new(&machine, &[2]);
    let pipeline = world.pipeline();
    let blocks: Vec<_> = (0..20).map(|n| pipeline.write(noise(n, 8192)).wait().unwrap()).collect();
    pipeline.flush().wait().unwrap();
    for number in [5, 15] {
        let (disk, at) = world.places(&blocks[number])[0];
        disk.corrupt(at, 8192);
    }
    for leaf in leaves {
        world.disks[*leaf].inject(Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Flush));
    }
    let mut config = Config::default();
    config.collect_bytes_max = 1;
    let failures = RefCell::new(0);
    let mut scrub = Scrub::new(&pipeline, listed(&blocks), config.clone()).on_event(|event| {
        if let Event::FlushFailed(_) = event {
            *failures.borrow_mut() += 1;
        }
    });
    assert_eq!(scrub.run(), State::Done);
    let (stats, checkpoint) = (scrub.stats(), scrub.checkpoint().clone());
    drop(scrub);
    assert_eq!((stats.blocks, stats.repaired), (20, 2));
    assert_eq!(failures.into_inner(), stats.failed_flushes);
    let pipeline = &pipeline;
    check(Fails { pipeline, blocks, config, stats, checkpoint });
}

struct Fails<'a> {
    pipeline: &'a Pipeline,
    blocks: Vec<BlockPointer>,
    config: Config,
    stats: Stats,
    checkpoint: Checkpoint<usize>,
}

#[test]
fn after_a_failed_flush_the_checkpoint_stays_and_the_scrub_goes_on() {
    scrubbed_with_failing_flush(
        &[0, 1],
        |Fails { pipeline, blocks, config, stats, checkpoint }| {
            assert_eq!(stats.failed_flushes, 1);
            // The repair of block 5 may be lost.
            assert_eq!((checkpoint.position, checkpoint.stats.blocks), (Some(4), 5));
            let mut scrub = Scrub::resume(pipeline, listed(&blocks).skip(5), config, checkpoint);
            assert_eq!(scrub.run(), State::Done);
            assert_eq!(scrub.checkpoint().position, Some(19));
            assert_eq!(scrub.checkpoint().stats.blocks, 20);
        },
    );
}

#[test]
fn a_flush_that_fails_on_one_leaf_does_not_hold_the_checkpoint() {
    for leaf in [0, 1] {
        scrubbed_with_failing_flush(&[leaf], |Fails { pipeline, stats, checkpoint, .. }| {
            assert_eq!((stats.failed_flushes, checkpoint.position), (0, Some(19)));
            // What the repaired leaf may have lost is remembered there; the other one lost nothing.
            let missing = |leaf| pipeline.missing(VdevId(0), leaf).unwrap();
            assert_eq!(missing(0).contains(1), leaf == 0);
            assert!(missing(1).is_empty());
        });
    }
}

#[test]
fn a_dead_leaf_does_not_hold_the_checkpoint() {
    let machine = Machine::new(2);
    let world = World::new(&machine, &[3]);
    let pipeline = world.pipeline();
    let blocks: Vec<_> = (0..20).map(|n| pipeline.write(noise(n, 8192)).wait().unwrap()).collect();
    pipeline.flush().wait().unwrap();
    for bp in &blocks {
        let (disk, at) = world.places(bp)[0];
        disk.corrupt(at, 8192);
    }
    world.disks[2].offline();
    let mut config = Config::default();
    config.collect_bytes_max = 1;
    let mut scrub = Scrub::new(&pipeline, listed(&blocks), config);
    assert_eq!(scrub.run(), State::Done);
    assert_eq!((scrub.stats().repaired, scrub.stats().failed_flushes), (20, 0));
    assert_eq!(scrub.checkpoint().position, Some(19));
}
