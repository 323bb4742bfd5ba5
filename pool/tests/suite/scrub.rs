//! What a scrub finds, repairs and leaves alone (C17).

use std::cell::RefCell;
use std::sync::Arc;

use pool::TxgRanges;
use pool::scrub::{Block, Config, Event, Found, Scrub, Source, State, Stats};
use vdev_sim::{
    DiskConfig, Effect, Fault, Machine, OpKind, Rng, SimAllocator, SimAllocatorConfig, explore,
};
use zio_core::VdevErrorKind;
use zio_pipeline::{
    BlockPointer, Bookmark, Checksum, Compression, DATA_START_BYTES, ErrorKind, Pipeline, VdevId,
};

use crate::common::{MIB, World, noise};

pub(crate) fn listed(blocks: &[BlockPointer]) -> impl Iterator<Item = Block<usize>> + use<> {
    let bookmark =
        |number: usize| Bookmark { objset: 7, object: number as u64, level: 0, block: 0 };
    let block = move |(number, bp): (usize, &BlockPointer)| Block {
        position: number,
        bookmark: bookmark(number),
        bp: *bp,
    };
    blocks.iter().enumerate().map(block).collect::<Vec<_>>().into_iter()
}

/// Blocks of all kinds that have something stored.
pub(crate) fn write_blocks(pipeline: &Pipeline, rng: &mut Rng, count: usize) -> Vec<BlockPointer> {
    let block = |_| {
        let mut data = noise(rng.next_u64(), 512 << rng.below(8));
        if rng.coin() {
            let half = data.len() / 2;
            data[half..].fill(7);
        }
        let write = pipeline.write(&data).copies(1 + rng.below(3) as u8);
        let write = if rng.coin() { write.compression(Compression::Lz4) } else { write };
        let write =
            if rng.coin() { write.checksum(Checksum::Sha256).dedup(rng.coin()) } else { write };
        write.wait().unwrap()
    };
    let blocks = (0..count).map(block).filter(|bp| !bp.is_embedded()).collect();
    pipeline.flush().wait().unwrap();
    blocks
}

/// Limits that are drawn, small enough to matter.
pub(crate) fn draw_config(rng: &mut Rng) -> Config {
    let mut config = Config::default();
    config.collect_bytes_max = 1024 << rng.below(8);
    config.leaf_in_flight_bytes_max = 4096 << rng.below(8);
    config.in_flight_bytes_max = 4096 << rng.below(9);
    config.in_flight_blocks_max = 1 + rng.index(64);
    config
}

/// Damages random copies, never all of one block; says how many.
pub(crate) fn plant(world: &World, rng: &mut Rng, blocks: &[BlockPointer]) -> u64 {
    let mut planted = 0;
    for bp in blocks {
        let places = world.places(bp);
        let good = rng.index(places.len());
        for (number, (disk, at)) in places.into_iter().enumerate() {
            if number != good && rng.chance(300) {
                disk.corrupt(at, bp.psize_bytes());
                planted += 1;
            }
        }
    }
    planted
}

#[test]
fn as_many_as_are_planted_are_repaired() {
    explore(0..60, |machine| {
        let mut rng = Rng::new(machine.seed());
        let world = World::draw(machine, &mut rng);
        let pipeline = world.pipeline();
        let mut blocks = write_blocks(&pipeline, &mut rng, 60);
        rng.shuffle(&mut blocks);
        let good: Vec<_> = blocks.iter().map(|bp| world.contents(bp)).collect();
        let planted = plant(&world, &mut rng, &blocks);

        let told = RefCell::new((0, 0));
        let mut scrub =
            Scrub::new(&pipeline, listed(&blocks), draw_config(&mut rng)).on_event(|event| {
                match event {
                    Event::BadCopies { bad, repaired, bookmark, bp } => {
                        assert_eq!(blocks[bookmark.object as usize], *bp);
                        told.borrow_mut().0 += u64::from(bad);
                        told.borrow_mut().1 += u64::from(repaired);
                    }
                    Event::Checkpoint(_) => {}
                    other => panic!("{other:?}"),
                }
            });
        // Half of the runs wait, the others only look in now and then.
        let state = if rng.coin() {
            scrub.run()
        } else {
            loop {
                match scrub.step() {
                    State::Working => world.turn(),
                    over => break over,
                }
            }
        };
        let stats = scrub.stats();
        assert_eq!(state, State::Done);
        assert_eq!((stats.bad_copies, stats.repaired), (planted, planted));
        assert_eq!((stats.blocks, stats.unrecoverable), (60 - stats.met_before, 0));
        assert_eq!(scrub.checkpoint().position, Some(59));
        assert_eq!(scrub.checkpoint().stats, stats);
        drop(scrub);
        assert_eq!(*told.borrow(), (planted, planted));
        assert_eq!((pipeline.healed().copies, pipeline.healed().failed), (planted, 0));
        for (bp, good) in blocks.iter().zip(&good) {
            assert!(world.contents(bp) == *good, "{bp}");
        }
        let mut again = Scrub::new(&pipeline, listed(&blocks), Config::default());
        assert_eq!(again.run(), State::Done);
        assert_eq!((again.stats().bad_copies, again.stats().blocks), (0, stats.blocks));
    });
}

