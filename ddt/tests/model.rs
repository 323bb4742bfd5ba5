//! The table against a slow, obvious model: random interleavings of writes, completions, failures,
//! lost tokens, frees and claims, over few keys so that they meet.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ddt::{
    Copies, Decision, FreeOutcome, Histogram, Identity, Key, LeadToken, LivePointer, Phys, Recount,
    StoredBlock, Table, Totals,
};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Op {
    Write { key: u8, copies: Copies },
    Complete { which: prop::sample::Index, addresses: u8 },
    Fail { which: prop::sample::Index },
    Lose { which: prop::sample::Index },
    Free { which: prop::sample::Index },
    FreeUnknown { key: u8, birth: u64 },
    Claim { key: u8, copies: Copies, addresses: u8, count: u32 },
    ClaimKnown { which: prop::sample::Index, count: u32 },
    Hold { which: prop::sample::Index },
    HoldUnknown { key: u8, birth: u64 },
    BeginRecount,
    FinishRecount,
}

fn any_copies() -> impl Strategy<Value = Copies> {
    prop_oneof![4 => Just(Copies::One), 1 => Just(Copies::Two), 1 => Just(Copies::Three)]
}

fn any_op() -> impl Strategy<Value = Op> {
    let which = any::<prop::sample::Index>();
    prop_oneof![
        12 => (0u8..6, any_copies()).prop_map(|(key, copies)| Op::Write { key, copies }),
        6 => (which.clone(), 1u8..=3).prop_map(|(which, addresses)| Op::Complete { which, addresses }),
        2 => which.clone().prop_map(|which| Op::Fail { which }),
        1 => which.clone().prop_map(|which| Op::Lose { which }),
        12 => which.clone().prop_map(|which| Op::Free { which }),
        1 => (0u8..6, 1u64..5).prop_map(|(key, birth)| Op::FreeUnknown { key, birth }),
        1 => (0u8..6, any_copies(), 1u8..=3, 0u32..4)
            .prop_map(|(key, copies, addresses, count)| Op::Claim { key, copies, addresses, count }),
        1 => (which.clone(), 0u32..4)
            .prop_map(|(which, count)| Op::ClaimKnown { which, count }),
        1 => which.prop_map(|which| Op::Hold { which }),
        1 => (0u8..6, 1u64..5).prop_map(|(key, birth)| Op::HoldUnknown { key, birth }),
        1 => Just(Op::BeginRecount),
        1 => Just(Op::FinishRecount),
    ]
}

fn key(n: u8) -> Key {
    // Two pairs of keys differ in the property word alone.
    Key::new([u64::from(n / 2), 7, 7, 7], 512 + 512 * u32::from(n % 2), 512, 15, false).unwrap()
}

/// What the table should be: plain lists.
#[derive(Default)]
struct Model {
    /// Blocks in the order they came.
    stored: Vec<StoredBlock>,
    flights: BTreeMap<(Key, Copies), Vec<u32>>,
    /// Every pointer handed out.
    live: Vec<LivePointer>,
    next_birth: u64,
}

impl Model {
    fn phys(&mut self, addresses: u8) -> Phys {
        self.next_birth += 1;
        let address = |n| if n < addresses { [u64::from(n) + 1, self.next_birth] } else { [0, 0] };
        Phys::new([address(0), address(1), address(2)], 100 + self.next_birth % 3).unwrap()
    }

    fn add(&mut self, key: Key, copies: Copies, phys: Phys, count: usize) {
        let known = self.stored.iter_mut().find(|b| b.key == key && b.phys == phys);
        match known {
            Some(block) => block.references += count as u64,
            None if count > 0 => {
                self.stored.push(StoredBlock { key, copies, phys, references: count as u64 });
            }
            None => {}
        }
        self.live.extend(vec![LivePointer { key, copies, phys }; count]);
    }

    fn free(&mut self, pointer: LivePointer) -> FreeOutcome {
        let at = self.stored.iter().position(|b| b.key == pointer.key && b.phys == pointer.phys);
        let block = &mut self.stored[at.unwrap()];
        block.references -= 1;
        match block.references {
            0 => {
                self.stored.remove(at.unwrap());
                FreeOutcome::LastReference { phys: pointer.phys }
            }
            references => FreeOutcome::StillReferenced { references },
        }
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for block in &self.stored {
            let (lsize, psize) = (block.key.lsize_bytes(), block.key.psize_bytes());
            totals.blocks += 1;
            totals.references += block.references;
            totals.lsize_bytes += u64::from(lsize);
            totals.psize_bytes += u64::from(psize);
            totals.referenced_lsize_bytes += u128::from(lsize) * u128::from(block.references);
            totals.referenced_psize_bytes += u128::from(psize) * u128::from(block.references);
        }
        totals
    }
}

