//! The log in ordinary life, and when a device fails (C10, pain 14).

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pool::log::{AppendError, ClaimError, Claimed, Config, End, Log, NotDurable, Record};
use vdev_sim::{Effect, Fault, Machine, OpKind, SimAllocator, SimAllocatorConfig, explore};
use zio_core::{Allocator, VdevErrorKind};
use zio_pipeline::{
    BlockPointer, ByteOrder, DATA_START_BYTES, Error, ErrorKind, LogSeed, Pipeline,
};

use crate::common::{MIB, World, noise};

const CHAIN: [u64; 2] = [0x1234, 0x5678];

pub(crate) fn config() -> Config {
    Config::new(CHAIN, 3)
}

/// A log whose head is stored as part of txg 1.
pub(crate) fn begun(pipeline: &Arc<Pipeline>) -> (Log, BlockPointer) {
    begun_with(pipeline, config())
}

fn begun_with(pipeline: &Arc<Pipeline>, config: Config) -> (Log, BlockPointer) {
    let log = Log::new(Arc::clone(pipeline), config);
    let head = log.head_at(1);
    log.synced(1).unwrap();
    (log, head)
}

pub(crate) fn replayed(pipeline: &Pipeline, head: &BlockPointer) -> (Vec<Record>, Claimed) {
    let claimed = Claimed::claim(pipeline, head, 1).unwrap();
    let records = claimed.replay(pipeline).collect::<Result<Vec<_>, _>>().unwrap();
    (records, claimed)
}

#[test]
fn records_come_back_in_order_whatever_their_sizes() {
    explore(0..30, |machine| {
        let mut rng = vdev_sim::Rng::new(machine.seed());
        let world = World::draw(machine, &mut rng);
        let pipeline = Arc::new(world.pipeline());
        let block_bytes_max = 4096 << rng.below(5);
        let (log, head) = begun_with(&pipeline, Config { block_bytes_max, ..config() });
        let mut expected = Vec::new();
        for txg in 2..12 {
            for _ in 0..rng.below(9) {
                let longest = block_bytes_max - 184 - 24;
                let len = if rng.chance(100) { longest } else { rng.index(longest + 1) };
                let payload = noise(rng.next_u64(), len);
                let sequence = log.append(txg, &payload).unwrap();
                expected.push(Record { txg, sequence, payload });
            }
            log.commit().unwrap();
        }
        // Not committed, not there.
        log.append(12, b"too late").unwrap();
        drop(log);
        let pipeline = world.pipeline();
        let (records, claimed) = replayed(&pipeline, &head);
        assert!(records == expected);
        assert!(matches!(claimed.end(), End::NotWritten(_)), "{:?}", claimed.end());
        claimed.free(&pipeline).unwrap();
        assert_eq!(pipeline.allocated_bytes(), 0);
    });
}

#[test]
fn what_is_too_long_or_too_much_is_refused() {
    let machine = Machine::new(1);
    let pipeline = Arc::new(World::new(&machine, &[1]).pipeline());
    let limits = Config { block_bytes_max: 8192, waiting_bytes_max: 10_000, ..config() };
    let (log, _) = begun_with(&pipeline, limits);
    let max_bytes = 8192 - 184 - 24;
    let refused = log.append(2, &vec![1; max_bytes + 1]).unwrap_err();
    assert_eq!(refused, AppendError::TooLong { payload_bytes: max_bytes + 1, max_bytes });
    log.append(2, &vec![1; max_bytes]).unwrap();
    let refused = log.append(2, &vec![1; 2000]).unwrap_err();
    assert_eq!(refused, AppendError::Full { waiting_bytes: 8008 });
    log.commit().unwrap();
    log.append(2, &vec![1; 2000]).unwrap();
}