#[test]
fn what_cannot_be_repaired_is_reported_and_the_rest_goes_on() {
    let machine = Machine::new(1);
    let world = World::new(&machine, &[1, 1]);
    let pipeline = world.pipeline();
    let blocks: Vec<_> = (0..20).map(|n| pipeline.write(noise(n, 8192)).wait().unwrap()).collect();
    let (disk, at) = world.places(&blocks[7])[0];
    disk.corrupt(at, 8192);
    let lost = RefCell::new(Vec::new());
    let mut scrub = Scrub::new(&pipeline, listed(&blocks), Config::default()).on_event(|event| {
        if let Event::Unrecoverable { bookmark, bp, error } = event {
            lost.borrow_mut().push((bookmark.object, *bp, error.clone()));
        }
    });
    assert_eq!(scrub.run(), State::Done);
    assert_eq!((scrub.stats().blocks, scrub.stats().unrecoverable), (19, 1));
    drop(scrub);
    let lost = lost.into_inner();
    let [(object, bp, error)] = &lost[..] else { panic!("{lost:?}") };
    assert_eq!((*object, *bp, error.kind()), (7, blocks[7], ErrorKind::Checksum));
    let dva = bp.dvas().next().unwrap();
    assert_eq!(error.place().vdev, Some(dva.vdev()));
    assert_eq!(error.place().offset_bytes, Some(dva.offset_bytes()));
}

#[test]
fn a_pool_without_some_of_its_disks_is_scrubbed_to_the_end() {
    let machine = Machine::new(2);
    // A mirror that loses a leaf, and a disk that is lost whole.
    let world = World::new(&machine, &[3, 1]);
    let pipeline = world.pipeline();
    let blocks: Vec<_> =
        (0..40).map(|n| pipeline.write(noise(n, 65_536)).wait().unwrap()).collect();
    let on_mirror = |bp: &BlockPointer| bp.dvas().all(|dva| dva.vdev() == VdevId(0));
    let kept = blocks.iter().filter(|bp| on_mirror(bp)).count() as u64;
    assert!((5..=35).contains(&kept));
    let (disk, at) = world.places(blocks.iter().find(|bp| on_mirror(bp)).unwrap())[1];
    disk.corrupt(at, 65_536);
    world.disks[0].offline();
    world.disks[3].offline();
    let mut scrub = Scrub::new(&pipeline, listed(&blocks), Config::default());
    assert_eq!(scrub.run(), State::Done);
    let stats = scrub.stats();
    assert_eq!((stats.blocks, stats.unrecoverable, stats.repaired), (kept, 40 - kept, 1));
}

#[test]
fn what_has_no_block_or_is_none_of_our_business_is_skipped() {
    let machine = Machine::new(3);
    let world = World::new(&machine, &[1]);
    let pipeline = world.builder().txg(10).build().unwrap();
    let at = |txg: u64| pipeline.write(noise(txg, 4096)).txg(txg).wait().unwrap();
    let hole = pipeline.write(&[0; 4096]).compression(Compression::Lz4).wait().unwrap();
    let embedded = pipeline.write(&[7; 4096]).compression(Compression::Lz4).wait().unwrap();
    assert!(hole.is_hole() && embedded.is_embedded());
    let mut blocks = vec![hole, at(9), at(10), embedded, BlockPointer::EMPTY];
    let begun = Scrub::new(&pipeline, listed(&[]), Config::default()).checkpoint().clone();
    assert_eq!(begun.txg_max, 10);
    pipeline.end_txg();
    blocks.push(pipeline.write(noise(1, 4096)).wait().unwrap());
    assert_eq!(blocks[5].birth(), 11);

    let mut scrub = Scrub::resume(&pipeline, listed(&blocks), Config::default(), begun.clone());
    assert_eq!(scrub.run(), State::Done);
    let expected =
        Stats { blocks: 2, bytes: 8192, without_block: 3, born_later: 1, ..Stats::default() };
    assert_eq!(scrub.stats(), expected);
    assert_eq!(scrub.checkpoint().position, Some(5));

    let mut config = Config::default();
    config.only = Some(TxgRanges::from_iter([3..=9, 11..=20]));
    let mut scrub = Scrub::resume(&pipeline, listed(&blocks), config, begun);
    assert_eq!(scrub.run(), State::Done);
    let stats = scrub.stats();
    assert_eq!((stats.blocks, stats.not_asked_for, stats.born_later), (1, 1, 1));
}

