//! Several allocators over one pool: who stands where, borders, and no "no space" while there is some.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use metaslab::{Config, Metaslabs};
use zio_core::{Allocator, Dva, SpaceError, VdevId, Want};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn pool(vdevs: usize, vdev_bytes: u64, shards: usize, region_bytes_min: u64) -> Metaslabs {
    let config = Config { shards: Some(shards), region_bytes_min, ..Config::default() };
    let space = Metaslabs::new(config);
    for id in 0..vdevs {
        space.add_vdev(VdevId(id as u32), vdev_bytes, 12).unwrap();
    }
    space
}

fn want(size_bytes: u64, affinity: u32) -> Want {
    Want { size_bytes, copies: 1, txg: 1, affinity, ..Want::default() }
}

#[test]
fn each_shard_allocates_from_a_region_of_its_own() {
    let space = pool(1, GIB, 4, 64 * MIB);
    assert_eq!(space.shards(), 4);
    let mut last: BTreeMap<u32, Dva> = BTreeMap::new();
    // Two objects of one shard stand in one row.
    for affinity in (0..800).map(|i| i % 8) {
        let dva = space.allocate(&want(64 * KIB, affinity)).unwrap()[0];
        if let Some(before) = last.insert(affinity % 4, dva) {
            assert_eq!(dva.offset_bytes(), before.offset_bytes() + 64 * KIB);
        }
    }
    let mut regions: Vec<_> = last.values().map(|dva| dva.offset_bytes() / (64 * MIB)).collect();
    regions.sort_unstable();
    regions.dedup();
    assert_eq!(regions.len(), 4);
}

#[test]
fn a_shard_that_has_used_its_region_up_keeps_away_from_those_of_others() {
    let space = pool(1, GIB, 2, 64 * MIB);
    let region =
        |affinity| space.allocate(&want(MIB, affinity)).unwrap()[0].offset_bytes() / (64 * MIB);
    let regions: Vec<_> = (0..80).map(|_| region(0)).collect();
    assert!(regions[..64].iter().all(|&at| at == 0));
    // Region 1 is the other shard's, which has not begun.
    assert!(regions[64..].iter().all(|&at| at == 2), "{regions:?}");
    assert_eq!(region(1), 1);
}

/// A large block that finds no room in the region of its shard leaves it to the small ones.
#[test]
fn a_region_is_left_when_no_usual_block_fits() {
    let space = pool(1, 256 * MIB, 1, 64 * MIB);
    // Of the first region pieces of 512 KiB are left.
    for at in 0..64 {
        space.claim(Dva::new(VdevId(0), at * MIB, 512 * KIB), 1).unwrap();
    }
    let offset = |size_bytes| space.allocate(&want(size_bytes, 0)).unwrap()[0].offset_bytes();
    assert_eq!((offset(MIB), offset(64 * KIB)), (64 * MIB, 512 * KIB));
    // Now of 64 KiB.
    assert!((0..64).all(|_| offset(448 * KIB) < 64 * MIB));
    assert!(offset(MIB) > 64 * MIB);
    assert!(offset(4 * KIB) > 64 * MIB, "the next region is the shard's now");
}

#[test]
fn a_shard_goes_on_in_the_regions_of_others_before_it_gives_up() {
    let space = pool(1, GIB, 4, 64 * MIB);
    let mut bytes = 0;
    while let Ok(dvas) = space.allocate(&want(MIB, 2)) {
        bytes += dvas[0].asize_bytes();
    }
    assert_eq!((bytes, space.free_bytes(), space.largest_bytes()), (GIB, 0, 0));
}

#[test]
fn runs_of_one_object_are_as_long_as_the_aliquot_whoever_else_writes() {
    let space = pool(2, GIB, 4, 64 * MIB);
    let mut of: BTreeMap<u32, Vec<Dva>> = BTreeMap::new();
    for affinity in (0..400).map(|i| i % 4) {
        let dva = space.allocate(&want(64 * KIB, affinity)).unwrap()[0];
        of.entry(affinity).or_default().push(dva);
    }
    for dvas in of.values() {
        let mut runs = vec![64 * KIB];
        for pair in dvas.windows(2) {
            let goes_on = pair[1].vdev() == pair[0].vdev()
                && pair[1].offset_bytes() == pair[0].offset_bytes() + 64 * KIB;
            match (goes_on, runs.last_mut()) {
                (true, Some(run)) => *run += 64 * KIB,
                _ => runs.push(64 * KIB),
            }
        }
        runs.pop();
        assert!(runs.len() >= 10, "{runs:?}");
        // The other vdev may be freer by a part of a block.
        assert!(runs.iter().all(|&run| run >= 448 * KIB), "{runs:?}");
    }
}

