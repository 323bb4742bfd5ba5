//! The log on a mirror whose leaves do not all have the same (C7, C10).

use std::sync::Arc;

use pool::log::{ClaimError, Claimed, End, NotDurable};
use vdev_sim::{Effect, Fault, Machine, OpKind, explore};
use zio_core::VdevErrorKind;
use zio_pipeline::{BlockPointer, DATA_START_BYTES, ErrorKind, VdevId};

use crate::common::{MIB, World};
use crate::log::{begun, replayed};

/// A chain of which the leaf with this number has the first record only. Returns the head.
fn stale_on(world: &World, stale: usize, op: OpKind) -> BlockPointer {
    let pipeline = Arc::new(world.pipeline());
    let (log, head) = begun(&pipeline);
    log.append(2, b"on all").unwrap();
    log.commit().unwrap();
    world.disks[stale].inject(Fault::new(Effect::Fail(VdevErrorKind::Io)).on(op).always());
    log.append(3, b"on one").unwrap();
    log.commit().unwrap();
    log.append(4, b"as well").unwrap();
    log.commit().unwrap();
    assert!(pipeline.missing(VdevId(0), stale).unwrap().contains(1));
    assert!(pipeline.missing(VdevId(0), 1 - stale).unwrap().is_empty());
    world.power_cycle();
    world.disks[stale].heal_all();
    head
}

fn payloads(world: &World, head: &BlockPointer) -> Vec<Vec<u8>> {
    let (records, _claimed) = replayed(&world.pipeline(), head);
    records.into_iter().map(|record| record.payload).collect()
}

const ALL: [&[u8]; 3] = [b"on all", b"on one", b"as well"];

#[test]
fn what_one_leaf_has_is_acknowledged_and_found_beside_a_stale_one() {
    explore(0..40, |machine| {
        for stale in [0, 1] {
            for op in [OpKind::Write, OpKind::Flush] {
                let world = World::new(machine, &[2]);
                let head = stale_on(&world, stale, op);
                assert_eq!(payloads(&world, &head), ALL);
                // The claim has made the other leaf whole: it will do alone, but for the end.
                world.machine.run_until_idle();
                let pipeline = world.pipeline();
                world.disks[1 - stale].offline();
                let left = Claimed::claim_what_is_left(&pipeline, &head, 1, |_| Ok(())).unwrap();
                assert_eq!(left.replay(&pipeline).count(), 3);
            }
        }
    });
}

#[test]
fn a_flush_that_fails_where_the_only_copy_is_fails_the_commit() {
    let machine = Machine::new(4);
    let world = World::new(&machine, &[2]);
    let pipeline = Arc::new(world.pipeline());
    let (log, head) = begun(&pipeline);
    log.append(2, b"on all").unwrap();
    log.commit().unwrap();
    // One leaf does not take the block, the other one does not make it durable.
    let fail = |op| Fault::new(Effect::Fail(VdevErrorKind::Io)).on(op).always();
    world.disks[0].inject(fail(OpKind::Write).range(DATA_START_BYTES, 32 * MIB));
    world.disks[1].inject(fail(OpKind::Flush));
    log.append(3, b"on one").unwrap();
    let NotDurable { commit_txg, source } = log.commit().unwrap_err();
    assert_eq!((commit_txg, source.kind()), (3, ErrorKind::Io));
    world.power_cycle();
    world.disks.iter().for_each(|disk| disk.heal_all());
    let found = payloads(&world, &head);
    assert_eq!(found[..1], ALL[..1]);
    assert!(found.len() <= 2);
}

#[test]
fn without_the_leaf_that_has_the_rest_a_claim_fails_and_says_which() {
    for stale in [0, 1] {
        for kind in [VdevErrorKind::Gone, VdevErrorKind::Io] {
            let machine = Machine::new(2);
            let world = World::new(&machine, &[2]);
            let head = stale_on(&world, stale, OpKind::Write);
            let pipeline = world.pipeline();
            let away = &world.disks[1 - stale];
            let fault = away.inject(Fault::new(Effect::Fail(kind)).on(OpKind::Read).always());
            match Claimed::claim(&pipeline, &head, 1) {
                Err(ClaimError::Unreadable { sequence: 2, missing, .. }) => {
                    assert_eq!((missing.vdev, missing.leaf), (VdevId(0), Some(1 - stale)));
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(pipeline.allocated_bytes(), 0, "nothing stays claimed");

            // Whoever wants to, goes on without it, and is told what that means.
            let other = world.pipeline();
            let left = Claimed::claim_what_is_left(&other, &head, 1, |_| Ok(())).unwrap();
            assert_eq!(left.blocks().len(), 1);
            match left.end() {
                End::LeafMissing(missing, _) => assert_eq!(missing.leaf, Some(1 - stale)),
                end => panic!("{end:?}"),
            }

            away.heal(fault);
            let claimed = Claimed::claim(&pipeline, &head, 1).unwrap();
            assert!(matches!(claimed.end(), End::NotWritten(_)), "{:?}", claimed.end());
            let records = claimed.replay(&pipeline).map(|record| record.unwrap().payload);
            assert!(records.eq(ALL));
        }
    }
}

#[test]
fn without_a_stale_leaf_the_rest_is_found_and_the_end_is_not() {
    let machine = Machine::new(3);
    let world = World::new(&machine, &[2]);
    let head = stale_on(&world, 1, OpKind::Write);
    let pipeline = world.pipeline();
    world.disks[1].offline();
    // For all we know it has a fourth block.
    let failed = Claimed::claim(&pipeline, &head, 1).unwrap_err();
    assert!(matches!(failed, ClaimError::Unreadable { sequence: 4, .. }), "{failed}");
    let left = Claimed::claim_what_is_left(&pipeline, &head, 1, |_| Ok(())).unwrap();
    let records = left.replay(&pipeline).map(|record| record.unwrap().payload);
    assert!(records.eq(ALL));
}
