//! A request's own story.

mod support {
    pub(crate) mod engine;
    pub(crate) mod immediate;
    pub(crate) mod stage;
}

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use support::{engine::engine, immediate::Immediate, stage::stage};
use zio_core::{
    ChildSet, Done, Engine, Error, ErrorKind, Flags, Ready, Request, Stage, Stages, Trace, VdevId,
    WaitType, ZioType,
};

/// A clock that goes on by 10 ns each time it is looked at.
fn trace() -> Trace {
    let now_ns = AtomicU64::new(100);
    Trace::new(move || now_ns.fetch_add(10, Ordering::Relaxed))
}

/// At VDEV_IO_START a zio without a device makes one child, of vdev 7; that one fails there.
fn one_child() -> Arc<Engine> {
    let start = stage(Stages::VDEV_IO_START, |mut zio| {
        if zio.vdev.is_some() {
            zio.fail(Error::new(ErrorKind::Io));
            return Some(zio);
        }
        let mut child = Engine::make_vdev_child(
            &zio,
            ZioType::Read,
            VdevId(7),
            0x2000,
            Stages::VDEV_IO_START | Stages::DONE,
        );
        child.size_bytes = 512;
        child.start();
        Some(zio)
    });
    let wait = stage(Stages::VDEV_IO_DONE, |zio| zio.wait_children(ChildSet::VDEV, WaitType::Done));
    let stages: Vec<Arc<dyn Stage>> = vec![start, wait, Arc::new(Ready), Arc::new(Done)];
    engine(stages, Arc::new(Immediate), Vec::new())
}

#[test]
fn a_story_has_the_children_in_it_and_prints_as_a_tree() {
    let engine = one_child();
    let pipeline = Stages::INTERLOCK | Stages::VDEV_IO_START | Stages::VDEV_IO_DONE;
    let trace = trace();
    let mut zio = engine.make(ZioType::Read, Flags::CANFAIL, pipeline);
    zio.size_bytes = 512;
    zio.write_down(&trace);
    // Errors of devices are for the stages to judge; here none does.
    drop(Request::new(zio).wait().unwrap());
    // Nobody else's: what is made afterwards, of recycled zios, is not in it.
    drop(Request::new(engine.make(ZioType::Read, Flags::CANFAIL, pipeline)).wait());

    let zios = trace.zios();
    assert_eq!(zios.len(), 2);
    assert_eq!((zios[0].parent, zios[1].parent), (None, Some(0)));
    assert_eq!(zios[1].place.vdev, Some(VdevId(7)));
    let ends: Vec<_> = zios.iter().map(|zio| zio.end.clone().unwrap()).collect();
    let ends = ends.into_iter().map(|(ns, error)| (ns, error.map(|error| error.kind())));
    assert!(ends.eq([(180, None), (150, Some(ErrorKind::Io))]));
    let printed = trace.to_string();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(
        lines,
        [
            "Read, 512 bytes: ok after 80 ns",
            "         0  READY",
            "        10  VDEV_IO_START",
            "            Read, 512 bytes at 0x2000 of vdev 7: EIO on vdev 7 at offset 0x2000 for 512 bytes after 20 ns",
            "        30    VDEV_IO_START",
            "        40    DONE",
            "        20  VDEV_IO_DONE",
            "        60  VDEV_IO_DONE, again",
            "        70  DONE",
        ],
        "{printed}"
    );
    engine.close();
}

#[test]
fn a_zio_that_a_stage_loses_ends_its_story_too() {
    let lose = stage(Stages::VDEV_IO_START, |zio| {
        drop(zio);
        None
    });
    let engine =
        engine(vec![lose, Arc::new(Ready), Arc::new(Done)], Arc::new(Immediate), Vec::new());
    let trace = trace();
    let mut zio =
        engine.make(ZioType::Null, Flags::CANFAIL, Stages::INTERLOCK | Stages::VDEV_IO_START);
    zio.write_down(&trace);
    assert!(trace.to_string().contains("under way"));
    assert_eq!(Request::new(zio).wait().unwrap_err().kind(), ErrorKind::Lost);
    let end = trace.zios()[0].end.clone();
    assert_eq!(end.and_then(|(_, error)| error).map(|error| error.kind()), Some(ErrorKind::Lost));
    engine.close();
}
