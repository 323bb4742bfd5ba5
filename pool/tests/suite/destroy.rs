//! Destroying in the background: limits, errors, control, passes (C9).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use pool::destroy::{
    Checkpoint, Config, DEFER_PASS_MIN, Destroy, Event, Found, NotDeferred, Source, State,
    SyncFrees,
};
use pool::scrub::Block;
use proptest::prelude::*;
use vdev_sim::{DiskConfig, Machine, Rng, SimAllocator, SimAllocatorConfig};
use zio_core::bp::Properties;
use zio_core::{Allocator, Dva};
use zio_pipeline::{BlockPointer, Checksum, ErrorKind, Pipeline, VdevId};

use crate::common::{MIB, World, noise};
use crate::scrub::listed;

/// A pointer to a plain block that nobody has written.
fn pointer(offset_bytes: u64, bytes: u64) -> BlockPointer {
    let mut bp = BlockPointer::with_properties(&Properties::plain(bytes));
    bp.set_dva(0, Dva::new(VdevId(0), offset_bytes, bytes));
    bp.set_birth(1, 1);
    bp
}

/// A pool on one disk whose freed space is kept back for two transaction groups.
fn pool(size_bytes: u64) -> (World, Pipeline) {
    let machine = Machine::new(1);
    let world = World::with(&machine, &[1], &DiskConfig::fixed(size_bytes, 1000));
    let pipeline = world.builder().ashift(9).defer_frees(2).build().unwrap();
    (world, pipeline)
}

fn claimed(pipeline: &Pipeline, blocks: &[BlockPointer]) {
    for bp in blocks.iter().filter(|bp| !bp.is_hole()) {
        pipeline.claim(bp).wait().unwrap();
    }
}

/// All limits but one out of the way.
fn unlimited() -> Config {
    let mut config = Config::default();
    config.txg_pointers_max = u64::MAX;
    config.txg_bytes_max = u64::MAX;
    config.txg_ns_max = u64::MAX;
    config
}

#[test]
fn a_million_blocks_are_destroyed_in_bounded_parts() {
    const BLOCKS: u64 = 1_000_000;
    let (_world, pipeline) = pool(600 * MIB);
    let blocks: Vec<_> = (0..BLOCKS).map(|n| pointer(n * 512, 512)).collect();
    claimed(&pipeline, &blocks);
    let mut config = Config::default();
    config.txg_bytes_max = 90_000 * 512;
    // By time, on a clock that says each portion of 256 takes a millisecond: 400 portions.
    config.txg_ns_max = 400_000_000;
    let clock = Cell::new(0);
    let tick = || clock.replace(clock.get() + 1_000_000);
    let mut destroy = Destroy::new(&pipeline, listed(&blocks), config).unwrap();
    let mut gone = 0;
    // What each group has freed: it can be had two groups later.
    let mut kept_back = VecDeque::new();
    let free_at_first = pipeline.free_bytes();
    let mut returned = 0;
    loop {
        destroy.begin_txg(tick());
        let state = destroy.run(tick);
        let checkpoint = destroy.end_txg().unwrap();
        let part = checkpoint.stats.blocks - gone;
        assert!(part <= 90_000, "{part} in one transaction group");
        gone = checkpoint.stats.blocks;
        kept_back.push_back(part * 512);
        pipeline.end_txg();
        if kept_back.len() > 2 {
            returned += kept_back.pop_front().unwrap();
        }
        assert_eq!(pipeline.free_bytes(), free_at_first + returned);
        assert_eq!(checkpoint.position, Some(gone as usize - 1));
        assert_eq!(checkpoint.done, state == State::Done);
        if state == State::Done {
            break;
        }
        assert_eq!((state, part), (State::Spent, 90_000));
    }
    let stats = destroy.stats();
    assert_eq!((stats.blocks, stats.bytes), (BLOCKS, BLOCKS * 512));
    assert_eq!((stats.not_freed, stats.txgs, stats.by_request), (0, 12, 0));
    (0..2).for_each(|_| _ = pipeline.end_txg());
    assert_eq!(pipeline.allocated_bytes(), 0);
}