#[test]
fn no_commit_before_the_head_is_stored() {
    let machine = Machine::new(2);
    let world = World::new(&machine, &[1]);
    let pipeline = Arc::new(world.pipeline());
    let log = Log::new(Arc::clone(&pipeline), config());
    log.append(5, b"early").unwrap();
    assert_eq!(log.commit().unwrap_err().commit_txg, 5);
    let head = log.head_at(4);
    assert!(!head.is_hole());
    assert!(log.commit().is_err(), "given out is not stored");
    assert_eq!(log.head_at(4), head);
    assert_eq!(log.synced(3).unwrap_err().kind(), ErrorKind::Invalid);
    log.synced(4).unwrap();
    log.commit().unwrap();
    let (records, _claimed) = replayed(&world.pipeline(), &head);
    assert_eq!(records[0].payload, b"early");
}

#[test]
fn committers_share_a_round() {
    let machine = Machine::new(3);
    let world = World::new(&machine, &[1]);
    let pipeline = Arc::new(world.pipeline());
    let (log, _) = begun(&pipeline);
    let flushes = || world.disks[0].take_log().iter().filter(|e| e.op == OpKind::Flush).count();
    flushes();
    let mut commits = Vec::new();
    for n in 0..50_u64 {
        log.append(2, &n.to_le_bytes()).unwrap();
        commits.push(log.start_commit());
    }
    // The first went alone, the others together.
    assert!(commits.iter().all(|commit| !commit.is_finished()));
    for commit in commits {
        commit.wait().unwrap();
    }
    assert_eq!(flushes(), 2);
    // Nothing new: nothing to do.
    log.commit().unwrap();
    assert_eq!(flushes(), 0);
}

#[test]
fn an_acknowledgement_comes_after_the_flush_of_what_it_is_about() {
    explore(0..40, |machine| {
        let world = World::new(machine, &[2, 1]);
        let pipeline = Arc::new(world.pipeline());
        let (log, head) = begun(&pipeline);
        for n in 0..5 {
            log.append(2, &noise(n, 3000)).unwrap();
            let commit = log.start_commit();
            while !commit.is_finished() {
                world.turn();
            }
            commit.wait().unwrap();
            assert!(world.disks.iter().all(|disk| disk.unflushed() == 0));
        }
        world.power_cycle();
        assert_eq!(replayed(&world.pipeline(), &head).0.len(), 5);
    });
}

#[test]
fn committers_on_threads_all_hear() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let pipeline = Arc::new(Pipeline::builder().create(&path, 64 * MIB).build().unwrap());
    let (log, head) = begun(&pipeline);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..50 {
                    log.append(2, &(thread * 1000 + n).to_le_bytes()).unwrap();
                    log.commit().unwrap();
                }
            });
        }
    });
    drop(log);
    drop(pipeline);
    let pipeline = Pipeline::builder().file(&path).build().unwrap();
    let (records, claimed) = replayed(&pipeline, &head);
    assert_eq!(records.len(), 200);
    assert!(records.iter().map(|record| record.sequence).eq(1..=200));
    for thread in 0..4_u64 {
        let number = |record: &Record| u64::from_le_bytes(record.payload[..].try_into().unwrap());
        let of_thread = records.iter().map(number).filter(|n| n / 1000 == thread);
        assert!(of_thread.eq((0..50).map(|n| thread * 1000 + n)));
    }
    claimed.free(&pipeline).unwrap();
}

#[test]
fn a_commit_is_a_future() {
    let machine = Machine::new(16);
    let world = World::new(&machine, &[1]);
    let pipeline = Arc::new(world.pipeline());
    let (log, _) = begun(&pipeline);
    log.append(2, b"x").unwrap();
    let mut commit = std::pin::pin!(log.start_commit());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(commit.as_mut().poll(&mut cx).is_pending());
    machine.run_until_idle();
    assert_eq!(commit.as_mut().poll(&mut cx), Poll::Ready(Ok(())));
}

