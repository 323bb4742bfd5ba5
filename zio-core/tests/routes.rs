//! Which task queue a zio goes to (spec 5.1): golden.

use zio_core::task::Place;
use zio_core::{Flags, Priority, QueueKind, Route, ZioType};

fn of(ty: ZioType, class: Priority, flags: Flags, kind: QueueKind) -> (ZioType, QueueKind) {
    let route = Route::of_zio(ty, class, flags, kind, Place::Back);
    assert_eq!((route.place, route.affinity, route.class), (Place::Back, 0, class));
    (route.ty, route.kind)
}

#[test]
fn a_zio_goes_to_the_row_of_its_type() {
    for ty in ZioType::ALL {
        for kind in QueueKind::ALL {
            for class in [Priority::SyncRead, Priority::AsyncWrite, Priority::Scrub, Priority::Now]
            {
                assert_eq!(of(ty, class, Flags::CANFAIL, kind), (ty, kind));
            }
        }
    }
}

#[test]
fn who_holds_the_configuration_and_who_probes_go_aside() {
    for ty in ZioType::ALL {
        for flags in [Flags::CONFIG_WRITER, Flags::PROBE, Flags::PROBE | Flags::CANFAIL] {
            let queue = of(ty, Priority::AsyncRead, flags, QueueKind::Interrupt);
            assert_eq!(queue, (ZioType::Null, QueueKind::Interrupt));
        }
    }
}

#[test]
fn a_write_somebody_waits_for_is_urgent() {
    for (kind, urgent) in [
        (QueueKind::Issue, QueueKind::IssueHigh),
        (QueueKind::IssueHigh, QueueKind::IssueHigh),
        (QueueKind::Interrupt, QueueKind::InterruptHigh),
        (QueueKind::InterruptHigh, QueueKind::InterruptHigh),
    ] {
        let write = of(ZioType::Write, Priority::SyncWrite, Flags::empty(), kind);
        assert_eq!(write, (ZioType::Write, urgent));
        let aside = of(ZioType::Write, Priority::SyncWrite, Flags::CONFIG_WRITER, kind);
        assert_eq!(aside, (ZioType::Null, urgent), "both rules");
    }
}

#[test]
fn the_front_stays_the_front() {
    let route = Route::of_zio(
        ZioType::Read,
        Priority::Scrub,
        Flags::empty(),
        QueueKind::Issue,
        Place::Front,
    );
    let expected =
        Route { class: Priority::Scrub, ..Route::front(ZioType::Read, QueueKind::Issue) };
    assert_eq!(route, expected);
    assert!(route.class.is_background());
    assert!(!Route::back(ZioType::Read, QueueKind::Issue).class.is_background());
}