#[test]
fn a_scrub_that_only_looks_changes_nothing() {
    let machine = Machine::new(4);
    let world = World::new(&machine, &[2]);
    let pipeline = world.pipeline();
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    world.disks[0].corrupt(world.places(&bp)[0].1, 8192);
    let before = world.contents(&bp);
    let mut config = Config::default();
    config.repair = false;
    let mut scrub = Scrub::new(&pipeline, listed(&[bp]), config);
    assert_eq!(scrub.run(), State::Done);
    assert_eq!((scrub.stats().bad_copies, scrub.stats().repaired), (1, 0));
    assert!(world.contents(&bp) == before);
}

#[test]
fn a_repair_that_does_not_stick_does_not_count() {
    let machine = Machine::new(5);
    let world = World::new(&machine, &[2]);
    let pipeline = world.pipeline();
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    world.disks[0].corrupt(world.places(&bp)[0].1, 8192);
    // The disk says "done", and has done nothing.
    world.disks[0].inject(Fault::new(Effect::Lost).on(OpKind::Write));
    let mut scrub = Scrub::new(&pipeline, listed(&[bp]), Config::default());
    assert_eq!(scrub.run(), State::Done);
    assert_eq!((scrub.stats().bad_copies, scrub.stats().repaired), (1, 0));
    let mut scrub = Scrub::new(&pipeline, listed(&[bp]), Config::default());
    assert_eq!(scrub.run(), State::Done);
    assert_eq!((scrub.stats().bad_copies, scrub.stats().repaired), (1, 1));
}

#[test]
fn pieces_of_gangs_are_counted_and_repaired() {
    explore(0..20, |machine| {
        let mut rng = Rng::new(machine.seed());
        let world = World::new(machine, &[2, 2]);
        let allocator = SimAllocator::new(SimAllocatorConfig {
            unit_bytes: 4096,
            contiguous_bytes_max: 16_384,
            ..SimAllocatorConfig::new(machine.seed(), &[59 * MIB, 59 * MIB])
        });
        let pipeline = world.builder().allocator(Arc::clone(&allocator) as Arc<_>).build().unwrap();
        let bp = pipeline.write(noise(1, 131_072)).wait().unwrap();
        assert!(bp.is_gang());
        let one_side = rng.index(2);
        // All pieces and headers of the block, on one leaf of each mirror.
        let extents = allocator.taken();
        for (vdev, range) in &extents {
            let disk = &world.disks[2 * vdev.0 as usize + one_side];
            for unit in range.clone().step_by(4096) {
                disk.corrupt(DATA_START_BYTES + unit, 512);
            }
        }
        let mut scrub = Scrub::new(&pipeline, listed(&[bp]), Config::default());
        assert_eq!(scrub.run(), State::Done);
        let stats = scrub.stats();
        assert!(stats.bad_copies >= 8 && stats.repaired == stats.bad_copies, "{stats:?}");
        assert_eq!(pipeline.healed().copies, stats.repaired);
    });
}

#[test]
fn a_shared_block_is_verified_once() {
    let machine = Machine::new(6);
    let world = World::new(&machine, &[1]);
    let pipeline = world.pipeline();
    let shared = |n: u64| {
        let write = pipeline.write(noise(n % 3, 8192)).checksum(Checksum::Sha256);
        write.dedup(true).wait().unwrap()
    };
    let mut blocks: Vec<_> = (0..30).map(shared).collect();
    let plain = pipeline.write(noise(9, 8192)).wait().unwrap();
    blocks.extend([plain, plain]);
    world.disks[0].take_log();
    // Batches of one block: what is shared is remembered over all of them, up to the memory for it.
    for (bytes_max, verified) in [(1 << 20, 3 + 2), (0, 32)] {
        let mut config = Config::default();
        config.collect_bytes_max = 1;
        config.shared_bytes_max = bytes_max;
        let mut scrub = Scrub::new(&pipeline, listed(&blocks), config);
        assert_eq!(scrub.run(), State::Done);
        assert_eq!((scrub.stats().blocks, scrub.stats().met_before), (verified, 32 - verified));
        assert_eq!(world.disks[0].take_log().len() as u64, verified);
    }
    // In one batch no block comes twice, whatever it is.
    let mut config = Config::default();
    config.shared_bytes_max = 0;
    let mut scrub = Scrub::new(&pipeline, listed(&blocks), config);
    assert_eq!(scrub.run(), State::Done);
    assert_eq!(scrub.stats().blocks, 4);
}

