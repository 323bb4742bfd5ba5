//! Errors on their way up: A10 (spec 1.10, 1.11, 1.12).

mod support {
    pub(crate) mod engine;
    pub(crate) mod immediate;
    pub(crate) mod stage;
}

use std::sync::Arc;

use support::{engine::engine, immediate::Immediate, stage::stage};
use zio_core::{
    Done, Engine, Error, ErrorKind, Flags, Ready, Request, Stages, VdevError, VdevErrorKind,
    VdevId, ZioBox, ZioType,
};

/// Spec 1.12, from success to worst.
const WORSE_AND_WORSE: [Option<ErrorKind>; 5] = [
    None,
    Some(ErrorKind::DeviceGone),
    Some(ErrorKind::Checksum),
    Some(ErrorKind::Io),
    Some(ErrorKind::NoSpace),
];

/// Every zio that passes VDEV_IO_START fails as its attachment says.
fn failing() -> Arc<Engine> {
    let fail = stage(Stages::VDEV_IO_START, |mut zio| {
        if let Some(kind) = zio.attachment.take().and_then(|a| a.downcast::<ErrorKind>().ok()) {
            zio.fail(Error::new(*kind));
        }
        Some(zio)
    });
    engine(vec![Arc::new(Ready), Arc::new(Done), fail], Arc::new(Immediate), Vec::new())
}

const ROAD: Stages = Stages::INTERLOCK.union(Stages::VDEV_IO_START);

fn with_error(mut zio: ZioBox, kind: Option<ErrorKind>) -> ZioBox {
    zio.attachment = kind.map(|kind| Box::new(kind) as Box<_>);
    zio
}