#[test]
fn blocks_go_back_when_their_records_are_synced() {
    let machine = Machine::new(4);
    let world = World::new(&machine, &[1]);
    let pipeline = Arc::new(world.pipeline());
    let (log, _) = begun(&pipeline);
    let mut heads = Vec::new();
    for txg in 2..40 {
        for _ in 0..3 {
            log.append(txg, &noise(txg, 3000)).unwrap();
            log.commit().unwrap();
        }
        // The records of the group before are durable.
        let before = pipeline.allocated_bytes();
        heads.push(log.head_at(txg - 1));
        assert_eq!(pipeline.allocated_bytes(), before, "nothing is freed before it is stored");
        log.synced(txg - 1).unwrap();
        let (records, _claimed) = replayed(&world.pipeline(), heads.last().unwrap());
        let kept: BTreeSet<u64> = records.iter().map(|record| record.txg).collect();
        assert!(kept.contains(&txg) && records.len() <= 4, "{kept:?} after {txg}");
    }
    assert_eq!(pipeline.allocated_bytes(), log.allocated_bytes());
    assert!(log.allocated_bytes() <= 5 * 8192);
    log.destroy().unwrap();
    assert_eq!(pipeline.allocated_bytes(), 0);
}

#[test]
fn a_failed_flush_fails_the_commit_and_those_behind_it() {
    for (op, effect) in [
        (OpKind::Flush, Effect::Fail(VdevErrorKind::Io)),
        (OpKind::Write, Effect::Fail(VdevErrorKind::Io)),
        (OpKind::Write, Effect::Torn { acknowledged: false }),
    ] {
        let machine = Machine::new(5);
        let world = World::new(&machine, &[2]);
        let pipeline = Arc::new(world.pipeline());
        let (log, old_head) = begun(&pipeline);
        log.append(2, b"good").unwrap();
        log.commit().unwrap();
        for disk in &world.disks {
            // The labels stay well: a leaf that fails its probe as well is gone, which is another error.
            let fault = Fault::new(effect).on(op).range(DATA_START_BYTES, 32 * MIB);
            disk.inject(fault.always());
        }
        log.append(3, b"lost").unwrap();
        let first = log.start_commit();
        log.append(2, b"behind").unwrap();
        let second = log.start_commit();
        for commit in [first, second] {
            let NotDurable { commit_txg, source } = commit.wait().unwrap_err();
            assert_eq!((commit_txg, source.kind()), (3, ErrorKind::Io), "{op:?}");
        }
        world.disks.iter().for_each(|disk| disk.heal_all());
        // The devices are well again, and the record in the middle is missing all the same.
        log.append(2, b"later").unwrap();
        assert_eq!(log.commit().unwrap_err().commit_txg, 3);
        let (records, _claimed) = replayed(&world.pipeline(), &old_head);
        assert_eq!(records[0].payload, b"good", "what was acknowledged stays");
        assert!(records[1..].iter().all(|record| record.payload == b"lost"));

        // Txg 2 does not make good what was lost, txg 3 does: with a new chain.
        assert_eq!(log.head_at(2), old_head);
        log.synced(2).unwrap();
        assert!(log.commit().is_err());
        let head = log.head_at(3);
        assert_ne!(head, old_head);
        assert!(log.commit().is_err(), "not stored yet");
        log.synced(3).unwrap();
        log.append(4, b"again").unwrap();
        log.commit().unwrap();
        let (records, _claimed) = replayed(&world.pipeline(), &head);
        let payloads: Vec<_> = records.iter().map(|record| &record.payload[..]).collect();
        assert_eq!(payloads, [b"again"]);
        assert_eq!(pipeline.allocated_bytes(), log.allocated_bytes());
    }
}

