//! What an entry costs, told by the allocator itself: at every size, and while it grows.

use std::alloc::System;
use std::ops::Range;
use std::sync::Mutex;

use ddt::{Copies, Decision, Key, Phys, SharedTable, Table};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One test at a time: the allocator counts for all threads.
static ALONE: Mutex<()> = Mutex::new(());

const ENTRY_BYTES_MAX: f64 = 64.0;

fn key(n: u64) -> Key {
    let spread = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Key::new([n, spread, !n, spread.rotate_left(17)], 128 << 10, 64 << 10, 15, false).unwrap()
}

/// As an address looks: vdev 3, 64 KiB, an offset in sectors.
fn phys(n: u64) -> Phys {
    Phys::new([[3 << 32 | 128, n * 128], [0, 0], [0, 0]], 1_000_000 + n / 1000).unwrap()
}

/// Bytes allocated and not given back, and bytes ever asked for.
fn heap() -> (usize, usize) {
    let stats = HEAP.stats();
    // What a reallocation adds or takes is part of the sums of bytes.
    (stats.bytes_allocated - stats.bytes_deallocated, stats.bytes_allocated)
}

/// Stores the blocks `range`, and returns the most bytes beyond `empty` that an entry took at any
/// moment, those within a single insertion included.
fn worst_entry_bytes(empty: usize, range: Range<u64>, mut store: impl FnMut(u64)) -> f64 {
    let mut worst = 0.0_f64;
    for n in range {
        let (before, asked_before) = heap();
        store(n);
        // As if nothing had been given back before the end of the insertion.
        let peak = before - empty + (heap().1 - asked_before);
        worst = worst.max(peak as f64 / n.max(1) as f64);
    }
    worst
}

fn write(table: &mut Table<()>, n: u64) {
    let Decision::Lead { token, .. } = table.lookup_write(&key(n), Copies::One, ()) else {
        panic!("a fresh block");
    };
    assert_eq!(table.complete(token, phys(n)).unwrap().references, 1);
}

#[test]
fn a_unique_entry_takes_64_bytes_at_any_size() {
    let _alone = ALONE.lock().unwrap();
    let mut table = Table::new();
    let empty = heap().0;
    (0..9_999).for_each(|n| write(&mut table, n));
    for range in [9_999..10_000, 10_000..100_000, 100_000..1_000_000] {
        let worst = worst_entry_bytes(empty, range.clone(), |n| write(&mut table, n));
        assert_eq!(table.len() as u64, range.end);
        let bytes = heap().0 - empty;
        println!("{} entries: {} bytes each", range.end, bytes as f64 / range.end as f64);
        println!("  {worst} at the worst moment since {}", range.start);
        assert!(worst <= ENTRY_BYTES_MAX, "{worst} bytes an entry on the way to {}", range.end);
        // What the table says of itself is what the allocator says.
        let differs = bytes.abs_diff(table.heap_bytes());
        assert!(differs < 4096, "{differs} bytes are not accounted for");
    }
}

#[test]
fn shards_take_little_more() {
    let _alone = ALONE.lock().unwrap();
    const SHARDS: usize = 64;
    let table = SharedTable::<()>::new(SHARDS);
    let empty = heap().0;
    for n in 0..300_000 {
        let Decision::Lead { token, .. } = table.lookup_write(&key(n), Copies::One, ()) else {
            panic!("a fresh block");
        };
        assert_eq!(table.complete(token, phys(n)).unwrap().references, 1);
        if (n + 1) % 1000 == 0 {
            let entries = (n + 1) as f64;
            let bytes = (heap().0 - empty) as f64;
            assert!(
                bytes <= ENTRY_BYTES_MAX * entries + (4096 * SHARDS) as f64,
                "{bytes} bytes for {entries}"
            );
        }
    }
}

/// Growth goes in steps: an insertion asks for a few KiB, and for a longer list of chunks now and
/// then.
#[test]
fn growth_never_doubles() {
    let _alone = ALONE.lock().unwrap();
    let mut table = Table::<()>::new();
    let mut most = 0;
    for n in 0..200_000 {
        let asked = heap().1;
        table.add_references(&key(n), Copies::One, phys(n), 1).unwrap();
        most = most.max(heap().1 - asked);
    }
    assert!(most < 64 << 10, "{most} bytes at once for {} entries", table.len());
}
