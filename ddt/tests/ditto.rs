//! Extra copies of blocks with very many references.

use ddt::{Copies, DITTO_REFERENCES_MIN, Decision, FreeOutcome, Identity, Key, Phys, Table};
use proptest::prelude::*;

const FIRST: u64 = DITTO_REFERENCES_MIN;
const SECOND: u64 = FIRST * FIRST;

fn key(n: u64) -> Key {
    Key::new([n, 1, 2, 3], 8192, 8192, 2, false).unwrap()
}

fn phys(n: u64) -> Phys {
    Phys::new([[16, n + 1], [0, 0], [0, 0]], 5).unwrap()
}

fn table() -> Table<()> {
    let mut table = Table::new();
    table.set_ditto_references(FIRST);
    table
}

fn add(table: &mut Table<()>, copies: Copies, n: u64, count: u64) {
    table.add_references(&key(1), copies, phys(n), count as u32).unwrap();
}

fn free(table: &mut Table<()>, n: u64) {
    let Identity { dva0, birth_txg } = phys(n).identity();
    assert_ne!(table.free(&key(1), dva0, birth_txg), FreeOutcome::NotFound);
}

#[test]
fn off_unless_asked_for() {
    let mut table = Table::<()>::new();
    add(&mut table, Copies::One, 1, SECOND * 2);
    assert!(table.lead_ditto(&key(1)).is_none());
}

#[test]
fn less_than_the_minimum_is_the_minimum() {
    let mut table = Table::<()>::new();
    table.set_ditto_references(2);
    add(&mut table, Copies::One, 1, FIRST - 1);
    assert!(table.lead_ditto(&key(1)).is_none());
}

/// 99, 100; 9 999, 10 000; and down again.
#[test]
fn the_boundaries() {
    let mut table = table();
    add(&mut table, Copies::One, 1, FIRST - 1);
    assert!(table.lead_ditto(&key(1)).is_none());
    add(&mut table, Copies::One, 1, 1);
    let token = table.lead_ditto(&key(1)).unwrap();
    assert_eq!((token.copies(), *token.key()), (Copies::One, key(1)));
    assert!(table.lead_ditto(&key(1)).is_none(), "one at a time");
    assert_eq!(table.complete_ditto(token, phys(50)).unwrap(), None);
    assert!(table.lead_ditto(&key(1)).is_none(), "one is enough");

    add(&mut table, Copies::One, 1, SECOND - FIRST - 1);
    assert!(table.lead_ditto(&key(1)).is_none());
    add(&mut table, Copies::One, 1, 1);
    let token = table.lead_ditto(&key(1)).unwrap();
    assert_eq!(token.copies(), Copies::Two);
    // The larger one takes the place of the smaller one, whose space comes back.
    assert_eq!(table.complete_ditto(token, phys(51)).unwrap(), Some(phys(50)));
    assert_eq!(table.ditto_copies(&key(1)), Some(Copies::Two));

    for _ in FIRST..SECOND {
        free(&mut table, 1);
        assert_eq!(table.release_ditto(&key(1)), None);
    }
    free(&mut table, 1);
    assert_eq!(table.release_ditto(&key(1)), Some(phys(51)));
    assert_eq!(table.release_ditto(&key(1)), None);
    assert_eq!(table.totals().references, FIRST - 1);
}

/// Copies that the entry's own blocks have count; so do the references of all of them.
#[test]
fn own_copies_count() {
    let mut table = table();
    add(&mut table, Copies::Two, 1, SECOND - 1);
    assert!(table.lead_ditto(&key(1)).is_none(), "two copies are there");
    add(&mut table, Copies::Two, 1, 1);
    let token = table.lead_ditto(&key(1)).unwrap();
    assert_eq!(token.copies(), Copies::One);
    table.fail_ditto(token).unwrap();
    add(&mut table, Copies::One, 2, 1);
    assert!(table.lead_ditto(&key(1)).is_none(), "three copies are there");
}

#[test]
fn failure_and_loss_are_asked_again() {
    let mut table = table();
    add(&mut table, Copies::One, 1, FIRST);
    let token = table.lead_ditto(&key(1)).unwrap();
    table.fail_ditto(token).unwrap();
    drop(table.lead_ditto(&key(1)).unwrap());
    let token = table.lead_ditto(&key(1)).unwrap();
    assert_eq!(table.in_flight(), 1);

    // Meanwhile the references fall: what was written is not wanted any more.
    free(&mut table, 1);
    assert_eq!(table.complete_ditto(token, phys(50)).unwrap(), Some(phys(50)));
    add(&mut table, Copies::One, 1, 1);
    let token = table.lead_ditto(&key(1)).unwrap();
    for _ in 0..FIRST {
        free(&mut table, 1);
    }
    assert_eq!(table.complete_ditto(token, phys(51)).unwrap(), Some(phys(51)));
    assert!(table.is_empty());
}

#[test]
fn tokens_of_another_table_come_back() {
    let (mut ours, mut theirs) = (table(), table());
    add(&mut ours, Copies::One, 1, FIRST);
    let token = ours.lead_ditto(&key(1)).unwrap();
    let token = theirs.complete_ditto(token, phys(50)).unwrap_err();
    let token = theirs.fail_ditto(token).unwrap_err();
    assert_eq!(ours.complete_ditto(token, phys(50)).unwrap(), None);
}

