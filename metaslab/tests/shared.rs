//! Many threads on one pool, and the throttle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use metaslab::{Config, Metaslabs};
use proptest::prelude::*;
use zio_core::{Allocator, Dva, Released, Slots, VdevId, Want};

/// A small generator, so that a thread's choices come from its number.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn churn(space: &Metaslabs, seed: u64) -> Vec<Dva> {
    let mut random = Random(seed);
    let mut mine: Vec<Dva> = Vec::new();
    for round in 0..3000_u64 {
        let txg = round / 100 + 1;
        let want = Want {
            size_bytes: 1 + random.below(64 << 10),
            copies: 1 + random.below(3) as u8,
            txg,
            ..Want::default()
        };
        let slots = space.reserve(want.size_bytes * u64::from(want.copies));
        if let Ok(dvas) = space.allocate(&want) {
            mine.extend(dvas);
        }
        drop(slots);
        while mine.len() > 200 {
            let dva = mine.swap_remove(random.below(mine.len() as u64) as usize);
            space.free(dva, txg).unwrap();
        }
        if random.below(50) == 0 {
            space.end_of_txg(txg.saturating_sub(2));
        }
    }
    mine
}

#[test]
fn threads_never_own_the_same_space() {
    let space = Metaslabs::new(Config { skip_deferral_divisor: 0, ..Config::default() });
    for (id, ashift) in [(0, 9), (1, 12), (2, 13)] {
        space.add_vdev(VdevId(id), 24 << 20, ashift).unwrap();
    }
    let all_free = space.free_bytes();
    let owned: Vec<Dva> = thread::scope(|scope| {
        let threads: Vec<_> = (1..=4)
            .map(|seed| {
                scope.spawn({
                    let space = &space;
                    move || churn(space, seed)
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    let mut by_place = BTreeMap::new();
    for dva in &owned {
        assert_eq!(by_place.insert((dva.vdev(), dva.offset_bytes()), dva.asize_bytes()), None);
    }
    let places: Vec<_> = by_place.iter().collect();
    for pair in places.windows(2) {
        let ((vdev, offset), size) = pair[0];
        let ((next_vdev, next_offset), _) = pair[1];
        assert!(vdev != next_vdev || offset + size <= *next_offset);
    }
    for txg in [100, 101, 102] {
        space.end_of_txg(txg);
    }
    let owned_bytes: u64 = owned.iter().map(|dva| dva.asize_bytes()).sum();
    assert_eq!(space.allocated_bytes(), owned_bytes);
    for dva in owned {
        space.free(dva, 103).unwrap();
    }
    space.end_of_txg(105);
    assert_eq!(space.free_bytes(), all_free);
    assert_eq!(space.reserved_bytes(), 0);
}

fn throttled(reserve_bytes_max: Option<u64>) -> Metaslabs {
    Metaslabs::new(Config { reserve_bytes_max, shards: Some(1), ..Config::default() })
}

#[test]
fn the_last_reservation_may_overshoot_once() {
    let space = throttled(Some(1000));
    let first = space.reserve(999).unwrap();
    let second = space.reserve(5000).unwrap();
    assert_eq!((space.reserved_bytes(), second.bytes()), (5999, 5000));
    assert!(space.reserve(1).is_none());
    drop(second);
    assert_eq!(space.reserve(1).map(|slots| slots.bytes()), Some(1));
    drop(first);
    assert_eq!(space.reserved_bytes(), 0);
}

#[test]
fn by_default_four_aliquots_for_each_vdev() {
    let space = throttled(None);
    for vdevs in 1..=3 {
        space.add_vdev(VdevId(vdevs), 1 << 20, 12).unwrap();
        let exact = space.reserve((2 << 20) * u64::from(vdevs)).unwrap();
        assert!(space.reserve(1).is_none());
        drop(exact);
        let less = space.reserve((2 << 20) * u64::from(vdevs) - 1).unwrap();
        assert!(space.reserve(1).is_some());
        drop(less);
    }
    // Without a vdev a writer must still come as far as its `NoSpace`.
    assert!(throttled(None).reserve(1).is_some());
}

#[test]
fn absurd_reservations_do_not_overflow() {
    let space = throttled(Some(u64::MAX));
    let held: Vec<Slots> = (0..10).map_while(|_| space.reserve(u64::MAX)).collect();
    assert_eq!(held.len(), 1);
    drop(held);
    assert_eq!(space.reserved_bytes(), 0);
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Released for Count {
    fn released(&self, _: u64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn the_end_of_a_reservation_is_told_once() {
    let space = throttled(Some(1));
    let count = Arc::new(Count::default());
    let mut slots = space.reserve(1).unwrap();
    slots.on_release(Arc::clone(&count) as Arc<dyn Released>);
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
    drop(slots);
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert!(space.reserve(1).is_some());
}

proptest! {
    #[test]
    fn reservations_sum_up_and_return_to_nothing(
        bytes_max in 1..100_000_u64,
        steps in proptest::collection::vec((any::<bool>(), 0..50_000_u64), 1..200),
    ) {
        let space = throttled(Some(bytes_max));
        let mut held: Vec<Slots> = Vec::new();
        let sum = |held: &[Slots]| held.iter().map(Slots::bytes).sum::<u64>();
        for (take, bytes) in steps {
            if take {
                let room = sum(&held) < bytes_max;
                let slots = space.reserve(bytes);
                prop_assert_eq!(slots.is_some(), room);
                held.extend(slots);
            } else if !held.is_empty() {
                held.swap_remove(bytes as usize % held.len());
            }
            prop_assert_eq!(space.reserved_bytes(), sum(&held));
        }
        held.clear();
        prop_assert_eq!(space.reserved_bytes(), 0);
    }
}
