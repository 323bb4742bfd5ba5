//! Copies (B5), the defaults of metadata (spec 3.0), and who owns the data (C14).

use vdev_sim::{Effect, Fault, OpKind};
use zio_core::VdevErrorKind;
use zio_pipeline::{BlockPointer, Checksum, Compression, ErrorKind, Pipeline};

use crate::common::{Gated, MIB, Sim, compressible, noise};

#[test]
fn of_three_copies_any_one_will_do() {
    let data = compressible(1, 65_536);
    for alive in 0..3 {
        let sim = Sim::new(1, 3);
        let pipeline = sim.pipeline();
        let write = pipeline.write(&data).copies(3).compression(Compression::Lz4);
        let bp = write.wait().unwrap();
        for (number, disk) in sim.disks.iter().enumerate() {
            if number != alive {
                disk.offline();
            }
        }
        assert!(pipeline.read(&bp).repair(false).wait().unwrap() == data, "disk {alive}");
        sim.disks[alive].offline();
        pipeline.read(&bp).repair(false).wait().map(|data| data.len()).unwrap_err();
    }
}

#[test]
fn of_three_copies_on_one_disk_any_one_will_do() {
    let data = noise(1, 65_536);
    for alive in 0..3 {
        let sim = Sim::new(2, 1);
        let pipeline = sim.pipeline();
        let bp = pipeline.write(&data).copies(3).wait().unwrap();
        for copy in (0..3).filter(|copy| *copy != alive) {
            sim.corrupt(&bp, copy);
        }
        assert!(pipeline.read(&bp).every_copy().wait().unwrap() == data, "copy {alive}");
        // And the two others are as good again.
        sim.corrupt(&bp, alive);
        assert!(pipeline.read(&bp).wait().unwrap() == data);
    }
}

#[test]
fn every_copy_is_written_or_the_write_fails() {
    for broken in 0..3 {
        let sim = Sim::new(3, 3);
        let pipeline = sim.pipeline();
        let fault = Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Write).always();
        sim.disks[broken].inject(fault);
        let write = pipeline.write(noise(1, 8192)).copies(3);
        assert_eq!(write.wait().unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(pipeline.allocated_bytes(), 0);
    }
}

#[test]
fn metadata_has_a_copy_more_and_a_checksum_that_is_good_enough() {
    let sim = Sim::new(4, 3);
    let pipeline = sim.pipeline();
    let data = compressible(1, 65_536);
    for (copies, expected) in [(1, 2), (2, 3), (3, 3)] {
        for (checksum, good_enough) in [
            (Checksum::Off, Checksum::Fletcher4),
            (Checksum::Fletcher2, Checksum::Fletcher4),
            (Checksum::Blake3, Checksum::Blake3),
        ] {
            let write = pipeline.write(&data).copies(copies).dedup(true).checksum(checksum);
            let bp = write.metadata(1).wait().unwrap();
            assert_eq!((bp.copies(), bp.level(), bp.is_dedup()), (expected, 1, false));
            assert_eq!(bp.checksum_id(), good_enough.id());
            assert_eq!(bp.compression(), Compression::Lz4.id());
            assert!(pipeline.read(&bp).wait().unwrap() == data);
        }
    }
}

/// What is lent is copied when the write is made, what is given away cannot be touched.
#[test]
fn a_caller_that_goes_on_writing_does_not_change_the_block() {
    let disk = Gated::new(64 * MIB);
    let pipeline = Pipeline::builder().vdev(disk.clone()).build().unwrap();
    let mut lent = noise(1, 65_536);
    let made = pipeline.write(&lent);
    let started = pipeline.write(&lent).start().unwrap();
    let mut old = BlockPointer::hole(65_536, 19, 0, 1);
    let over = pipeline.write(&lent).over(&old);
    lent.fill(0xee);
    old.set_birth(9, 9);
    std::thread::scope(|scope| {
        let made = scope.spawn(|| made.wait().unwrap());
        disk.wait_for_write();
        lent.fill(0xff);
        disk.open();
        for bp in [made.join().unwrap(), started.wait().unwrap(), over.wait().unwrap()] {
            assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 65_536));
        }
    });
}