#[test]
fn time_is_a_limit_too_and_no_share() {
    let (_world, pipeline) = pool(64 * MIB);
    let blocks: Vec<_> = (0..10_000).map(|n| pointer(n * 512, 512)).collect();
    claimed(&pipeline, &blocks);
    let mut config = unlimited();
    config.txg_ns_max = 3_500;
    let clock = Cell::new(0);
    let tick = || clock.replace(clock.get() + 1000);
    let mut destroy = Destroy::new(&pipeline, listed(&blocks), config).unwrap();
    // Begun at 0; portions at 1000, 2000 and 3000.
    destroy.begin_txg(tick());
    assert_eq!((destroy.run(tick), destroy.stats().blocks), (State::Spent, 3 * 256));
    destroy.end_txg().unwrap();
    // A transaction group that is in a hurry waits for nothing.
    config.txg_ns_max = 0;
    let position = destroy.end_txg().unwrap();
    let rest = listed(&blocks).skip(3 * 256);
    drop(destroy);
    let mut destroy = Destroy::resume(&pipeline, rest, config, position).unwrap();
    destroy.begin_txg(tick());
    assert_eq!((destroy.run(tick), destroy.stats().blocks), (State::Spent, 3 * 256));
}

#[test]
fn a_part_belongs_to_the_transaction_group_it_began_with() {
    let (_world, pipeline) = pool(64 * MIB);
    let blocks: Vec<_> = (0..1000).map(|n| pointer(n * 512, 512)).collect();
    claimed(&pipeline, &blocks);
    let mut destroy = Destroy::new(&pipeline, listed(&blocks), unlimited()).unwrap();
    // Not begun.
    assert_eq!((destroy.step(0), destroy.stats().pointers), (State::Spent, 0));
    destroy.begin_txg(0);
    assert_eq!((destroy.step(0), destroy.stats().blocks), (State::Working, 256));
    pipeline.end_txg();
    assert_eq!((destroy.step(0), destroy.stats().blocks), (State::Spent, 256));
    let checkpoint = destroy.end_txg().unwrap();
    assert_eq!((checkpoint.position, checkpoint.done), (Some(255), false));
    // Ended.
    assert_eq!((destroy.run(|| 0), destroy.stats().blocks), (State::Spent, 256));
}

#[test]
fn a_pool_that_keeps_nothing_back_is_refused() {
    let machine = Machine::new(1);
    let world = World::new(&machine, &[1]);
    let pipeline = world.pipeline();
    let refused = Destroy::new(&pipeline, listed(&[]), Config::default()).map(drop);
    assert_eq!(refused.unwrap_err(), NotDeferred);
    let pipeline = world.builder().defer_frees(1).build().unwrap();
    assert!(Destroy::new(&pipeline, listed(&[]), Config::default()).is_ok());
}

/// A pool whose blocks of more than 8 KiB are gangs.
fn in_pieces() -> (World, Arc<SimAllocator>, Pipeline) {
    let machine = Machine::new(1);
    let world = World::with(&machine, &[1], &DiskConfig::fixed(24 * MIB, 1000));
    let space = SimAllocator::new(SimAllocatorConfig {
        contiguous_bytes_max: 8192,
        ..SimAllocatorConfig::new(1, &[19 * MIB])
    });
    let builder = world.builder().ashift(12).allocator(Arc::clone(&space) as Arc<dyn Allocator>);
    let pipeline = builder.build().unwrap();
    (world, space, pipeline)
}

/// Ends the part, and says what the space is then.
fn taken_bytes(space: &SimAllocator) -> u64 {
    space.taken().into_iter().map(|(_, range)| range.end - range.start).sum()
}

