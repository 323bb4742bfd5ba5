//! H5, H6: what one pointer's block does not give, another block of the same contents does; and
//! what very many share has extra copies.

use std::time::Duration;

use vdev_sim::{Effect, Fault, OpKind};
use zio_core::VdevErrorKind;
use zio_pipeline::inject::{DeviceAction, DeviceFault, Injections, ZioType};
use zio_pipeline::{BlockPointer, Checksum, Compression, ErrorKind, Pipeline, Write};

use crate::common::{MIB, Sim, compressible, noise};
use crate::dedup_verify::colliding;
use crate::gangs::Fragmented;

fn dedup(pipeline: &Pipeline, bytes: &[u8]) -> Write {
    pipeline.write(bytes).checksum(Checksum::Sha256).dedup(true)
}

/// The bytes at a copy's place.
fn on_disk(sim: &Sim, bp: &BlockPointer, copy: usize) -> Vec<u8> {
    let (disk, at) = sim.place(bp, copy);
    disk.peek(at, bp.psize_bytes() as usize)
}

#[test]
fn another_block_of_the_same_contents_gives_the_data_and_repairs() {
    for (own, other) in [(1, 2), (2, 1), (2, 3), (3, 1)] {
        for compression in [Compression::Off, Compression::Lz4] {
            let sim = Sim::new(1, 3);
            let pipeline = sim.pipeline();
            let bytes = compressible(1, 16_384);
            let write = |copies| dedup(&pipeline, &bytes).compression(compression).copies(copies);
            let bp = write(own).wait().unwrap();
            let twin = write(other).wait().unwrap();
            assert!(!bp.same_block(&twin));
            let good = on_disk(&sim, &bp, 0);
            (0..bp.copies()).for_each(|copy| sim.corrupt(&bp, copy));
            sim.take_log(OpKind::Write);
            assert!(pipeline.read(&bp).wait().unwrap() == bytes);

            // Every bad place is good again, and no other one was touched.
            let healed = pipeline.healed();
            assert_eq!(healed.copies, u64::from(own));
            assert_eq!((healed.bytes, healed.failed), (healed.copies * bp.psize_bytes(), 0));
            assert!((0..bp.copies()).all(|copy| on_disk(&sim, &bp, copy) == good));
            assert_eq!(sim.take_log(OpKind::Write).len(), usize::from(own));
            assert!(pipeline.read(&bp).wait().unwrap() == bytes);
            assert_eq!(pipeline.healed(), healed);

            // No reference has been kept.
            assert_eq!(pipeline.dedup_references(), 2);
            pipeline.free(&bp).wait().unwrap();
            pipeline.free(&twin).wait().unwrap();
            assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (0, 0));
        }
    }
}

/// Only what has failed is written: a place that answers as it should is never at risk.
#[test]
fn a_place_that_could_not_be_asked_is_left_alone() {
    let sim = Sim::new(2, 3);
    let pipeline = sim.pipeline();
    let bytes = noise(2, 8192);
    let bp = dedup(&pipeline, &bytes).copies(2).wait().unwrap();
    let twin = dedup(&pipeline, &bytes).copies(1).wait().unwrap();
    // One copy of two is bad: the other one heals it, and the twin is not even read.
    sim.corrupt(&bp, 0);
    let (twin_disk, twin_at) = sim.place(&twin, 0);
    sim.take_log(OpKind::Write);
    assert!(pipeline.read(&bp).every_copy().wait().unwrap() == bytes);
    assert_eq!(pipeline.healed().copies, 1);
    let (bad_disk, bad_at) = sim.place(&bp, 0);
    let writes = bad_disk.take_log().into_iter().filter(|entry| entry.op == OpKind::Write);
    assert!(writes.map(|entry| entry.offset_bytes).all(|at| at == bad_at));
    let twin_log = twin_disk.take_log();
    assert!(!twin_log.iter().any(|e| e.op == OpKind::Read && e.offset_bytes == twin_at));

    // A device that is gone has no bad copy: when it is back, it is as it was.
    sim.corrupt(&bp, 0);
    let (gone, _) = sim.place(&bp, 1);
    gone.offline();
    let (twin_disk, _) = sim.place(&twin, 0);
    if !std::ptr::eq(gone, twin_disk) {
        assert!(pipeline.read(&bp).wait().unwrap() == bytes);
        assert_eq!((pipeline.healed().copies, pipeline.healed().failed), (2, 0));
    }
    gone.online();
}

