//! The table's answers, one behaviour at a time.

use ddt::{
    Copies, Decision, FreeOutcome, Histogram, Identity, Key, KeyError, LeadToken, Phys, PhysError,
    Quota, SharedTable, Table,
};

fn key(n: u64) -> Key {
    let spread = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Key::new([n, spread, !n, spread.rotate_left(17)], 128 << 10, 64 << 10, 15, false).unwrap()
}

fn phys(n: u64) -> Phys {
    Phys::new([[0x80, n + 1], [0, 0], [0, 0]], 10).unwrap()
}

fn lead<W>(table: &mut Table<W>, key: &Key, copies: Copies, waiter: W) -> LeadToken {
    match table.lookup_write(key, copies, waiter) {
        Decision::Lead { token, .. } => token,
        _ => panic!("expected to lead"),
    }
}

fn store(table: &mut Table<u32>, n: u64) {
    let token = lead(table, &key(n), Copies::One, 0);
    assert_eq!(table.complete(token, phys(n)).unwrap().references, 1);
}

fn free(table: &mut Table<u32>, n: u64) -> FreeOutcome {
    let Identity { dva0, birth_txg } = phys(n).identity();
    table.free(&key(n), dva0, birth_txg)
}

/// 128 KiB, in 64 KiB, compression 15, encrypted: the fields at their places.
#[test]
fn keys_are_forty_bytes() {
    let words = [0x1111, 0x2222, 0x3333, 0x4444];
    let key = Key::new(words, 128 << 10, 64 << 10, 15, true).unwrap();
    assert_eq!(key.props(), 0x0000_008f_007f_00ff);
    let mut bytes = [0; Key::BYTES];
    bytes[..2].copy_from_slice(&[0x11, 0x11]);
    bytes[8..10].copy_from_slice(&[0x22, 0x22]);
    bytes[16..18].copy_from_slice(&[0x33, 0x33]);
    bytes[24..26].copy_from_slice(&[0x44, 0x44]);
    bytes[32..37].copy_from_slice(&[0xff, 0x00, 0x7f, 0x00, 0x8f]);
    assert_eq!(key.to_bytes(), bytes);
    assert_eq!(Key::from_bytes(&bytes), Ok(key));
    assert_eq!(key.checksum(), words);
    assert_eq!((key.lsize_bytes(), key.psize_bytes()), (128 << 10, 64 << 10));
    assert_eq!((key.compression(), key.crypt()), (15, true));

    let smallest = Key::new([0; 4], 512, 512, 0, false).unwrap();
    assert_eq!(smallest.props(), 0);
    let largest = Key::new([0; 4], 32 << 20, 32 << 20, 127, true).unwrap();
    assert_eq!(largest.props(), 0xff_ffff_ffff);
    assert_eq!((largest.lsize_bytes(), largest.psize_bytes()), (32 << 20, 32 << 20));

    bytes[37] = 1;
    let word = 0x0000_018f_007f_00ff;
    assert_eq!(Key::from_bytes(&bytes), Err(KeyError::ReservedBits { word }));
    for bytes in [0, 511, 513, (32 << 20) + 512] {
        assert_eq!(
            Key::new([0; 4], bytes, 512, 0, false),
            Err(KeyError::Size { what: "LSIZE", bytes })
        );
    }
    assert_eq!(Key::new([0; 4], 512, 512, 128, false), Err(KeyError::Compression { id: 128 }));
}

#[test]
fn a_stored_block_has_an_address_and_a_birth() {
    let dvas = [[0, 0], [1, 1], [0, 0]];
    assert_eq!(Phys::new(dvas, 5), Err(PhysError::NoAddress { dvas }));
    assert_eq!(Phys::new([[1, 1], [0, 0], [0, 0]], 0), Err(PhysError::NoBirth { dva0: [1, 1] }));
    // An address at offset zero is an address.
    assert!(Phys::new([[1, 0], [0, 0], [0, 0]], 1).is_ok());
    assert_eq!(
        [0, 1, 2, 3, 4].map(Copies::new),
        [None, Some(Copies::One), Some(Copies::Two), Some(Copies::Three), None]
    );
}

