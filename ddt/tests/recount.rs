//! Verification finds wrong references, and mends them to the safe side.

use ddt::{
    Copies, Decision, FreeOutcome, Identity, Key, LivePointer, Phys, Repair, SharedTable, Table,
};

fn pointer(n: u64) -> LivePointer {
    LivePointer {
        key: Key::new([n, n ^ 5, !n, 9], 4096, 4096, 2, false).unwrap(),
        copies: Copies::One,
        phys: Phys::new([[8, n + 1], [0, 0], [0, 0]], 3).unwrap(),
    }
}

fn claim(table: &mut Table<()>, n: u64, count: u32) {
    let LivePointer { key, copies, phys } = pointer(n);
    table.add_references(&key, copies, phys, count).unwrap();
}

fn free(table: &mut Table<()>, n: u64) -> FreeOutcome {
    let Identity { dva0, birth_txg } = pointer(n).phys.identity();
    table.free(&pointer(n).key, dva0, birth_txg)
}

#[test]
fn too_few_too_many_missing_and_stray() {
    let mut table = Table::new();
    for (n, references) in [(1, 2), (2, 5), (3, 1), (5, 4)] {
        claim(&mut table, n, references);
    }
    // 1 is right; 2 has too many; 3 too few; 4 is not there; 5 has no pointer at all.
    let live = [1, 1, 2, 2, 2, 3, 3, 3, 4, 4].map(pointer);
    let found = table.verify(live);
    let summary: Vec<_> =
        found.iter().map(|d| (d.block.key.checksum()[0], d.missing(), d.surplus())).collect();
    assert_eq!(summary, [(2, 0, 2), (3, 2, 0), (4, 2, 0), (5, 0, 4)]);

    let repairs: Vec<Repair> = found.iter().map(|d| table.repair(d)).collect();
    assert_eq!(
        repairs,
        [Repair::LeftToLeak(2), Repair::Raised(3), Repair::Raised(2), Repair::LeftToLeak(4)]
    );
    // No pointer's block can be freed early now.
    assert!(table.verify(live).iter().all(|d| d.missing() == 0 && d.surplus() > 0));
    for n in [3, 3] {
        assert!(matches!(free(&mut table, n), FreeOutcome::StillReferenced { .. }));
    }
    assert!(matches!(free(&mut table, 3), FreeOutcome::LastReference { .. }));
}

/// A recount of a table in use: the pointers are those of the beginning.
#[test]
fn changes_during_a_recount_are_no_discrepancy() {
    let mut table = Table::new();
    for n in 0..4 {
        claim(&mut table, n, 2);
    }
    let mut recount = table.begin_recount();
    recount.extend([0, 0, 1, 1, 2, 2].map(pointer));

    // 0: one more, 1: gone, 2: gone and stored anew elsewhere, 7: new.
    assert!(matches!(table.lookup_write(&pointer(0).key, Copies::One, ()), Decision::Share { .. }));
    for n in [1, 1, 2, 2] {
        let _ = free(&mut table, n);
    }
    let elsewhere = Phys::new([[8, 1000], [0, 0], [0, 0]], 4).unwrap();
    table.add_references(&pointer(2).key, Copies::One, elsewhere, 1).unwrap();
    claim(&mut table, 7, 1);
    // 3: one reference too few from the start, and one given back meanwhile.
    recount.extend([3, 3, 3].map(pointer));
    let _ = free(&mut table, 3);

    let found = table.finish_recount(recount);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].block.key, pointer(3).key);
    assert_eq!((found[0].block.references, found[0].pointers), (1, 2));
    assert_eq!(table.repair(&found[0]), Repair::Raised(2));

    // Freed too early while pointers remain: missing altogether.
    let mut recount = table.begin_recount();
    recount.extend([3, 3, 3].map(pointer));
    let _ = free(&mut table, 3);
    let _ = free(&mut table, 3);
    let found = table.finish_recount(recount);
    let three = found.iter().find(|d| d.block.key == pointer(3).key).unwrap();
    assert_eq!((three.block.references, three.pointers), (0, 1));
}

#[test]
fn a_shared_table_recounts_over_all_shards() {
    let table = SharedTable::<()>::new(8);
    for n in 0..500 {
        let LivePointer { key, copies, phys } = pointer(n);
        table.add_references(&key, copies, phys, 1).unwrap();
    }
    let mut recount = table.begin_recount();
    recount.extend((0..500).map(pointer));
    recount.count(pointer(77));
    let Identity { dva0, birth_txg } = pointer(5).phys.identity();
    assert!(matches!(
        table.free(&pointer(5).key, dva0, birth_txg),
        FreeOutcome::LastReference { .. }
    ));
    let found = table.finish_recount(recount);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(table.repair(&found[0]), Repair::Raised(2));
    assert_eq!(table.references(&pointer(77).key, pointer(77).phys.identity()), Some(2));
}