#[test]
fn without_another_block_the_error_is_told() {
    let sim = Sim::new(3, 2);
    let pipeline = sim.pipeline();
    let bytes = noise(3, 8192);
    let bp = dedup(&pipeline, &bytes).wait().unwrap();
    let twin = dedup(&pipeline, &bytes).copies(2).wait().unwrap();
    sim.corrupt(&bp, 0);
    (0..2).for_each(|copy| sim.corrupt(&twin, copy));
    for bp in [&bp, &twin] {
        assert_eq!(pipeline.read(bp).wait().unwrap_err().kind(), ErrorKind::Checksum);
    }
    assert_eq!(pipeline.healed().copies, 0);
    assert_eq!(pipeline.dedup_references(), 2);

    // A block that nobody shares, and a twin that was freed, are no help either.
    let alone = dedup(&pipeline, &noise(4, 8192)).wait().unwrap();
    let former = dedup(&pipeline, &noise(4, 8192)).copies(2).wait().unwrap();
    pipeline.free(&former).wait().unwrap();
    sim.corrupt(&alone, 0);
    assert_eq!(pipeline.read(&alone).wait().unwrap_err().kind(), ErrorKind::Checksum);
}

#[test]
fn a_read_that_must_not_repair_does_not() {
    let sim = Sim::new(4, 2);
    let pipeline = sim.pipeline();
    let bytes = noise(4, 8192);
    let bp = dedup(&pipeline, &bytes).wait().unwrap();
    dedup(&pipeline, &bytes).copies(2).wait().unwrap();
    sim.corrupt(&bp, 0);
    sim.take_log(OpKind::Write);
    assert!(pipeline.read(&bp).repair(false).wait().unwrap() == bytes);
    assert_eq!(sim.take_log(OpKind::Write).len(), 0);
    assert_eq!(pipeline.healed().copies, 0);

    // One that cannot repair has its data all the same.
    let (disk, at) = sim.place(&bp, 0);
    let broken = Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Write).range(at, 8192);
    disk.inject(broken.always());
    assert!(pipeline.read(&bp).wait().unwrap() == bytes);
    assert_eq!((pipeline.healed().copies, pipeline.healed().failed), (0, 1));
}

/// A pointer that the table does not know, or knows otherwise, gives nobody the right to write.
#[test]
fn what_is_not_the_tables_is_not_repaired() {
    let sim = Sim::new(5, 2);
    let pipeline = sim.pipeline();
    let bytes = noise(5, 8192);
    let bp = dedup(&pipeline, &bytes).wait().unwrap();
    dedup(&pipeline, &bytes).copies(2).wait().unwrap();
    pipeline.free(&bp).wait().unwrap();
    // Its space belongs to another block by now.
    let heir = pipeline.write(noise(6, 8192)).wait().unwrap();
    let mut stale = bp;
    stale.set_dva(0, heir.dva(0).unwrap());
    for stale in [bp, stale] {
        sim.corrupt(&stale, 0);
        let before = on_disk(&sim, &stale, 0);
        assert!(pipeline.read(&stale).wait().unwrap() == bytes);
        assert!(on_disk(&sim, &stale, 0) == before, "written over");
    }
    assert_eq!(pipeline.healed().copies, 0);
}

/// Equal weak checksums mean nothing: the blocks of other copies have never been compared.
#[test]
fn a_weak_checksum_leads_to_no_other_block() {
    let sim = Sim::new(6, 2);
    let pipeline = sim.pipeline();
    let write = |variant, copies| {
        let bytes = colliding(6, variant, 8192);
        pipeline.write(&bytes).checksum(Checksum::Fletcher2).dedup(true).copies(copies)
    };
    let bp = write(0, 1).wait().unwrap();
    let other = write(1, 2).wait().unwrap();
    assert_eq!(bp.checksum(), other.checksum());
    sim.corrupt(&bp, 0);
    assert_eq!(pipeline.read(&bp).wait().unwrap_err().kind(), ErrorKind::Checksum);
    assert!(pipeline.read(&other).wait().unwrap() == colliding(6, 1, 8192));
}

