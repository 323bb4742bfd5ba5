//! Raw ranges of a leaf: label blocks are bound to their place, and neither
//! labels nor data can be reached by the other's calls (C8, G4).

use std::sync::Arc;

use vdev_sim::{DiskConfig, Effect, Fault, OpKind};
use zio_core::{Vdev, VdevErrorKind};
use zio_pipeline::{DATA_START_BYTES, ErrorKind, Mirror, Physical, Pipeline, VdevId};

use crate::common::{MIB, Sim, noise, on_memory};

const KIB: u64 = 1024;
const SIZE: u64 = 32 * MIB;

fn refused(result: Result<impl Sized, zio_pipeline::Error>) {
    assert_eq!(result.err().unwrap().kind(), ErrorKind::Invalid);
}

fn device(pipeline: &Pipeline) -> Physical<'_> {
    pipeline.physical(VdevId(0), 0).unwrap()
}

#[test]
fn a_label_block_verifies_in_its_place_only() {
    let pipeline = on_memory(SIZE);
    let device = device(&pipeline);
    let mut content = noise(1, 8192);
    for offset in [0, 128 * KIB, 256 * KIB, SIZE - 512 * KIB, SIZE - 8 * KIB] {
        device.write_label_block(offset, &content).wait().unwrap();
        let read = device.read_label_block(offset, 8192).wait().unwrap().to_vec();
        // All but the trailer is the caller's, and the caller's own bytes are untouched.
        assert!(read[..8152] == content[..8152]);
        assert!(content == noise(1, 8192));

        let elsewhere = offset ^ (16 * KIB);
        device.write_labels(elsewhere, &read).wait().unwrap();
        let error = device.read_label_block(elsewhere, 8192).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Checksum, "{error}");
        assert_eq!(error.place().offset_bytes, Some(elsewhere));
        assert!(device.read_labels(elsewhere, 8192).wait().unwrap() == read);
        // Nor does part of it.
        let part = device.read_label_block(offset, 4096).wait().unwrap_err();
        assert_eq!(part.kind(), ErrorKind::Checksum);
    }
    content.truncate(512);
    device.write_label_block(0, &content).wait().unwrap();
    device.read_label_block(0, 512).wait().unwrap();
    assert_eq!((pipeline.live(), pipeline.allocated_bytes()), (0, 0));
}

#[test]
fn labels_and_data_are_kept_apart() {
    let sim = Sim::with(1, 1, DiskConfig::fixed(SIZE, 1000));
    let pipeline = sim.pipeline();
    let device = device(&pipeline);
    let end = SIZE - 512 * KIB;
    for (offset, len) in [
        (0, 0),
        (0, 511),
        (1, 512),
        (DATA_START_BYTES - 512, 1024),
        (end - 512, 1024),
        (SIZE - 512, 1024),
        (SIZE, 512),
        (u64::MAX - 511, 512),
    ] {
        refused(device.read(offset, len).wait());
        refused(device.read_labels(offset, len).wait());
        refused(device.read_label_block(offset, len).wait());
        refused(device.write(offset, noise(1, len)).wait());
        refused(device.write_labels(offset, noise(1, len)).wait());
        refused(device.write_label_block(offset, noise(1, len)).wait());
    }
    for offset in [DATA_START_BYTES, end - 512] {
        refused(device.read_labels(offset, 512).wait());
        refused(device.write_label_block(offset, noise(1, 512)).wait());
        device.write(offset, noise(2, 512)).wait().unwrap();
        assert!(device.read(offset, 512).wait().unwrap() == noise(2, 512));
    }
    for offset in [0, DATA_START_BYTES - 512, end, SIZE - 512] {
        refused(device.read(offset, 512).wait());
        refused(device.write(offset, noise(1, 512)).wait());
        device.write_labels(offset, noise(3, 512)).wait().unwrap();
        assert!(device.read_labels(offset, 512).wait().unwrap() == noise(3, 512));
    }
    assert!(pipeline.physical(VdevId(0), 1).is_err() && pipeline.physical(VdevId(1), 0).is_err());
    // What was written landed where it was said to, and nowhere else.
    let writes = sim.take_log(OpKind::Write);
    assert_eq!(writes.len(), 6);
    assert!(writes.iter().all(|entry| entry.len_bytes == 512));
}

#[test]
fn a_sector_is_the_least() {
    let large = DiskConfig::fixed(SIZE, 1000);
    let config = DiskConfig { sector_bytes: 4096, physical_bytes: 4096, ..large };
    let sim = Sim::with(2, 1, config);
    let pipeline = sim.pipeline();
    let device = device(&pipeline);
    refused(device.read_labels(0, 512).wait());
    refused(device.read_labels(512, 4096).wait());
    device.write_label_block(4096, noise(1, 4096)).wait().unwrap();
    device.read_label_block(4096, 4096).wait().unwrap();
}

#[test]
fn each_leaf_of_a_mirror_has_labels_of_its_own() {
    let sim = Sim::new(3, 2);
    let sides =
        sim.disks.iter().fold(Mirror::new(), |m, disk| m.vdev(Arc::clone(disk) as Arc<dyn Vdev>));
    let machine = sim.machine.clone();
    let builder = Pipeline::builder().task_queue(sim.machine.queue());
    let pipeline = builder.clock(move || machine.now_ns()).mirror(sides).build().unwrap();
    for leaf in 0..2 {
        let device = pipeline.physical(VdevId(0), leaf).unwrap();
        device.write_label_block(0, noise(leaf as u64, 4096)).wait().unwrap();
    }
    for leaf in 0..2 {
        let device = pipeline.physical(VdevId(0), leaf).unwrap();
        let read = device.read_label_block(0, 4096).wait().unwrap().to_vec();
        assert!(read[..4000] == noise(leaf as u64, 4096)[..4000]);
    }
    // An error says which.
    sim.disks[1].inject(Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Read));
    let error = pipeline.physical(VdevId(0), 1).unwrap().read_labels(0, 512).wait().unwrap_err();
    assert_eq!((error.kind(), error.place().leaf), (ErrorKind::Io, Some(1)));
}