fn kind_of(result: Result<zio_core::Finished, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn worst_of_two() {
    for (i, a) in WORSE_AND_WORSE.into_iter().enumerate() {
        for (j, b) in WORSE_AND_WORSE.into_iter().enumerate() {
            let worst = Error::worst(a.map(Error::new), b.map(Error::new)).map(|e| e.kind());
            assert_eq!(worst, WORSE_AND_WORSE[i.max(j)], "{a:?} and {b:?}");
        }
    }
    let (first, second) = (Error::msg(ErrorKind::Io, "1"), Error::msg(ErrorKind::Io, "2"));
    let stays = Error::worst(Some(first), Some(second)).unwrap();
    assert_eq!(stays.to_string(), "EIO: 1", "of equally bad ones the first stays");
}

#[test]
fn root_gets_the_worst_error_of_its_children() {
    for (i, a) in WORSE_AND_WORSE.into_iter().enumerate() {
        for (j, b) in WORSE_AND_WORSE.into_iter().enumerate() {
            let engine = failing();
            let root = Request::new(engine.make(ZioType::Null, Flags::empty(), Stages::ROOT));
            for kind in [a, b] {
                let child = with_error(engine.make(ZioType::Read, Flags::CANFAIL, ROAD), kind);
                Request::new(child).under(&root.as_parent()).start().wait().ok();
            }
            assert_eq!(kind_of(root.wait()), WORSE_AND_WORSE[i.max(j)], "{a:?} and {b:?}");
            engine.close();
        }
    }
}

#[test]
fn dont_propagate_keeps_its_error_to_itself() {
    let engine = failing();
    let root = Request::new(engine.make(ZioType::Null, Flags::empty(), Stages::ROOT));
    let quiet = engine.make(ZioType::Read, Flags::DONT_PROPAGATE, ROAD);
    let quiet = Request::new(with_error(quiet, Some(ErrorKind::NoSpace)));
    let loud = engine.make(ZioType::Read, Flags::empty(), ROAD);
    let loud = Request::new(with_error(loud, Some(ErrorKind::DeviceGone)));
    let quiet = quiet.under(&root.as_parent()).start();
    let loud = loud.under(&root.as_parent()).start();
    assert_eq!(kind_of(quiet.wait()), Some(ErrorKind::NoSpace), "its own waiter hears it");
    assert_eq!(kind_of(loud.wait()), Some(ErrorKind::DeviceGone));
    assert_eq!(kind_of(root.wait()), Some(ErrorKind::DeviceGone));
    engine.close();
}

#[test]
fn a_godfather_inherits_nothing() {
    let engine = failing();
    let flags = Flags::CANFAIL | Flags::SPECULATIVE | Flags::GODFATHER;
    let root = Request::new(engine.make(ZioType::Null, flags, Stages::ROOT));
    let child = with_error(engine.make(ZioType::Read, Flags::empty(), ROAD), Some(ErrorKind::Io));
    Request::new(child).under(&root.as_parent()).start().wait().ok();
    assert_eq!(kind_of(root.wait()), None);
    engine.close();
}

/// The kinds of children a logical zio can have, each with an error of its own.
const BY_CHILD: [ErrorKind; 4] =
    [ErrorKind::DeviceGone, ErrorKind::Checksum, ErrorKind::Io, ErrorKind::NoSpace];

fn child(engine: &Arc<Engine>, which: usize) -> ZioBox {
    match which {
        0 => engine.make_on_vdev(ZioType::Read, VdevId(0), 0, Flags::empty(), ROAD),
        1 => engine.make(ZioType::Read, Flags::GANG_CHILD, ROAD),
        2 => engine.make(ZioType::Read, Flags::DDT_CHILD, ROAD),
        _ => engine.make(ZioType::Read, Flags::empty(), ROAD),
    }
}

/// Spec 1.11, steps 3 and 10: own, else vdev, else gang, else DDT, whatever is
/// worse; a logical child's error comes later, and only if it is worse.
#[test]
fn order_of_child_types_at_done() {
    for set in 0_usize..16 {
        for own in [None, Some(ErrorKind::Checksum)] {
            let engine = failing();
            let root = engine.make(ZioType::Null, Flags::empty(), Stages::ROOT);
            let mut root = Request::new(root);
            let failing = |which: &usize| set & 1 << which != 0;
            // The last in rank is the first to finish: time does not decide.
            for which in (0..4).rev().filter(failing) {
                let child = with_error(child(&engine, which), Some(BY_CHILD[which]));
                Request::new(child).under(&root.as_parent()).start().wait().ok();
            }
            root.zio().error = own.map(Error::new);
            let first = own.or((0..3).find(failing).map(|which| BY_CHILD[which]));
            let logical = failing(&3).then_some(BY_CHILD[3]);
            let expected = Error::worst(first.map(Error::new), logical.map(Error::new));
            let expected = expected.map(|error| error.kind());
            assert_eq!(kind_of(root.wait()), expected, "children {set:04b}, own {own:?}");
            engine.close();
        }
    }
}

#[test]
fn an_error_skips_the_device() {
    let engine = failing();
    let mut zio = engine.make(ZioType::Read, Flags::CANFAIL, ROAD);
    zio.fail(Error::new(ErrorKind::Access));
    zio.attachment = Some(Box::new(ErrorKind::NoSpace));
    assert_eq!(kind_of(Request::new(zio).wait()), Some(ErrorKind::Access), "not the stage's");
}

#[test]
fn an_error_says_what_where_and_why() {
    let cause = VdevError::short(512, 4096);
    let mut zio = failing().make_on_vdev(
        ZioType::Read,
        VdevId(3),
        0x2000,
        Flags::empty(),
        Stages::VDEV_CHILD,
    );
    zio.size_bytes = 4096;
    zio.fail(cause.clone().into());
    let error = zio.error.clone().unwrap();
    assert_eq!(
        error.to_string(),
        "EIO on vdev 3 at offset 0x2000 for 4096 bytes: Io: 512 of 4096 bytes transferred"
    );
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.downcast_ref::<VdevError>(), Some(&cause));

    // A worse one replaces it, a better one does not; the nearest place stays.
    zio.fail(Error::new(ErrorKind::DeviceGone));
    assert_eq!(zio.error.as_ref().map(Error::kind), Some(ErrorKind::Io));
    let elsewhere = zio_core::error::Place { vdev: Some(VdevId(9)), ..Default::default() };
    zio.fail(Error::new(ErrorKind::NoSpace).at(elsewhere));
    let error = zio.error.take().unwrap();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert_eq!(error.place().vdev, Some(VdevId(9)));
    assert_eq!(error.place().offset_bytes, Some(0x2000), "what was not known is filled in");
}

#[test]
fn every_device_error_has_a_kind() {
    for (device, kind) in [
        (VdevErrorKind::Gone, ErrorKind::DeviceGone),
        (VdevErrorKind::Io, ErrorKind::Io),
        (VdevErrorKind::Unsupported, ErrorKind::Unsupported),
        (VdevErrorKind::NoSpace, ErrorKind::NoSpace),
        (VdevErrorKind::Invalid, ErrorKind::Invalid),
        (VdevErrorKind::ReadOnly, ErrorKind::Access),
        (VdevErrorKind::Lost, ErrorKind::Lost),
    ] {
        assert_eq!(Error::from(VdevError::new(device)).kind(), kind);
    }
    let os = VdevError::os(VdevErrorKind::Gone, 6);
    assert_eq!(os.os_error(), Some(6));
    assert!(os.to_string().starts_with("Gone: "), "{os}");
}