#[test]
fn blocks_are_read_in_the_order_of_the_disk_and_merged() {
    let machine = Machine::new(7);
    let world = World::with(&machine, &[1], &DiskConfig::hdd(64 * MIB));
    let pipeline = world.pipeline();
    let mut blocks: Vec<_> =
        (0..512).map(|n| pipeline.write(noise(n, 8192)).wait().unwrap()).collect();
    Rng::new(1).shuffle(&mut blocks);
    let reads = |config: Config| {
        world.disks[0].take_log();
        let mut scrub = Scrub::new(&pipeline, listed(&blocks), config);
        assert_eq!(scrub.run(), State::Done);
        world.disks[0].take_log()
    };
    let sorted = reads(Config::default());
    assert!(sorted.iter().all(|read| read.op == OpKind::Read));
    assert!(sorted.windows(2).all(|two| two[0].offset_bytes < two[1].offset_bytes));
    assert!(sorted.len() < 512 / 8, "{} reads of 512 adjacent blocks", sorted.len());
    let mut config = Config::default();
    config.collect_bytes_max = 1;
    assert!(reads(config).len() > 500);
}

#[test]
fn all_vdevs_are_read_at_once() {
    let machine = Machine::new(8);
    let world = World::new(&machine, &[1, 1, 1]);
    let pipeline = world.pipeline();
    let blocks: Vec<_> =
        (0..90).map(|n| pipeline.write(noise(n, 65_536)).wait().unwrap()).collect();
    let mut config = Config::default();
    config.leaf_in_flight_bytes_max = 4 * 65_536;
    let mut scrub = Scrub::new(&pipeline, listed(&blocks), config);
    world.disks.iter().for_each(|disk| disk.hold());
    for _ in 0..10 {
        assert_eq!(scrub.step(), State::Working);
    }
    let live = pipeline.live();
    world.disks.iter().for_each(|disk| disk.release());
    // A block is its own zio and one for its copy.
    assert_eq!(live, 3 * 4 * 2);
    assert_eq!(scrub.run(), State::Done);
    assert_eq!(scrub.stats().blocks, 90);
}

#[test]
fn no_more_than_the_limit_is_under_way() {
    for (blocks_max, bytes_max, leaf_bytes_max, expected) in [
        // By count, in all, on each leaf; and one that is larger than a limit alone.
        (3, 1 << 30, 1 << 30, 3),
        (100, 5 * 2 * 65_536, 1 << 30, 5),
        (100, 1 << 30, 7 * 65_536, 7),
        (100, 1 << 30, 7 * 65_536 + 65_535, 7),
        (100, 1, 1, 1),
    ] {
        let machine = Machine::new(9);
        let world = World::new(&machine, &[2]);
        let pipeline = world.pipeline();
        let blocks: Vec<_> =
            (0..50).map(|n| pipeline.write(noise(n, 65_536)).wait().unwrap()).collect();
        let mut config = Config::default();
        config.in_flight_blocks_max = blocks_max;
        config.in_flight_bytes_max = bytes_max;
        config.leaf_in_flight_bytes_max = leaf_bytes_max;
        let mut scrub = Scrub::new(&pipeline, listed(&blocks), config);
        world.disks.iter().for_each(|disk| disk.hold());
        for _ in 0..5 {
            assert_eq!(scrub.step(), State::Working);
        }
        let live = pipeline.live();
        world.disks.iter().for_each(|disk| disk.release());
        // A block's own zio, and one for each leaf.
        assert_eq!(live, 3 * expected);
        assert_eq!(scrub.run(), State::Done);
        assert_eq!(scrub.stats().blocks, 50);
    }
}

/// A source that has something every sixth time.
struct Slow<I>(I, u32);

impl<I: Iterator<Item = Block<usize>>> Source for Slow<I> {
    type Position = usize;

    fn next_block(&mut self) -> Found<usize> {
        self.1 += 1;
        if self.1.is_multiple_of(6) { self.0.next_block() } else { Found::NotYet }
    }
}

