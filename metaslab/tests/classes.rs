//! Classes of space (D4) where numbers matter: who may have what is left, who waits for whom.
//! `model.rs` has the order in which classes fall back.

use metaslab::{Config, Metaslabs};
use zio_core::SpaceClass::{Dedup, Log, Normal, Special};
use zio_core::{Allocator, Dva, Share, Slots, SpaceClass, VdevId, Want};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn pool(config: Config, vdevs: &[(SpaceClass, u64)]) -> Metaslabs {
    let space = Metaslabs::new(Config { shards: Some(1), ..config });
    for (id, &(class, bytes)) in (0..).zip(vdevs) {
        space.add_vdev_for(class, VdevId(id), bytes, 12).unwrap();
    }
    space
}

fn want(class: SpaceClass, size_bytes: u64) -> Want {
    Want { class, size_bytes, copies: 1, txg: 1, ..Want::default() }
}

fn place(space: &Metaslabs, want: &Want) -> u32 {
    space.allocate(want).unwrap()[0].vdev().0
}

/// Takes blocks until there is none left; bytes by vdev.
fn fill(space: &Metaslabs, want: &Want) -> [u64; 4] {
    let mut bytes = [0; 4];
    while let Ok(dvas) = space.allocate(want) {
        for dva in dvas {
            bytes[dva.vdev().0 as usize] += dva.asize_bytes();
        }
    }
    bytes
}

// -- Regions of logs. --

#[test]
fn the_last_region_is_the_logs_until_nothing_else_is_left() {
    // 16 regions of 64 MiB.
    let space = pool(Config::default(), &[(Normal, GIB)]);
    let is_of_logs = |want| space.allocate(&want).unwrap()[0].offset_bytes() >= GIB - 64 * MIB;
    assert_eq!(space.class_space(Normal).free_of_logs_bytes, 64 * MIB);
    assert!(is_of_logs(want(Log, 128 * KIB)));
    // Of the rest pieces of 64 KiB are left.
    space.claim(Dva::new(VdevId(0), 0, GIB - 66 * MIB), 1).unwrap();
    for at in (GIB - 66 * MIB..GIB - 64 * MIB).step_by(128 << 10) {
        space.claim(Dva::new(VdevId(0), at, 64 * KIB), 1).unwrap();
    }
    // The region is for blocks that all the pieces together would not make: of them the largest.
    assert_eq!(space.largest_bytes(), 64 * MIB - 128 * KIB);
    let no = space.allocate(&want(Normal, 128 * KIB)).unwrap_err();
    assert_eq!((no.free_bytes, no.largest_bytes), (65 * MIB - 128 * KIB, 64 * KIB));
    assert!(is_of_logs(want(Log, 128 * KIB)));
    assert!(is_of_logs(want(Normal, 2 * MIB)));
    // Piece by piece the rest goes, and only then the region.
    for _ in 0..16 {
        assert!(!is_of_logs(want(Normal, 64 * KIB)));
    }
    assert!(is_of_logs(want(Normal, 4 * KIB)));
    assert_eq!(fill(&space, &want(Normal, 4 * KIB))[0], 62 * MIB - 256 * KIB - 4 * KIB);
    assert_eq!(space.free_bytes(), 0);
}

#[test]
fn small_vdevs_and_those_of_logs_and_dedup_have_none() {
    let vdevs = [(Normal, GIB - 1), (Special, GIB), (Log, GIB), (Dedup, GIB)];
    let space = pool(Config::default(), &vdevs);
    let of_logs = |class| space.class_space(class).free_of_logs_bytes / MIB;
    assert_eq!([Normal, Special, Log, Dedup].map(of_logs), [0, 64, 0, 0]);
    let space = pool(Config { log_regions_min: 0, ..Config::default() }, &vdevs[1..]);
    assert_eq!(space.class_space(Special).free_of_logs_bytes, 0);
    // Where there is no room for two regions there is none for logs.
    let config = Config { log_regions_min: 1, ..Config::default() };
    assert_eq!(pool(config, &[(Normal, MIB)]).class_space(Normal).free_of_logs_bytes, 0);
}

#[test]
fn a_log_takes_special_space_before_ordinary_and_regions_of_logs_first() {
    let space = pool(Config::default(), &[(Normal, GIB), (Special, GIB), (Log, MIB)]);
    let mut places = Vec::new();
    while let Ok(dvas) = space.allocate(&want(Log, MIB)) {
        let place = (dvas[0].vdev().0, dvas[0].offset_bytes() >= GIB - 64 * MIB);
        if places.last() != Some(&place) {
            places.push(place);
        }
    }
    assert_eq!(places, [(2, false), (1, true), (1, false), (0, true), (0, false)]);
    assert_eq!(space.free_bytes(), 0);
}

