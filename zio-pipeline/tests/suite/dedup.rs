//! H2, H4, and what a reopened pipeline is told about shared blocks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vdev_disk::Memory;
use vdev_sim::Rng;
use zio_pipeline::{BlockPointer, Checksum, Compression, ErrorKind, Pipeline, Write};

use crate::common::{Gated, MIB, compressible, noise, on_memory};

const WRITERS: usize = 64;

fn dedup(pipeline: &Pipeline, bytes: &[u8]) -> Write {
    pipeline.write(bytes).checksum(Checksum::Sha256).dedup(true)
}

fn gated() -> (Pipeline, Arc<Gated>) {
    let disk = Gated::new(32 * MIB);
    let pipeline = Pipeline::builder().vdev(Arc::clone(&disk) as Arc<_>).build().unwrap();
    (pipeline, disk)
}

/// Until so many zios are made and not finished.
fn wait_for_live(pipeline: &Pipeline, count: usize) {
    let begin = Instant::now();
    while pipeline.live() < count {
        assert!(begin.elapsed() < Duration::from_secs(60), "{} zios", pipeline.live());
        std::thread::yield_now();
    }
}

/// Many threads write one block while the gate is shut; `meanwhile` is run
/// once all have begun.
fn write_at_once(
    pipeline: &Pipeline,
    bytes: &[u8],
    meanwhile: impl FnOnce(),
) -> Vec<Result<BlockPointer, zio_pipeline::Error>> {
    std::thread::scope(|scope| {
        let write = || dedup(pipeline, bytes).wait();
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(write)).collect();
        // One zio a writer, the leader's DDT child, and that one's device child.
        wait_for_live(pipeline, WRITERS + 2);
        meanwhile();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    })
}

#[test]
fn twins_in_flight_are_written_once() {
    let (pipeline, disk) = gated();
    let bytes = noise(1, 8192);
    let results = write_at_once(&pipeline, &bytes, || {
        disk.wait_for_write();
        disk.open();
    });
    assert_eq!(disk.writes(), 1);
    let bps: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    assert!(bps.iter().all(|bp| bp.same_block(&bps[0]) && bp.is_dedup()));
    assert_eq!(pipeline.dedup_references(), WRITERS as u64);
    assert_eq!(pipeline.allocated_bytes(), 8192);
    for bp in &bps {
        assert!(pipeline.read(bp).wait().unwrap() == bytes);
        pipeline.free(bp).wait().unwrap();
    }
    assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (0, 0));
}

#[test]
fn a_leader_that_fails_fails_alone() {
    let (pipeline, disk) = gated();
    let bytes = noise(2, 8192);
    let results = write_at_once(&pipeline, &bytes, || {
        // Both tries of the first leader; then its twins look again.
        for _ in 0..2 {
            disk.wait_for_write();
            disk.fail();
        }
        disk.wait_for_write();
        disk.open();
    });
    let (good, bad): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((good.len(), bad.len()), (WRITERS - 1, 1));
    assert!(bad.iter().all(|result| result.as_ref().is_err_and(|e| e.kind() == ErrorKind::Io)));
    assert_eq!(disk.writes(), 3);
    assert_eq!(pipeline.dedup_references(), WRITERS as u64 - 1);
    assert_eq!(pipeline.allocated_bytes(), 8192);
    for bp in good.into_iter().map(Result::unwrap) {
        assert!(pipeline.read(&bp).wait().unwrap() == bytes);
        pipeline.free(&bp).wait().unwrap();
    }
    assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (0, 0));
}

#[test]
fn when_all_leaders_fail_all_writers_hear_of_it() {
    let (pipeline, disk) = gated();
    let results = write_at_once(&pipeline, &noise(3, 8192), || {
        for _ in 0..2 * WRITERS {
            disk.wait_for_write();
            disk.fail();
        }
    });
    assert!(results.iter().all(|r| r.as_ref().is_err_and(|e| e.kind() == ErrorKind::Io)));
    assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (0, 0));
    disk.open();
    dedup(&pipeline, &noise(3, 8192)).wait().unwrap();
}

/// H10: the table is locked by nobody who waits for a device.
#[test]
fn hits_do_not_wait_for_misses() {
    let (pipeline, disk) = gated();
    disk.open();
    let known: Vec<_> = (0..8).map(|seed| noise(seed, 8192)).collect();
    for bytes in &known {
        dedup(&pipeline, bytes).wait().unwrap();
    }
    disk.shut();
    let misses: Vec<_> =
        (100..164).map(|seed| dedup(&pipeline, &noise(seed, 8192)).start().unwrap()).collect();
    disk.wait_for_write();
    std::thread::scope(|scope| {
        for writer in 0..16 {
            let (pipeline, known) = (&pipeline, &known);
            scope.spawn(move || {
                for n in 0..50 {
                    let hit = dedup(pipeline, &known[(writer + n) % known.len()]);
                    pipeline.free(&hit.wait().unwrap()).wait().unwrap();
                }
            });
        }
    });
    assert!(misses.iter().all(|miss| !miss.is_finished()));
    disk.open();
    for miss in misses {
        miss.wait().unwrap();
    }
    assert_eq!(pipeline.dedup_references(), 8 + 64);
}

