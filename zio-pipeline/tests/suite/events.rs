//! What goes wrong is told and counted (A19, C15).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use vdev_sim::{Effect, Fault, OpKind};
use zio_core::VdevErrorKind;
use zio_pipeline::{
    Bookmark, Builder, Checksum, Damage, EVENTS_PER_SECOND_MAX, ErrorKind, Event, EventKind,
    FailMode, VdevId,
};

use crate::common::{Sim, noise};

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Event>>>);

impl Heard {
    fn listen(&self, builder: Builder) -> Builder {
        let heard = self.clone();
        builder.on_event(move |event| heard.0.lock().push(event.clone()))
    }

    fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock())
    }

    fn kinds(&self) -> Vec<EventKind> {
        self.take().iter().map(Event::kind).collect()
    }
}

#[test]
fn a_report_says_which_bits_are_wrong() {
    let sim = Sim::new(1, 2);
    let heard = Heard::default();
    let pipeline = heard.listen(sim.builder()).build().unwrap();
    let bookmark = Bookmark { objset: 3, object: 7, level: 0, block: 11 };
    let data = noise(1, 8192);
    let write = pipeline.write(&data).copies(2).checksum(Checksum::Sha256);
    let bp = write.wait().unwrap();
    let (disk, at) = sim.place(&bp, 0);
    // Two bits of one byte the one way, one bit of a byte further on the other.
    let mut bad = data.clone();
    let (low, high) = (100, 5000);
    bad[low] = 0b0000_0101;
    bad[high] = 0;
    let mut good = data.clone();
    (good[low], good[high]) = (0, 0b0001_0000);
    let bp = pipeline.write(&good).copies(2).checksum(Checksum::Sha256).wait().unwrap();
    let (disk_of_good, at_of_good) = sim.place(&bp, 0);
    assert!(!std::ptr::eq(disk, disk_of_good) || at != at_of_good);
    disk_of_good.poke(at_of_good, &bad);

    assert!(pipeline.read(&bp).bookmark(bookmark).wait().unwrap() == good);
    let events = heard.take();
    let [Event::Checksum(report)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(report.bookmark, bookmark);
    assert_eq!(report.error.kind(), ErrorKind::Checksum);
    assert_eq!(report.error.place().vdev, bp.dva(0).map(|dva| dva.vdev()));
    let ranges = vec![low..low + 1, high..high + 1];
    assert_eq!(report.damage, Some(Damage { ranges, set_bits: 2, cleared_bits: 1 }));
    // Healed: nothing more to tell.
    assert!(pipeline.read(&bp).wait().unwrap() == good);
    assert!(heard.take().is_empty());
}

#[test]
fn without_a_good_copy_the_block_is_lost() {
    let sim = Sim::new(2, 1);
    let heard = Heard::default();
    let pipeline = heard.listen(sim.builder()).build().unwrap();
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    sim.corrupt(&bp, 0);
    pipeline.read(&bp).wait().unwrap_err();
    // Both tries, and the loss.
    assert_eq!(heard.kinds(), [EventKind::Checksum, EventKind::Checksum, EventKind::Data]);
    let errors = pipeline.leaf_errors(VdevId(0), 0).unwrap();
    assert_eq!((errors.read, errors.write, errors.checksum), (0, 0, 2));
}

#[test]
fn a_thousand_errors_in_a_second_are_twenty_events() {
    let sim = Sim::new(3, 1);
    let heard = Heard::default();
    let pipeline = heard.listen(sim.builder()).build().unwrap();
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    sim.disks[0].inject(Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Read).always());
    let from_ns = sim.machine.now_ns();
    for _ in 0..1000 {
        assert_eq!(pipeline.read(&bp).wait().unwrap_err().kind(), ErrorKind::Io);
    }
    let seconds = sim.machine.now_ns() / 1_000_000_000 - from_ns / 1_000_000_000 + 1;
    // The first EIO of each read is not counted: it was tried again.
    assert_eq!(pipeline.leaf_errors(VdevId(0), 0).unwrap().read, 1000);
    let count = pipeline.event_count(EventKind::Device);
    assert_eq!((count.happened, count.told), (1000, seconds * EVENTS_PER_SECOND_MAX));
    let told = heard.kinds().iter().filter(|kind| **kind == EventKind::Device).count();
    assert_eq!(told as u64, count.told);
    // The next second has room again.
    sim.machine.run_for(1_000_000_000);
    pipeline.read(&bp).wait().unwrap_err();
    assert!(heard.kinds().contains(&EventKind::Device));
}

#[test]
fn dead_leaves_suspensions_and_slow_devices_are_told() {
    let sim = Sim::new(4, 2);
    let heard = Heard::default();
    let pipeline = heard.listen(sim.mirror()).fail_mode(FailMode::Wait).build().unwrap();
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    sim.disks[0].offline();
    assert!(pipeline.read(&bp).every_copy().wait().unwrap() == noise(1, 8192));
    let kinds = heard.kinds();
    assert!(kinds.contains(&EventKind::LeafDead), "{kinds:?}");
    sim.disks[1].offline();
    let read = pipeline.read(&bp).start().unwrap();
    sim.machine.run_until_idle();
    let kinds = heard.kinds();
    assert_eq!(kinds.iter().filter(|kind| **kind == EventKind::Suspended).count(), 1);
    sim.disks.iter().for_each(|disk| disk.online());
    pipeline.resume();
    assert!(read.wait().unwrap() == noise(1, 8192));
    assert!(heard.kinds().contains(&EventKind::LeafAlive));

    sim.disks.iter().for_each(|disk| disk.hold());
    let read = pipeline.read(&bp).start().unwrap();
    sim.machine.run_for(31_000_000_000);
    sim.disks.iter().for_each(|disk| disk.release());
    assert!(read.wait().unwrap() == noise(1, 8192));
    let events = heard.take();
    let slow = events.iter().find_map(|event| match event {
        Event::SlowIo { took, .. } => Some(*took),
        _ => None,
    });
    assert!(slow.is_some_and(|took| took >= Duration::from_secs(31)), "{events:?}");
}