#[test]
fn a_free_region_of_logs_does_not_hide_that_the_rest_is_in_pieces() {
    let space = pool(Config::default(), &[(Normal, GIB)]);
    for at in (0..GIB - 64 * MIB).step_by(128 << 10) {
        space.claim(Dva::new(VdevId(0), at, 64 * KIB), 1).unwrap();
    }
    // The last piece touches the region, and is not longer for that.
    assert_eq!(space.vdev_fragmentation_permille(VdevId(0), 128 * KIB), Some(1000));
    assert_eq!(space.class_fragmentation_permille(Normal, 128 * KIB), Some(1000));
    assert_eq!(space.class_fragmentation_permille(Special, 128 * KIB), None);
}

#[test]
fn fragmentation_of_a_class_is_that_of_its_vdevs() {
    let space = pool(Config::default(), &[(Normal, MIB), (Special, MIB), (Special, 3 * MIB)]);
    for at in (0..MIB).step_by(128 << 10) {
        space.claim(Dva::new(VdevId(1), at, 64 * KIB), 1).unwrap();
    }
    // 512 KiB in pieces, 3 MiB in one.
    assert_eq!(space.class_fragmentation_permille(Special, 128 * KIB), Some(142));
    assert_eq!(space.class_fragmentation_permille(Normal, 128 * KIB), Some(0));
}

// -- Who gets what. --

#[test]
fn turns_are_taken_within_a_class() {
    let space = pool(Config::default(), &[(Normal, GIB), (Special, GIB), (Special, GIB)]);
    let mut bytes = [0_u64; 3];
    for number in 0..256 {
        bytes[place(&space, &want(Special, 64 * KIB)) as usize] += 64;
        if number % 3 == 0 {
            assert_eq!(place(&space, &want(Normal, 64 * KIB)), 0);
        }
    }
    assert_eq!(bytes[0], 0);
    assert!(bytes[1].abs_diff(bytes[2]) <= 1024, "{bytes:?}");
}

#[test]
fn copies_stand_on_vdevs_of_several_classes_when_there_is_no_other_way() {
    let space = pool(Config::default(), &[(Normal, 8 * KIB), (Special, 8 * KIB), (Log, MIB)]);
    let two = Want { copies: 2, ..want(Special, 4 * KIB) };
    let vdevs = |dvas: &[Dva]| dvas.iter().map(|dva| dva.vdev().0).collect::<Vec<_>>();
    space.allocate(&want(Special, 4 * KIB)).unwrap();
    assert_eq!(vdevs(&space.allocate(&two).unwrap()), [0, 0]);
    space.free(Dva::new(VdevId(0), 0, 4 * KIB), 1).unwrap();
    (1..4).for_each(|txg| space.end_of_txg(txg));
    assert_eq!(vdevs(&space.allocate(&two).unwrap()), [1, 0]);
    let no = space.allocate(&two).unwrap_err();
    assert_eq!((no.free_bytes, no.largest_bytes), (0, 0), "what is for logs is not for it");
}

#[test]
fn contents_leave_a_quarter_to_metadata() {
    let vdevs = [(Normal, 64 * MIB), (Special, 16 * MIB), (Dedup, 8 * MIB)];
    for (class, vdev, bytes) in [(Special, 1, 12 * MIB), (Dedup, 2, 6 * MIB)] {
        let space = pool(Config::default(), &vdevs);
        let contents = Want { leaves_reserve: true, ..want(class, 64 * KIB) };
        let room = space.free_bytes_for(&contents);
        let taken = fill(&space, &contents);
        assert_eq!((taken[0], taken[vdev]), (64 * MIB, bytes), "{class:?}");
        assert_eq!(taken.iter().sum::<u64>(), 64 * MIB + bytes);
        assert_eq!(room, 64 * MIB + bytes, "no more is promised, and no less");
        assert!(space.admit(&contents).is_err());
        // The reserve is there, and what lies behind it.
        let taken = fill(&space, &want(class, 64 * KIB));
        assert_eq!(taken[vdev], vdevs[vdev].1 - bytes);
    }
}