#[test]
fn what_cannot_be_freed_is_told_kept_and_does_not_hold_up_the_rest() {
    let (world, space, pipeline) = in_pieces();
    let blocks: Vec<_> =
        (0..30).map(|n| pipeline.write(noise(n, 32_768)).wait().unwrap()).collect();
    assert!(blocks.iter().all(BlockPointer::is_gang));
    // The headers of number 7 are gone, number 9 comes twice.
    for (disk, at) in world.places(&blocks[7]) {
        disk.corrupt(at, 512);
    }
    let mut list = blocks.clone();
    list.push(blocks[9]);
    let told = RefCell::new(Vec::new());
    let mut config = Config::default();
    config.in_flight_max = 3;
    let mut destroy = Destroy::new(&pipeline, listed(&list), config).unwrap().on_event(|event| {
        if let Event::NotFreed(not_freed) = event {
            told.borrow_mut().push(not_freed.bookmark.object);
        }
    });
    destroy.begin_txg(0);
    // Requests are under way, three at most, and the part is not over.
    assert_eq!(destroy.step(0), State::Working);
    assert!(pipeline.live() >= 3);
    assert_eq!(destroy.stats().pointers, 3);
    assert_eq!(destroy.end_txg().unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(destroy.run(|| 0), State::Done);
    let checkpoint = destroy.end_txg().unwrap();
    assert_eq!((checkpoint.position, checkpoint.done), (Some(30), true));
    let stats = checkpoint.stats;
    assert_eq!((stats.blocks, stats.by_request, stats.not_freed), (29, 31, 2));
    assert_eq!(stats.not_freed_bytes, blocks[7].asize_bytes() + blocks[9].asize_bytes());
    let kept = destroy.take_not_freed();
    assert_eq!(kept.iter().map(|k| k.bp).collect::<Vec<_>>(), [blocks[7], blocks[9]]);
    assert_eq!(kept[0].error.kind(), ErrorKind::Checksum);
    assert_eq!(kept[1].error.kind(), ErrorKind::NotFound);
    assert!(destroy.take_not_freed().is_empty());
    drop(destroy);
    assert_eq!(told.into_inner(), [7, 9 + 21]);
    // All of number 7 is leaked, and nothing else.
    assert_eq!(taken_bytes(&space), blocks[7].asize_bytes());

    // No more are kept than there is room for; all are told and counted.
    config.not_freed_max = 1;
    let mut destroy = Destroy::new(&pipeline, listed(&blocks), config).unwrap();
    destroy.begin_txg(0);
    assert_eq!(destroy.run(|| 0), State::Done);
    assert_eq!((destroy.stats().not_freed, destroy.take_not_freed().len()), (30, 1));
}

#[test]
fn of_a_shared_block_the_last_pointer_frees_the_space() {
    let (_world, pipeline) = pool(64 * MIB);
    let write = || pipeline.write(noise(1, 8192)).checksum(Checksum::Sha256).dedup(true);
    let shared: Vec<_> = (0..5).map(|_| write().wait().unwrap()).collect();
    assert_eq!(pipeline.allocated_bytes(), 8192);
    let mut destroy = Destroy::new(&pipeline, listed(&shared[..4]), unlimited()).unwrap();
    destroy.begin_txg(0);
    assert_eq!(destroy.run(|| 0), State::Done);
    assert_eq!((destroy.stats().blocks, destroy.stats().by_request), (4, 4));
    (0..3).for_each(|_| _ = pipeline.end_txg());
    assert!(pipeline.read(&shared[4]).wait().unwrap() == noise(1, 8192));
    assert_eq!(pipeline.allocated_bytes(), 8192);
    pipeline.free(&shared[4]).wait().unwrap();
    (0..3).for_each(|_| _ = pipeline.end_txg());
    assert_eq!(pipeline.allocated_bytes(), 0);
}

/// Gives out blocks as they are put into it.
struct Feed<'a>(&'a RefCell<VecDeque<Found<usize>>>);

impl Source for Feed<'_> {
    type Position = usize;

    fn next_block(&mut self) -> Found<usize> {
        self.0.borrow_mut().pop_front().unwrap_or(Found::NotYet)
    }
}

