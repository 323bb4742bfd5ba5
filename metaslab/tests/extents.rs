//! The pure core: where it looks, what it refuses, how it counts.

use metaslab::{Deferral, Extent, ExtentError, Extents, ExtentsConfig};

/// A core with units of 4 KiB whose choice is first fit as long as a run of
/// 32 units is free.
fn space(size_units: u64) -> Extents {
    Extents::new(size_units, ExtentsConfig { defer_txgs: 0, ..ExtentsConfig::for_ashift(12) })
}

/// Allocates everything, then frees the given extents.
fn only_free(size_units: u64, free: &[(u64, u64)]) -> Extents {
    let mut space = space(size_units);
    space.claim(Extent::new(0, size_units), 1).unwrap();
    for &(offset, size) in free {
        space.free(Extent::new(offset, size), 1).unwrap();
    }
    space
}

#[test]
fn equal_sizes_stand_in_a_row_and_a_freed_one_is_not_taken_before_the_wrap() {
    let mut space = space(1024);
    let row: Vec<u64> = (0..100).map(|_| space.allocate(8, 1).unwrap()).collect();
    assert_eq!(row, (0..100).map(|i| i * 8).collect::<Vec<_>>());
    space.free(Extent::new(16, 8), 1).unwrap();
    assert_eq!(space.allocate(8, 1), Some(800), "the cursor goes on");
    for at in (808..1024 - 40).step_by(8) {
        assert_eq!(space.allocate(8, 1), Some(at));
    }
    // The tail is used as one piece: what remains ahead is too short, so it wraps.
    assert_eq!(space.allocate(40, 1), Some(984));
    assert_eq!(space.allocate(8, 1), Some(16));
    assert_eq!(space.allocate(8, 1), None);
}

#[test]
fn sizes_of_another_alignment_have_a_cursor_of_their_own() {
    let mut space = only_free(1024, &[(0, 4), (100, 200), (400, 200)]);
    assert_eq!(space.allocate(16, 1), Some(100));
    assert_eq!(
        space.allocate(190, 1),
        Some(400),
        "2·95: its cursor stands at 0; 100.. is too short"
    );
    assert_eq!(space.allocate(16, 1), Some(116), "16s go on where they were");
    assert_eq!(space.allocate(1, 1), Some(0), "1s begin at the front");
}

#[test]
fn best_fit_when_the_longest_extent_is_short() {
    // Longest 31 units = 124 KiB.
    let mut short = only_free(1000, &[(0, 31), (100, 8), (200, 9)]);
    assert_eq!(short.allocate(8, 1), Some(100));
    // Longest 32 units = 128 KiB: first fit.
    let mut long = only_free(1000, &[(0, 32), (100, 8), (200, 9)]);
    assert_eq!(long.allocate(8, 1), Some(0));
}

#[test]
fn best_fit_when_little_is_free() {
    // 39 of 1000 units is less than 4 %; 40 is not.
    let mut little = only_free(1000, &[(0, 34), (100, 5)]);
    assert_eq!(little.allocate(5, 1), Some(100));
    let mut enough = only_free(1000, &[(0, 35), (100, 5)]);
    assert_eq!(enough.allocate(5, 1), Some(0));
}

#[test]
fn a_bounded_search_still_finds_the_only_extent_that_fits() {
    // A thousand holes of one unit before the only hole of 64.
    let mut holes: Vec<(u64, u64)> = (0..1000).map(|i| (i * 2, 1)).collect();
    holes.push((5000, 64));
    let mut space = only_free(6000, &holes);
    assert_eq!(space.allocate(64, 1), Some(5000));
    assert_eq!(space.allocate(2, 1), None);
    assert_eq!((space.free_units(), space.longest_units()), (1000, 1));
}