/// A gang can be the block that fails and the one that helps.
#[test]
fn gangs_help_and_are_helped() {
    let pool = Fragmented::new(7, 2, 9, 2048);
    let pipeline = pool.pipeline(9);
    let bytes = noise(7, 16_384);
    let gang = dedup(&pipeline, &bytes).wait().unwrap();
    pool.space.set_contiguous_bytes_max(MIB);
    let plain = dedup(&pipeline, &bytes).copies(2).wait().unwrap();
    assert!(gang.is_gang() && !plain.is_gang());
    (0..2).for_each(|copy| pool.sim.corrupt(&plain, copy));
    assert!(pipeline.read(&plain).wait().unwrap() == bytes);
    assert_eq!(pipeline.healed().copies, 2);

    pool.sim.corrupt_header(&gang);
    assert!(pipeline.read(&gang).wait().unwrap() == bytes);
    assert_eq!(pipeline.dedup_references(), 2);
}

const FIRST: usize = 100;
const SECOND: usize = 10_000;

/// H6: 99, 100, 9 999 and 10 000 references, and back.
#[test]
fn extra_copies_come_and_go_with_the_references() {
    let sim = Sim::new(8, 3);
    let pipeline = sim.builder().dedup_ditto(100).build().unwrap();
    let bytes = noise(8, 4096);
    let mut bps = Vec::new();
    let write_up_to = |bps: &mut Vec<BlockPointer>, count: usize| {
        while bps.len() < count {
            bps.push(dedup(&pipeline, &bytes).wait().unwrap());
        }
    };
    let space = || pipeline.allocated_bytes() / 4096;
    write_up_to(&mut bps, FIRST - 1);
    assert_eq!(space(), 1);
    write_up_to(&mut bps, FIRST);
    assert_eq!(space(), 2);
    write_up_to(&mut bps, SECOND - 1);
    assert_eq!(space(), 2);
    write_up_to(&mut bps, SECOND);
    assert_eq!(space(), 3);
    assert_eq!(pipeline.dedup_references(), SECOND as u64);
    assert!(bps.iter().all(|bp| bp.same_block(&bps[0]) && bp.copies() == 1));

    // With the last good place of the block gone, the extra copies give the data.
    sim.corrupt(&bps[0], 0);
    assert!(pipeline.read(&bps[0]).wait().unwrap() == bytes);
    assert_eq!(pipeline.healed().copies, 1);
    assert_eq!((pipeline.dedup_references(), space()), (SECOND as u64, 3));

    while bps.len() > FIRST {
        pipeline.free(&bps.pop().unwrap()).wait().unwrap();
        assert!(space() == 3, "given back too early");
    }
    pipeline.free(&bps.pop().unwrap()).wait().unwrap();
    assert_eq!(space(), 1);
    for bp in bps {
        pipeline.free(&bp).wait().unwrap();
    }
    assert_eq!((pipeline.dedup_references(), space()), (0, 0));
}

/// The place of this block gives wrong data, and all other reads take a second.
fn slow_reads(sim: &Sim, bp: &BlockPointer) -> Injections {
    let machine = sim.machine.clone();
    let faults =
        Injections::with_alarm(move |delay, ring| machine.after(delay.as_nanos() as u64, ring));
    let place = sim.place(bp, 0).1;
    let bad = DeviceFault::new(DeviceAction::Corrupt).on(ZioType::Read);
    faults.add(bad.range(place, 4096).always());
    let slow = DeviceFault::new(DeviceAction::Delay(Duration::from_secs(1))).on(ZioType::Read);
    faults.add(slow.always());
    faults
}