#[test]
fn without_space_the_txg_is_to_be_committed_and_the_chain_goes_on_after_it() {
    let machine = Machine::new(6);
    let world = World::new(&machine, &[1]);
    let space = SimAllocator::new(SimAllocatorConfig::new(6, &[59 * MIB]));
    let pipeline = world.builder().allocator(Arc::clone(&space) as Arc<_>).build().unwrap();
    let pipeline = Arc::new(pipeline);
    let (log, head) = begun(&pipeline);
    log.append(2, b"one").unwrap();
    log.commit().unwrap();
    space.set_fail_permille(1000);
    let before = pipeline.allocated_bytes();
    log.append(3, &noise(1, 100_000)).unwrap();
    let refused = log.commit().unwrap_err();
    assert_eq!((refused.commit_txg, refused.source.kind()), (3, ErrorKind::NoSpace));
    space.set_fail_permille(0);
    log.append(2, b"behind").unwrap();
    assert_eq!(log.commit().unwrap_err().commit_txg, 3);
    assert_eq!(pipeline.allocated_bytes(), before);
    log.head_at(3);
    log.synced(3).unwrap();
    log.append(4, b"two").unwrap();
    log.commit().unwrap();
    let (records, _claimed) = replayed(&world.pipeline(), &head);
    let found: Vec<_> = records.iter().map(|record| (record.sequence, record.txg)).collect();
    assert_eq!(found, [(1, 2), (4, 4)], "the gap was made durable by txg 3");
}

#[test]
fn where_the_expected_size_is_not_to_be_had_a_smaller_block_will_do() {
    let machine = Machine::new(7);
    let world = World::new(&machine, &[1]);
    let space = SimAllocator::new(SimAllocatorConfig::new(7, &[59 * MIB]));
    let pipeline = world.builder().allocator(Arc::clone(&space) as Arc<_>).build().unwrap();
    let pipeline = Arc::new(pipeline);
    let (log, head) = begun(&pipeline);
    log.append(2, &noise(1, 100_000)).unwrap();
    log.commit().unwrap();
    space.set_contiguous_bytes_max(16_384);
    for n in 0..20 {
        log.append(2, &noise(n, 10_000)).unwrap();
    }
    log.commit().unwrap();
    assert_eq!(replayed(&world.pipeline(), &head).0.len(), 21);
}

#[test]
fn a_claimed_chain_is_nobody_elses_and_is_claimed_once() {
    let machine = Machine::new(8);
    let world = World::new(&machine, &[1, 1]);
    let pipeline = Arc::new(world.pipeline());
    let (log, head) = begun(&pipeline);
    for n in 0..20 {
        log.append(2, &noise(n, 3000)).unwrap();
        log.commit().unwrap();
    }
    drop(log);
    let pipeline = world.pipeline();
    let (records, claimed) = replayed(&pipeline, &head);
    assert_eq!((records.len(), claimed.blocks().len()), (20, 20));
    match Claimed::claim(&pipeline, &head, 1) {
        Err(ClaimError::Claim { sequence: 1, source }) => {
            assert_eq!(source.kind(), ErrorKind::NotFound);
        }
        other => panic!("{other:?}"),
    }
    // All the rest of the pool is handed out, and none of it is the log's.
    let taken: BTreeSet<_> = claimed.blocks().iter().map(|bp| bp.dva(0)).collect();
    while let Ok(bp) = pipeline.write(noise(1, 1 << 20)).wait() {
        for claimed in claimed.blocks() {
            for (log, block) in claimed.dvas().zip(bp.dvas()) {
                let end = |dva: zio_core::Dva| dva.offset_bytes() + dva.asize_bytes();
                assert!(
                    log.vdev() != block.vdev()
                        || end(log) <= block.offset_bytes()
                        || end(block) <= log.offset_bytes()
                );
            }
        }
    }
    assert_eq!(taken.len(), 20);
    let again: Vec<_> = claimed.replay(&pipeline).collect::<Result<_, _>>().unwrap();
    assert!(again == records);
}