fn pick<T>(items: &mut Vec<T>, which: prop::sample::Index) -> Option<T> {
    if items.is_empty() { None } else { Some(items.swap_remove(which.index(items.len()))) }
}

fn run(ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut table = Table::<u32>::new();
    let mut model = Model::default();
    let mut tokens: Vec<LeadToken> = Vec::new();
    let mut recount: Option<Recount> = None;
    let mut orphans: BTreeSet<u32> = BTreeSet::new();
    let mut writer = 0;

    for op in ops {
        match op {
            Op::Write { key: n, copies } => {
                writer += 1;
                let key = key(n);
                let stored = model.stored.iter().find(|b| b.key == key && b.copies == copies);
                match table.lookup_write(&key, copies, writer) {
                    Decision::Share { phys, waiter } => {
                        prop_assert_eq!(waiter, writer);
                        prop_assert_eq!(Some(phys), stored.map(|b| b.phys));
                        model.add(key, copies, phys, 1);
                    }
                    Decision::Wait => {
                        prop_assert!(stored.is_none());
                        let waiters = model.flights.get_mut(&(key, copies));
                        waiters.expect("a flight to wait for").push(writer);
                    }
                    Decision::Lead { token, waiter } => {
                        prop_assert_eq!(waiter, writer);
                        prop_assert!(stored.is_none());
                        prop_assert_eq!((*token.key(), token.copies()), (key, copies));
                        prop_assert!(model.flights.insert((key, copies), Vec::new()).is_none());
                        tokens.push(token);
                    }
                    Decision::Full { .. } => prop_assert!(false, "no limit was set"),
                }
            }
            Op::Complete { which, addresses } => {
                let Some(token) = pick(&mut tokens, which) else { continue };
                let at = (*token.key(), token.copies());
                let waiters = model.flights.remove(&at).unwrap();
                let phys = model.phys(addresses);
                let completed = table.complete(token, phys).unwrap();
                model.add(at.0, at.1, phys, 1 + waiters.len());
                prop_assert_eq!(completed.references, 1 + waiters.len() as u64);
                prop_assert_eq!(completed.waiters.into_iter().collect::<Vec<_>>(), waiters);
            }
            Op::Fail { which } => {
                let Some(token) = pick(&mut tokens, which) else { continue };
                let waiters = model.flights.remove(&(*token.key(), token.copies())).unwrap();
                let told: Vec<u32> = table.fail(token).unwrap().into_iter().collect();
                prop_assert_eq!(told, waiters);
            }
            Op::Lose { which } => {
                let Some(token) = pick(&mut tokens, which) else { continue };
                orphans.extend(model.flights.remove(&(*token.key(), token.copies())).unwrap());
                drop(token);
                let found: BTreeSet<u32> = table.take_orphans().into_iter().collect();
                prop_assert_eq!(&found, &orphans);
                orphans.clear();
            }
            Op::Free { which } => {
                let Some(pointer) = pick(&mut model.live, which) else { continue };
                let identity = pointer.phys.identity();
                let outcome = table.free(&pointer.key, identity.dva0, identity.birth_txg);
                prop_assert_eq!(outcome, model.free(pointer));
            }
            Op::FreeUnknown { key: n, birth } => {
                // Addresses are right, the birth is nobody's.
                let dva0 = [1, model.next_birth];
                prop_assert_eq!(table.free(&key(n), dva0, birth), FreeOutcome::NotFound);
            }
            Op::Claim { key: n, copies, addresses, count } => {
                let phys = model.phys(addresses);
                let references = table.add_references(&key(n), copies, phys, count).unwrap();
                model.add(key(n), copies, phys, count as usize);
                prop_assert_eq!(references, u64::from(count));
            }
            Op::ClaimKnown { which, count } => {
                if model.stored.is_empty() {
                    continue;
                }
                let block = model.stored[which.index(model.stored.len())];
                let references =
                    table.add_references(&block.key, block.copies, block.phys, count).unwrap();
                model.add(block.key, block.copies, block.phys, count as usize);
                prop_assert_eq!(references, block.references + u64::from(count));
            }
            Op::Hold { which } => {
                if model.live.is_empty() {
                    continue;
                }
                let LivePointer { key, copies, phys } = model.live[which.index(model.live.len())];
                prop_assert_eq!(table.hold(&key, phys.identity()), Some(phys));
                model.add(key, copies, phys, 1);
            }
            Op::HoldUnknown { key: n, birth } => {
                let identity = Identity { dva0: [1, model.next_birth], birth_txg: birth };
                prop_assert_eq!(table.hold(&key(n), identity), None);
            }
            Op::BeginRecount => {
                let mut begun = table.begin_recount();
                begun.extend(model.live.iter().copied());
                recount = Some(begun);
            }
            Op::FinishRecount => {
                if let Some(recount) = recount.take() {
                    prop_assert_eq!(table.finish_recount(recount), vec![]);
                }
            }
        }

        // Conservation: references are pointers, one for one.
        prop_assert_eq!(table.totals(), model.totals());
        prop_assert_eq!(table.totals().references, model.live.len() as u64);
        prop_assert_eq!(table.in_flight(), model.flights.len());
        let blocks: Vec<StoredBlock> = table.iter().collect();
        prop_assert_eq!(blocks.len(), model.stored.len());
        let blocks: HashSet<StoredBlock> = blocks.into_iter().collect();
        prop_assert_eq!(&blocks, &model.stored.iter().copied().collect::<HashSet<_>>());
        for block in &blocks {
            let references = table.references(&block.key, block.phys.identity());
            prop_assert_eq!(references, Some(block.references));
        }
        let keys: BTreeSet<Key> = (model.stored.iter().map(|b| b.key))
            .chain(model.flights.keys().map(|&(key, _)| key))
            .collect();
        prop_assert_eq!(table.len(), keys.len());
        let histogram: Histogram = table.iter().collect();
        prop_assert_eq!(histogram.totals(), table.totals());
        prop_assert_eq!(histogram.unique(), table.classes().unique);
        prop_assert_eq!(histogram.duplicate(), table.classes().duplicate);
    }
    prop_assert_eq!(table.verify(model.live.iter().copied()), vec![]);

    // Everything given back: nothing remains.
    for token in tokens {
        let _ = table.fail(token).unwrap();
    }
    for pointer in std::mem::take(&mut model.live) {
        let identity = pointer.phys.identity();
        let outcome = table.free(&pointer.key, identity.dva0, identity.birth_txg);
        prop_assert_eq!(outcome, model.free(pointer));
    }
    prop_assert!(table.is_empty());
    prop_assert_eq!(table.totals(), Totals::default());
    Ok(())
}