#[test]
fn frees_grow_together_in_any_order() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut space = only_free(100, &[]);
        for (freed, third) in order.into_iter().enumerate() {
            assert_eq!(space.free_units(), freed as u64 * 10);
            space.free(Extent::new(20 + third * 10, 10), 1).unwrap();
        }
        assert_eq!(space.longest_units(), 30);
        assert!(space.is_free(Extent::new(20, 30)));
        assert!(!space.is_free(Extent::new(19, 2)) && !space.is_free(Extent::new(49, 2)));
        assert!(space.is_allocated(Extent::new(0, 20)) && space.is_allocated(Extent::new(50, 50)));
        assert!(!space.is_allocated(Extent::new(49, 2)));
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut space = Extents::new(100, ExtentsConfig::for_ashift(12));
    space.claim(Extent::new(40, 20), 1).unwrap();
    let device_units = 100;
    let outside = [(99, 2), (100, 1), (0, u64::MAX), (u64::MAX, 1), (u64::MAX, u64::MAX), (101, 0)];
    for extent in outside.map(|(offset, size)| Extent::new(offset, size)) {
        let error = Err(ExtentError::Outside { extent, device_units });
        assert_eq!(space.claim(extent, 1), error);
        assert_eq!(space.check_claim(extent), error);
        assert_eq!(space.free(extent, 1), error);
        assert_eq!(space.unallocate(extent, 1), error);
        assert!(!space.is_free(extent) && !space.is_allocated(extent));
    }
    for extent in [(0, 100), (39, 2), (59, 2), (45, 5), (50, 0)].map(|(o, s)| Extent::new(o, s)) {
        assert_eq!(space.claim(extent, 1), Err(ExtentError::NotFree { extent }));
    }
    for extent in [(0, 100), (39, 2), (59, 2), (0, 1), (50, 0)].map(|(o, s)| Extent::new(o, s)) {
        assert_eq!(space.free(extent, 1), Err(ExtentError::NotAllocated { extent }));
    }
    // A claimed extent holds data: it cannot be taken back at once.
    let extent = Extent::new(40, 20);
    assert_eq!(space.unallocate(extent, 1), Err(ExtentError::NotAllocated { extent }));
    assert_eq!((space.free_units(), space.deferred_units(), space.longest_units()), (80, 0, 40));
    assert_eq!(space.allocate(0, 1), None);
    assert_eq!(space.allocate(u64::MAX, 1), None);
    // Freed once, it is neither free nor allocated.
    space.free(extent, 1).unwrap();
    assert_eq!(space.free(extent, 2), Err(ExtentError::NotAllocated { extent }));
    assert_eq!(space.claim(extent, 1), Err(ExtentError::NotFree { extent }));
    assert!(!space.is_free(extent) && !space.is_allocated(extent));
    assert_eq!(space.deferred_units(), 20);
}

#[test]
fn a_device_without_units_and_one_of_the_largest_size() {
    let mut none = Extents::new(0, ExtentsConfig::for_ashift(9));
    assert_eq!((none.allocate(1, 1), none.longest_units()), (None, 0));
    assert_eq!(none.fragmentation_permille(3), 0);
    let mut all = Extents::new(u64::MAX, ExtentsConfig::for_ashift(9));
    assert_eq!(all.longest_units(), u64::MAX);
    assert_eq!(all.allocate(u64::MAX, 1), Some(0));
    assert_eq!(all.unallocate(Extent::new(0, u64::MAX), 1), Ok(()));
    assert_eq!(all.allocate(1 << 63, 1), Some(0));
    assert_eq!(all.allocate((1 << 63) - 1, 1), Some(1 << 63));
    assert_eq!(all.allocate(1, 1), None);
}

#[test]
fn an_extent_freed_in_t_returns_at_the_end_of_t_plus_two() {
    let mut space = Extents::new(100, ExtentsConfig::for_ashift(12));
    let at = space.allocate(10, 7).unwrap();
    space.free(Extent::new(at, 10), 8).unwrap();
    for txg in 7..10 {
        space.end_of_txg(txg, Deferral::Keep);
        assert_eq!((space.free_units(), space.deferred_units()), (90, 10), "end of {txg}");
    }
    space.end_of_txg(10, Deferral::Keep);
    assert_eq!((space.free_units(), space.deferred_units()), (100, 0));
}

#[test]
fn a_skipped_deferral_returns_what_ended_and_no_more() {
    let mut space = Extents::new(100, ExtentsConfig::for_ashift(12));
    space.claim(Extent::new(0, 100), 1).unwrap();
    space.free(Extent::new(0, 10), 7).unwrap();
    space.free(Extent::new(20, 5), 8).unwrap();
    space.free(Extent::new(40, 1), 9).unwrap();
    space.end_of_txg(8, Deferral::Skip);
    assert_eq!((space.free_units(), space.deferred_units()), (15, 1));
}