#[test]
fn extents_may_lie_over_borders() {
    // Regions of 64 KiB.
    let space = pool(1, 4 * MIB, 2, 64 * KIB);
    assert_eq!(space.largest_bytes(), 4 * MIB);
    let long = space.allocate(&want(200 * KIB, 0)).unwrap()[0];
    let taken = Dva::new(VdevId(0), 2 * MIB + 4 * KIB, 4 * KIB);
    space.claim(taken, 1).unwrap();
    // Its last part is taken.
    let over = Dva::new(VdevId(0), 2 * MIB - 64 * KIB, 72 * KIB);
    assert_eq!(space.claim(over, 1), Err(SpaceError::NotFree { dva: over }));
    let free = 4 * MIB - 204 * KIB;
    assert_eq!(space.free_bytes(), free);
    let beside = Dva::new(VdevId(0), 2 * MIB - 64 * KIB, 68 * KIB);
    space.claim(beside, 1).unwrap();
    assert_eq!(space.unallocate(beside, 1), Err(SpaceError::NotAllocated { dva: beside }));
    // Twice the length: half of it is not allocated.
    let double = long.with_asize_bytes(400 * KIB);
    assert_eq!(space.free(double, 1), Err(SpaceError::NotAllocated { dva: double }));
    assert_eq!(space.unallocate(double, 1), Err(SpaceError::NotAllocated { dva: double }));
    assert_eq!(space.free_bytes(), free - 68 * KIB);
    space.unallocate(long, 1).unwrap();
    space.free(beside, 1).unwrap();
    space.free(taken, 1).unwrap();
    (1..=3).for_each(|txg| space.end_of_txg(txg));
    assert_eq!((space.free_bytes(), space.largest_bytes()), (4 * MIB, 4 * MIB));
}

/// Some take more than there is, piece by piece, and give it back. Meanwhile
/// nobody may be told that there is none.
#[test]
fn what_others_hold_for_a_moment_is_not_missed() {
    let space = pool(2, MIB, 3, 0);
    let all: Vec<Dva> = (0..512).map(|i| space.allocate(&want(4 * KIB, i)).unwrap()[0]).collect();
    assert_eq!(space.free_bytes(), 0);
    all[..2].iter().for_each(|dva| space.unallocate(*dva, 1).unwrap());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let (space, stop) = (&space, &stop);
        for affinity in 0..3 {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let too_many = Want { copies: 3, ..want(4 * KIB, affinity) };
                    assert!(space.allocate(&too_many).is_err());
                }
            });
        }
        let honest = scope.spawn(move || {
            for i in 0..20_000 {
                let dvas = space.allocate(&want(4 * KIB, i)).map_err(|no| no.to_string())?;
                space.unallocate(dvas[0], 1).map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(())
        });
        let outcome = honest.join();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(outcome.unwrap(), Ok(()));
    });
    assert_eq!(space.free_bytes(), 8 * KIB);
}

/// Many threads, each with its own object: every unit has one owner, whatever the number of
/// shards, until there is no unit left.
#[test]
fn threads_fill_a_pool_to_the_last_unit() {
    for (shards, region_bytes_min) in [(1, 0), (4, 0), (4, MIB), (7, 1 << 40)] {
        let space = pool(3, 8 * MIB, shards, region_bytes_min);
        let owned: Vec<Dva> = thread::scope(|scope| {
            let space = &space;
            let fill = |affinity: u32| {
                move || {
                    let mut mine = Vec::new();
                    let mut size_bytes = 256 * KIB;
                    while size_bytes > 0 {
                        match space.allocate(&want(size_bytes, affinity)) {
                            Ok(dvas) => mine.extend(dvas),
                            // No thread gives anything back: nothing can have been free.
                            Err(no) => {
                                assert!(no.largest_bytes < size_bytes, "{no}");
                                size_bytes = if size_bytes > 4096 { size_bytes / 2 } else { 0 };
                            }
                        }
                    }
                    mine
                }
            };
            let threads: Vec<_> = (0..64).map(|affinity| scope.spawn(fill(affinity))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!((space.free_bytes(), space.largest_bytes()), (0, 0));
        let mut by_place: Vec<_> =
            owned.iter().map(|dva| (dva.vdev(), dva.offset_bytes(), dva.asize_bytes())).collect();
        by_place.sort_unstable();
        for pair in by_place.windows(2) {
            assert!(pair[0].0 != pair[1].0 || pair[0].1 + pair[0].2 == pair[1].1, "{pair:?}");
        }
        assert_eq!(by_place.iter().map(|(_, _, len)| len).sum::<u64>(), 24 * MIB);
        owned.into_iter().for_each(|dva| space.free(dva, 1).unwrap());
    }
}

/// A pool four fifths full whose blocks have all been replaced several times still has room for
/// usual blocks in one piece.
#[test]
fn an_aged_pool_needs_few_gangs() {
    let config = Config { defer_txgs: 0, shards: Some(2), ..Config::default() };
    let space = Metaslabs::new(Config { region_bytes_min: 16 * MIB, ..config });
    space.add_vdev(VdevId(0), 512 * MIB, 12).unwrap();
    let mut random = 1_u64;
    let mut below = move |limit: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % limit
    };
    let (mut live, mut refused, mut asked) = (Vec::new(), 0, 0);
    for round in 0..80_000_u32 {
        if space.free_bytes() < 512 * MIB / 5 {
            let dva: Dva = live.swap_remove(below(live.len() as u64) as usize);
            space.free(dva, 1).unwrap();
            continue;
        }
        asked += 1;
        match space.allocate(&want((1 + below(32)) * 4096, round % 2)) {
            Ok(dvas) => live.extend(dvas),
            Err(_) => refused += 1,
        }
    }
    assert!(refused * 100 <= asked, "{refused} of {asked}");
    let extents_per_mib = {
        let mut offsets: Vec<_> =
            live.iter().map(|d| (d.offset_bytes(), d.offset_bytes() + d.asize_bytes())).collect();
        offsets.sort_unstable();
        let holes = offsets.windows(2).filter(|pair| pair[0].1 < pair[1].0).count();
        holes as f64 / (space.free_bytes() as f64 / MIB as f64)
    };
    // A free extent of 32 KiB on average: half a block.
    assert!(extents_per_mib < 32.0, "{extents_per_mib}");
}