#[test]
fn a_claim_that_fails_leaves_nothing_claimed() {
    let machine = Machine::new(9);
    let world = World::new(&machine, &[1]);
    let pipeline = Arc::new(world.pipeline());
    let (log, head) = begun(&pipeline);
    for n in 0..5_u64 {
        log.append(2, &n.to_le_bytes()).unwrap();
        log.commit().unwrap();
    }
    drop(log);
    let blocks = replayed(&world.pipeline(), &head).1;
    let pipeline = world.pipeline();
    // The fourth block has another owner.
    pipeline.claim(&blocks.blocks()[3]).wait().unwrap();
    let before = pipeline.allocated_bytes();
    let failed = Claimed::claim(&pipeline, &head, 1).unwrap_err();
    assert!(matches!(failed, ClaimError::Claim { sequence: 4, .. }), "{failed}");
    assert_eq!(pipeline.allocated_bytes(), before);
    // So does one that the caller stops, who sees the records before that.
    let pipeline = world.pipeline();
    let mut seen = Vec::new();
    let failed = Claimed::claim_with(&pipeline, &head, 1, |record| {
        seen.push(record.sequence);
        if record.sequence < 3 { Ok(()) } else { Err(Error::new(ErrorKind::NotFound)) }
    });
    assert!(matches!(failed, Err(ClaimError::Record { sequence: 3, .. })));
    assert_eq!((seen, pipeline.allocated_bytes()), (vec![1, 2, 3], 0));
}

#[test]
fn the_walk_stops_at_the_first_block_that_does_not_verify() {
    for bad in 0..6 {
        let machine = Machine::new(10);
        let world = World::new(&machine, &[1]);
        let pipeline = Arc::new(world.pipeline());
        let (log, head) = begun(&pipeline);
        for n in 0..6_u64 {
            log.append(2, &n.to_le_bytes()).unwrap();
            log.commit().unwrap();
        }
        drop(log);
        let blocks = replayed(&world.pipeline(), &head).1;
        let (disk, at) = world.places(&blocks.blocks()[bad])[0];
        disk.corrupt(at + 184, 24);
        let pipeline = world.pipeline();
        let (records, claimed) = replayed(&pipeline, &head);
        assert_eq!((records.len(), claimed.blocks().len()), (bad, bad));
        match claimed.end() {
            End::NotWritten(error) => assert_eq!(error.kind(), ErrorKind::Checksum),
            other => panic!("{other:?}"),
        }
        assert_eq!(pipeline.allocated_bytes(), bad as u64 * 4096);
    }
}

#[test]
fn a_chain_that_cannot_be_read_is_not_a_chain_that_ends() {
    let machine = Machine::new(11);
    let world = World::new(&machine, &[1]);
    let pipeline = Arc::new(world.pipeline());
    let (log, head) = begun(&pipeline);
    log.append(2, b"precious").unwrap();
    log.commit().unwrap();
    drop(log);
    for kind in [VdevErrorKind::Io, VdevErrorKind::Gone] {
        let pipeline = world.pipeline();
        let fault = Fault::new(Effect::Fail(kind)).on(OpKind::Read).times(2);
        world.disks[0].inject(fault);
        let failed = Claimed::claim(&pipeline, &head, 1).unwrap_err();
        assert!(matches!(failed, ClaimError::Unreadable { sequence: 1, .. }), "{failed}");
        assert_eq!(replayed(&pipeline, &head).0[0].payload, b"precious");
    }
}

#[test]
fn only_blocks_of_the_chain_and_of_its_time_are_followed() {
    let machine = Machine::new(12);
    let world = World::new(&machine, &[1]);
    let pipeline = Arc::new(world.builder().txg(10).build().unwrap());
    let log = Log::new(Arc::clone(&pipeline), config());
    let head = log.head_at(1);
    log.synced(1).unwrap();
    log.append(2, b"of txg 10").unwrap();
    log.commit().unwrap();
    // What is placed from here on is of txg 11; the tail was placed in 10.
    pipeline.end_txg();
    log.append(2, b"of txg 10 too").unwrap();
    log.commit().unwrap();
    log.append(2, b"of txg 11").unwrap();
    log.commit().unwrap();
    let claim = |txg| Claimed::claim(&world.pipeline(), &head, txg).unwrap();
    let ends = |txg| (claim(txg).blocks().len(), claim(txg).end().clone());
    assert_eq!(ends(10).0, 3);
    assert_eq!(ends(11), (0, End::BornBefore(10)));

    // No head, no log; a pointer to something else is refused.
    let none = Claimed::claim(&pipeline, &BlockPointer::EMPTY, 1).unwrap();
    assert_eq!((none.blocks().len(), none.end()), (0, &End::NoLog));
    let plain = pipeline.write(noise(1, 4096)).wait().unwrap();
    assert!(matches!(Claimed::claim(&pipeline, &plain, 1), Err(ClaimError::Head(_))));
}