/// Who reads the extra copies keeps them.
#[test]
fn readers_keep_them() {
    let mut table = table();
    assert_eq!(table.hold_ditto(&key(1)), None);
    add(&mut table, Copies::One, 1, FIRST);
    let token = table.lead_ditto(&key(1)).unwrap();
    assert_eq!(table.hold_ditto(&key(1)), None);
    assert_eq!(table.complete_ditto(token, phys(50)).unwrap(), None);
    assert_eq!([table.hold_ditto(&key(1)), table.hold_ditto(&key(1))], [Some(phys(50)); 2]);

    // Neither replaced nor given back meanwhile.
    add(&mut table, Copies::One, 1, SECOND - FIRST);
    let token = table.lead_ditto(&key(1)).unwrap();
    assert_eq!(table.complete_ditto(token, phys(51)).unwrap(), Some(phys(51)));
    for _ in 0..SECOND {
        free(&mut table, 1);
        assert_eq!(table.release_ditto(&key(1)), None);
    }
    assert_eq!(table.totals().references, 0);
    assert_eq!(table.let_go_ditto(&key(1)), None);
    assert_eq!(table.let_go_ditto(&key(1)), Some(phys(50)));
    assert!(table.is_empty());
}

#[derive(Clone, Debug)]
enum Op {
    /// So many references more, or less, of the block with so many copies.
    Change(u8, i32),
    Lead,
    Complete,
    Fail,
}

fn any_op() -> impl Strategy<Value = Op> {
    let step = prop_oneof![
        Just(1),
        Just(-1),
        Just(FIRST as i32),
        Just(-(FIRST as i32)),
        Just(SECOND as i32),
        Just(-(SECOND as i32)),
        -50..50,
    ];
    prop_oneof![
        6 => (1u8..=3, step).prop_map(|(copies, step)| Op::Change(copies, step)),
        4 => Just(Op::Lead),
        3 => Just(Op::Complete),
        1 => Just(Op::Fail),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Against plain numbers: what is wanted is computed anew each time.
    #[test]
    fn behaves_as_the_model(ops in proptest::collection::vec(any_op(), 1..60)) {
        let mut table = table();
        let mut references = [0_u64; 4];
        let (mut there, mut in_flight, mut next) = (None::<(u8, Phys)>, Vec::new(), 100);
        let missing = |references: &[u64; 4]| {
            let total: u64 = references.iter().sum();
            let present: u64 = (1..4).filter(|c| references[*c as usize] > 0).sum();
            let wanted = u64::from(total > 0) + u64::from(total >= FIRST)
                + u64::from(total >= SECOND);
            wanted.saturating_sub(present) as u8
        };
        for op in ops {
            match op {
                Op::Change(copies, step) => {
                    let of = &mut references[copies as usize];
                    for _ in 0..step.unsigned_abs() {
                        if step > 0 {
                            *of += 1;
                            add(&mut table, Copies::new(copies).unwrap(), copies.into(), 1);
                        } else if *of > 0 {
                            *of -= 1;
                            free(&mut table, copies.into());
                        }
                    }
                    let released = table.release_ditto(&key(1));
                    let unwanted = there.take_if(|_| missing(&references) == 0);
                    prop_assert_eq!(released, unwanted.map(|(_, phys)| phys));
                }
                Op::Lead => {
                    let wanted = missing(&references);
                    let lacks = wanted > there.map_or(0, |(copies, _)| copies);
                    let token = table.lead_ditto(&key(1));
                    prop_assert_eq!(token.is_some(), lacks && in_flight.is_empty());
                    if let Some(token) = token {
                        prop_assert_eq!(token.copies().get(), wanted);
                        in_flight.push(token);
                    }
                }
                Op::Complete => {
                    let Some(token) = in_flight.pop() else { continue };
                    next += 1;
                    let copies = token.copies().get();
                    let released = table.complete_ditto(token, phys(next)).unwrap();
                    if missing(&references) == 0 {
                        prop_assert_eq!(released, Some(phys(next)));
                    } else {
                        prop_assert_eq!(released, there.map(|(_, phys)| phys));
                        there = Some((copies, phys(next)));
                    }
                }
                Op::Fail => {
                    if let Some(token) = in_flight.pop() {
                        table.fail_ditto(token).unwrap();
                    }
                }
            }
            prop_assert_eq!(table.ditto_copies(&key(1)).map(Copies::get), there.map(|t| t.0));
            prop_assert_eq!(table.totals().references, references.iter().sum::<u64>());
            // Pointers do not lead to extra copies: a writer never shares them.
            for copies in [Copies::One, Copies::Two, Copies::Three] {
                if references[copies.get() as usize] > 0 {
                    match table.lookup_write(&key(1), copies, ()) {
                        Decision::Share { phys: found, .. } => {
                            prop_assert_eq!(found, phys(copies.get().into()));
                        }
                        other => prop_assert!(false, "{other:?}"),
                    }
                    free(&mut table, copies.get().into());
                }
            }
        }
    }
}
