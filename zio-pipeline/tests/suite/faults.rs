//! Devices that fail, and what the caller is told (A11, B5, C6, C8).

use std::error::Error as _;
use std::sync::Arc;

use checksum::Mismatch;
use vdev_disk::Memory;
use vdev_sim::{DiskConfig, Effect, Fault, OpKind};
use zio_core::{VdevError, VdevErrorKind};
use zio_pipeline::{BlockPointer, Checksum, Compression, ErrorKind, Pipeline, Priority, VdevId};

use crate::common::{MIB, Sim, compressible, noise};

fn fail(kind: VdevErrorKind, op: OpKind) -> Fault {
    Fault::new(Effect::Fail(kind)).on(op)
}

fn write(pipeline: &Pipeline, seed: u64) -> BlockPointer {
    pipeline.write(noise(seed, 8192)).wait().unwrap()
}

#[test]
fn a_read_is_tried_twice() {
    let sim = Sim::new(1, 1);
    let pipeline = sim.pipeline();
    let bp = write(&pipeline, 1);
    let (disk, at) = sim.place(&bp, 0);
    let fault = disk.inject(fail(VdevErrorKind::Io, OpKind::Read).range(at + 512, 512));
    sim.take_log(OpKind::Read);
    assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 8192));
    assert_eq!(disk.fired(fault), 1);
    let log = sim.take_log(OpKind::Read);
    assert_eq!(log.len(), 2);
    assert!(log.iter().all(|entry| (entry.offset_bytes, entry.len_bytes) == (at, 8192)));

    disk.inject(fail(VdevErrorKind::Io, OpKind::Read).range(at, 512).times(2));
    let error = pipeline.read(&bp).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(sim.take_log(OpKind::Read).len(), 2);
    assert!(error.source().is_some_and(|cause| cause.is::<VdevError>()), "{error}");
}

#[test]
fn the_second_try_of_merged_reads_is_not_merged() {
    let sim = Sim::with(2, 1, DiskConfig::hdd(64 * MIB));
    let pipeline = sim.builder().queue(vdev_queue::Config::seed()).build().unwrap();
    let blocks: Vec<_> = (0..16).map(|seed| write(&pipeline, seed)).collect();
    let bad = 9;
    let (disk, at) = sim.place(&blocks[bad], 0);
    disk.inject(fail(VdevErrorKind::Io, OpKind::Read).range(at, 8192).times(2));
    sim.take_log(OpKind::Read);

    disk.hold();
    let reads: Vec<_> = blocks
        .iter()
        .map(|bp| pipeline.read(bp).priority(Priority::AsyncRead).start().unwrap())
        .collect();
    disk.release();
    for (number, read) in reads.into_iter().enumerate() {
        match read.wait() {
            Ok(data) => assert!(number != bad && data == noise(number as u64, 8192)),
            Err(error) => {
                assert_eq!((number, error.kind()), (bad, ErrorKind::Io));
                assert_eq!(error.place().vdev, Some(VdevId(0)));
            }
        }
    }
    let log = sim.take_log(OpKind::Read);
    let merged = log.iter().find(|entry| entry.answer.is_some_and(|a| a.result.is_err())).unwrap();
    assert!(merged.pieces > 1, "nothing was merged: {merged:?}");
    let alone: Vec<_> = log.iter().filter(|e| e.start_ns > merged.start_ns).collect();
    let members = u64::from(merged.pieces);
    let tried_again = alone.iter().filter(|e| {
        e.pieces == 1
            && e.offset_bytes >= merged.offset_bytes
            && e.offset_bytes < merged.offset_bytes + merged.len_bytes
    });
    assert_eq!(tried_again.count() as u64, members);
}

#[test]
fn any_good_copy_will_do() {
    for good in 0..3 {
        let sim = Sim::new(3, 3);
        let pipeline = sim.pipeline();
        let bytes = compressible(7, 65536);
        let write = pipeline.write(&bytes).copies(3).compression(Compression::Lz4);
        let bp = write.wait().unwrap();
        (0..3).filter(|copy| *copy != good).for_each(|copy| sim.corrupt(&bp, copy));
        assert!(pipeline.read(&bp).wait().unwrap() == bytes);
        // The same with devices that are gone.
        let (kept, _) = sim.place(&bp, good);
        for disk in &sim.disks {
            if !std::ptr::eq(Arc::as_ptr(disk), kept) {
                disk.offline();
            }
        }
        assert!(pipeline.read(&bp).wait().unwrap() == bytes);
    }
}

