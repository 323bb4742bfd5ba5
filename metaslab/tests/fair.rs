//! Who gets new blocks: vdevs by how fast they drain, and what is held back (D5, D7).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metaslab::{Config, Metaslabs};
use zio_core::{Allocator, Share, VdevId, Want};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

struct Pool {
    space: Metaslabs,
    now_ns: Arc<AtomicU64>,
}

impl Pool {
    fn new(vdevs: u32, config: Config) -> Self {
        let now_ns = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&now_ns);
        let space = Metaslabs::with_clock(config, move || clock.load(Ordering::Relaxed));
        for vdev in 0..vdevs {
            space.add_vdev(VdevId(vdev), GIB, 12).unwrap();
        }
        Self { space, now_ns }
    }

    fn allocate(&self, size_bytes: u64) -> VdevId {
        let want = Want { size_bytes, copies: 1, txg: 1, ..Want::default() };
        self.space.allocate(&want).unwrap()[0].vdev()
    }

    /// Writes of 64 KiB to a vdev that take so long.
    fn writes_take(&self, vdev: u32, ns: u64) {
        for _ in 0..8 {
            let sent = self.space.sent(VdevId(vdev), 64 * KIB);
            self.now_ns.fetch_add(ns, Ordering::Relaxed);
            drop(sent);
        }
    }
}

#[test]
fn a_vdev_with_enough_to_do_is_passed_over_while_another_has_room() {
    let pool = Pool::new(3, Config::default());
    // An empty vdev's target: two and a half aliquots.
    let full = |vdev| pool.space.sent(VdevId(vdev), 1280 * KIB);
    let (first, second) = (full(0), full(1));
    assert!((0..100).all(|_| pool.allocate(64 * KIB) == VdevId(2)));
    // All of them have: then it is as if none had.
    let third = full(2);
    let mut on = [0; 3];
    (0..300).for_each(|_| on[pool.allocate(64 * KIB).0 as usize] += 1);
    assert!(on.iter().all(|&blocks| blocks >= 80), "{on:?}");
    drop((first, second, third));
    assert_eq!(pool.space.vdev_sent_bytes(VdevId(0)), Some(0));
}

#[test]
fn a_turn_is_not_cut_short_by_what_it_put_under_way_itself() {
    let pool = Pool::new(2, Config::default());
    assert_eq!(pool.allocate(64 * KIB), VdevId(0));
    let _full = pool.space.sent(VdevId(0), 1280 * KIB);
    // The rest of the aliquot; then the other one, as long as this has its target.
    assert!((0..7).all(|_| pool.allocate(64 * KIB) == VdevId(0)));
    assert!((0..20).all(|_| pool.allocate(64 * KIB) == VdevId(1)));
}

#[test]
fn a_slow_vdev_gets_its_part_and_a_fast_one_again_is_not_slow_for_ever() {
    let pool = Pool::new(2, Config::default());
    pool.writes_take(0, 1_000_000);
    pool.writes_take(1, 10_000_000);
    // Ten times as long: a tenth of what is under way, and no aliquot on end.
    let many = pool.space.sent(VdevId(0), 960 * KIB);
    let its_part = pool.space.sent(VdevId(1), 128 * KIB);
    assert!((0..100).all(|_| pool.allocate(8 * KIB) == VdevId(0)));
    drop(its_part);
    let idle = (0..100).filter(|_| pool.allocate(8 * KIB) == VdevId(1)).count();
    assert!(idle > 0, "what has nothing to do is used, or its time would not be known");
    drop(many);
    // It has got better.
    for _ in 0..4 {
        (0..2).for_each(|vdev| pool.writes_take(vdev, 1_000_000));
    }
    let _many = pool.space.sent(VdevId(0), 480 * KIB);
    let _less = pool.space.sent(VdevId(1), 480 * KIB);
    let on_it = (0..100).filter(|_| pool.allocate(64 * KIB) == VdevId(1)).count();
    assert!((30..=70).contains(&on_it), "{on_it} of 100");
}

#[test]
fn one_vdev_alone_keeps_no_account() {
    let pool = Pool::new(1, Config::default());
    assert!(pool.space.sent(VdevId(0), 4096).is_none());
    assert!(Pool::new(2, Config::default()).space.sent(VdevId(7), 4096).is_none());
}

#[test]
fn shards_and_shares_have_limits_of_their_own() {
    let config = Config { shards: Some(2), reserve_bytes_max: Some(2 * MIB), ..Config::default() };
    let pool = Pool::new(1, config);
    let reserve = |share, affinity, bytes| pool.space.reserve_from(share, affinity, bytes);
    let all = reserve(Share::Client, 0, MIB).unwrap();
    assert!(reserve(Share::Client, 2, 1).is_none(), "half of it for each shard");
    let other = reserve(Share::Client, 1, MIB).unwrap();
    let background = reserve(Share::Background, 0, MIB / 8).unwrap();
    assert!(reserve(Share::Background, 0, 1).is_none());
    assert_eq!(pool.space.reserved_bytes(), 2 * MIB + MIB / 8);
    drop((all, background));
    assert!(reserve(Share::Client, 0, 1).is_some());
    assert_eq!(pool.space.reserved_bytes(), MIB);
    drop(other);
    assert_eq!(pool.space.reserved_bytes(), 0);
}

#[test]
fn what_is_held_back_is_neither_promised_nor_given() {
    let pool = Pool::new(2, Config { slop_divisor: 32, ..Config::default() });
    let want =
        |uses_slop| Want { size_bytes: MIB, copies: 1, txg: 1, uses_slop, ..Want::default() };
    let mut given = Vec::new();
    while pool.space.admit(&want(false)).is_ok() {
        given.extend(pool.space.allocate(&want(false)).unwrap());
    }
    // Of 2 GiB, 128 MiB.
    assert_eq!(pool.space.free_bytes(), 128 * MIB);
    let no = pool.space.allocate(&want(false)).unwrap_err();
    assert_eq!((no.size_bytes, no.free_bytes), (MIB, 128 * MIB));
    while pool.space.admit(&want(true)).is_ok() {
        given.extend(pool.space.allocate(&want(true)).unwrap());
    }
    assert_eq!(pool.space.free_bytes(), 0);
    for dva in given {
        pool.space.free(dva, 1).unwrap();
    }
    (1..=3).for_each(|txg| pool.space.end_of_txg(txg));
    assert_eq!(pool.space.free_bytes(), 2 * GIB);
}