#[test]
fn equal_blocks_share_and_different_ones_do_not() {
    let pipeline = on_memory(64 * MIB);
    let bytes = compressible(4, 65536);
    let first = dedup(&pipeline, &bytes).wait().unwrap();
    let same = dedup(&pipeline, &bytes).wait().unwrap();
    assert!(same.same_block(&first));
    for other in [
        // Not one of these may share the first block.
        dedup(&pipeline, &noise(4, 65536)),
        dedup(&pipeline, &bytes).compression(Compression::Lz4),
        dedup(&pipeline, &bytes).copies(2),
        dedup(&pipeline, &bytes).checksum(Checksum::Blake3),
        pipeline.write(&bytes).checksum(Checksum::Sha256),
    ] {
        let other = other.wait().unwrap();
        assert_ne!(other.dva(0), first.dva(0));
    }
    // Shared, and born later: the pointer tells both births.
    pipeline.end_txg();
    let later = dedup(&pipeline, &bytes).wait().unwrap();
    assert_eq!((later.birth(), later.physical_birth()), (2, 1));
    assert!(pipeline.read(&later).wait().unwrap() == bytes);
}

#[test]
fn zeros_and_tiny_blocks_need_no_table() {
    let pipeline = on_memory(64 * MIB);
    let zeros = dedup(&pipeline, &[0; 8192]).compression(Compression::Lz4).wait().unwrap();
    assert!(zeros.is_hole() && !zeros.is_dedup());
    assert_eq!(pipeline.dedup_references(), 0);
    pipeline.free(&zeros).wait().unwrap();
}

#[test]
fn space_is_exact_through_any_history() {
    let disks: Vec<_> = (0..3).map(|_| Arc::new(Memory::new(32 * MIB, 512))).collect();
    let open = || {
        let vdevs = disks.iter().map(|disk| Arc::clone(disk) as Arc<_>);
        vdevs.fold(Pipeline::builder(), zio_pipeline::Builder::vdev).build().unwrap()
    };
    let mut rng = Rng::new(5);
    let mut pipeline = open();
    let mut live: Vec<(BlockPointer, u64)> = Vec::new();
    for step in 0..1500 {
        match rng.below(20) {
            0..=11 => {
                let seed = rng.below(12);
                let copies = 1 + rng.below(3) as u8;
                let bp = dedup(&pipeline, &noise(seed, 4096)).copies(copies).wait().unwrap();
                assert_eq!(bp.copies(), usize::from(copies));
                live.push((bp, seed));
            }
            12..=18 if !live.is_empty() => {
                let (bp, seed) = live.swap_remove(rng.index(live.len()));
                assert!(pipeline.read(&bp).wait().unwrap() == noise(seed, 4096));
                pipeline.free(&bp).wait().unwrap();
            }
            19 if step % 5 == 0 => {
                drop(pipeline);
                pipeline = open();
                for (bp, _) in &live {
                    let checked =
                        pipeline.check(&BlockPointer::from_bytes(&bp.to_bytes())).unwrap();
                    pipeline.claim(&checked).wait().unwrap();
                }
            }
            _ => _ = pipeline.end_txg(),
        }
        let blocks: BTreeMap<_, _> =
            live.iter().map(|(bp, _)| (bp.dva(0), bp.asize_bytes())).collect();
        assert_eq!(pipeline.allocated_bytes(), blocks.values().sum::<u64>());
        assert_eq!(pipeline.dedup_references(), live.len() as u64);
    }
    for (bp, _) in live {
        pipeline.free(&bp).wait().unwrap();
    }
    assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (0, 0));
}

#[test]
fn a_block_freed_once_too_often_is_an_error() {
    let pipeline = on_memory(32 * MIB);
    let bp = dedup(&pipeline, &noise(6, 8192)).wait().unwrap();
    pipeline.free(&bp).wait().unwrap();
    assert_eq!(pipeline.free(&bp).wait().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(pipeline.allocated_bytes(), 0);
}

#[test]
fn a_salted_block_needs_its_salt() {
    let disk = Arc::new(Memory::new(32 * MIB, 512));
    let open =
        |salt| Pipeline::builder().vdev(Arc::clone(&disk) as Arc<_>).salt(salt).build().unwrap();
    let bytes = noise(7, 8192);
    let pipeline = open([1; 32]);
    let salted = pipeline.write(&bytes).checksum(Checksum::Blake3).dedup(true).wait().unwrap();
    let plain = dedup(&pipeline, &bytes).wait().unwrap();
    drop(pipeline);

    let pipeline = open([2; 32]);
    for bp in [&salted, &plain] {
        pipeline.claim(bp).wait().unwrap();
    }
    assert_eq!(pipeline.read(&salted).wait().unwrap_err().kind(), ErrorKind::Checksum);
    assert!(pipeline.read(&plain).wait().unwrap() == bytes);
    let again = pipeline.write(&bytes).checksum(Checksum::Blake3).dedup(true).wait().unwrap();
    assert!(!again.same_block(&salted), "a block under another salt was shared");
    drop(pipeline);
    assert!(open([1; 32]).read(&salted).wait().unwrap() == bytes);
}

/// A write that shares a block and then fails, because of a child, gives its
/// reference back.
#[test]
fn a_write_that_fails_after_sharing_gives_its_reference_back() {
    let pipeline = on_memory(32 * MIB);
    let bytes = noise(1, 8192);
    let first = dedup(&pipeline, &bytes).wait().unwrap();
    for shared in [true, false] {
        let again = if shared { bytes.clone() } else { noise(2, 8192) };
        let write = dedup(&pipeline, &again);
        let parent = write.as_parent().unwrap();
        let full = pipeline.write(noise(4, 16 << 20)).copies(3).under(&parent);
        full.nowait(|result| drop(result.map(drop).unwrap_err()));
        assert_eq!(write.wait().unwrap_err().kind(), ErrorKind::NoSpace);
        assert_eq!(pipeline.dedup_references(), 1, "shared: {shared}");
        assert_eq!(pipeline.allocated_bytes(), 8192, "shared: {shared}");
    }
    pipeline.free(&first).wait().unwrap();
    assert_eq!(pipeline.allocated_bytes(), 0);
}