#[test]
fn blocks_of_other_copies_are_strangers() {
    let mut table = Table::new();
    let one = lead(&mut table, &key(1), Copies::One, 1);
    let two = lead(&mut table, &key(1), Copies::Two, 2);
    assert!(matches!(table.lookup_write(&key(1), Copies::Two, 3), Decision::Wait));
    assert_eq!(table.len(), 1);

    let first = phys(1);
    let second = Phys::new([[9, 9], [8, 8], [0, 0]], 10).unwrap();
    let completed = table.complete(two, second).unwrap();
    assert_eq!(completed.waiters.into_iter().collect::<Vec<_>>(), [3]);
    assert!(table.complete(one, first).unwrap().waiters.is_empty());

    match table.lookup_write(&key(1), Copies::Two, 4) {
        Decision::Share { phys, waiter: 4 } => assert_eq!(phys, second),
        other => panic!("{other:?}"),
    }
    assert!(matches!(table.lookup_write(&key(1), Copies::Three, 5), Decision::Lead { .. }));
    assert_eq!(table.references(&key(1), second.identity()), Some(3));
    assert_eq!(table.references(&key(1), first.identity()), Some(1));
}

/// A gang block: one copy, yet three addresses. Its identity is the first address and the birth.
#[test]
fn a_slot_is_chosen_by_identity() {
    let mut table = Table::new();
    let gang = Phys::new([[1 << 63, 1], [1 << 63, 2], [1 << 63, 3]], 7).unwrap();
    let plain = Phys::new([[5, 5], [0, 0], [0, 0]], 7).unwrap();
    let token = lead(&mut table, &key(1), Copies::One, 0);
    let _ = table.complete(token, gang).unwrap();
    let token = lead(&mut table, &key(1), Copies::Three, 0);
    let _ = table.complete(token, plain).unwrap();

    // The right address at the wrong time, the second address, an address of nobody.
    assert_eq!(table.free(&key(1), [1 << 63, 1], 8), FreeOutcome::NotFound);
    assert_eq!(table.free(&key(1), [1 << 63, 2], 7), FreeOutcome::NotFound);
    assert_eq!(table.free(&key(2), [5, 5], 7), FreeOutcome::NotFound);
    assert_eq!(table.free(&key(1), [5, 5], 7), FreeOutcome::LastReference { phys: plain });
    assert_eq!(table.free(&key(1), [1 << 63, 1], 7), FreeOutcome::LastReference { phys: gang });
    assert_eq!(table.free(&key(1), [1 << 63, 1], 7), FreeOutcome::NotFound);
    assert!(table.is_empty());
}

/// Before the leader's write lands there is nothing to share and nothing to free.
#[test]
fn a_failed_lead_leaves_nothing() {
    let mut table = Table::new();
    let token = lead(&mut table, &key(1), Copies::One, 1);
    assert!(matches!(table.lookup_write(&key(1), Copies::One, 2), Decision::Wait));
    assert_eq!(free(&mut table, 1), FreeOutcome::NotFound);
    assert_eq!(table.fail(token).unwrap().into_iter().collect::<Vec<_>>(), [2]);
    assert!(table.is_empty());

    // A twin tries again, and leads.
    let token = lead(&mut table, &key(1), Copies::One, 2);
    assert_eq!(table.complete(token, phys(1)).unwrap().references, 1);
}

