//! Faults put before devices: by type, leaf, range and frequency (A18).

use vdev_sim::OpKind;
use zio_core::{Stages, ZioType};
use zio_pipeline::inject::{
    Action, DeviceAction, DeviceFault, Injections, StageFault, VdevErrorKind,
};
use zio_pipeline::{ErrorKind, EventKind, Pipeline, Priority, VdevId};

use crate::common::{Sim, noise, write};

const EIO: DeviceAction = DeviceAction::Fail(VdevErrorKind::Io);

fn mirror(sim: &Sim, faults: &Injections) -> Pipeline {
    sim.mirror().inject(faults).build().unwrap()
}

#[test]
fn only_those_that_fit_are_hit() {
    let sim = Sim::new(1, 2);
    let faults = Injections::new();
    let pipeline = mirror(&sim, &faults);
    let bp = write(&pipeline, 1);
    let (place, second) = (sim.place(&bp, 0).1, VdevId(0));
    let read_second = || pipeline.physical(second, 1).unwrap().read(place, 4096).wait();
    let fault = || DeviceFault::new(EIO).always();
    let fits = [
        fault(),
        fault().on(ZioType::Read),
        fault().leaf(second, 1),
        fault().range(place, 1),
        fault().range(place + 4095, 1),
        fault().range(0, u64::MAX),
    ];
    for fault in fits {
        let words = format!("{fault:?}");
        let number = faults.add(fault);
        assert!(read_second().is_err(), "{words}");
        assert!(faults.hits(number) > 0, "{words}");
        faults.clear();
        // A leaf that failed its probe as well is not taken for dead any more.
        pipeline.resume();
    }
    let others = [
        fault().on(ZioType::Write),
        fault().on(ZioType::Ioctl),
        fault().on(ZioType::Trim),
        fault().leaf(second, 0),
        fault().leaf(VdevId(1), 1),
        fault().range(place + 4096, 4096),
        fault().range(place - 1, 1),
        fault().times(0),
    ];
    for fault in others {
        let words = format!("{fault:?}");
        let number = faults.add(fault);
        assert!(read_second().unwrap() == noise(1, 4096), "{words}");
        assert_eq!(faults.hits(number), 0, "{words}");
        faults.clear();
    }
}

#[test]
fn each_third_after_the_second_three_times() {
    let sim = Sim::new(2, 1);
    let faults = Injections::new();
    let pipeline = sim.builder().inject(&faults).build().unwrap();
    let bp = write(&pipeline, 1);
    let place = sim.place(&bp, 0).1;
    let leaf = pipeline.physical(VdevId(0), 0).unwrap();
    let fault = DeviceFault::new(DeviceAction::Fail(VdevErrorKind::Invalid));
    let number = faults.add(fault.skip(2).every(3).times(3));
    let failed: Vec<_> = (0..20).filter(|_| leaf.read(place, 4096).wait().is_err()).collect();
    assert_eq!(failed, [2, 5, 8]);
    assert_eq!(faults.hits(number), 3);

    let stage = StageFault::new(Stages::VDEV_IO_START, Action::Fail(ErrorKind::Invalid));
    faults.add(stage.skip(2).every(3).times(3));
    let failed: Vec<_> = (0..20).filter(|_| leaf.read(place, 4096).wait().is_err()).collect();
    assert_eq!(failed, [2, 5, 8]);
}

#[test]
fn what_fails_or_is_ignored_never_reaches_the_device() {
    let sim = Sim::new(3, 1);
    let faults = Injections::new();
    let pipeline = sim.builder().inject(&faults).build().unwrap();
    sim.take_log(OpKind::Write);
    let written = |action| {
        faults.add(DeviceFault::new(action).on(ZioType::Write).always());
        let result = pipeline.write(noise(1, 4096)).wait();
        faults.clear();
        (result, sim.take_log(OpKind::Write).len())
    };
    let (result, ios) = written(EIO);
    assert_eq!((result.unwrap_err().kind(), ios), (ErrorKind::Io, 0));
    let (result, ios) = written(DeviceAction::Fail(VdevErrorKind::NoSpace));
    assert_eq!((result.unwrap_err().kind(), ios), (ErrorKind::NoSpace, 0));
    let (result, ios) = written(DeviceAction::Ignore);
    assert_eq!(ios, 0);
    // The device lies, and the next reader finds out.
    let bp = result.unwrap();
    assert_eq!(pipeline.read(&bp).wait().unwrap_err().kind(), ErrorKind::Checksum);

    faults.add(DeviceFault::new(EIO).on(ZioType::Ioctl).always());
    assert_eq!(pipeline.flush().wait().unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn a_leaf_that_gives_wrong_data_is_found_out_and_mended() {
    let sim = Sim::new(4, 2);
    let faults = Injections::new();
    let pipeline = mirror(&sim, &faults);
    let bp = write(&pipeline, 1);
    faults.add(DeviceFault::new(DeviceAction::Corrupt).on(ZioType::Read).leaf(VdevId(0), 1));
    // Each of them is read once, and one of the copies is bad.
    assert!(pipeline.read(&bp).every_copy().wait().unwrap() == noise(1, 4096));
    assert_eq!(pipeline.event_count(EventKind::Checksum).happened, 1);
    assert_eq!(pipeline.healed().copies, 1);
}

/// The labels are out of order, and the blocks are not.
#[test]
fn labels_can_be_made_unreadable() {
    let sim = Sim::new(5, 1);
    let faults = Injections::new();
    let pipeline = sim.builder().inject(&faults).build().unwrap();
    let bp = write(&pipeline, 1);
    let leaf = pipeline.physical(VdevId(0), 0).unwrap();
    faults.add(DeviceFault::new(EIO).range(0, zio_pipeline::DATA_START_BYTES).always());
    assert_eq!(leaf.read_labels(0, 8192).wait().unwrap_err().kind(), ErrorKind::Io);
    assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 4096));
}

#[test]
fn writes_are_ignored_from_a_group_on() {
    let sim = Sim::new(6, 1);
    let faults = Injections::new();
    let pipeline = sim.builder().inject(&faults).build().unwrap();
    let fault = StageFault::new(Stages::VDEV_IO_START, Action::Ignore).of_vdev(VdevId(0));
    faults.add(fault.on(ZioType::Write).since_txg(3).always());
    let blocks: Vec<_> = (1..5)
        .map(|seed| {
            let bp = write(&pipeline, seed);
            pipeline.end_txg();
            bp
        })
        .collect();
    for (bp, seed) in blocks.iter().zip(1..) {
        let read = pipeline.read(bp).wait();
        assert_eq!(bp.physical_birth(), seed);
        assert_eq!(read.is_ok(), seed < 3, "{seed}");
        assert!(read.is_err() || read.unwrap() == noise(seed, 4096));
    }
}

#[test]
fn only_one_class_is_hit() {
    let sim = Sim::new(7, 1);
    let faults = Injections::new();
    let pipeline = sim.builder().inject(&faults).build().unwrap();
    let bp = write(&pipeline, 1);
    let fault = StageFault::new(Stages::CHECKSUM_VERIFY, Action::Fail(ErrorKind::Io)).always();
    faults.add(fault.priority(Priority::Scrub));
    assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 4096));
    let scrub = pipeline.read(&bp).priority(Priority::Scrub).wait();
    assert_eq!(scrub.unwrap_err().kind(), ErrorKind::Io);
}
