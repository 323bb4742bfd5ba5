//! Where blocks go: copies, rotor, bias, hints, gang headers, limits of a DVA.

use metaslab::{AddVdevError, Config, Metaslabs};
use zio_core::{Allocator, Dva, SpaceError, VdevId, Want};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn pool(vdevs: &[(u64, u32)]) -> Metaslabs {
    let space = Metaslabs::new(Config::default());
    for (i, &(bytes, ashift)) in vdevs.iter().enumerate() {
        space.add_vdev(VdevId(i as u32), bytes, ashift).unwrap();
    }
    space
}

fn want(size_bytes: u64, copies: u8) -> Want {
    Want { size_bytes, copies, txg: 1, ..Want::default() }
}

#[test]
fn three_copies_stand_on_three_vdevs() {
    let space = pool(&[(GIB, 12); 4]);
    for _ in 0..100 {
        let dvas = space.allocate(&want(100_000, 3)).unwrap();
        let mut vdevs: Vec<_> = dvas.iter().map(|dva| dva.vdev()).collect();
        assert_eq!(vdevs[1].0, (vdevs[0].0 + 1) % 4, "the next copy on the next vdev");
        vdevs.sort();
        vdevs.dedup();
        assert_eq!(vdevs.len(), 3);
    }
}

#[test]
fn copies_on_one_vdev_stand_an_eighth_apart() {
    let space = pool(&[(GIB, 12)]);
    for _ in 0..500 {
        let mut dvas = space.allocate(&want(128 * KIB, 3)).unwrap();
        dvas.sort_by_key(|dva| dva.offset_bytes());
        for pair in dvas.windows(2) {
            let gap = pair[1].offset_bytes() - pair[0].offset_bytes() - pair[0].asize_bytes();
            assert!(gap >= GIB / 8, "{dvas:?}");
        }
    }
}

#[test]
fn the_second_round_takes_what_there_is() {
    // Eight units: three copies of two units cannot all be a unit apart and
    // still leave room, but three copies of two units exist.
    let space = pool(&[(8 * 512, 9)]);
    space.claim(Dva::new(VdevId(0), 6 * 512, 1024), 1).unwrap();
    let dvas = space.allocate(&want(1024, 3)).unwrap();
    assert_eq!(dvas.len(), 3);
    assert_eq!(space.free_bytes(), 0);
}

#[test]
fn all_copies_or_none() {
    let space = pool(&[(16 * KIB, 12), (8 * KIB, 12)]);
    let no = space.allocate(&want(8 * KIB + 1, 2)).unwrap_err();
    assert_eq!((no.size_bytes, no.copies), (8 * KIB + 1, 2));
    assert_eq!((no.free_bytes, no.largest_bytes), (24 * KIB, 16 * KIB));
    assert_eq!(space.free_bytes(), 24 * KIB);
    assert_eq!(space.allocate(&want(8 * KIB, 2)).unwrap().len(), 2);
}

#[test]
fn each_copy_is_rounded_to_the_unit_of_its_vdev() {
    let space = pool(&[(MIB, 9), (MIB, 13), (MIB, 16)]);
    let dvas = space.allocate(&want(9000, 3)).unwrap();
    let sizes: Vec<_> = dvas.iter().map(|dva| (dva.vdev().0, dva.asize_bytes())).collect();
    assert_eq!(sizes, [(0, 9216), (1, 16384), (2, 65536)]);
}

#[test]
fn the_rotor_moves_on_after_an_aliquot_and_what_it_left_is_contiguous() {
    let space = pool(&[(GIB, 12); 3]);
    let dvas: Vec<Dva> = (0..48).map(|_| space.allocate(&want(64 * KIB, 1)).unwrap()[0]).collect();
    // Equal and empty vdevs: a little less or more than 512 KiB, as their free space differs by blocks.
    let mut run_bytes = 0;
    for pair in dvas.windows(2) {
        run_bytes += pair[0].asize_bytes();
        if pair[0].vdev() == pair[1].vdev() {
            assert_eq!(pair[1].offset_bytes(), pair[0].offset_bytes() + 64 * KIB);
        } else {
            assert_eq!(pair[1].vdev().0, (pair[0].vdev().0 + 1) % 3);
            assert!((448 * KIB..=576 * KIB).contains(&run_bytes), "{run_bytes}");
            run_bytes = 0;
        }
    }
    for vdev in 0..3 {
        assert_eq!(space.vdev_free_bytes(VdevId(vdev)), Some(GIB - MIB));
    }
}