/// A failing twin must not touch what is stored under the same key.
#[test]
fn a_failed_lead_spares_its_neighbours() {
    let mut table = Table::new();
    store(&mut table, 1);
    let token = lead(&mut table, &key(1), Copies::Two, 1);
    assert!(table.fail(token).unwrap().is_empty());
    match table.lookup_write(&key(1), Copies::One, 2) {
        Decision::Share { phys: found, .. } => assert_eq!(found, phys(1)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_dropped_token_counts_as_failure() {
    let mut table = Table::new();
    let token = lead(&mut table, &key(1), Copies::One, 1);
    assert!(matches!(table.lookup_write(&key(1), Copies::One, 2), Decision::Wait));
    drop(token);
    // The next writer leads; nobody waits for ever.
    let token = lead(&mut table, &key(1), Copies::One, 3);
    assert_eq!(table.take_orphans(), [2]);
    assert_eq!(table.take_orphans(), []);
    assert_eq!(table.complete(token, phys(1)).unwrap().references, 1);

    // A token may outlive its table.
    let token = lead(&mut table, &key(2), Copies::One, 4);
    drop(table);
    drop(token);
}

#[test]
fn a_foreign_token_is_handed_back() {
    let (mut ours, mut theirs) = (Table::new(), Table::new());
    let token = lead(&mut ours, &key(1), Copies::One, 1);
    let other = lead(&mut theirs, &key(1), Copies::One, 2);
    let foreign = theirs.complete(token, phys(1)).unwrap_err();
    assert!(foreign.to_string().contains("another table"));
    let foreign = theirs.fail(foreign.token).unwrap_err();
    assert_eq!(ours.complete(foreign.token, phys(1)).unwrap().references, 1);
    assert_eq!(theirs.in_flight(), 1);
    drop(other);
}

#[test]
fn a_full_table_still_shares() {
    let mut table = Table::with_quota(Quota::new(2));
    store(&mut table, 1);
    let token = lead(&mut table, &key(2), Copies::One, 0);
    match table.lookup_write(&key(3), Copies::One, 7) {
        Decision::Full { waiter } => assert_eq!(waiter, 7),
        other => panic!("{other:?}"),
    }
    assert!(matches!(table.lookup_write(&key(1), Copies::One, 8), Decision::Share { .. }));
    assert!(matches!(table.lookup_write(&key(2), Copies::One, 9), Decision::Wait));
    assert_eq!(table.fail(token).unwrap().len(), 1);
    store(&mut table, 3);
    // A pool that is opened has what it has.
    assert_eq!(table.add_references(&key(4), Copies::One, phys(4), 2), Ok(2));
}

/// A record counts 65534 references; one more moves to a wider place, one less back.
#[test]
fn references_beyond_the_record() {
    let mut table = Table::<u32>::new();
    let most = 65_534;
    assert_eq!(table.add_references(&key(1), Copies::One, phys(1), most), Ok(u64::from(most)));
    for more in 1..=3 {
        assert!(matches!(table.lookup_write(&key(1), Copies::One, 0), Decision::Share { .. }));
        assert_eq!(table.references(&key(1), phys(1).identity()), Some(u64::from(most + more)));
    }
    for left in (most - 2..most + 3).rev() {
        assert_eq!(
            free(&mut table, 1),
            FreeOutcome::StillReferenced { references: u64::from(left) }
        );
    }
    assert_eq!(table.add_references(&key(1), Copies::One, phys(1), u32::MAX).unwrap(), {
        u64::from(most) - 2 + u64::from(u32::MAX)
    });
    assert_eq!(table.totals().references, u64::from(most) - 2 + u64::from(u32::MAX));
}

/// Numbers at and beyond the edges of a record's fields come back as they went in.
#[test]
fn every_address_and_birth_is_kept() {
    let edges =
        [1, (1 << 24) - 1, 1 << 24, (1 << 40) - 1, 1 << 40, (1 << 48) - 1, 1 << 48, u64::MAX];
    let mut table = Table::<u32>::new();
    for (n, first) in edges.into_iter().enumerate() {
        for (m, second) in edges.into_iter().enumerate() {
            for (o, birth) in edges.into_iter().enumerate() {
                let key = key((n * 64 + m * 8 + o) as u64);
                let phys = Phys::new([[first, second], [0, 0], [0, 0]], birth).unwrap();
                assert_eq!(table.add_references(&key, Copies::One, phys, 1), Ok(1));
                match table.lookup_write(&key, Copies::One, 0) {
                    Decision::Share { phys: found, .. } => assert_eq!(found, phys),
                    other => panic!("{other:?}"),
                }
                assert_eq!(
                    table.free(&key, [first, second], birth),
                    FreeOutcome::StillReferenced { references: 1 }
                );
                let stored: Vec<_> = table.blocks(&key).collect();
                assert_eq!((stored.len(), stored[0].key, stored[0].phys), (1, key, phys));
            }
        }
    }
    assert_eq!(table.len(), 512);
}

/// Blocks move between unique and duplicate as their references do.
#[test]
fn histogram_and_ratio() {
    let mut table = Table::<u32>::new();
    assert_eq!(table.totals().ratio_percent(), 100);
    for (n, references) in [(1, 1), (2, 1), (3, 2), (4, 3), (5, 4), (6, 1000)] {
        table.add_references(&key(n), Copies::One, phys(n), references).unwrap();
    }
    let histogram: Histogram = table.iter().collect();
    let blocks = |n: usize| histogram.buckets()[n].blocks;
    assert_eq!([0, 1, 2, 3, 8, 9, 10].map(blocks), [2, 2, 1, 0, 0, 1, 0]);
    assert_eq!(table.classes().unique, histogram.unique());
    assert_eq!(table.classes().duplicate, histogram.duplicate());
    assert_eq!(histogram.unique().references, 2);
    assert_eq!(histogram.duplicate().references, 1009);
    assert_eq!(histogram.duplicate().psize_bytes, 4 * (64 << 10));
    assert_eq!(histogram.duplicate().referenced_lsize_bytes, 1009 * (128 << 10));
    assert_eq!(table.totals().ratio_percent(), 101_100 / 6);

    assert_eq!(free(&mut table, 3), FreeOutcome::StillReferenced { references: 1 });
    let histogram: Histogram = table.iter().collect();
    assert_eq!((histogram.unique().blocks, table.classes().unique.blocks), (3, 3));
    assert_eq!(table.classes().duplicate, histogram.duplicate());
}

#[test]
fn removal_gives_memory_back() {
    const ENTRIES: u64 = 200_000;
    let mut table = Table::new();
    for n in 0..ENTRIES {
        store(&mut table, n);
    }
    let full = table.heap_bytes();
    for n in 0..ENTRIES {
        if n % 10 != 0 {
            assert_eq!(free(&mut table, n), FreeOutcome::LastReference { phys: phys(n) });
        }
    }
    assert!(table.heap_bytes() < full / 8, "{} of {full}", table.heap_bytes());
    for n in 0..ENTRIES {
        let expected = (n % 10 == 0).then_some(1);
        assert_eq!(table.references(&key(n), phys(n).identity()), expected);
    }
    // Mixed order: the records that moved into holes are found.
    for n in (0..ENTRIES).step_by(10).collect::<Vec<_>>().into_iter().rev() {
        assert_eq!(free(&mut table, n), FreeOutcome::LastReference { phys: phys(n) });
    }
    assert!(table.is_empty());
    assert!(table.heap_bytes() < 10_000, "{}", table.heap_bytes());
}

/// Who holds a reference keeps the block, and knows all of it.
#[test]
fn a_held_block_stays() {
    let mut table = Table::<u32>::new();
    let whole = Phys::new([[3, 3], [4, 4], [0, 0]], 9).unwrap();
    table.add_references(&key(1), Copies::Two, whole, 1).unwrap();
    assert_eq!(table.hold(&key(1), phys(1).identity()), None);
    assert_eq!(table.hold(&key(2), whole.identity()), None);
    assert_eq!(table.hold(&key(1), whole.identity()), Some(whole));
    let Identity { dva0, birth_txg } = whole.identity();
    assert_eq!(
        table.free(&key(1), dva0, birth_txg),
        FreeOutcome::StillReferenced { references: 1 }
    );
    assert_eq!(table.free(&key(1), dva0, birth_txg), FreeOutcome::LastReference { phys: whole });
    assert_eq!(table.hold(&key(1), whole.identity()), None);
    assert_eq!(table.len(), 0);
}

/// One quota for several tables, to the entry.
#[test]
fn a_quota_is_shared_and_exact() {
    let quota = Quota::new(10);
    let shared = SharedTable::<()>::with_quota(16, &quota);
    let mut other = Table::<u32>::with_quota(quota.clone());
    store(&mut other, 100);
    let mut tokens = Vec::new();
    for n in 0..20 {
        match shared.lookup_write(&key(n), Copies::One, ()) {
            Decision::Lead { token, .. } => tokens.push(token),
            Decision::Full { .. } => {}
            answer => panic!("{answer:?}"),
        }
    }
    assert_eq!(tokens.len(), 9);
    // A failed write, a freed block and a table that goes make room, one each.
    assert!(shared.fail(tokens.pop().unwrap()).unwrap().is_empty());
    let _ = free(&mut other, 100);
    let _ = lead(&mut other, &key(101), Copies::One, 0);
    tokens.push(match shared.lookup_write(&key(50), Copies::One, ()) {
        Decision::Lead { token, .. } => token,
        answer => panic!("{answer:?}"),
    });
    assert!(matches!(shared.lookup_write(&key(51), Copies::One, ()), Decision::Full { .. }));
    drop(other);
    assert!(matches!(shared.lookup_write(&key(51), Copies::One, ()), Decision::Lead { .. }));
    assert_eq!(quota.entries_max(), Some(10));
    assert_eq!(Quota::unlimited().entries_max(), None);
}

#[test]
fn tables_and_tokens_may_move_between_threads() {
    fn sendable<T: Send>() {}
    fn shareable<T: Sync>() {}
    sendable::<Table<Box<u8>>>();
    sendable::<LeadToken>();
    shareable::<SharedTable<Box<u8>>>();
}
