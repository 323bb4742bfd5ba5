//! What is refused before it starts, by name; and what a client may look at.

use zio_core::VdevId;
use zio_pipeline::{
    BlockPointer, Builder, ClassReport, Deadman, DedupDiscrepancy, Error, ErrorKind, Mirror,
    Pipeline, TxgRanges,
};

use crate::common::{MIB, Sim, noise, on_memory, write};

#[test]
fn leaves_that_are_not_there() {
    let sim = Sim::new(1, 2);
    let pipeline = sim.mirror().build().unwrap();
    let none = TxgRanges::new();
    type Ask = fn(&Pipeline, VdevId, usize, &TxgRanges) -> Result<(), Error>;
    let asks: [Ask; 8] = [
        |pipeline, vdev, leaf, _| pipeline.missing(vdev, leaf).map(drop),
        |pipeline, vdev, leaf, _| pipeline.times_missed(vdev, leaf).map(drop),
        |pipeline, vdev, leaf, none| pipeline.set_missing(vdev, leaf, none),
        |pipeline, vdev, leaf, none| pipeline.resilvered(vdev, leaf, none),
        |pipeline, vdev, leaf, _| pipeline.is_dead(vdev, leaf).map(drop),
        |pipeline, vdev, leaf, _| pipeline.leaf_errors(vdev, leaf).map(drop),
        |pipeline, vdev, leaf, _| pipeline.physical(vdev, leaf).map(drop),
        |pipeline, vdev, leaf, _| pipeline.set_queue(vdev, leaf, vdev_queue::Config::seed()),
    ];
    for (number, ask) in asks.into_iter().enumerate() {
        ask(&pipeline, VdevId(0), 1, &none).unwrap();
        for (vdev, leaf) in [(0, 2), (1, 0), (u32::MAX, usize::MAX)] {
            let error = ask(&pipeline, VdevId(vdev), leaf, &none).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DeviceGone, "{number}: {error}");
        }
    }
}

#[test]
fn sizes_of_blocks_that_were_never_written() {
    let pipeline = on_memory(64 * MIB);
    let read = |len| pipeline.read(&BlockPointer::EMPTY).size_if_never_written(len).wait();
    assert!(read(16 << 20).unwrap().chunks().flatten().all(|byte| *byte == 0));
    for len in [0, (16 << 20) + 1] {
        assert_eq!(read(len).unwrap_err().kind(), ErrorKind::Invalid, "{len}");
    }
}

/// A pointer that claims to be shared under a checksum by which nothing is.
#[test]
fn a_recount_of_what_is_not_shared() {
    let pipeline = on_memory(64 * MIB);
    let checksum = zio_pipeline::Checksum::Sha256;
    let bp = pipeline.write(noise(1, 4096)).checksum(checksum).dedup(true).wait().unwrap();
    let mut forged = bp;
    let mut properties = forged.properties();
    properties.checksum = zio_pipeline::Checksum::Off.id();
    forged.set_properties(&properties);
    let recounted: Result<Vec<DedupDiscrepancy>, Error> = pipeline.dedup_recount([bp, forged]);
    assert_eq!(recounted.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(pipeline.dedup_recount([bp]).unwrap().is_empty(), "and none is left half done");
}

#[cfg(feature = "crypt")]
mod keys {
    use zio_pipeline::{DatasetKeys, ErrorKind, Suite};

    use crate::common::{Sim, noise};

    #[test]
    fn of_the_wrong_length() {
        for len in [0, 15, 31, 33] {
            assert!(DatasetKeys::new(Suite::Aes256Gcm, &vec![1; len]).is_err(), "{len}");
        }
        for len in [0, 63, 65] {
            let keys = DatasetKeys::new(Suite::Aes256Gcm, &[1; 32]).unwrap();
            assert!(keys.hmac(&vec![1; len]).is_err(), "{len}");
        }
    }

    #[test]
    fn without_the_one_for_what_stays_in_plain() {
        let sim = Sim::new(1, 1);
        let keys = || DatasetKeys::new(Suite::Aes256Gcm, &[1; 32]).unwrap();
        let pipeline = sim.builder().keys(keys()).build().unwrap();
        let directory = || pipeline.write(noise(1, 4096)).encrypt(true).object_type(1);
        let error = directory().wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Access, "{error}");
        assert_eq!(pipeline.allocated_bytes(), 0);
        // Nor can one be read that another pipeline wrote.
        let complete = sim.builder().keys(keys().hmac(&[2; 64]).unwrap()).build().unwrap();
        let write = complete.write(noise(1, 4096)).encrypt(true).object_type(1);
        let bp = write.wait().unwrap();
        assert!(complete.read(&bp).wait().unwrap() == noise(1, 4096));
        assert_eq!(pipeline.read(&bp).wait().unwrap_err().kind(), ErrorKind::Access);
    }

    #[test]
    fn metadata_that_is_encrypted_has_two_copies() {
        let sim = Sim::new(1, 3);
        let keys = DatasetKeys::new(Suite::Aes256Gcm, &[1; 32]).unwrap();
        let pipeline = sim.builder().keys(keys).build().unwrap();
        let write = || pipeline.write(noise(1, 4096)).copies(2);
        assert_eq!(write().encrypt(true).metadata(0).wait().unwrap().copies(), 2);
        assert_eq!(write().metadata(0).wait().unwrap().copies(), 3);
    }
}

#[test]
fn what_is_printed_says_what_it_is_and_no_contents() {
    let sim = Sim::new(1, 2);
    let pipeline = sim.mirror().build().unwrap();
    let bp = write(&pipeline, 1);
    let shown = [
        (format!("{:?}", Builder::default().ashift(13)), "13"),
        (format!("{:?}", Mirror::new().create("/nowhere", MIB).file("/nowhere")), "2"),
        (format!("{pipeline:?}"), "Leaf"),
        (format!("{:?}", pipeline.read(&bp)), "Read"),
        (format!("{:?}", pipeline.read(&bp).start().unwrap()), ""),
        (format!("{:?}", Deadman::default()), "300s"),
    ];
    for (shown, part) in shown {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

#[test]
fn all_classes_together() {
    let sim = Sim::new(1, 1);
    let pipeline = sim.pipeline();
    let bp = write(&pipeline, 1);
    pipeline.read(&bp).wait().unwrap();
    let leaf = pipeline.stats().leaves.remove(0);
    let all: ClassReport = leaf.all_classes();
    let each: u64 = leaf.classes.iter().map(|(_, class)| class.counts.completed_total).sum();
    assert_eq!(all.counts.completed_total, each);
    assert!(each >= 2);
}