#[test]
fn fill_levels_of_unequal_vdevs_converge() {
    let space = pool(&[(GIB, 12), (GIB, 12)]);
    let tenth = GIB / 10 / 4096 * 4096;
    space.claim(Dva::new(VdevId(0), 0, 9 * tenth), 1).unwrap();
    space.claim(Dva::new(VdevId(1), 0, tenth), 1).unwrap();
    // The last 64 MiB of each are for logs.
    let free = |vdev| space.vdev_free_bytes(VdevId(vdev)).unwrap() - 64 * MIB;
    let (free0, free1) = (free(0), free(1));
    while space.free_bytes() > GIB / 4 {
        space.allocate(&want(32 * KIB, 1)).unwrap();
    }
    // Each got about as much as it had room for, so both are full at the same time.
    let (got0, got1) = (free0 - free(0), free1 - free(1));
    let (is, ought) = (got1 as f64 / got0 as f64, free1 as f64 / free0 as f64);
    assert!((0.8..1.25).contains(&(is / ought)), "{is} and {ought}");
}

#[test]
fn a_full_vdev_does_not_hold_up_the_others() {
    let space = pool(&[(MIB, 12), (GIB, 12), (GIB, 12)]);
    space.claim(Dva::new(VdevId(0), 0, MIB), 1).unwrap();
    let mut on = [0_u32; 3];
    for _ in 0..200 {
        on[space.allocate(&want(128 * KIB, 1)).unwrap()[0].vdev().0 as usize] += 1;
    }
    assert_eq!(on[0], 0);
    assert!(on[1].abs_diff(on[2]) <= 8, "{on:?}");
}

#[test]
fn a_preferred_vdev_is_tried_first_and_is_only_a_hint() {
    let space = pool(&[(MIB, 12); 3]);
    let prefer = |id| Want { prefer: Some(VdevId(id)), ..want(512 * KIB, 1) };
    assert_eq!(space.allocate(&prefer(2)).unwrap()[0].vdev(), VdevId(2));
    assert_eq!(space.allocate(&prefer(2)).unwrap()[0].vdev(), VdevId(2));
    assert_ne!(space.allocate(&prefer(2)).unwrap()[0].vdev(), VdevId(2));
    assert_eq!(space.allocate(&prefer(99)).unwrap().len(), 1);

    // It is not a turn of the rotor's.
    let space = pool(&[(GIB, 12); 3]);
    let leader = space.allocate(&want(4 * KIB, 1)).unwrap()[0];
    for _ in 0..10 {
        assert_eq!(space.allocate(&prefer(1)).unwrap()[0].vdev(), VdevId(1));
    }
    let next = space.allocate(&want(4 * KIB, 1)).unwrap()[0];
    assert_eq!(next.offset_bytes(), leader.offset_bytes() + 4 * KIB);
    assert_eq!(next.vdev(), leader.vdev());
}

#[test]
fn a_gang_address_means_its_header_alone() {
    let space = pool(&[(64 * KIB, 12)]);
    let header = space.allocate(&want(512, 1)).unwrap()[0];
    let rest = space.allocate(&want(60 * KIB, 1)).unwrap()[0];
    // The size of a gang counts its members, wherever they are.
    let gang = header.with_asize_bytes(130 * KIB + 512).with_gang(true);
    assert_eq!(space.unallocate(gang, 1), Ok(()));
    assert_eq!(space.free_bytes(), 4 * KIB);
    assert_eq!(space.claim(gang, 1), Ok(()));
    assert_eq!(space.free(gang, 1), Ok(()));
    assert_eq!(space.deferred_bytes(), 4 * KIB);
    assert_eq!(space.free(rest, 1), Ok(()));
}

#[test]
fn nothing_larger_than_an_address_can_say() {
    let space = pool(&[(1 << 40, 16)]);
    let largest = Dva::ASIZE_BYTES_MAX >> 16 << 16;
    assert_eq!(space.largest_bytes(), largest);
    let no = space.allocate(&want(largest + 1, 1)).unwrap_err();
    assert_eq!((no.free_bytes, no.largest_bytes), (1 << 40, largest));
    assert_eq!(space.allocate(&want(largest, 1)).unwrap()[0].asize_bytes(), largest);
    assert!(space.allocate(&want(u64::MAX, 3)).is_err());
}

