//! What an allocator tells its space maps (D2): the state that a map is of is that of the allocator.

use metaslab::spacemap::SpaceMap;
use metaslab::{
    AddVdevError, Changes, Config, Deferral, Extent, Extents, ExtentsConfig, LoadVdevError,
    Metaslabs,
};
use proptest::prelude::*;
use zio_core::{Allocator, Dva, SpaceClass, VdevId, Want};

fn append(map: &mut SpaceMap, groups: &[Changes]) {
    for changes in groups {
        map.append(changes, 1).unwrap();
    }
    if map.is_wasteful() {
        map.condense(map.txg(), 2).unwrap();
    }
}

#[derive(Clone, Debug)]
enum Op {
    Allocate {
        size: u64,
        txg: u64,
    },
    Free {
        nth: usize,
        txg: u64,
    },
    Unallocate {
        nth: usize,
        txg: u64,
    },
    Claim {
        at: u64,
        size: u64,
        txg: u64,
    },
    /// Groups up to this are written, and perhaps end.
    Write {
        ahead: u64,
        ends: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let txg = || 0..4_u64;
    prop_oneof![
        10 => (1..20_u64, txg()).prop_map(|(size, txg)| Op::Allocate { size, txg }),
        8 => (any::<usize>(), txg()).prop_map(|(nth, txg)| Op::Free { nth, txg }),
        4 => (any::<usize>(), txg()).prop_map(|(nth, txg)| Op::Unallocate { nth, txg }),
        2 => (0..200_u64, 1..10_u64, txg()).prop_map(|(at, size, txg)| Op::Claim { at, size, txg }),
        5 => (0..3_u64, any::<bool>()).prop_map(|(ahead, ends)| Op::Write { ahead, ends }),
    ]
}

const UNITS: u64 = 200;

/// Is each unit free, or on its way to be?
fn marks(space: &Extents) -> Vec<bool> {
    (0..UNITS).map(|at| space.is_allocated(Extent::new(at, 1))).collect()
}

fn marks_of(map: &SpaceMap) -> Vec<bool> {
    let mut marks = vec![false; UNITS as usize];
    for extent in map.allocated() {
        let end = extent.offset_units + extent.size_units;
        marks[extent.offset_units as usize..end as usize].fill(true);
    }
    marks
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    /// Groups overlap, calls come late, frees undo allocations and the other way round: no map
    /// is ever told what does not fit, and one that was told everything says what is.
    #[test]
    fn a_map_is_told_what_happens(
        defer_txgs in 0..3_u64,
        ops in proptest::collection::vec(op(), 1..120),
    ) {
        let config = ExtentsConfig { defer_txgs, keeps_changes: true, ..ExtentsConfig::for_ashift(12) };
        let mut space = Extents::new(UNITS, config);
        let mut map = SpaceMap::new(UNITS, 16);
        let (mut ended, mut live) = (0, Vec::new());
        for op in ops {
            match op {
                Op::Allocate { size, txg } => {
                    let at = space.allocate(size, ended + txg);
                    live.extend(at.map(|at| Extent::new(at, size)));
                }
                Op::Free { nth, txg } if !live.is_empty() => {
                    let extent = live.swap_remove(nth % live.len());
                    space.free(extent, ended + txg).unwrap();
                }
                Op::Unallocate { nth, txg } if !live.is_empty() => {
                    let nth = nth % live.len();
                    if space.unallocate(live[nth], ended + txg).is_ok() {
                        live.swap_remove(nth);
                    }
                }
                Op::Free { .. } | Op::Unallocate { .. } => {}
                Op::Claim { at, size, txg } => {
                    let extent = Extent::new(at, size);
                    if space.claim(extent, ended + txg).is_ok() {
                        live.push(extent);
                    }
                }
                Op::Write { ahead, ends } => {
                    let txg = ended + ahead;
                    let groups = space.take_changes(txg);
                    prop_assert!(groups.iter().all(|changes| changes.txg <= txg));
                    prop_assert!(groups.is_sorted_by(|a, b| a.txg < b.txg));
                    append(&mut map, &groups);
                    if ends {
                        space.end_of_txg(txg, Deferral::Keep);
                        ended = ended.max(txg);
                    }
                }
            }
        }
        append(&mut map, &space.take_changes(u64::MAX));
        prop_assert!(space.take_changes(u64::MAX).is_empty());
        let is = marks(&space);
        prop_assert_eq!(&marks_of(&map), &is);
        // A restart.
        let map = SpaceMap::load(UNITS, 16, map.words().to_vec()).unwrap();
        let mut space = Extents::load(&map, config);
        prop_assert_eq!(&marks(&space), &is);
        prop_assert_eq!(space.free_units(), UNITS - map.allocated_units());
        prop_assert!(space.take_changes(u64::MAX).is_empty(), "what is loaded has not changed");
        for extent in live {
            space.free(extent, 1).unwrap();
        }
        prop_assert!(marks(&space).iter().all(|is| !is));
    }
}

#[test]
fn an_extent_that_came_and_went_in_one_group_is_not_told() {
    for defer_txgs in [0, 2] {
        let config =
            ExtentsConfig { defer_txgs, keeps_changes: true, ..ExtentsConfig::for_ashift(12) };
        let mut space = Extents::new(UNITS, config);
        let at = space.allocate(8, 5).unwrap();
        space.free(Extent::new(at, 4), 5).unwrap();
        space.free(Extent::new(at + 4, 1), 6).unwrap();
        let told = |txg, allocated: &[Extent], freed: &[Extent]| Changes {
            txg,
            allocated: allocated.to_vec(),
            freed: freed.to_vec(),
        };
        assert_eq!(space.take_changes(4), []);
        let first = told(5, &[Extent::new(at + 4, 4)], &[]);
        let second = told(6, &[], &[Extent::new(at + 4, 1)]);
        assert_eq!(space.take_changes(6), [first, second]);
    }
}

#[test]
fn nothing_is_kept_unless_asked_for() {
    let mut space = Extents::new(UNITS, ExtentsConfig::for_ashift(12));
    space.allocate(8, 1).unwrap();
    assert_eq!(space.take_changes(u64::MAX), []);
}

// -- A pool. --

const MIB: u64 = 1 << 20;

fn config() -> Config {
    Config { keeps_changes: true, shards: Some(2), region_bytes_min: 64 << 10, ..Config::default() }
}

const POOL: [(SpaceClass, u64, u32); 3] =
    [(SpaceClass::Normal, 4 * MIB, 12), (SpaceClass::Special, MIB, 9), (SpaceClass::Log, MIB, 13)];

#[test]
fn a_pool_is_as_it_was_after_a_restart() {
    let space = Metaslabs::new(config());
    let mut maps = Vec::new();
    for (id, (class, bytes, ashift)) in (0..).zip(POOL) {
        space.add_vdev_for(class, VdevId(id), bytes, ashift).unwrap();
        maps.push(SpaceMap::new(bytes >> ashift, 8));
    }
    let mut rng = 7_u64;
    let mut draw = |end: u64| {
        rng = rng.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (rng >> 33) % end
    };
    let mut live: Vec<Dva> = Vec::new();
    for txg in 1..60 {
        for _ in 0..20 {
            let want = Want {
                size_bytes: 1 + draw(100_000),
                copies: 1 + draw(3) as u8,
                txg,
                class: SpaceClass::ALL[draw(4) as usize],
                affinity: draw(2) as u32,
                ..Want::default()
            };
            // Some have no room for all copies, and give back what they had.
            live.extend(space.allocate(&want).unwrap_or_default());
            if draw(3) > 0 && !live.is_empty() {
                let dva = live.swap_remove(draw(live.len() as u64) as usize);
                space.free(dva, txg).unwrap();
            }
        }
        for (vdev, groups) in space.take_changes(txg) {
            append(&mut maps[vdev.0 as usize], &groups);
        }
        space.end_of_txg(txg);
    }
    let after = Metaslabs::new(config());
    for ((id, (class, bytes, ashift)), map) in (0..).zip(POOL).zip(&maps) {
        let map = SpaceMap::load(bytes >> ashift, 8, map.words().to_vec()).unwrap();
        after.load_vdev(class, VdevId(id), bytes, ashift, &map).unwrap();
        assert_eq!(after.vdev_class(VdevId(id)), Some(class));
    }
    let live_bytes: u64 = live.iter().map(|dva| dva.asize_bytes()).sum();
    assert!(live_bytes > MIB);
    assert_eq!(after.allocated_bytes(), live_bytes);
    for dva in live {
        assert!(after.check_claim(dva).is_err());
        after.free(dva, 100).unwrap();
    }
    (100..103).for_each(|txg| after.end_of_txg(txg));
    assert_eq!(after.allocated_bytes(), 0);
}

#[test]
fn a_map_of_another_device_is_refused() {
    let space = Metaslabs::new(config());
    let vdev = VdevId(1);
    let load = |bytes, map: &SpaceMap| space.load_vdev(SpaceClass::Normal, vdev, bytes, 12, map);
    let map = SpaceMap::new(256, 512);
    let size = LoadVdevError::Size { vdev, vdev_units: 512, map_units: 256 };
    assert_eq!(load(2 * MIB, &map), Err(size));
    assert_eq!(space.size_bytes(), 0);
    assert_eq!(load(MIB, &map), Ok(()));
    assert_eq!(load(MIB, &map), Err(AddVdevError::Duplicate { vdev }.into()));
}