#[test]
fn a_block_without_a_good_copy_is_an_error_that_says_where_and_what() {
    let sim = Sim::new(4, 2);
    let pipeline = sim.pipeline();
    for (checksum, compression) in
        [(Checksum::Fletcher4, Compression::Off), (Checksum::Blake3, Compression::Lz4)]
    {
        let write = pipeline.write(compressible(8, 16384)).checksum(checksum);
        let bp = write.compression(compression).copies(2).wait().unwrap();
        (0..2).for_each(|copy| sim.corrupt(&bp, copy));
        let completions = pipeline.completions();
        pipeline.read(&bp).send_to(&completions, 0).unwrap();
        let (_, finished) = completions.next().unwrap();
        let error = finished.result().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Checksum);
        assert!(finished.get().data.is_empty(), "bad data was given out");
        let place = error.place();
        let named = bp.dvas().find(|dva| Some(dva.vdev()) == place.vdev).unwrap();
        assert_eq!(place.offset_bytes, Some(named.offset_bytes()));
        assert_eq!(place.len_bytes, Some(bp.psize_bytes()));
        let cause = error.source().and_then(|cause| cause.downcast_ref::<Mismatch>()).unwrap();
        assert_eq!(cause.expected.0, bp.checksum());
        assert_ne!(cause.actual, cause.expected);
        let words = error.to_string();
        assert!(words.contains(&cause.expected.to_string()), "{words}");
        assert!(words.contains(&cause.actual.to_string()), "{words}");
    }
}

#[test]
fn rot_on_the_way_is_read_again() {
    let sim = Sim::new(5, 1);
    let pipeline = sim.pipeline();
    let bp = write(&pipeline, 5);
    sim.disks[0].inject(Fault::new(Effect::Rot { bits: 1 }).on(OpKind::Read));
    assert!(pipeline.read(&bp).wait().unwrap() == noise(5, 8192));
    sim.disks[0].inject(Fault::new(Effect::Misdirect { other_bytes: Some(0) }).on(OpKind::Read));
    assert!(pipeline.read(&bp).wait().unwrap() == noise(5, 8192));
    sim.disks[0].inject(Fault::new(Effect::Short).on(OpKind::Read));
    assert!(pipeline.read(&bp).wait().unwrap() == noise(5, 8192));
}

#[test]
fn a_failed_write_gives_its_space_back() {
    let sim = Sim::new(6, 2);
    let pipeline = sim.pipeline();
    let kept = write(&pipeline, 1);
    let before = pipeline.free_bytes();
    let broken = fail(VdevErrorKind::Io, OpKind::Write).always();
    // One of the two copies is enough to fail: a block has all its copies or is not written.
    let fault = sim.disks[1].inject(broken);
    for write in [
        pipeline.write(noise(2, 8192)).copies(2),
        pipeline.write(compressible(2, 65536)).copies(2).compression(Compression::Lz4),
        pipeline.write(noise(3, 8192)).copies(2).checksum(Checksum::Sha256).dedup(true),
    ] {
        let error = write.wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert_eq!(error.place().vdev, Some(VdevId(1)));
        assert_eq!(pipeline.free_bytes(), before);
    }
    assert_eq!(pipeline.dedup_references(), 0);
    sim.disks[1].heal(fault);
    let dedup = pipeline.write(noise(3, 8192)).checksum(Checksum::Sha256).dedup(true);
    let bp = dedup.wait().unwrap();
    assert!(pipeline.read(&bp).wait().unwrap() == noise(3, 8192));
    assert!(pipeline.read(&kept).wait().unwrap() == noise(1, 8192));
}

#[test]
fn a_write_is_tried_twice() {
    let sim = Sim::new(7, 1);
    let pipeline = sim.pipeline();
    sim.disks[0].inject(Fault::new(Effect::Torn { acknowledged: false }).on(OpKind::Write));
    let bp = write(&pipeline, 7);
    assert!(pipeline.read(&bp).wait().unwrap() == noise(7, 8192));
    assert_eq!(sim.take_log(OpKind::Write).len(), 2);
}

#[test]
fn a_read_only_device_refuses_writes_by_name() {
    let disk = Arc::new(Memory::new(64 * MIB, 512).read_only());
    let pipeline = Pipeline::builder().vdev(disk).build().unwrap();
    let error = pipeline.write(noise(1, 8192)).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Access, "{error}");
    assert_eq!(pipeline.allocated_bytes(), 0);
    pipeline.flush().wait().unwrap();
}