/// A word as this machine writes it.
fn native(word: u64) -> [u8; 8] {
    match ByteOrder::NATIVE {
        ByteOrder::Little => word.to_le_bytes(),
        ByteOrder::Big => word.to_be_bytes(),
    }
}

/// What is wrong, and what stands where.
type Case = (&'static str, u64, &'static [u64], u64, usize, usize);

/// Blocks as somebody else would write them, who means no good.
#[test]
fn a_block_that_verifies_and_is_wrong_ends_the_chain() {
    let machine = Machine::new(13);
    let world = World::new(&machine, &[1]);
    let pipeline = world.pipeline();
    let seed = |sequence| LogSeed { chain: CHAIN, objset: 3, sequence };
    let place = |sequence| pipeline.allocate_log(4096, seed(sequence)).unwrap();
    let block = |next: &BlockPointer, used: u64, records: &[u64]| {
        let mut block = vec![0; 4096];
        block[8..136].copy_from_slice(&next.to_bytes_in(ByteOrder::NATIVE));
        block[136..144].copy_from_slice(&native(used));
        for (n, word) in records.iter().enumerate() {
            block[184 + 8 * n..192 + 8 * n].copy_from_slice(&native(*word));
        }
        block
    };
    // Used bytes, words of records, number of the next block; records found, blocks claimed.
    let cases: [Case; 6] = [
        ("a good record, and a next block of another number", 208, &[0, 5, 1], 3, 1, 1),
        ("a record longer than the block", 208, &[4000, 5, 1], 2, 0, 1),
        ("a record of all lengths there are", 208, &[u64::MAX, 5, 1], 2, 0, 1),
        ("half a record", 200, &[0, 5], 2, 0, 1),
        ("the same number twice", 232, &[0, 5, 1, 0, 5, 1], 2, 1, 1),
        ("a good one and a bad one", 232, &[0, 5, 1, 99, 5, 2], 2, 1, 1),
    ];
    for (what, used, words, next_sequence, records, blocks) in cases {
        let (bp, next) = (place(1), place(next_sequence));
        pipeline.write_log(&next, block(&BlockPointer::EMPTY, 184, &[])).wait().unwrap();
        pipeline.write_log(&bp, block(&next, used, words)).wait().unwrap();
        let other = world.pipeline();
        let (found, claimed) = replayed(&other, &bp);
        assert_eq!((found.len(), claimed.blocks().len()), (records, blocks), "{what}");
        let end = claimed.end();
        assert!(matches!(end, End::NoPointer | End::Malformed), "{what}: {end:?}");
    }
}

#[test]
fn a_log_that_goes_wakes_those_who_wait() {
    let machine = Machine::new(14);
    let world = World::new(&machine, &[1]);
    let pipeline = Arc::new(world.pipeline());
    let (log, _) = begun(&pipeline);
    log.append(2, b"x").unwrap();
    let commit = log.start_commit();
    world.disks[0].offline();
    drop(log);
    assert_eq!(commit.wait().unwrap_err().source.kind(), ErrorKind::DeviceGone);
    assert_eq!(pipeline.live(), 0);
}

/// The allocator's contract is enough: nothing here knows metaslab.
#[test]
fn space_of_the_log_is_counted_by_any_allocator() {
    let machine = Machine::new(15);
    let world = World::new(&machine, &[1]);
    let space = SimAllocator::new(SimAllocatorConfig::new(1, &[59 * MIB]));
    let pipeline = world.builder().allocator(Arc::clone(&space) as Arc<_>).build().unwrap();
    let pipeline = Arc::new(pipeline);
    let (log, _) = begun(&pipeline);
    for n in 0..10 {
        log.append(2, &noise(n, 9000)).unwrap();
        log.commit().unwrap();
    }
    assert_eq!(space.allocated_bytes(), log.allocated_bytes());
}