#[test]
fn slop_is_held_back_of_ordinary_space_alone() {
    let config = Config { slop_divisor: 32, ..Config::default() };
    let space = pool(config, &[(Normal, 2 * GIB), (Special, GIB), (Log, GIB)]);
    let mib = want(Normal, MIB);
    assert_eq!(space.free_bytes_for(&mib), 2 * GIB - 128 * MIB);
    assert_eq!(fill(&space, &mib)[..1], [2 * GIB - 128 * MIB]);
    assert!(space.admit(&mib).is_err());
    // Special space has no slop.
    let metadata = want(Special, MIB);
    assert_eq!(space.free_bytes_for(&metadata), GIB);
    space.admit(&metadata).unwrap();
    assert_eq!(fill(&space, &metadata)[..2], [0, GIB]);
    assert!(space.admit(&metadata).is_err());
    // Logs have their own, and then what is theirs of the ordinary vdev.
    let of_logs = space.class_space(Normal).free_of_logs_bytes;
    assert!(of_logs >= 64 * MIB);
    let log = want(Log, MIB);
    assert_eq!(space.free_bytes_for(&log), GIB + of_logs);
    assert_eq!(fill(&space, &log)[..3], [of_logs, 0, GIB]);
    // The rest is for those who say so.
    let makes_space = Want { uses_slop: true, ..mib };
    assert_eq!(fill(&space, &makes_space)[0], 128 * MIB - of_logs);
    assert_eq!(space.free_bytes(), 0);
}

#[test]
fn a_class_that_is_nearly_full_skips_the_deferral_alone() {
    let space = pool(Config::default(), &[(Normal, MIB), (Special, MIB)]);
    let whole = |vdev| Dva::new(VdevId(vdev), 0, MIB - 8 * KIB);
    space.claim(whole(0), 1).unwrap();
    space.claim(whole(1), 1).unwrap();
    space.free(Dva::new(VdevId(0), 0, 4 * KIB), 2).unwrap();
    space.free(Dva::new(VdevId(1), 0, 256 * KIB), 2).unwrap();
    space.end_of_txg(2);
    assert_eq!(space.vdev_free_bytes(VdevId(0)), Some(12 * KIB));
    assert_eq!(space.vdev_free_bytes(VdevId(1)), Some(8 * KIB));
}

// -- Who waits for whom. --

#[test]
fn reservations_are_counted_by_class_until_its_vdevs_are_full() {
    let config = Config { reserve_bytes_max: Some(3000), ..Config::default() };
    let space = pool(config, &[(Normal, MIB), (Normal, MIB), (Special, MIB)]);
    let reserve = |want: &Want| space.reserve_for(Share::Client, want);
    let (metadata, contents) = (want(Special, 1000), want(Normal, 1000));
    // A thousand for each vdev.
    let mut held: Vec<Slots> = Vec::new();
    held.extend(reserve(&metadata));
    assert!(reserve(&metadata).is_none());
    held.extend(reserve(&contents));
    held.extend(reserve(&contents));
    assert_eq!((held.len(), space.reserved_bytes()), (3, 3000));
    assert!(reserve(&contents).is_none());
    held.pop();
    space.claim(Dva::new(VdevId(2), 0, MIB), 1).unwrap();
    held.extend(reserve(&metadata));
    assert_eq!(held.len(), 3, "it will go to the ordinary ones");
    assert!(reserve(&contents).is_none());
    // All copies count.
    held.clear();
    let two = Want { copies: 2, ..contents };
    assert_eq!(reserve(&two).map(|slots| slots.bytes()), Some(2000));
    assert_eq!(space.reserved_bytes(), 0);
}

#[test]
fn four_aliquots_for_each_vdev_of_the_class() {
    let space = pool(Config::default(), &[(Normal, GIB), (Special, GIB), (Special, GIB)]);
    for (class, bytes) in [(Normal, 2 * MIB), (Special, 4 * MIB), (Log, 4 * MIB)] {
        let slots = space.reserve_for(Share::Client, &want(class, bytes - 1)).unwrap();
        let last = space.reserve_for(Share::Client, &want(class, 1)).unwrap();
        assert!(space.reserve_for(Share::Client, &want(class, 1)).is_none(), "{class:?}");
        drop((slots, last));
    }
}

#[test]
fn a_vdev_alone_in_its_class_is_not_watched() {
    let space = pool(Config::default(), &[(Normal, GIB), (Special, GIB), (Special, GIB)]);
    assert!(space.sent(VdevId(0), 4096).is_none());
    assert!(space.sent(VdevId(1), 4096).is_some());
}

#[test]
fn a_busy_vdev_is_passed_over_for_one_of_its_class() {
    let space = pool(Config::default(), &[(Normal, GIB), (Special, GIB), (Special, GIB)]);
    let busy = space.sent(VdevId(1), 64 * MIB).unwrap();
    for _ in 0..100 {
        assert_eq!(place(&space, &want(Special, 64 * KIB)), 2);
    }
    let busy_too = space.sent(VdevId(2), 64 * MIB).unwrap();
    for _ in 0..100 {
        assert_ne!(place(&space, &want(Special, 64 * KIB)), 0, "busy is not full");
    }
    drop((busy, busy_too));
}