/// Many keys come and go; each is found as long as it is there, and only then.
fn run_map(batches: Vec<(bool, u16)>) -> Result<(), TestCaseError> {
    let mut table = Table::<()>::new();
    let mut there: Vec<(Key, Phys)> = Vec::new();
    let (mut next, mut random) = (0_u64, 1_u64);
    for (grow, count) in batches {
        for _ in 0..count {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if grow {
                next += 1;
                // The words a weak checksum would give: near each other.
                let key = Key::new([next, 0, next >> 3, 0], 4096, 4096, 2, false).unwrap();
                let phys = Phys::new([[1, next], [0, 0], [0, 0]], 1).unwrap();
                prop_assert_eq!(table.add_references(&key, Copies::One, phys, 1).unwrap(), 1);
                there.push((key, phys));
            } else if !there.is_empty() {
                let (key, phys) = there.swap_remove((random >> 33) as usize % there.len());
                let identity = phys.identity();
                let outcome = table.free(&key, identity.dva0, identity.birth_txg);
                prop_assert_eq!(outcome, FreeOutcome::LastReference { phys });
                prop_assert_eq!(table.references(&key, identity), None);
            }
        }
        prop_assert_eq!(table.len(), there.len());
        for (key, phys) in &there {
            prop_assert_eq!(table.references(key, phys.identity()), Some(1));
        }
    }
    let blocks: BTreeSet<Key> = table.iter().map(|block| block.key).collect();
    prop_assert_eq!(blocks, there.into_iter().map(|(key, _)| key).collect::<BTreeSet<_>>());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn many_keys_behave_as_a_map(
        batches in proptest::collection::vec((any::<bool>(), 0u16..700), 1..12),
    ) {
        run_map(batches)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn behaves_as_the_model(ops in proptest::collection::vec(any_op(), 1..120)) {
        run(ops)?;
    }
}