#[test]
fn it_waits_for_its_source_pauses_and_is_cancelled() {
    let (_world, pipeline) = pool(64 * MIB);
    let blocks: Vec<_> = (0..1000).map(|n| pointer(n * 512, 512)).collect();
    claimed(&pipeline, &blocks);
    let feed = RefCell::new(VecDeque::new());
    let give = |numbers: std::ops::Range<usize>| {
        feed.borrow_mut().extend(numbers.map(|n| Found::Block(Block::new(n, blocks[n]))));
    };
    let mut destroy = Destroy::new(&pipeline, Feed(&feed), unlimited()).unwrap();
    let control = destroy.control();
    destroy.begin_txg(0);
    assert_eq!(destroy.run(|| 0), State::Starved);
    give(0..10);
    assert_eq!((destroy.run(|| 0), destroy.stats().blocks), (State::Starved, 10));
    give(10..600);
    control.pause();
    assert_eq!((destroy.run(|| 0), destroy.stats().blocks), (State::Paused, 10));
    control.resume();
    assert_eq!((destroy.step(0), destroy.stats().blocks), (State::Working, 266));
    control.cancel();
    assert_eq!((destroy.run(|| 0), destroy.stats().blocks), (State::Cancelled, 266));
    control.resume();
    assert_eq!(destroy.step(0), State::Cancelled);
    let checkpoint = destroy.end_txg().unwrap();
    assert_eq!((checkpoint.position, checkpoint.done), (Some(265), false));
    // What is left is allocated; another one goes on.
    pipeline.end_txg();
    let rest = listed(&blocks).skip(266);
    let mut destroy = Destroy::resume(&pipeline, rest, unlimited(), checkpoint).unwrap();
    destroy.begin_txg(0);
    assert_eq!((destroy.run(|| 0), destroy.stats().blocks), (State::Done, 1000));
    assert_eq!(destroy.stats().txgs, 2);
    // Done is done, also after a crash.
    let done = destroy.end_txg().unwrap();
    let mut again = Destroy::resume(&pipeline, listed(&blocks), unlimited(), done).unwrap();
    again.begin_txg(0);
    assert_eq!((again.run(|| 0), again.stats().not_freed), (State::Done, 0));
}

#[test]
fn from_the_second_pass_on_frees_wait_for_the_next_transaction_group() {
    let (_world, pipeline) = pool(64 * MIB);
    let blocks: Vec<_> = (0..6).map(|n| pointer(n * 512, 512)).collect();
    claimed(&pipeline, &blocks);
    // What is freed leaves the books after two groups more.
    let settled = |pipeline: &Pipeline| {
        (0..3).for_each(|_| _ = pipeline.end_txg());
        pipeline.allocated_bytes() / 512
    };
    let mut frees = SyncFrees::with_limit(3);
    assert!(frees.free(&pipeline, 1, &blocks[0]).unwrap());
    for (pass, bp) in (DEFER_PASS_MIN..).zip(&blocks[1..4]) {
        assert!(!frees.free(&pipeline, pass, bp).unwrap());
    }
    // There is no room for more: at once.
    assert!(frees.free(&pipeline, 7, &blocks[4]).unwrap());
    assert_eq!(frees.deferred(), &blocks[1..4]);
    assert_eq!(settled(&pipeline), 4);
    // Restored after a crash, with one that is not allocated.
    let mut frees = SyncFrees::restored(frees.deferred().iter().copied().chain([blocks[0]]));
    assert!(!frees.free(&pipeline, 2, &blocks[5]).unwrap());
    let left = frees.begin_txg(&pipeline);
    assert_eq!(left.iter().map(|left| left.bp).collect::<Vec<_>>(), [blocks[0]]);
    assert_eq!(frees.deferred(), []);
    assert_eq!(settled(&pipeline), 0);
    assert!(frees.free(&pipeline, 1, &blocks[5]).is_err(), "twice");
}

/// The same destroy, the plain way: what each transaction group frees, and where it ends.
fn parts(sizes: &[u64], pointers_max: u64, bytes_max: u64) -> Vec<(usize, u64)> {
    let (mut parts, mut at) = (Vec::new(), 0);
    loop {
        let (mut bytes, begin) = (0, at);
        while at < sizes.len()
            && ((at - begin) as u64) < pointers_max
            && (bytes == 0 || bytes + sizes[at] <= bytes_max)
        {
            bytes += sizes[at];
            at += 1;
        }
        parts.push((at, bytes));
        if at == sizes.len() {
            return parts;
        }
    }
}