#[test]
fn a_failed_flush_reaches_the_caller() {
    let sim = Sim::new(9, 3);
    let pipeline = sim.pipeline();
    write(&pipeline, 1);
    sim.disks[1].inject(fail(VdevErrorKind::Io, OpKind::Flush));
    let error = pipeline.flush().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(error.place().vdev, Some(VdevId(1)));
    // Every device was asked, none twice: a failed flush is not tried again behind the caller's back.
    assert_eq!(sim.take_log(OpKind::Flush).len(), 3);
    // A group that it belongs to fails as well.
    sim.disks[2].inject(fail(VdevErrorKind::Io, OpKind::Flush));
    let group = pipeline.root();
    pipeline.flush().under(group.parent()).nowait(|result| assert!(result.is_err()));
    assert_eq!(group.wait().unwrap_err().kind(), ErrorKind::Io);
    pipeline.flush().wait().unwrap();
}

#[test]
fn a_device_without_a_cache_is_asked_to_flush_once() {
    let sim = Sim::new(10, 2);
    let pipeline = sim.pipeline();
    sim.disks[0].inject(fail(VdevErrorKind::Unsupported, OpKind::Flush).always());
    for _ in 0..3 {
        pipeline.flush().wait().unwrap();
    }
    assert_eq!(sim.disks[0].counters().flushes, 1);
    assert_eq!(sim.disks[1].counters().flushes, 3);
    // The other one still counts.
    sim.disks[1].inject(fail(VdevErrorKind::Io, OpKind::Flush));
    pipeline.flush().wait().unwrap_err();
}

#[test]
fn a_device_that_is_gone_says_so_and_may_come_back() {
    let sim = Sim::new(11, 1);
    let pipeline = sim.pipeline();
    let bp = write(&pipeline, 1);
    sim.disks[0].offline();
    assert_eq!(pipeline.read(&bp).wait().unwrap_err().kind(), ErrorKind::DeviceGone);
    let error = pipeline.write(noise(2, 8192)).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeviceGone);
    assert_eq!(pipeline.flush().wait().unwrap_err().kind(), ErrorKind::DeviceGone);
    let error = pipeline.trim(VdevId(0), 16 * MIB, MIB).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeviceGone);
    assert_eq!(pipeline.allocated_bytes(), 8192);
    sim.disks[0].online();
    assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 8192));
    write(&pipeline, 3);
}

#[test]
fn a_device_that_vanishes_under_load_leaves_nothing_hanging() {
    for seed in 0..20 {
        let sim = Sim::with(seed, 2, DiskConfig::nvme(64 * MIB));
        let pipeline = sim.pipeline();
        let blocks: Vec<_> = (0..32).map(|number| write(&pipeline, number)).collect();
        let before = pipeline.allocated_bytes();
        let completions = pipeline.completions();
        for (number, bp) in blocks.iter().enumerate() {
            pipeline.read(bp).send_to(&completions, number as u64).unwrap();
            let write = pipeline.write(noise(number as u64, 8192)).copies(2);
            write.send_to(&completions, 1000).unwrap();
        }
        pipeline.flush().send_to(&completions, 2000).unwrap();
        sim.machine.run_for(20_000 + seed * 2000);
        sim.disks[0].offline();
        let mut written_bytes = 0;
        while let Some((tag, mut finished)) = completions.next() {
            match finished.result() {
                Ok(()) if tag < 1000 => assert!(finished.take_data() == noise(tag, 8192)),
                Ok(()) => written_bytes += finished.get().bp.asize_bytes(),
                Err(error) => assert_eq!(error.kind(), ErrorKind::DeviceGone),
            }
        }
        assert_eq!(pipeline.live(), 0);
        assert_eq!(pipeline.allocated_bytes(), before + written_bytes);
    }
}

#[test]
fn a_trim_that_fails_leaves_the_space_usable() {
    let sim = Sim::new(12, 1);
    let pipeline = sim.pipeline();
    sim.disks[0].inject(fail(VdevErrorKind::Unsupported, OpKind::Trim));
    let error = pipeline.trim(VdevId(0), 0, MIB).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(pipeline.allocated_bytes(), 0);
    pipeline.trim(VdevId(0), 0, MIB).wait().unwrap();
}