#[test]
fn a_source_that_takes_its_time_holds_nothing_up() {
    let machine = Machine::new(10);
    let world = World::new(&machine, &[1]);
    let pipeline = world.pipeline();
    let blocks = write_blocks(&pipeline, &mut Rng::new(10), 20);
    let mut scrub = Scrub::new(&pipeline, Slow(listed(&blocks), 0), Config::default());
    assert_eq!(scrub.run(), State::Starved);
    let mut starved = 1;
    while scrub.run() == State::Starved {
        starved += 1;
        assert!(starved < 200);
    }
    assert!(starved >= 2);
    let stats = scrub.stats();
    assert_eq!((scrub.step(), stats.blocks + stats.met_before), (State::Done, 20));
    assert_eq!(scrub.checkpoint().position, Some(19));
}

#[test]
fn a_long_stretch_of_holes_has_checkpoints() {
    let machine = Machine::new(11);
    let world = World::new(&machine, &[1]);
    let pipeline = world.pipeline();
    let hole = BlockPointer::hole(4096, 19, 0, 1);
    let source = (0..600_000).map(|n| Block::new(n, hole));
    let checkpoints = RefCell::new(0);
    let mut scrub = Scrub::new(&pipeline, source, Config::default()).on_event(|event| {
        assert!(matches!(event, Event::Checkpoint(_)));
        *checkpoints.borrow_mut() += 1;
    });
    assert_eq!(scrub.run(), State::Done);
    assert_eq!(scrub.stats().without_block, 600_000);
    drop(scrub);
    assert!(checkpoints.into_inner() >= 3);
}

#[test]
fn a_freed_block_is_forgotten_before_its_space_is_somebody_elses() {
    let machine = Machine::new(12);
    let world = World::new(&machine, &[2]);
    let pipeline = world.pipeline();
    let blocks: Vec<_> = (0..8).map(|n| pipeline.write(noise(n, 65_536)).wait().unwrap()).collect();
    let mut config = Config::default();
    config.in_flight_blocks_max = 1;
    let mut scrub = Scrub::new(&pipeline, listed(&blocks), config);
    world.disks.iter().for_each(|disk| disk.hold());
    scrub.step();
    // The first one is being read, the others wait.
    let forgotten = [0, 5].map(|number: usize| scrub.forget(&blocks[number]));
    world.disks.iter().for_each(|disk| disk.release());
    assert_eq!(forgotten, [false, true]);
    pipeline.free(&blocks[5]).wait().unwrap();
    let writes = (0..2000).map(|_| pipeline.write(noise(99, 65_536)).wait().unwrap());
    let new = writes.into_iter().find(|new| new.dva(0) == blocks[5].dva(0)).unwrap();
    assert_eq!(scrub.run(), State::Done);
    assert_eq!((scrub.stats().blocks, scrub.stats().forgotten), (7, 1));
    assert_eq!((scrub.stats().bad_copies, scrub.stats().unrecoverable), (0, 0));
    assert!(scrub.forget(&blocks[0]));
    assert!(pipeline.read(&new).every_copy().wait().unwrap() == noise(99, 65_536));
}

#[test]
fn reads_are_of_the_background_class() {
    let machine = Machine::new(13);
    let world = World::new(&machine, &[1]);
    let pipeline = world.pipeline();
    let blocks = write_blocks(&pipeline, &mut Rng::new(3), 20);
    let of_class = |class: vdev_queue::Class| {
        pipeline.stats().leaf(VdevId(0), 0).unwrap().classes[class].counts.enqueued_total
    };
    let before = of_class(vdev_queue::Class::SyncRead);
    let mut scrub = Scrub::new(&pipeline, listed(&blocks), Config::default());
    assert_eq!(scrub.run(), State::Done);
    assert_eq!(of_class(vdev_queue::Class::SyncRead), before);
    let copies: usize = blocks.iter().map(BlockPointer::copies).sum();
    assert_eq!(of_class(vdev_queue::Class::Scrub) as usize, copies);
}

#[test]
fn a_read_error_is_a_bad_copy_when_another_is_good() {
    let machine = Machine::new(14);
    let world = World::new(&machine, &[2]);
    let pipeline = world.pipeline();
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    let at = world.places(&bp)[0].1;
    let fault = Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Read);
    world.disks[1].inject(fault.range(at, 512));
    let mut scrub = Scrub::new(&pipeline, listed(&[bp]), Config::default());
    assert_eq!(scrub.run(), State::Done);
    assert_eq!((scrub.stats().bad_copies, scrub.stats().repaired), (1, 1));
}