proptest! {
    /// Sizes in sectors, 0 for a hole. Each transaction group frees what it should, and the last one says so.
    #[test]
    fn each_transaction_group_frees_what_it_should(
        sectors in prop::collection::vec(0..9_u64, 0..60),
        pointers_max in 1..20_u64,
        sectors_max in 0..40_u64,
        resumes: bool,
    ) {
        let (_world, pipeline) = pool(16 * MIB);
        let mut offset = 0;
        let blocks: Vec<_> = sectors.iter().map(|count| {
            offset += 512 * count;
            match count {
                0 => BlockPointer::EMPTY,
                _ => pointer(offset - 512 * count, 512 * count),
            }
        }).collect();
        claimed(&pipeline, &blocks);
        let sizes: Vec<_> = sectors.iter().map(|count| 512 * count).collect();
        let mut config = unlimited();
        config.txg_pointers_max = pointers_max;
        config.txg_bytes_max = 512 * sectors_max;
        let behind = |end| listed(&blocks).skip(end).collect::<Vec<_>>().into_iter();
        let mut destroy = Destroy::new(&pipeline, behind(0), config).unwrap();
        let mut allocated: u64 = sizes.iter().sum();
        let mut before = 0;
        let mut done = false;
        for (end, bytes) in parts(&sizes, pointers_max, 512 * sectors_max) {
            prop_assert!(!done);
            destroy.begin_txg(0);
            let state = destroy.run(|| 0);
            let checkpoint: Checkpoint<usize> = destroy.end_txg().unwrap();
            // The end is seen when one more is asked for, which a used up limit does not.
            done = checkpoint.done;
            prop_assert_eq!(done, state == State::Done);
            prop_assert_eq!(checkpoint.position, end.checked_sub(1));
            prop_assert_eq!(checkpoint.stats.bytes - before, bytes);
            before += bytes;
            (0..3).for_each(|_| _ = pipeline.end_txg());
            allocated -= bytes;
            prop_assert_eq!(pipeline.allocated_bytes(), allocated);
            if resumes {
                destroy = Destroy::resume(&pipeline, behind(end), config, checkpoint).unwrap();
            }
        }
        if !done {
            destroy.begin_txg(0);
            prop_assert_eq!(destroy.run(|| 0), State::Done);
        }
        let stats = destroy.stats();
        let holes = sectors.iter().filter(|count| **count == 0).count() as u64;
        prop_assert_eq!((stats.pointers, stats.without_block), (sectors.len() as u64, holes));
        prop_assert_eq!((stats.blocks + holes, stats.not_freed), (sectors.len() as u64, 0));
    }
}

/// What is plain is freed at once as it is by a request: the same answer, the same books.
#[test]
fn at_once_and_by_request_are_the_same() {
    let (_world, pipeline) = pool(64 * MIB);
    let mut rng = Rng::new(1);
    let mut blocks = crate::scrub::write_blocks(&pipeline, &mut rng, 40);
    blocks.push(BlockPointer::EMPTY);
    // Some twice, some that nobody has, one that lies over itself.
    blocks.extend_from_within(..10);
    blocks.push(pointer(60 * MIB, 512));
    let mut folded = blocks[0];
    folded.set_dva(1, folded.dva(0).unwrap());
    blocks.push(folded);
    let other_world = pool(64 * MIB);
    let other = &other_world.1;
    crate::scrub::write_blocks(other, &mut Rng::new(1), 40);
    for bp in &blocks {
        let by_request = other.free(bp).wait().map_err(|error| error.to_string());
        match pipeline.free_at_once(bp) {
            Some(at_once) => assert_eq!(at_once.map_err(|error| error.to_string()), by_request),
            None => {
                assert!(bp.is_dedup());
                _ = pipeline.free(bp).wait();
            }
        }
        for pipeline in [&pipeline, other] {
            pipeline.end_txg();
        }
        assert_eq!(pipeline.allocated_bytes(), other.allocated_bytes(), "{bp}");
        assert_eq!(pipeline.free_bytes(), other.free_bytes(), "{bp}");
    }
}