/// What helps a read is its own until it has been read, whoever frees it meanwhile.
#[test]
fn a_block_that_is_freed_while_it_helps_is_gone_afterwards() {
    // Where the block will be is known from a run without faults.
    let sim = Sim::new(11, 1);
    let probe = dedup(&sim.pipeline(), &noise(11, 4096)).wait().unwrap();
    let sim = Sim::new(11, 1);
    let faults = slow_reads(&sim, &probe);
    let pipeline = sim.builder().inject(&faults).build().unwrap();
    let bytes = noise(11, 4096);
    let bp = dedup(&pipeline, &bytes).wait().unwrap();
    assert_eq!(bp.dva(0), probe.dva(0));
    let twin = dedup(&pipeline, &bytes).copies(2).wait().unwrap();
    let space = || pipeline.allocated_bytes() / 4096;
    assert_eq!(space(), 3);
    let read = pipeline.read(&bp).start().unwrap();
    sim.machine.run_until(|| pipeline.dedup_references() > 2);
    pipeline.free(&twin).wait().unwrap();
    assert_eq!((space(), pipeline.dedup_references()), (3, 2), "it is being read");
    assert!(read.wait().unwrap() == bytes);
    assert_eq!((space(), pipeline.dedup_references()), (1, 1));
    pipeline.free(&bp).wait().unwrap();
    assert_eq!((space(), pipeline.dedup_references()), (0, 0));
}

#[test]
fn extra_copies_that_are_given_up_while_they_help_are_gone_afterwards() {
    let sim = Sim::new(12, 1);
    let probe = dedup(&sim.pipeline(), &noise(12, 4096)).wait().unwrap();
    let sim = Sim::new(12, 1);
    let faults = slow_reads(&sim, &probe);
    let pipeline = sim.builder().dedup_ditto(100).inject(&faults).build().unwrap();
    let bytes = noise(12, 4096);
    let mut bps: Vec<_> = (0..FIRST).map(|_| dedup(&pipeline, &bytes).wait().unwrap()).collect();
    let space = || pipeline.allocated_bytes() / 4096;
    assert_eq!((bps[0].dva(0), space()), (probe.dva(0), 2));
    let read = pipeline.read(&bps[0]).start().unwrap();
    // The block itself gives wrong data at once; then the extra copies are asked.
    sim.machine.run_for(500_000_000);
    let freed = 20;
    for bp in bps.drain(FIRST - freed..) {
        pipeline.free(&bp).wait().unwrap();
    }
    let during = space();
    assert!(read.wait().unwrap() == bytes);
    assert_eq!((during, space()), (2, 1));
    for bp in bps {
        pipeline.free(&bp).wait().unwrap();
    }
    assert_eq!((pipeline.dedup_references(), space()), (0, 0));
}

#[test]
fn extra_copies_are_off_unless_asked_for_and_nobodys_error() {
    let sim = Sim::new(9, 2);
    let bytes = noise(9, 4096);
    let pipeline = sim.pipeline();
    let bps: Vec<_> = (0..150).map(|_| dedup(&pipeline, &bytes).wait().unwrap()).collect();
    assert_eq!(pipeline.allocated_bytes(), 4096);
    drop((bps, pipeline));

    // All at once: the leader writes them for its twins. They fail once, and the next writer tries.
    let sim = Sim::new(10, 1);
    let pipeline = sim.builder().dedup_ditto(100).build().unwrap();
    let first = dedup(&pipeline, &bytes).wait().unwrap();
    let broken = Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Write).times(2);
    sim.disks[0].inject(broken);
    let writes: Vec<_> = (0..99).map(|_| dedup(&pipeline, &bytes).start().unwrap()).collect();
    let mut bps: Vec<_> = writes.into_iter().map(|write| write.wait().unwrap()).collect();
    assert_eq!(pipeline.allocated_bytes(), 4096);
    bps.push(dedup(&pipeline, &bytes).wait().unwrap());
    assert_eq!(pipeline.allocated_bytes(), 2 * 4096);
    for bp in bps.iter().chain([&first]) {
        pipeline.free(bp).wait().unwrap();
    }
    assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (0, 0));

    let writes: Vec<_> = (0..120).map(|_| dedup(&pipeline, &bytes).start().unwrap()).collect();
    let bps: Vec<_> = writes.into_iter().map(|write| write.wait().unwrap()).collect();
    assert_eq!(pipeline.allocated_bytes(), 2 * 4096);
    for bp in bps {
        pipeline.free(&bp).wait().unwrap();
    }
    assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (0, 0));
}