#[test]
fn wishes_that_make_no_sense_are_refused() {
    let space = pool(&[(MIB, 12)]);
    for (size_bytes, copies) in [(0, 1), (4096, 0), (4096, 4), (4096, 255), (0, 0)] {
        assert!(space.allocate(&want(size_bytes, copies)).is_err(), "{size_bytes} {copies}");
    }
    assert_eq!(space.free_bytes(), MIB);
    let no = Metaslabs::new(Config::default()).allocate(&want(512, 1)).unwrap_err();
    assert_eq!((no.free_bytes, no.largest_bytes), (0, 0));
}

#[test]
fn hostile_addresses_are_refused() {
    let space = pool(&[(MIB, 12)]);
    let outside = [
        [1, u64::MAX],
        [0xff_ffff, u64::MAX >> 1],
        [1 | 7 << 32, 0],
        [1 | 0xff_ffff << 32, 0],
        [8, MIB / 512],
        [0, MIB / 512 + 8],
        [u64::MAX, u64::MAX],
    ];
    for dva in outside.map(Dva::from_words) {
        let error = Err(SpaceError::Outside { dva });
        assert_eq!(space.claim(dva, 1), error);
        assert_eq!(space.check_claim(dva), error);
        assert_eq!(space.free(dva, 1), error);
        assert_eq!(space.unallocate(dva, 1), error);
    }
    // Inside, but no extent of this vdev: nothing, half a unit, between units.
    for dva in [[0, 0], [1, 0], [8, 1], [9, 8], [0, 1 << 63]].map(Dva::from_words) {
        assert_eq!(space.claim(dva, 1), Err(SpaceError::NotFree { dva }));
        assert_eq!(space.free(dva, 1), Err(SpaceError::NotAllocated { dva }));
        assert_eq!(space.unallocate(dva, 1), Err(SpaceError::NotAllocated { dva }));
    }
    assert_eq!((space.free_bytes(), space.largest_bytes()), (MIB, MIB));
}

#[test]
fn vdevs_that_cannot_be_are_refused() {
    let space = pool(&[(MIB, 12)]);
    let (vdev, other) = (VdevId(0), VdevId(1));
    assert_eq!(space.add_vdev(vdev, MIB, 12), Err(AddVdevError::Duplicate { vdev }));
    for ashift in [0, 8, 17, 64, u32::MAX] {
        let error = AddVdevError::Ashift { vdev: other, ashift };
        assert_eq!(space.add_vdev(other, MIB, ashift), Err(error));
    }
    let (data_size_bytes, ashift) = (4095, 12);
    let error = AddVdevError::TooSmall { vdev: other, data_size_bytes, ashift };
    assert_eq!(space.add_vdev(other, data_size_bytes, ashift), Err(error));
    let vdev = VdevId(1 << 24);
    assert_eq!(space.add_vdev(vdev, MIB, 12), Err(AddVdevError::IdTooLarge { vdev }));
    assert_eq!(space.add_vdev(VdevId((1 << 24) - 1), u64::MAX, 9), Ok(()));
    assert_eq!(space.size_bytes(), u64::MAX, "sums saturate");
}

#[test]
fn nearly_full_skips_the_deferral() {
    let space = pool(&[(64 * KIB, 9)]);
    let taken: Vec<Dva> = (0..128).map(|_| space.allocate(&want(512, 1)).unwrap()[0]).collect();
    for dva in &taken[..3] {
        space.free(*dva, 1).unwrap();
    }
    space.end_of_txg(1);
    assert_eq!(space.free_bytes(), 3 * 512, "3 of 128 is less than 1/32");
    for dva in &taken[3..8] {
        space.free(*dva, 2).unwrap();
    }
    space.end_of_txg(2);
    assert_eq!((space.free_bytes(), space.deferred_bytes()), (3 * 512, 5 * 512));
}

#[test]
fn fragmentation_counts_what_needs_a_gang() {
    let space = pool(&[(MIB, 12)]);
    assert_eq!(space.vdev_fragmentation_permille(VdevId(0), 128 * KIB), Some(0));
    // Every other 64 KiB of the first half: 4·64 free in pieces, 512 in one.
    for i in [0, 2, 4, 6] {
        space.claim(Dva::new(VdevId(0), i * 64 * KIB, 64 * KIB), 1).unwrap();
    }
    // The piece at 7·64 belongs to the half behind it.
    assert_eq!(space.vdev_fragmentation_permille(VdevId(0), 128 * KIB), Some(250));
    assert_eq!(space.vdev_fragmentation_permille(VdevId(0), 64 * KIB), Some(0));
    assert_eq!(space.vdev_fragmentation_permille(VdevId(1), 64 * KIB), None);
}
