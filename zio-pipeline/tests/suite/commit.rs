//! Blocks that are written ahead of their transaction group's sync, and committed in it (C13).

use vdev_sim::OpKind;
use zio_pipeline::{BlockPointer, Checksum, Compression, ErrorKind, Pipeline, Write};

use crate::common::{Sim, compressible, noise};

fn lz4(pipeline: &Pipeline, data: &[u8]) -> Write {
    pipeline.write(data).checksum(Checksum::Sha256).compression(Compression::Lz4)
}

fn checked(pipeline: &Pipeline, bp: &BlockPointer) -> BlockPointer {
    pipeline.check(&BlockPointer::from_bytes(&bp.to_bytes())).unwrap()
}

#[test]
fn a_commit_writes_nothing_and_allocates_nothing() {
    let sim = Sim::new(1, 2);
    let pipeline = sim.pipeline();
    for data in [compressible(1, 65_536), noise(2, 8192), vec![5; 8192], vec![0; 8192]] {
        let written = lz4(&pipeline, &data).copies(2).wait().unwrap();
        let held = pipeline.allocated_bytes();
        let device_writes = sim.take_log(OpKind::Write).len();
        assert_eq!(device_writes, written.copies());
        let commit = lz4(&pipeline, &data).copies(2).already_written(&written);
        let same = commit.wait().unwrap();
        assert_eq!(same, written);
        // In a later group it is new to those who look for what has changed since.
        let txg = pipeline.end_txg() + 1;
        let commit = lz4(&pipeline, &data).copies(2).already_written(&written);
        let later = checked(&pipeline, &commit.wait().unwrap());
        assert_eq!((later.birth(), later.lsize_bytes()), (txg, written.lsize_bytes()));
        assert!(later.dvas().eq(written.dvas()));
        assert!(written.copies() == 0 || later.physical_birth() == written.birth());
        assert!(pipeline.read(&later).wait().unwrap() == data);
        assert!(sim.take_log(OpKind::Write).is_empty());
        assert_eq!(pipeline.allocated_bytes(), held);
        pipeline.free(&later).wait().unwrap();
        assert_eq!(pipeline.allocated_bytes(), 0);
    }
    let nothing = pipeline.write([0; 512].as_slice()).already_written(&BlockPointer::EMPTY);
    assert_eq!(nothing.wait().unwrap(), BlockPointer::EMPTY);
}

#[test]
fn a_crash_before_the_commit_leaks_nothing() {
    let sim = Sim::new(2, 1);
    let (live, lost) = {
        let pipeline = sim.pipeline();
        let live = lz4(&pipeline, &compressible(1, 65_536)).wait().unwrap();
        let lost = lz4(&pipeline, &compressible(2, 65_536)).wait().unwrap();
        pipeline.flush().wait().unwrap();
        (live, lost)
    };
    sim.machine.power_cut();
    sim.disks[0].online();
    let pipeline = sim.pipeline();
    pipeline.claim(&checked(&pipeline, &live)).wait().unwrap();
    assert_eq!(pipeline.allocated_bytes(), live.asize_bytes());
    // Unless its pointer was kept elsewhere, in a log: then it is claimed, and committed later.
    let found = checked(&pipeline, &lost);
    pipeline.claim(&found).wait().unwrap();
    let commit = lz4(&pipeline, &compressible(2, 65_536)).already_written(&found);
    let committed = commit.wait().unwrap();
    assert!(committed.birth() > found.birth());
    assert!(pipeline.read(&committed).wait().unwrap() == compressible(2, 65_536));
    assert_eq!(pipeline.allocated_bytes(), live.asize_bytes() + found.asize_bytes());
}

#[test]
fn what_was_kept_from_before_stays_as_old_as_it_is() {
    let sim = Sim::new(3, 1);
    let pipeline = sim.pipeline();
    let data = compressible(1, 65_536);
    let old = lz4(&pipeline, &data).wait().unwrap();
    pipeline.end_txg();
    let ahead = lz4(&pipeline, &data).over(&old).wait().unwrap();
    assert_eq!(ahead, old);
    pipeline.end_txg();
    let committed = lz4(&pipeline, &data).over(&old).already_written(&ahead).wait().unwrap();
    assert_eq!(committed, old);
    // Another block replaces it.
    let ahead = lz4(&pipeline, &compressible(2, 65_536)).over(&old).wait().unwrap();
    let commit = lz4(&pipeline, &compressible(2, 65_536)).over(&old).already_written(&ahead);
    let committed = commit.wait().unwrap();
    assert!(committed == ahead && old.is_replaced_by(&committed));
}

/// The table learns of a block by writing it.
#[test]
fn what_is_to_be_shared_is_written_through_the_table() {
    let sim = Sim::new(4, 1);
    let pipeline = sim.pipeline();
    let data = compressible(1, 65_536);
    let ahead = lz4(&pipeline, &data).wait().unwrap();
    let commit = lz4(&pipeline, &data).dedup(true).already_written(&ahead);
    let shared = commit.wait().unwrap();
    assert!(shared.is_dedup() && ahead.is_replaced_by(&shared));
    assert_eq!(pipeline.dedup_references(), 1);
    pipeline.free(&ahead).wait().unwrap();
    assert!(pipeline.read(&shared).wait().unwrap() == data);
    // One that is has its reference already.
    let again = lz4(&pipeline, &data).dedup(true).already_written(&shared).wait().unwrap();
    assert!(again == shared && pipeline.dedup_references() == 1);
    pipeline.free(&again).wait().unwrap();
    assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (0, 0));
}

#[test]
fn another_block_is_refused() {
    let sim = Sim::new(5, 1);
    let pipeline = sim.builder().txg(5).build().unwrap();
    let written = pipeline.write(noise(1, 8192)).wait().unwrap();
    let hole = BlockPointer::hole(8192, 19, 0, 6);
    let mut moved = written;
    moved.set_birth(5, 6);
    let refused = [
        pipeline.write(noise(1, 4096)).already_written(&written),
        pipeline.write(noise(1, 8192)).already_written(&written).txg(4),
        pipeline.write(noise(1, 8192)).already_written(&hole),
        pipeline.write(noise(1, 8192)).already_written(&moved),
    ];
    for commit in refused {
        assert_eq!(commit.wait().unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(pipeline.allocated_bytes(), 8192);
}