#[test]
fn a_free_that_comes_too_late_is_held_back_from_now_on() {
    let mut space = Extents::new(100, ExtentsConfig::for_ashift(12));
    let at = space.allocate(10, 5).unwrap();
    space.end_of_txg(9, Deferral::Keep);
    space.free(Extent::new(at, 10), 5).unwrap();
    space.end_of_txg(11, Deferral::Keep);
    assert_eq!(space.free_units(), 90);
    space.end_of_txg(12, Deferral::Keep);
    assert_eq!(space.free_units(), 100);
}

#[test]
fn the_end_of_time_neither_panics_nor_releases() {
    let mut space = Extents::new(100, ExtentsConfig::for_ashift(12));
    space.end_of_txg(u64::MAX, Deferral::Skip);
    let at = space.allocate(10, u64::MAX).unwrap();
    space.free(Extent::new(at, 10), u64::MAX).unwrap();
    space.end_of_txg(u64::MAX, Deferral::Skip);
    assert_eq!((space.free_units(), space.deferred_units()), (90, 10));
}

#[test]
fn release_in_portions() {
    let mut space = Extents::new(100, ExtentsConfig::for_ashift(12));
    space.claim(Extent::new(0, 100), 1).unwrap();
    for i in 0..5 {
        space.free(Extent::new(i * 10, 1), 1).unwrap();
    }
    space.ripen(3, Deferral::Keep);
    assert_eq!(space.free_units(), 0);
    assert!(space.release_some(3));
    assert_eq!((space.free_units(), space.deferred_units()), (3, 2));
    assert!(!space.release_some(3));
    assert_eq!((space.free_units(), space.deferred_units()), (5, 0));
}

#[test]
fn fragmentation_is_the_share_in_extents_too_short() {
    let space = only_free(1000, &[(0, 1), (10, 3), (20, 12)]);
    let permille: Vec<u32> = (0..6).map(|k| space.fragmentation_permille(k)).collect();
    // Shorter than 1, 2, 4, 8, 16, 32 units: 0, 1, 4, 4, 16, 16 of 16.
    assert_eq!(permille, [0, 62, 250, 250, 1000, 1000]);
    assert_eq!(space.fragmentation_permille(u32::MAX), 1000);
}

#[test]
fn apart_looks_behind_the_others_first_and_keeps_the_gap() {
    let mut space = space(800);
    let first = Extent::new(space.allocate(10, 1).unwrap(), 10);
    assert_eq!(first.offset_units, 0);
    let second = Extent::new(space.allocate_apart(10, 1, &[first], 100).unwrap(), 10);
    assert_eq!(second.offset_units, 110);
    assert_eq!(space.allocate_apart(10, 1, &[first, second], 100), Some(220));
    // Behind comes before in front.
    let middle = Extent::new(400, 10);
    let mut both = only_free(800, &[(0, 400), (410, 390)]);
    assert_eq!(both.allocate_apart(10, 1, &[middle], 100), Some(510));
    assert_eq!(both.allocate_apart(301, 1, &[middle], 100), None, "0..300 is all there is");
    assert_eq!(both.allocate_apart(300, 1, &[middle], 100), Some(0));
    // Many short holes where it looks first do not hide a long one.
    let mut holes: Vec<(u64, u64)> = (0..300).map(|i| (200 + i * 2, 1)).collect();
    holes.push((900, 20));
    let mut holed = only_free(1000, &holes);
    assert_eq!(holed.allocate_apart(20, 1, &[Extent::new(0, 10)], 100), Some(900));
    // With nothing behind, it looks in front.
    let last = Extent::new(790, 10);
    space.claim(last, 1).unwrap();
    assert_eq!(space.allocate_apart(600, 1, &[last], 100), None, "230..690 is all there is");
    assert_eq!(space.allocate_apart(460, 1, &[last], 100), Some(230));
    assert_eq!(space.allocate_apart(1, 1, &[Extent::new(400, 1)], u64::MAX), None);
}
